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

"""Truth tables: one row per injected or simulated trail or distractor."""

from __future__ import annotations

__all__ = ("TRUTH_COLUMNS", "add_distractors", "check_trail_table", "is_trail", "streak_mask", "truth_table")

from collections.abc import Sequence
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import numpy.typing as npt

from ..catalog.columns import table_of
from ..geometry import PixelToSky, Trails, edge_distance, line_band
from ..photometry import detection_magnitude_loss, flux_to_mag, point_source_flux_limit, typical_variance
from ..planes import ImagePlanes
from ..psf import PsfGrid
from ..render import TrailStamp, optimal_snr, render_trail, variance_under

_STREAK_WIDTH = 4.0
"""Half of the width of a satellite streak, FWHM."""

_AT_EDGE = 2.0
"""Largest distance from the edge of an image of a streak that continues beyond it, pixels."""

_F, _I, _S = np.float64, np.int64, np.str_

TRUTH_COLUMNS: dict[str, tuple[type, u.UnitBase | None, str]] = {
    "injection_id": (_I, None, "Number of the trail, unique in its image; from its catalog if it has one."),
    "source_type": (_S, None, "`Trail`, or a distractor: `Satellite`, `CosmicRay`, `Star`."),
    "x": (_F, u.pix, "Midpoint, column, in the image's own coordinates."),
    "y": (_F, u.pix, "Midpoint, row, in the image's own coordinates."),
    "x0": (_F, u.pix, "First end, column."),
    "y0": (_F, u.pix, "First end, row."),
    "x1": (_F, u.pix, "Second end, column."),
    "y1": (_F, u.pix, "Second end, row."),
    "trail_length": (_F, u.pix, "Length between the ends of the line, before the PSF."),
    "beta": (_F, u.deg, "Angle counter-clockwise from +x, [0, 180)."),
    "flux": (_F, u.nJy, "Flux of the whole trail."),
    "integrated_mag": (_F, u.ABmag, "AB magnitude of the whole trail."),
    "mag": (_F, u.ABmag, "AB magnitude per pixel of length (source_injection's convention)."),
    "PSF_mag": (_F, u.ABmag, "AB magnitude of the point source that detection takes the trail for."),
    "SNR": (_F, None, "SNR of point-source detection, F(PSF_mag) over a fifth of F(magLim)."),
    "snr_optimal": (_F, None, "SNR of a matched filter on the unmasked pixels, sqrt(sum (F t)^2 / V)."),
    "SNR_estimation": (
        _F,
        None,
        "The same if all pixels were seen; without a variance they count as clean sky.",
    ),
    "visible_fraction": (_F, None, "Fraction of the flux that falls on unmasked pixels of the image."),
    "fwhm": (_F, u.pix, "FWHM of the PSF at the midpoint."),
    "m5_local": (
        _F,
        u.ABmag,
        "AB magnitude of a point source of SNR 5 at the midpoint, with the noise there.",
    ),
    "m5_detector": (_F, u.ABmag, "The same with the image's mean PSF and typical noise."),
    "ra": (_F, u.deg, "Right ascension of the midpoint, ICRS."),
    "dec": (_F, u.deg, "Declination of the midpoint, ICRS."),
    "ra0": (_F, u.deg, "Right ascension of the first end."),
    "dec0": (_F, u.deg, "Declination of the first end."),
    "ra1": (_F, u.deg, "Right ascension of the second end."),
    "dec1": (_F, u.deg, "Declination of the second end."),
}
"""Columns of a truth table: type, unit and description."""


def truth_table(
    planes: ImagePlanes,
    trails: Trails,
    *,
    flux_per_njy: npt.ArrayLike = 1.0,
    origin: tuple[int, int] = (0, 0),
    pixel_to_sky: PixelToSky | None = None,
    injection_id: npt.NDArray[np.int64] | None = None,
) -> astropy.table.Table:
    """Return the truth table of trails, with point-source and optimal SNRs.

    Parameters
    ----------
    planes
        The image before the trails were added.
    trails
        The trails, array coordinates, fluxes in image units.
    flux_per_njy
        Image units per nJy, one value or one per trail.
    origin
        Coordinates (x, y) of the first pixel of the array in the image.
    pixel_to_sky
        Map from the image's coordinates to the sky; positions on the sky are NaN without it.
    injection_id
        Numbers of the trails; counted from 0 by default.

    Returns
    -------
    table
        One row per trail with the columns of `TRUTH_COLUMNS`.
    """
    bad = planes.bad()
    sky_variance = typical_variance(planes, bad)
    count = len(trails)
    scale = np.broadcast_to(np.asarray(flux_per_njy, dtype=np.float64), (count,))
    snr, whole, visible, fwhm, limit, local_limit = (np.zeros(count) for _ in range(6))
    for i, trail in enumerate(trails):
        x, y, flux = trail.x, trail.y, trail.flux
        stamp = render_trail(planes.psf, trail)
        slices, part = stamp.clipped(planes.shape)
        snr[i] = optimal_snr(stamp, planes.variance, flux, bad)
        variance = variance_under(stamp, planes.variance, sky_variance)
        whole[i] = flux * np.sqrt(np.sum(np.square(stamp.array) / variance))
        visible[i] = np.sum(part[~bad[slices]])
        kernel = planes.psf.kernel(x, y)
        fwhm[i] = planes.psf.fwhm(x, y)
        limit[i] = point_source_flux_limit(kernel, sky_variance)
        local_limit[i] = _local_limit(kernel, x, y, planes, sky_variance)
    loss = detection_magnitude_loss(trails.length, np.where(fwhm > 0.0, fwhm, 1.0))
    columns = _common_columns(trails, scale, origin, pixel_to_sky)
    columns |= {
        "injection_id": np.arange(count, dtype=np.int64) if injection_id is None else injection_id,
        "source_type": np.full(count, "Trail", dtype="U9"),
        "PSF_mag": columns["integrated_mag"] + loss,
        "SNR": 5.0 * trails.flux * np.power(10.0, -0.4 * loss) / np.where(limit > 0.0, limit, np.nan),
        "snr_optimal": snr,
        "SNR_estimation": whole,
        "visible_fraction": np.clip(visible, 0.0, 1.0),
        "fwhm": fwhm,
        "m5_local": flux_to_mag(local_limit / scale),
        "m5_detector": flux_to_mag(point_source_flux_limit(planes.psf.mean_kernel, sky_variance) / scale),
    }
    return table_of(columns, TRUTH_COLUMNS)


def add_distractors(
    table: astropy.table.Table,
    trails: Trails,
    source_type: Sequence[str],
    psf: PsfGrid,
    *,
    flux_per_njy: npt.ArrayLike = 1.0,
    origin: tuple[int, int] = (0, 0),
    pixel_to_sky: PixelToSky | None = None,
) -> astropy.table.Table:
    """Return a truth table with additional rows for distractors.

    Parameters
    ----------
    table
        Truth table of the trails.
    trails
        The distractors as lines, array coordinates.
    source_type
        Type of each distractor.
    psf
        Point-spread function of the image.
    flux_per_njy, origin, pixel_to_sky
        As for `truth_table`.

    Returns
    -------
    table
        A new table. SNRs of distractors are NaN: rendering a satellite across a detector takes gigabytes.
    """
    count = len(trails)
    if count == 0:
        return table.copy()
    first = int(np.max(table["injection_id"])) + 1 if len(table) else 0
    scale = np.broadcast_to(np.asarray(flux_per_njy, dtype=np.float64), (count,))
    columns: dict[str, Any] = dict.fromkeys(TRUTH_COLUMNS, np.full(count, np.nan))
    columns |= _common_columns(trails, scale, origin, pixel_to_sky)
    columns |= {
        "injection_id": first + np.arange(count, dtype=np.int64),
        "source_type": np.array(source_type, dtype="U9"),
        "fwhm": np.array([psf.fwhm(trail.x, trail.y) for trail in trails]),
    }
    return astropy.table.vstack([table, table_of(columns, TRUTH_COLUMNS)], metadata_conflicts="silent")


def _local_limit(
    kernel: npt.NDArray[np.float64], x: float, y: float, planes: ImagePlanes, sky_variance: float
) -> float:
    """Return the flux of a point source of SNR 5 in the local noise."""
    r = kernel.shape[0] // 2
    stamp = TrailStamp(array=kernel, x0=round(x) - r, y0=round(y) - r)
    variance = variance_under(stamp, planes.variance, sky_variance)
    return float(5.0 / np.sqrt(np.sum(np.square(kernel) / variance)))


def _common_columns(
    trails: Trails, scale: npt.NDArray[np.float64], origin: tuple[int, int], pixel_to_sky: PixelToSky | None
) -> dict[str, Any]:
    """Return the columns that depend on position, length, angle and flux only."""
    flux = trails.flux / scale
    count = len(trails)
    x0, y0, x1, y1 = trails.ends
    columns: dict[str, Any] = {
        "trail_length": trails.length,
        "beta": trails.angle,
        "flux": flux,
        "integrated_mag": flux_to_mag(flux),
        # For point sources it is the magnitude itself.
        "mag": flux_to_mag(flux / np.where(trails.length > 0.0, trails.length, 1.0)),
    }
    for suffix, px, py in (("", trails.x, trails.y), ("0", x0, y0), ("1", x1, y1)):
        px, py = px + origin[0], py + origin[1]
        columns[f"x{suffix}"], columns[f"y{suffix}"] = px, py
        sky = (np.full(count, np.nan),) * 2 if pixel_to_sky is None or count == 0 else pixel_to_sky(px, py)
        columns[f"ra{suffix}"], columns[f"dec{suffix}"] = sky
    return columns


_NEEDED = ("x", "y", "trail_length", "beta", "flux")
"""Columns that a truth table must have."""


def is_trail(catalog: astropy.table.Table) -> npt.NDArray[np.bool_]:
    """Return which rows of a truth table are trails, not distractors."""
    if "source_type" not in catalog.colnames:
        return np.ones(len(catalog), dtype=bool)
    return np.asarray(np.asarray(catalog["source_type"]).astype(str) == "Trail")


def streak_mask(catalog: astropy.table.Table, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the pixels of the satellite streaks of a truth table.

    Parameters
    ----------
    catalog
        Truth table, in array coordinates.
    shape
        Shape (ny, nx) of the image.
    """
    mask = np.zeros(shape, dtype=bool)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    for row in catalog[np.asarray(catalog["source_type"]).astype(str) == "Satellite"]:
        x, y, angle, fwhm = (float(row[name]) for name in ("x", "y", "beta", "fwhm"))
        band = line_band(shape, x, y, angle, _STREAK_WIDTH * fwhm)
        radians = np.deg2rad(angle)
        along = (columns - x) * np.cos(radians) + (rows - y) * np.sin(radians)
        for side, suffix in ((-1.0, "0"), (1.0, "1")):
            # An end at the edge of the image is not an end of the streak.
            end_x, end_y = float(row[f"x{suffix}"]), float(row[f"y{suffix}"])
            if edge_distance(end_x, end_y, shape) > _AT_EDGE:
                band &= side * along < 0.5 * float(row["trail_length"]) + _STREAK_WIDTH * fwhm
        mask |= band
    return mask


def check_trail_table(catalog: astropy.table.Table) -> None:
    """Check that trails can be drawn from a truth table.

    Raises
    ------
    ValueError
        Raised if a column is missing, a value is not finite, or a length is negative; the message has column
        and row.
    """
    if not catalog.colnames:
        return
    if missing := [name for name in _NEEDED if name not in catalog.colnames]:
        raise ValueError(f"The catalog of trails has no column {', '.join(missing)}.")
    for name in _NEEDED:
        values = np.array(np.ma.filled(np.ma.asarray(catalog[name], dtype=np.float64), np.nan))
        values[~is_trail(catalog)] = 0.0
        wrong = ~np.isfinite(values) | ((values < 0.0) & (name == "trail_length"))
        if np.any(wrong):
            row = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"Row {row} of the catalog of trails has {name} = {values[row]}.")
