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

import astropy.table
import numpy as np
import pytest
from astropy.wcs import WCS

from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.catalog.sky import sky_columns
from lsst.meas.trails.core.fit.fit import fit_trail
from lsst.meas.trails.core.fit.pixels import TrailFit
from lsst.meas.trails.core.geometry import PixelToSky, Trail
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import add_trail, optimal_snr, render_trail

SCALE = 0.2 / 3600.0
"""Degrees per pixel."""

TRAIL = Trail(48.3, 51.8, 30.0, 70.0)
FITS = 120


def tangent(dec: float, rotation: float) -> PixelToSky:
    """Return a gnomonic projection about pixel (50, 50), with North turned from +y by an angle."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, dec]
    wcs.wcs.crpix = [51.0, 51.0]
    c, s = np.cos(np.deg2rad(rotation)), np.sin(np.deg2rad(rotation))
    wcs.wcs.cd = SCALE * np.array([[-c, s], [s, c]])
    return lambda x, y: tuple(wcs.all_pix2world(x, y, 0))


def columns_of(trails: list[Trail], project: PixelToSky) -> dict[str, np.ndarray]:
    """Return the columns of fits, or of a true trail, whose errors are zero."""

    def column(name: str) -> np.ndarray:
        return np.array([getattr(trail, name, 0.0) for trail in trails])

    table = astropy.table.Table(
        {
            "xErr": column("x_err"),
            "yErr": column("y_err"),
            "xyCovariance": column("xy_covariance"),
            "trailLengthPixErr": column("length_err"),
            "trailAnglePix": column("angle"),
            "trailAnglePixErr": column("angle_err"),
        }
    )
    ends = np.array([trail.ends for trail in trails]).T
    pixels = {"x": column("x"), "y": column("y"), **dict(zip(("x0", "y0", "x1", "y1"), ends, strict=True))}
    return sky_columns(table, pixels, project)


@pytest.fixture(scope="module")
def fits() -> list[TrailFit]:
    """Return fits of one trail of SNR 20 under white noise that differs."""
    psf, rng = PsfGrid.gaussian(4.0), np.random.default_rng(4)
    variance = np.ones((100, 100), dtype=np.float32)
    flux = 20.0 / optimal_snr(render_trail(psf, TRAIL), variance, 1.0)
    made = []
    for _ in range(FITS):
        image = rng.standard_normal(variance.shape, dtype=np.float32)
        add_trail(image, psf, Trail(TRAIL.x, TRAIL.y, TRAIL.length, TRAIL.angle, flux))
        planes = ImagePlanes(image, variance, np.zeros(variance.shape, dtype=np.uint32), psf)
        sky = SkySubtracted(planes, np.zeros(variance.shape), planes.bad())
        made.append(fit_trail(sky, TRAIL))
    assert not any(fit.failed for fit in made)
    return made


@pytest.mark.parametrize("rotation", [0.0, 35.0])
@pytest.mark.parametrize("dec", [0.0, -60.0, -89.0])
def test_errors_are_the_scatter_of_fits(fits: list[TrailFit], dec: float, rotation: float) -> None:
    """Agree with the scatter on the sky, which is the same at every declination.

    Without cos(dec), raErr would be 2 times too large at -60 degrees, and 57 times at -89.
    """
    project = tangent(dec, rotation)
    measured, true = columns_of(fits, project), columns_of([TRAIL], project)
    east = (measured["ra"] - true["ra"]) * np.cos(np.deg2rad(dec))
    north = measured["dec"] - true["dec"]
    for offset, error in ((east, measured["raErr"]), (north, measured["decErr"])):
        # The scatter of 120 values has an error of 6%; stated errors may be wrong by a quarter (test_fit).
        assert 0.75 < np.std(offset / error) < 1.3
        # The mean of 120 values has an error of 0.09: allow three.
        assert abs(np.mean(offset / error)) < 0.3
    correlation = np.median(measured["ra_dec_Cov"] / (measured["raErr"] * measured["decErr"]))
    # The correlation of 120 values has an error of at most 0.09: allow three.
    assert correlation == pytest.approx(np.corrcoef(east, north)[0, 1], abs=0.25)
    # The trail is 4 times longer than wide, so that its midpoint is correlated unless it lies along an axis.
    assert abs(correlation) > 0.2
    angle = np.deg2rad(true["trailAngle"][0])
    assert np.sign(correlation) == np.sign(np.sin(angle) * np.cos(angle))


def test_errors_at_the_pole() -> None:
    """Agree with those at the equator, 5 pixels from the pole."""
    fit = TrailFit(50.0, 55.0, 10.0, 30.0, x_err=0.5, y_err=0.3, xy_covariance=0.05, length_err=1.0)
    here, there = (columns_of([fit], tangent(dec, 0.0)) for dec in (-90.0, 0.0))
    # A step of one pixel there is an angle of a tenth of a radian or more.
    for name in ("raErr", "decErr", "trailLengthErr"):
        assert here[name] == pytest.approx(there[name], rel=0.05)
    # North is the direction away from the pole.
    assert here["trailAngle"] == pytest.approx(there["trailAngle"], abs=0.1)
