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

import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trail, Trails, angle_difference
from lsst.meas.trails.core.injection.inject import inject_trails
from lsst.meas.trails.core.injection.truth import truth_table
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import FWHM_PER_SIGMA
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
        slices, part = render_trail(planes.psf, Trail(x, y, length, angle)).clipped(planes.shape)
        expected[slices] += flux * part
    # Single precision.
    np.testing.assert_allclose(injected.image - before, expected, atol=1e-5)
    assert (injected.image - before).sum(dtype=float) == pytest.approx(1400.0, rel=1e-4)
    np.testing.assert_array_equal(injected.variance, planes.variance)
    # The input is not changed.
    np.testing.assert_array_equal(planes.image, before)
    assert injected.mask is planes.mask
    assert injected.psf is planes.psf


def test_photons_add_noise(make_planes: MakePlanes) -> None:
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
    # Chi-square of 20 times about 400 pixels is accurate to 1.6%.
    assert np.mean(chi2) == pytest.approx(1.0, abs=0.06)
    np.testing.assert_allclose(variance[lit], 25.0 + clean[lit] / gain, rtol=1e-4)
    assert np.all(planes.variance == 25.0)


def test_the_seed_determines_the_noise(make_planes: MakePlanes) -> None:
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


@pytest.mark.parametrize("nothing", [0.0, -1.0, np.nan, np.inf])
def test_pixels_without_a_variance_get_none(make_planes: MakePlanes, nothing: float) -> None:
    """Poisson variance alone would make them the best pixels."""
    planes = make_planes((50, 50))
    planes.variance[:, :25] = nothing
    injected = inject_trails(planes, trails_of((25.0, 25.0, 40.0, 5.0, 1e5)), np.random.default_rng(1), 1.0)
    np.testing.assert_array_equal(injected.variance[:, :25], nothing)
    np.testing.assert_array_equal(injected.bad(), planes.bad())
    assert injected.variance[25, 35] > 100.0
    # The light is added there too.
    assert injected.image[:, :25].sum() == pytest.approx(5e4, rel=0.02)


def test_no_trails_change_nothing(make_planes: MakePlanes) -> None:
    planes = make_planes(seed=3)
    injected = inject_trails(planes, Trails.empty(), np.random.default_rng(1), 1.0)
    np.testing.assert_array_equal(injected.image, planes.image)
    assert injected.image is not planes.image


@pytest.mark.parametrize("flux", [-1.0, np.nan, np.inf])
def test_impossible_fluxes_are_refused(make_planes: MakePlanes, flux: float) -> None:
    trails = trails_of((30.0, 30.0, 20.0, 30.0, 5.0), (30.0, 30.0, 20.0, 30.0, flux))
    with pytest.raises(ValueError, match="Trail 1 "):
        inject_trails(make_planes(), trails, None)


LENGTHS = (1.0, 2.5, 10.0, 37.3, 100.0, 300.0)
ANGLES = np.arange(0.0, 180.0, 7.5)


@pytest.mark.parametrize("length", LENGTHS)
def test_flux_at_every_length_and_angle(make_planes: MakePlanes, length: float) -> None:
    planes = make_planes((360, 360))
    for angle in ANGLES:
        added = inject_trails(planes, trails_of((179.6, 180.3, length, angle, 5e4)), None).image
        assert added.sum(dtype=float) == pytest.approx(5e4, rel=1e-3), angle


@pytest.mark.parametrize("length", LENGTHS)
def test_flux_across_the_edge(make_planes: MakePlanes, length: float) -> None:
    """Agrees with a sum of point sources, products of two Gaussians."""
    planes = make_planes((180, 200))
    sigma = 4.0 / FWHM_PER_SIGMA
    t = (np.arange(2000) + 0.5) / 2000
    for angle in ANGLES:
        # A corner: the trail crosses the left or bottom edge, or both.
        x0, y0, x1, y1 = Trail(1.3, 0.4, length, angle).ends
        part = np.ones(t.size)
        for start, stop, size in ((x0, x1, 200), (y0, y1, 180)):
            pixels, center = np.arange(size), start + t * (stop - start)
            gauss = np.exp(-0.5 * np.square((pixels[:, None] - center) / sigma))
            part *= gauss.sum(axis=0) / (np.sqrt(2.0 * np.pi) * sigma)
        added = inject_trails(planes, trails_of((1.3, 0.4, length, angle, 5e4)), None).image
        # 0.1% of the whole flux.
        assert added.sum(dtype=float) == pytest.approx(5e4 * part.mean(), abs=50.0), angle


@pytest.mark.parametrize("length", [20.0, 60.0, 150.0])
@pytest.mark.parametrize("angle", [0.0, 17.0, 45.0, 90.0, 133.3])
def test_moments_of_a_bright_trail(make_planes: MakePlanes, length: float, angle: float) -> None:
    """A line of length L has a variance of L^2/12 along itself, plus the PSF's."""
    planes = make_planes((240, 240))
    x, y = 119.37, 121.81
    injected = inject_trails(planes, trails_of((x, y, length, angle, 1e9)), np.random.default_rng(1), 1.0)
    rows, columns = np.mgrid[:240, :240]
    weight = injected.image.astype(float) / injected.image.sum(dtype=float)
    center_x, center_y = np.sum(weight * columns), np.sum(weight * rows)
    assert np.hypot(center_x - x, center_y - y) < 0.05
    dx, dy = columns - center_x, rows - center_y
    xx, yy, xy = (np.sum(weight * value) for value in (dx * dx, dy * dy, dx * dy))
    measured = np.rad2deg(0.5 * np.arctan2(2.0 * xy, xx - yy))
    assert angle_difference(measured, angle) < 0.1
    split = np.sqrt(np.square(xx - yy) + 4.0 * np.square(xy))
    assert np.sqrt(12.0 * split) == pytest.approx(length, abs=0.1)


def test_catalog_snr_is_the_scatter_of_a_matched_filter(make_planes: MakePlanes) -> None:
    """The noise is not uniform and some pixels are masked."""
    rng = np.random.default_rng(3)
    planes = make_planes((70, 80))
    planes.variance[...] = rng.uniform(1.0, 9.0, planes.shape)
    planes.mask[28:36, 40:46] = plane_bits(["BAD"])
    trails = trails_of((41.0, 33.0, 35.0, 24.0, 120.0))
    expected = truth_table(planes, trails)["snr_optimal"][0]
    signal = inject_trails(planes, trails, None).image - planes.image
    good = ~planes.bad()
    weight = (signal / planes.variance)[good].astype(float)
    sigma = np.sqrt(planes.variance[good]).astype(float)
    clean = np.sum(weight * signal[good])
    responses = [clean + np.sum(weight * sigma * rng.standard_normal(sigma.size)) for _ in range(5000)]
    # The scatter of 5000 responses is accurate to 1%.
    assert np.mean(responses) / np.std(responses) == pytest.approx(expected, rel=0.03)
