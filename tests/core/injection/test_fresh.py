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

from collections.abc import Callable

import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.injection.fresh import TrailFreeImage, add_fresh_trails
from lsst.meas.trails.core.injection.inject import inject_trails
from lsst.meas.trails.core.injection.population import TrailPopulation
from lsst.meas.trails.core.injection.truth import truth_table
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import truth_mask

type MakePlanes = Callable[..., ImagePlanes]


def trails_of(*rows: tuple[float, float, float, float, float]) -> Trails:
    return Trails(*np.array(rows).T)


def trail_free(planes: ImagePlanes, **options: object) -> TrailFreeImage:
    return TrailFreeImage(planes, np.zeros(planes.shape, dtype=bool), **options)  # type: ignore[arg-type]


def test_light_snr_and_truth_are_those_of_the_renderer(make_planes: MakePlanes) -> None:
    planes = make_planes((120, 140), seed=1)
    trails = trails_of((40.0, 40.0, 20.0, 10.0, 90.0), (90.0, 70.0, 30.0, 120.0, 900.0))
    fresh = add_fresh_trails(trail_free(planes), trails, np.random.default_rng(1))
    np.testing.assert_allclose(fresh.planes.image, inject_trails(planes, trails, None).image, atol=1e-4)
    np.testing.assert_allclose(fresh.snr, truth_table(planes, trails)["snr_optimal"])
    np.testing.assert_array_equal(fresh.truth, truth_mask(planes.psf, trails, planes.shape))
    # A fainter trail is ignored instead.
    limit = float(fresh.snr.mean())
    partly = add_fresh_trails(trail_free(planes), trails, np.random.default_rng(1), ignore_below=limit)
    np.testing.assert_array_equal(partly.ignored, truth_mask(planes.psf, trails[[0]], planes.shape))
    np.testing.assert_array_equal(partly.truth, truth_mask(planes.psf, trails[[1]], planes.shape))


def test_noise_of_the_light(make_planes: MakePlanes) -> None:
    planes = make_planes((60, 60), sigma=5.0)
    trails, gain = trails_of((30.0, 30.0, 20.0, 30.0, 2e5)), 2.0
    clean = add_fresh_trails(trail_free(planes), trails, np.random.default_rng(0)).planes
    lit = clean.image > 0.01 * clean.image.max()
    chi2 = []
    for seed in range(20):
        noisy = add_fresh_trails(trail_free(planes, gain=gain), trails, np.random.default_rng(seed)).planes
        np.testing.assert_allclose(noisy.variance[lit], 25.0 + clean.image[lit] / gain, rtol=1e-4)
        chi2.append(np.mean(np.square(noisy.image - clean.image)[lit] / (clean.image[lit] / gain)))
    # 20 times some 200 pixels: 2.2%, four sigma.
    assert np.mean(chi2) == pytest.approx(1.0, abs=0.09)
    assert np.all(planes.image == 0.0)


def test_bright_trails_saturate_and_bleed(make_planes: MakePlanes) -> None:
    planes = make_planes((200, 100), sigma=5.0, seed=3)
    planes.mask[150:160, 30] = plane_bits(["SATURATED"])
    planes.image[150:160, 30] = 1010.0
    trails = trails_of((50.0, 80.0, 40.0, 0.0, 2e6))
    fresh = add_fresh_trails(
        trail_free(planes, gain=2.0, full_well=1000.0), trails, np.random.default_rng(1)
    ).planes
    rows, columns = np.nonzero(fresh.has("SATURATED") & ~planes.has("SATURATED"))
    assert fresh.image[80, 50] == 1000.0
    np.testing.assert_array_equal(fresh.has("SATURATED"), fresh.has("INTERPOLATED") | planes.has("SATURATED"))
    # The peak is 10 full wells; a bleed of 0.15 of the excess on each side of the line.
    assert 20 < columns.min()
    assert columns.max() < 80
    middle = rows[columns == 50]
    assert np.ptp(middle) > 8
    # The old saturated pixels do not bleed again.
    assert not np.any(
        fresh.has("SATURATED")[:, 30] & ~planes.has("SATURATED")[:, 30] & (np.arange(200) > 110)
    )


def test_light_with_another_psf(make_planes: MakePlanes) -> None:
    planes, wide = make_planes((80, 80), sigma=1.0), PsfGrid.gaussian(6.0)
    trails = trails_of((40.0, 40.0, 0.0, 0.0, 100.0))
    fresh = add_fresh_trails(trail_free(planes, light_psf=wide), trails, np.random.default_rng(1))
    assert fresh.planes.image[40, 40] == pytest.approx(100.0 * wide.kernel(0, 0).max(), rel=1e-3)
    assert fresh.planes.psf is planes.psf


def test_populations_are_drawn_anew(make_planes: MakePlanes) -> None:
    background = trail_free(make_planes((300, 300), sigma=1.0, seed=2))
    population = TrailPopulation(
        number=8, length=(10.0, 40.0), brightness=(5.0, 500.0), brightness_index=-1.3
    )
    first, second = (add_fresh_trails(background, population, np.random.default_rng(i)) for i in (1, 2))
    assert len(first.trails) > 4
    assert not np.array_equal(first.trails.x[:4], second.trails.x[:4])
    assert np.all(first.snr < 501.0)


def test_trails_like_points_are_ignored(make_planes: MakePlanes) -> None:
    """Gaussians of widths s and sqrt(s^2 + L^2 / 12) along the trail have r^2 = 2 a b / (a^2 + b^2)."""
    planes = make_planes((100, 100), psf=PsfGrid.gaussian(6.0, 41))
    sigma = 6.0 / 2.3548
    a, b = sigma, np.hypot(sigma, 6.0 / np.sqrt(12.0))
    part = np.sqrt(1.0 - 2.0 * a * b / (a**2 + b**2))
    trails = trails_of((50.0, 50.0, 6.0, 30.0, 300.0))
    snr = float(add_fresh_trails(trail_free(planes), trails, np.random.default_rng(1)).snr[0])
    for limit, seen in ((0.85 * snr * part, True), (1.15 * snr * part, False)):
        fresh = add_fresh_trails(
            trail_free(planes), trails, np.random.default_rng(1), ignore_pointlike=float(limit)
        )
        assert fresh.truth.any() == seen
        assert fresh.ignored.any() != seen
