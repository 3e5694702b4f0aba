# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.injection import inject_trails
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.render import render_trail

type MakePlanes = Callable[..., ImagePlanes]


def trails_of(*rows: tuple[float, float, float, float, float]) -> Trails:
    return Trails(*np.array(rows).T)


def test_noiseless_trails_are_added(make_planes: MakePlanes) -> None:
    planes = make_planes((80, 100), seed=1)
    before = planes.image.copy()
    trails = trails_of((30.0, 30.0, 20.0, 10.0, 500.0), (60.0, 50.0, 30.0, 120.0, 900.0))
    injected = inject_trails(planes, trails, None)
    expected = np.zeros(planes.shape)
    for x, y, length, angle, flux in ((30.0, 30.0, 20.0, 10.0, 500.0), (60.0, 50.0, 30.0, 120.0, 900.0)):
        slices, part = render_trail(planes.psf, x, y, length, angle).clipped(planes.shape)
        expected[slices] += flux * part
    # Single precision.
    np.testing.assert_allclose(injected.image - before, expected, atol=1e-5)
    assert (injected.image - before).sum(dtype=float) == pytest.approx(1400.0, rel=1e-4)
    np.testing.assert_array_equal(injected.variance, planes.variance)
    # The input stays as it was.
    np.testing.assert_array_equal(planes.image, before)
    assert injected.mask is planes.mask
    assert injected.psf is planes.psf


def test_photons_make_noise(make_planes: MakePlanes) -> None:
    gain, flux = 2.0, 2e5
    planes = make_planes((60, 60), sigma=5.0)
    trails = trails_of((30.0, 30.0, 20.0, 30.0, flux))
    clean = inject_trails(planes, trails, None).image.astype(float)
    lit = clean > 0.01 * clean.max()
    chi2, variance = [], planes.variance
    for seed in range(20):
        injected = inject_trails(planes, trails, np.random.default_rng(seed), gain)
        variance = injected.variance
        chi2.append(np.mean((injected.image - clean)[lit] ** 2 / (clean[lit] / gain)))
    # 20 times some 400 pixels, of which chi-square is good to 1.6%.
    assert np.mean(chi2) == pytest.approx(1.0, abs=0.06)
    np.testing.assert_allclose(variance[lit], 25.0 + clean[lit] / gain, rtol=1e-4)
    assert np.all(planes.variance == 25.0)


def test_the_noise_is_that_of_the_seed(make_planes: MakePlanes) -> None:
    planes = make_planes()
    trails = trails_of((30.0, 30.0, 20.0, 30.0, 500.0))
    images = [inject_trails(planes, trails, np.random.default_rng(seed), 1.0).image for seed in (1, 1, 2)]
    np.testing.assert_array_equal(images[0], images[1])
    assert np.any(images[0] != images[2])


def test_an_infinite_gain_has_no_noise(make_planes: MakePlanes) -> None:
    planes = make_planes()
    trails = trails_of((30.0, 30.0, 20.0, 30.0, 500.0))
    with_rng = inject_trails(planes, trails, np.random.default_rng(1))
    np.testing.assert_array_equal(with_rng.image, inject_trails(planes, trails, None).image)
    np.testing.assert_array_equal(with_rng.variance, planes.variance)


def test_at_the_edge_and_beyond(make_planes: MakePlanes) -> None:
    planes = make_planes((50, 50))
    half = inject_trails(planes, trails_of((-0.5, 25.0, 30.0, 0.0, 1000.0)), None)
    # Symmetric about the edge of the first pixel.
    assert half.image.sum(dtype=float) == pytest.approx(500.0, rel=1e-4)
    beyond = inject_trails(planes, trails_of((-200.0, 25.0, 30.0, 0.0, 1000.0)), None)
    assert not np.any(beyond.image)


def test_missing_pixels_stay_missing(make_planes: MakePlanes) -> None:
    planes = make_planes((50, 50))
    planes.image[20:30] = np.nan
    planes.variance[:5] = np.nan
    injected = inject_trails(planes, trails_of((25.0, 25.0, 30.0, 80.0, 1e4)), np.random.default_rng(1), 1.0)
    np.testing.assert_array_equal(np.isnan(injected.image), np.isnan(planes.image))
    np.testing.assert_array_equal(np.isnan(injected.variance), np.isnan(planes.variance))


def test_no_trails_change_nothing(make_planes: MakePlanes) -> None:
    planes = make_planes(seed=3)
    injected = inject_trails(planes, Trails.empty(), np.random.default_rng(1), 1.0)
    np.testing.assert_array_equal(injected.image, planes.image)
    assert injected.image is not planes.image


@pytest.mark.parametrize("flux", [-1.0, np.nan, np.inf])
def test_impossible_fluxes_are_named(make_planes: MakePlanes, flux: float) -> None:
    trails = trails_of((30.0, 30.0, 20.0, 30.0, 5.0), (30.0, 30.0, 20.0, 30.0, flux))
    with pytest.raises(ValueError, match="Trail 1 has a flux"):
        inject_trails(make_planes(), trails, None)
