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

"""Truth tables: what was injected or simulated, one row a trail."""

from __future__ import annotations

__all__ = ("TRUTH_COLUMNS", "truth_table")

from collections.abc import Callable
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import numpy.typing as npt

from .geometry import Trails
from .photometry import AB_ZEROPOINT_NJY, detection_magnitude_loss, flux_to_mag, point_source_flux_limit
from .planes import ImagePlanes
from .render import optimal_snr, render_trail

TRUTH_COLUMNS: dict[str, tuple[u.UnitBase | None, str]] = {
    "injection_id": (None, "Number of the trail within its image, from 0."),
    "x": (u.pix, "Midpoint, column, in the image's own coordinates."),
    "y": (u.pix, "Midpoint, row, in the image's own coordinates."),
    "x0": (u.pix, "First end, column."),
    "y0": (u.pix, "First end, row."),
    "x1": (u.pix, "Second end, column."),
    "y1": (u.pix, "Second end, row."),
    "trail_length": (u.pix, "Length between the ends of the line, before the PSF."),
    "beta": (u.deg, "Angle counter-clockwise from +x, [0, 180)."),
    "flux": (u.nJy, "Flux of the whole trail."),
    "integrated_mag": (u.ABmag, "AB magnitude of the whole trail."),
    "mag": (u.ABmag, "AB magnitude per pixel of length (source_injection's convention)."),
    "PSF_mag": (u.ABmag, "AB magnitude of the point source that detection takes the trail for."),
    "SNR": (None, "SNR of point-source detection, F(PSF_mag) over a fifth of F(magLim)."),
    "snr_optimal": (None, "SNR of a matched filter on the unmasked pixels, sqrt(sum (F t)^2 / V)."),
    "visible_fraction": (None, "Fraction of the flux that falls on unmasked pixels of the image."),
    "fwhm": (u.pix, "FWHM of the PSF at the midpoint."),
    "ra": (u.deg, "Right ascension of the midpoint, ICRS."),
    "dec": (u.deg, "Declination of the midpoint, ICRS."),
    "ra0": (u.deg, "Right ascension of the first end."),
    "dec0": (u.deg, "Declination of the first end."),
    "ra1": (u.deg, "Right ascension of the second end."),
    "dec1": (u.deg, "Declination of the second end."),
}
"""Columns of a truth table, with units and descriptions."""


def truth_table(
    planes: ImagePlanes,
    trails: Trails,
    *,
    flux_per_njy: float = 1.0,
    origin: tuple[int, int] = (0, 0),
    pixel_to_sky: Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], tuple[Any, Any]] | None = None,
) -> astropy.table.Table:
    """Describe trails in the terms of both the old and the new SNR scale.

    Parameters
    ----------
    planes
        The image before the trails were added.
    trails
        The trails, array coordinates, fluxes in image units.
    flux_per_njy
        Image units per nJy.
    origin
        Coordinates (x, y) of the first pixel of the array in the image.
    pixel_to_sky
        Maps x and y in the image's coordinates to ICRS right ascension and
        declination in degrees; NaN are written without it.

    Returns
    -------
    table
        One row a trail with the columns of `TRUTH_COLUMNS`.
    """
    bad = planes.bad()
    good = planes.variance[~bad]
    sky_variance = float(np.median(good[:: max(1, good.size // 100_000)])) if good.size else np.nan
    count = len(trails)
    snr, visible, fwhm, limit = (np.zeros(count) for _ in range(4))
    for i in range(count):
        x, y = float(trails.x[i]), float(trails.y[i])
        stamp = render_trail(planes.psf, x, y, float(trails.length[i]), float(trails.angle[i]))
        slices, part = stamp.clipped(planes.shape)
        snr[i] = optimal_snr(stamp, planes.variance, float(trails.flux[i]), bad)
        visible[i] = np.sum(part[~bad[slices]])
        kernel = planes.psf.kernel(x, y)
        fwhm[i] = planes.psf.fwhm(x, y)
        limit[i] = point_source_flux_limit(kernel, sky_variance)
    flux = trails.flux / flux_per_njy
    loss = detection_magnitude_loss(trails.length, np.where(fwhm > 0.0, fwhm, 1.0))
    mag = flux_to_mag(flux)
    x0, y0, x1, y1 = trails.ends
    columns: dict[str, Any] = {
        "injection_id": np.arange(count, dtype=np.int64),
        "trail_length": trails.length,
        "beta": trails.angle,
        "flux": flux,
        "integrated_mag": mag,
        "mag": flux_to_mag(flux / np.maximum(trails.length, 1.0), AB_ZEROPOINT_NJY),
        "PSF_mag": mag + loss,
        "SNR": 5.0 * trails.flux * np.power(10.0, -0.4 * loss) / np.where(limit > 0.0, limit, np.nan),
        "snr_optimal": snr,
        "visible_fraction": np.clip(visible, 0.0, 1.0),
        "fwhm": fwhm,
    }
    for suffix, px, py in (("", trails.x, trails.y), ("0", x0, y0), ("1", x1, y1)):
        px, py = px + origin[0], py + origin[1]
        columns[f"x{suffix}"], columns[f"y{suffix}"] = px, py
        if pixel_to_sky is None or count == 0:
            columns[f"ra{suffix}"], columns[f"dec{suffix}"] = np.full(count, np.nan), np.full(count, np.nan)
        else:
            columns[f"ra{suffix}"], columns[f"dec{suffix}"] = pixel_to_sky(px, py)
    table = astropy.table.Table()
    for name, (unit, description) in TRUTH_COLUMNS.items():
        table[name] = astropy.table.Column(
            columns[name], unit=None if unit is None else unit.to_string(), description=description
        )
    return table
