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

"""Columns of the candidate catalog, and conversion of candidates to its rows."""

from __future__ import annotations

__all__ = (
    "ASSUMPTION_FLAGS",
    "CANDIDATE_COLUMNS",
    "TRAIL_ALGORITHM",
    "ColumnLayout",
    "candidate_catalog",
    "empty_catalog",
    "table_of",
)

from collections.abc import Collection, Mapping
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import numpy.typing as npt

from ..candidates.pixel_flags import PIXEL_FLAGS
from ..geometry import PixelToSky
from ..photometry import flux_to_mag
from .sky import sky_columns

type ColumnLayout = Mapping[str, tuple[type, u.UnitBase | None, str]]
"""Type, unit and description of the columns of a table, by name."""

TRAIL_ALGORITHM = 100
"""Value of ``trailAlgorithm``: the fit of `~lsst.meas.trails.core.fit.fit`. The stack uses 1 and 2."""

CANDIDATE_COLUMNS: dict[str, tuple[type, u.UnitBase | None, str]] = {
    "trailCandidateId": (np.int64, None, "Unique identifier: packed data ID and counter."),
    "visit": (np.int64, None, "Visit of the image."),
    "detector": (np.int16, None, "Detector of the image."),
    "band": (np.str_, None, "Band of the image."),
    "midpointMjdTai": (np.float64, u.day, "Middle of the exposure, MJD, TAI."),
    "exposureTime": (np.float32, u.s, "Exposure time."),
    "x": (np.float32, u.pix, "Midpoint, column."),
    "y": (np.float32, u.pix, "Midpoint, row."),
    "xErr": (np.float32, u.pix, "Error of x."),
    "yErr": (np.float32, u.pix, "Error of y."),
    "x0": (np.float64, u.pix, "First end, column."),
    "y0": (np.float64, u.pix, "First end, row."),
    "x1": (np.float64, u.pix, "Second end, column."),
    "y1": (np.float64, u.pix, "Second end, row."),
    "ra": (np.float64, u.deg, "Right ascension of the midpoint, ICRS."),
    "dec": (np.float64, u.deg, "Declination of the midpoint, ICRS."),
    "raErr": (np.float32, u.deg, "Error of ra times cos(dec)."),
    "decErr": (np.float32, u.deg, "Error of dec."),
    "ra_dec_Cov": (np.float32, u.deg**2, "Covariance of ra times cos(dec) and dec."),
    "ra0": (np.float64, u.deg, "Right ascension of the first end."),
    "dec0": (np.float64, u.deg, "Declination of the first end."),
    "ra1": (np.float64, u.deg, "Right ascension of the second end."),
    "dec1": (np.float64, u.deg, "Declination of the second end."),
    "trailRa": (np.float64, u.deg, "Right ascension of the fitted midpoint; NaN if the fit failed."),
    "trailDec": (np.float64, u.deg, "Declination of the fitted midpoint; NaN if the fit failed."),
    "trailRaErr": (np.float32, u.deg, "Error of trailRa times cos(dec)."),
    "trailDecErr": (np.float32, u.deg, "Error of trailDec."),
    "trailLength": (np.float32, u.arcsec, "Length between the ends of the line, before the PSF."),
    "trailLengthErr": (np.float32, u.arcsec, "Error of trailLength."),
    "trailAngle": (np.float32, u.deg, "Position angle, East of North, [0, 180)."),
    "trailAngleErr": (np.float32, u.deg, "Error of trailAngle."),
    "trailLengthPix": (np.float64, u.pix, "Length."),
    "trailAnglePix": (np.float64, u.deg, "Angle counter-clockwise from +x, [0, 180)."),
    "trailFlux": (np.float32, u.nJy, "Flux of the whole trail."),
    "trailFluxErr": (np.float32, u.nJy, "Error of trailFlux."),
    "trailMag": (np.float64, u.ABmag, "AB magnitude of the whole trail."),
    "snr": (np.float32, None, "trailFlux over trailFluxErr."),
    "trailRate": (np.float64, u.deg / u.day, "Length over exposure time."),
    "trailChi2": (np.float32, None, "Chi-square of the fitted trail."),
    "trailNdata": (np.int32, None, "Number of pixels fitted."),
    "trailAlgorithm": (np.int32, None, "Algorithm of the fit: 100, the trail model of meas_trails."),
    "area": (np.int64, u.pix**2, "Number of pixels of the component."),
    "peakProbability": (np.float64, None, "Largest probability in the component."),
    "meanProbability": (np.float64, None, "Mean probability in the component."),
    "score": (np.float64, None, "Calibrated probability that the candidate is a trail."),
    "reliability": (np.float32, None, "Probability that the candidate is a trail: score, as in the APDB."),
    "reliabilityVersion": (np.str_, None, "Version of the model of the score: name, version, checksum."),
    "trail_flag": (np.bool_, None, "The fit failed, or it is a streak; values are the component's."),
    "trail_flag_edge": (
        np.bool_,
        None,
        "The trail reaches the edge of the image, and may extend beyond it.",
    ),
    "trail_flag_point": (
        np.bool_,
        None,
        "The fit is not distinguishable from a point: its length is too short for its error and the PSF.",
    ),
    "badFlag": (np.bool_, None, "More than a tenth of the component's pixels are bad."),
    "streakFlag": (np.bool_, None, "On a streak across the detector: a satellite."),
    "assumedTimeFlag": (np.bool_, None, "The time of the exposure was not in its file."),
    "assumedExposureTimeFlag": (np.bool_, None, "The exposure time was not in the file of the image."),
    **{name: (np.bool_, None, text) for name, (_, _, text) in PIXEL_FLAGS.items()},
}
"""Columns of the candidate catalog: type, unit and description."""

ASSUMPTION_FLAGS = ("assumedTimeFlag", "assumedExposureTimeFlag")
"""Columns for values that were assumed when an image was ingested.

The metadata of images have the same names.
"""


def table_of(columns: Mapping[str, npt.ArrayLike], layout: ColumnLayout) -> astropy.table.Table:
    """Return a table in a layout such as `CANDIDATE_COLUMNS`."""
    table = astropy.table.Table()
    for name, (dtype, unit, description) in layout.items():
        values = np.asarray(columns[name])
        table[name] = astropy.table.Column(
            values.astype(str) if dtype is np.str_ else values.astype(dtype),
            unit=None if unit is None else unit.to_string(),
            description=description,
        )
    return table


def empty_catalog() -> astropy.table.Table:
    """Return a catalog with all its columns and no rows."""
    return table_of(dict.fromkeys(CANDIDATE_COLUMNS, ()), CANDIDATE_COLUMNS)


def candidate_catalog(
    candidates: astropy.table.Table,
    *,
    first_id: int,
    visit: int,
    detector: int,
    band: str,
    midpoint_mjd_tai: npt.ArrayLike,
    exposure_time: float,
    pixel_to_sky: PixelToSky,
    origin: tuple[int, int] = (0, 0),
    flux_per_njy: npt.ArrayLike = 1.0,
    assumed: Collection[str] = (),
    model: str = "",
) -> astropy.table.Table:
    """Return the catalog of candidates.

    Parameters
    ----------
    candidates
        Output of `~lsst.meas.trails.core.candidates.find.find_candidates`.
    first_id
        Identifier of the first row; the others follow.
    visit, detector, band
        The image.
    midpoint_mjd_tai
        Middle of the exposure, days, for all candidates or for each.
    exposure_time
        Seconds; NaN makes rates NaN.
    pixel_to_sky
        Map from the image's coordinates to the sky.
    origin
        Coordinates (x, y) of the first pixel of the arrays in the image.
    flux_per_njy
        Image units per nJy, of all candidates or of each.
    assumed
        Names of `ASSUMPTION_FLAGS` that hold for the image.
    model
        Name, version and checksum of the model of the score.
    """
    count = len(candidates)
    if count == 0:
        return empty_catalog()
    pixels = {
        name: np.asarray(candidates[name], dtype=np.float64) + origin["xy".index(name[0])]
        for name in ("x", "y", "x0", "y0", "x1", "y1")
    }
    columns: dict[str, Any] = {
        "trailCandidateId": first_id + np.arange(count, dtype=np.int64),
        "visit": np.full(count, visit),
        "detector": np.full(count, detector),
        "band": np.full(count, band),
        "midpointMjdTai": np.broadcast_to(midpoint_mjd_tai, count),
        "exposureTime": np.full(count, exposure_time),
        **{name: np.full(count, name in assumed) for name in ASSUMPTION_FLAGS},
        **pixels,
        **sky_columns(candidates, pixels, pixel_to_sky),
    }
    columns["trailRate"] = columns["trailLength"] / 3600.0 / (exposure_time / 86400.0)
    for name, source in (("trailFlux", "flux"), ("trailFluxErr", "fluxErr")):
        columns[name] = np.asarray(candidates[source], dtype=np.float64) / np.asarray(flux_per_njy)
    columns["trailMag"] = flux_to_mag(columns["trailFlux"])
    columns["trailAlgorithm"] = np.full(count, TRAIL_ALGORITHM)
    columns["reliability"] = np.asarray(candidates["score"])
    columns["reliabilityVersion"] = np.full(count, model)
    failed = np.asarray(candidates["trail_flag"], dtype=bool)
    for name in ("ra", "dec", "raErr", "decErr"):
        columns[f"trail{name[0].upper()}{name[1:]}"] = np.where(failed, np.nan, columns[name])
    for name in CANDIDATE_COLUMNS:
        if name not in columns:
            columns[name] = np.asarray(candidates[name])
    return table_of(columns, CANDIDATE_COLUMNS)
