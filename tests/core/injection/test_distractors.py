# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by the GNU General Public License,
# version 3 or later, that can be found in the LICENSE file.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.injection.distractors import DistractorPopulation, Distractors, draw_distractors
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.render import optimal_snr, render_trail

type MakePlanes = Callable[..., ImagePlanes]


def draw(population: DistractorPopulation, planes: ImagePlanes, seed: int = 1) -> Distractors:
    return draw_distractors(population, planes, np.random.default_rng(seed))


def test_none_by_default(make_planes: MakePlanes) -> None:
    drawn = draw(DistractorPopulation(), make_planes())
    assert len(drawn) == 0
    assert drawn.source_type == ()
    assert not drawn.signal.any()


def test_numbers_are_means(make_planes: MakePlanes) -> None:
    """Per image and per megapixel; 0.04 Mpix here."""
    planes = make_planes((200, 200))
    population = DistractorPopulation(satellites=1.5, cosmic_rays=100.0, point_sources=50.0)
    counts = np.zeros(3)
    for seed in range(100):
        kinds = draw(population, planes, seed).source_type
        counts += [kinds.count(kind) for kind in ("Satellite", "CosmicRay", "Star")]
    # Poisson: 100 times 1.5, 4 and 2, to three sigma.
    assert np.all(np.abs(counts - [150.0, 400.0, 200.0]) < 3.0 * np.sqrt([150.0, 400.0, 200.0]))


def test_the_same_seed_draws_the_same(make_planes: MakePlanes) -> None:
    planes = make_planes((100, 100))
    population = DistractorPopulation(satellites=2.0, cosmic_rays=500.0, point_sources=500.0)
    first, again, other = (draw(population, planes, seed).signal for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_snr_of_point_sources(make_planes: MakePlanes) -> None:
    planes = make_planes((300, 300), sigma=7.0)
    population = DistractorPopulation(point_sources=100.0, point_source_snr=(12.0, 12.0))
    drawn = draw(population, planes)
    assert len(drawn) > 3
    np.testing.assert_array_equal(drawn.trails.length, 0.0)
    whole = 0
    for x, y, flux in zip(drawn.trails.x, drawn.trails.y, drawn.trails.flux, strict=True):
        if 15.0 < x < 284.0 and 15.0 < y < 284.0:
            whole += 1
            stamp = render_trail(planes.psf, Trail(x, y, 0.0, 0.0))
            # The kernel is slightly wider between pixels.
            assert optimal_snr(stamp, planes.variance, flux) == pytest.approx(12.0, rel=1e-3)
    assert whole > 2


def test_slow_asteroids_and_nuclei_of_galaxies(make_planes: MakePlanes) -> None:
    planes, hosts = make_planes((300, 300)), np.array([[50.0, 60.0], [200.0, 100.0]])
    population = DistractorPopulation(
        point_sources=4000.0, point_source_snr=(3.0, 1e4), point_source_index=-1.3, point_source_motion=2.0
    )
    drawn = draw_distractors(population, planes, np.random.default_rng(2), hosts)
    length = drawn.trails.length
    # 360 points, four sigma: 0.1.
    assert np.mean(length > 0.0) == pytest.approx(1.0 / 3.0, abs=0.1)
    assert length.max() <= 2.0
    at_host = np.hypot(drawn.trails.x[:, None] - hosts[:, 0], drawn.trails.y[:, None] - hosts[:, 1]).min(
        axis=1
    )
    assert np.mean(at_host == 0.0) == pytest.approx(1.0 / 3.0, abs=0.1)
    # The median of s^-1.3 from 3 to 10 000.
    limit = drawn.trails.flux[0] / optimal_snr(
        render_trail(planes.psf, Trail(150.0, 150.0, 0.0, 0.0)), planes.variance, drawn.trails.flux[0]
    )
    median = (0.5 * (3.0**-0.3 + 1e4**-0.3)) ** (-1.0 / 0.3)
    assert np.mean(drawn.trails.flux / limit < median) == pytest.approx(0.5, abs=0.11)


def test_brightness_follows_the_noise(make_planes: MakePlanes) -> None:
    population = DistractorPopulation(satellites=1.0, cosmic_rays=300.0, point_sources=300.0)
    quiet, noisy = (draw(population, make_planes((100, 100), sigma=sigma)).signal for sigma in (1.0, 5.0))
    np.testing.assert_allclose(noisy, 5.0 * quiet, rtol=1e-4, atol=1e-4)


def test_nothing_is_drawn_without_good_pixels(make_planes: MakePlanes) -> None:
    planes = make_planes((50, 50))
    planes.variance[:] = np.nan
    assert len(draw(DistractorPopulation(satellites=5.0, point_sources=1e4), planes)) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"satellites": -1.0}, "numbers of distractors"),
        ({"cosmic_rays": np.nan}, "numbers of distractors"),
        ({"point_sources": np.inf}, "numbers of distractors"),
        ({"point_source_snr": (10.0, 5.0)}, "point_source_snr"),
        ({"point_source_snr": (0.0, 5.0)}, "point_source_snr"),
    ],
)
def test_impossible_populations_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistractorPopulation(**change)
