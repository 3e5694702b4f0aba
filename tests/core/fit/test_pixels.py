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
import numpy.typing as npt
import pytest

from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.fit.minimize import Minimum
from lsst.meas.trails.core.fit.pixels import MIN_PIXELS, FitRegion, TrailFit
from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import add_trail

type MakePlanes = Callable[..., ImagePlanes]

PSF = PsfGrid.gaussian(4.0)
TRAIL = Trail(x=40.3, y=30.6, length=20.0, angle=35.0, flux=500.0)


def region_of(planes: ImagePlanes, start: Trail = TRAIL) -> FitRegion:
    return FitRegion(SkySubtracted(planes, np.zeros(planes.shape), planes.bad()), start, reach=3.0)


def minimum_at(region: FitRegion, parameters: npt.NDArray[np.float64]) -> Minimum:
    return Minimum(True, parameters, *region.evaluate(parameters))


@pytest.fixture
def planes(make_planes: MakePlanes) -> ImagePlanes:
    planes = make_planes((64, 80), seed=1)
    add_trail(planes.image, PSF, TRAIL)
    return planes


def test_derivatives_are_differences(planes: ImagePlanes) -> None:
    region = region_of(planes)
    _, basis, factors = region.evaluate(region.parameters)
    assert basis.shape == (6, region.n_data)
    for i in range(6):
        step = np.zeros(6)
        step[i] = 1e-2 * max(1.0, region.scales[i])
        ahead, behind = (region.evaluate(region.parameters + sign * step)[0] for sign in (1.0, -1.0))
        # Images are exact to 1e-6 of their peak, and differences over a step to 1e-4 of the derivative.
        derivative = factors[i] * basis[i]
        tolerance = 1e-3 * float(np.abs(derivative).max())
        np.testing.assert_allclose(derivative, (ahead - behind) / (2.0 * step[i]), atol=tolerance)


def test_residuals_at_the_truth_are_noise(planes: ImagePlanes) -> None:
    region = region_of(planes)
    residual, _, _ = region.evaluate(region.parameters)
    assert np.mean(residual) == pytest.approx(0.0, abs=4.0 / np.sqrt(region.n_data))
    assert np.std(residual) == pytest.approx(1.0, abs=0.15)
    minimum = minimum_at(region, region.parameters)
    fit = region.result(minimum)
    assert not fit.failed
    assert np.isnan(fit.flux_err)
    fit = region.with_errors(fit, minimum)
    assert fit.ends == pytest.approx(TRAIL.ends)
    assert fit.flux == pytest.approx(TRAIL.flux, abs=4.0 * fit.flux_err)


def test_bright_neighbors_are_not_fitted(planes: ImagePlanes) -> None:
    before = region_of(planes).n_data
    add_trail(planes.image, PSF, Trail(36.0, 40.0, 0.0, 0.0, 1e4))
    region = region_of(planes)
    assert MIN_PIXELS < region.n_data < before
    assert region.data.max() < 100.0


def test_solutions_that_are_not_trails_fail(planes: ImagePlanes) -> None:
    region = region_of(planes)
    for index, value in ((0, 1e4), (2, 1e4), (4, -1.0), (5, np.nan)):
        p = region.parameters.copy()
        p[index] = value
        fit = region.result(minimum_at(region, p))
        assert fit.failed
        assert fit.ends == pytest.approx(TRAIL.ends)
        assert fit.flux == region.failure().flux


def test_failures_keep_the_start() -> None:
    fit = TrailFit.failure(Trail(1.0, 2.0, 3.0, 200.0, 4.0))
    assert (fit.x, fit.y, fit.length, fit.angle, fit.failed) == (1.0, 2.0, 3.0, 20.0, True)
    assert np.isnan([fit.flux, fit.flux_err, fit.background, fit.chi2]).all()
    assert fit.n_data == 0
