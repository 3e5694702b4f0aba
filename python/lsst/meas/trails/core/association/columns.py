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

"""Columns of associated candidates and of the trails of known objects."""

from __future__ import annotations

__all__ = (
    "ASSOCIATION_COLUMNS",
    "KNOWN_TRAIL_COLUMNS",
    "add_association",
    "known_trail_table",
    "without_association",
)

from collections.abc import Mapping
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import numpy.typing as npt

from ..catalog.columns import table_of
from ..geometry import angle_difference, wrap_angle
from ..motion import along_cross, separation
from .expected import Brightness, Placed
from .match import Association
from .predict import Exposure

type _Floats = npt.NDArray[np.float64]

_RATE = u.deg / u.day
_F, _D = np.float32, np.float64

_EPHEMERIS: dict[str, tuple[type, u.UnitBase | None, str]] = {
    "ssObjectId": (np.int64, None, "Identifier of the Solar System object, 0 if none."),
    "designation": (np.str_, None, "Designation or name of the object, empty if none."),
    "ephRa": (_D, u.deg, "Predicted right ascension at the middle of the exposure, ICRS."),
    "ephDec": (_D, u.deg, "Predicted declination at the middle of the exposure, ICRS."),
    "ephVmag": (_F, u.mag, "Predicted V magnitude."),
    "ephRate": (_F, _RATE, "Predicted rate of motion."),
    "ephRateRa": (_F, _RATE, "Predicted rate in right ascension times cos(dec)."),
    "ephRateDec": (_F, _RATE, "Predicted rate in declination."),
}
"""Columns of both tables, with the names and types of ``SSSource``."""

_OFFSETS: dict[str, tuple[type, u.UnitBase | None, str]] = {
    "ephOffset": (_F, u.arcsec, "Distance of ra, dec from the predicted position."),
    "ephOffsetRa": (_D, u.arcsec, "Offset of ra times cos(dec) from the predicted position."),
    "ephOffsetDec": (_D, u.arcsec, "Offset of dec from the predicted position."),
    "ephOffsetAlongTrack": (_F, u.arcsec, "Offset in the direction of motion."),
    "ephOffsetCrossTrack": (_F, u.arcsec, "Offset across; positive to the North of an eastward motion."),
}

ASSOCIATION_COLUMNS: dict[str, tuple[type, u.UnitBase | None, str]] = {
    **_EPHEMERIS,
    **_OFFSETS,
    "ephRateResidual": (_F, _RATE, "trailRate minus ephRate; of a trail that is not cut or in fragments."),
    "ephAngleResidual": (_F, u.deg, "trailAngle minus the predicted angle, (-90, 90]."),
    "ephPositionErr": (_F, u.arcsec, "Uncertainty of the predicted position in each of two directions."),
    "ephemeris": (np.str_, None, "Dataset type of the ephemeris."),
    "matchProbability": (_F, None, "Probability that the candidate is the object."),
    "isPrimary": (np.bool_, None, "Best candidate of the object; the others are fragments of its trail."),
    "motionAngle": (_F, u.deg, "Direction of motion, East of North, [0, 360); NaN if unknown."),
}
"""Columns of associated candidates besides those of the candidates: type, unit and description."""

KNOWN_TRAIL_COLUMNS: dict[str, tuple[type, u.UnitBase | None, str]] = {
    "visit": (np.int64, None, "Visit of the image."),
    "detector": (np.int16, None, "Detector of the image."),
    "band": (np.str_, None, "Band of the image."),
    "midpointMjdTai": (_D, u.day, "Middle of the exposure, MJD, TAI."),
    "exposureTime": (_F, u.s, "Exposure time."),
    **_EPHEMERIS,
    "ephPositionErr": (_F, u.arcsec, "Uncertainty of the predicted position in each of two directions."),
    "assumedPositionErrFlag": (np.bool_, None, "The ephemeris does not state its uncertainty."),
    "ephemeris": (np.str_, None, "Dataset type of the ephemeris."),
    "motionAngle": (_F, u.deg, "Direction of motion, East of North, [0, 360)."),
    "x": (_F, u.pix, "Predicted midpoint, column."),
    "y": (_F, u.pix, "Predicted midpoint, row."),
    "x0": (_D, u.pix, "Predicted position at the begin of the exposure, column."),
    "y0": (_D, u.pix, "Predicted position at the begin of the exposure, row."),
    "x1": (_D, u.pix, "Predicted position at the end of the exposure, column."),
    "y1": (_D, u.pix, "Predicted position at the end of the exposure, row."),
    "expectedLength": (_F, u.arcsec, "Predicted length."),
    "expectedLengthPix": (_F, u.pix, "Predicted length."),
    "expectedMag": (_F, u.ABmag, "Predicted magnitude in the band of the image."),
    "expectedSnr": (_F, None, "Optimal SNR expected from magnitude, PSF and noise."),
    "expectedCompleteness": (_F, None, "Fraction of such trails that are found, estimated from expectedSnr."),
    "onImageFraction": (_F, None, "Fraction of the length on the image."),
    "goodFraction": (_F, None, "Fraction of the flux on good pixels of the image."),
    "brightFraction": (_F, None, "Fraction of this flux on sources that are brighter than the trail."),
    "isFound": (np.bool_, None, "A candidate is associated with the object."),
    "missedReason": (np.str_, None, "Probable reason for a missed trail, empty if it was found."),
    "trailCandidateId": (np.int64, None, "Primary candidate, 0 if none."),
    "nCandidates": (np.int32, None, "Number of candidates, more than 1 for a trail in fragments."),
    "score": (_D, None, "Score of the primary candidate; NaN if none."),
    "matchProbability": (_F, None, "Probability that the primary candidate is the object."),
    **_OFFSETS,
    "trailLength": (_F, u.arcsec, "Measured length."),
    "trailLengthErr": (_F, u.arcsec, "Error of trailLength."),
    "trailMag": (_D, u.ABmag, "Measured magnitude."),
    "snr": (_F, None, "Measured SNR."),
    "trail_flag_edge": (np.bool_, None, "The candidate reaches the edge of the image."),
}
"""Columns of `trail_known_object_detector`: type, unit and description."""

_MEASURED = ("score", "trailLength", "trailLengthErr", "trailMag", "snr")


def without_association(candidates: astropy.table.Table) -> astropy.table.Table:
    """Return candidates with the columns of an association that found nothing."""
    return _joined(candidates, _no_association(len(candidates)))


def add_association(
    candidates: astropy.table.Table, placed: Placed, association: Association
) -> astropy.table.Table:
    """Return candidates with the columns of their association.

    Parameters
    ----------
    candidates
        A candidate catalog.
    placed
        Predicted trails on the image.
    association
        Numbers of the trails of the candidates.

    Returns
    -------
    table
        All columns of ``candidates``, and `ASSOCIATION_COLUMNS`.
    """
    columns = _no_association(len(candidates))
    rows = np.flatnonzero(association.object_of >= 0)
    numbers = association.object_of[rows]
    values = _ephemeris_columns(placed, numbers) | _offset_columns(candidates, placed, rows, numbers)
    angle = np.asarray(candidates["trailAngle"], dtype=np.float64)[rows]
    rate = np.asarray(candidates["trailRate"], dtype=np.float64)[rows]
    predicted = placed.predicted
    whole = (association.fragments[numbers] == 1) & ~placed.near_edge[numbers]
    whole &= ~np.asarray(candidates["trail_flag_edge"], dtype=bool)[rows]
    values |= {
        "ephRateResidual": np.where(whole, rate - predicted.rate[numbers], np.nan),
        "ephAngleResidual": _signed_difference(angle, predicted.position_angle[numbers]),
        "matchProbability": association.probability[rows],
        "isPrimary": association.is_primary[rows],
    }
    for name in ASSOCIATION_COLUMNS:
        if columns[name].dtype.kind == "U":
            columns[name] = columns[name].astype(np.asarray(values[name]).dtype)
        columns[name][rows] = values[name]
    return _joined(candidates, columns)


def known_trail_table(
    placed: Placed,
    brightness: Brightness,
    association: Association,
    candidates: astropy.table.Table,
    *,
    exposure: Exposure,
    visit: int,
    detector: int,
    band: str,
    origin: tuple[int, int],
    completeness: _Floats,
    reasons: list[str],
    pixel_scale: float,
) -> astropy.table.Table:
    """Return the predicted trails on an image, found or missed.

    Parameters
    ----------
    placed, brightness, association, candidates
        Predicted trails, their expected brightness, and the candidates associated with them.
    exposure, visit, detector, band
        The image.
    origin
        Coordinates (x, y) of the first pixel of the arrays in the image.
    completeness
        Expected completeness of each trail.
    reasons
        Probable reason for each trail to be missed.
    pixel_scale
        Arcseconds per pixel.

    Returns
    -------
    table
        Columns of `KNOWN_TRAIL_COLUMNS`; a row for each trail that is on the image or was found there.
    """
    found = association.candidate_of >= 0
    keep = np.flatnonzero((placed.on_image > 0.0) | found)
    count = len(keep)
    primary = association.candidate_of[keep]
    matched = np.flatnonzero(primary >= 0)
    rows = primary[matched]
    columns: dict[str, Any] = {
        "visit": np.full(count, visit),
        "detector": np.full(count, detector),
        "band": np.full(count, band),
        "midpointMjdTai": np.full(count, exposure.midpoint),
        "exposureTime": np.full(count, exposure.seconds),
        **_ephemeris_columns(placed, keep),
        "assumedPositionErrFlag": placed.predicted.error_assumed[keep],
        "x": placed.trails.x[keep] + origin[0],
        "y": placed.trails.y[keep] + origin[1],
        "x0": placed.begin[0][keep] + origin[0],
        "y0": placed.begin[1][keep] + origin[1],
        "x1": placed.end[0][keep] + origin[0],
        "y1": placed.end[1][keep] + origin[1],
        "expectedLength": placed.trails.length[keep] * pixel_scale,
        "expectedLengthPix": placed.trails.length[keep],
        "expectedMag": brightness.mag[keep],
        "expectedSnr": brightness.snr[keep],
        "expectedCompleteness": completeness[keep],
        "onImageFraction": placed.on_image[keep],
        "goodFraction": brightness.good_fraction[keep],
        "brightFraction": brightness.bright_fraction[keep],
        "isFound": found[keep],
        "missedReason": np.where(found[keep], "", np.array(reasons, dtype=np.str_)[keep]) if count else [],
        "nCandidates": association.fragments[keep],
    }
    measured = {
        **{name: np.asarray(candidates[name], dtype=np.float64)[rows] for name in _MEASURED},
        **_offset_columns(candidates, placed, rows, keep[matched]),
        "matchProbability": association.probability[rows],
    }
    for name, values in measured.items():
        columns[name] = np.full(count, np.nan)
        columns[name][matched] = values
    for name, dtype in (("trailCandidateId", np.int64), ("trail_flag_edge", np.bool_)):
        columns[name] = np.zeros(count, dtype=dtype)
        columns[name][matched] = np.asarray(candidates[name])[rows]
    return table_of(columns, KNOWN_TRAIL_COLUMNS)


def _no_association(count: int) -> dict[str, Any]:
    """Return the values of candidates without an object."""
    columns: dict[str, Any] = {}
    for name, (dtype, _, _) in ASSOCIATION_COLUMNS.items():
        nothing: object = np.nan if dtype in (_F, _D) else "" if dtype is np.str_ else 0
        columns[name] = np.full(count, nothing, dtype="U1" if dtype is np.str_ else dtype)
    return columns


def _joined(candidates: astropy.table.Table, columns: Mapping[str, Any]) -> astropy.table.Table:
    table = candidates.copy()
    for name, column in table_of(columns, ASSOCIATION_COLUMNS).items():
        table[name] = column
    return table


def _ephemeris_columns(placed: Placed, numbers: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return the ephemeris of trails, given by their numbers."""
    part = placed.predicted[numbers]
    return {
        "ssObjectId": part.ss_object_id,
        "designation": part.designation,
        "ephRa": part.ra,
        "ephDec": part.dec,
        "ephVmag": part.mag,
        "ephRate": part.rate,
        "ephRateRa": part.rate_ra,
        "ephRateDec": part.rate_dec,
        "ephPositionErr": part.position_err,
        "ephemeris": part.source,
        "motionAngle": part.position_angle,
    }


def _offset_columns(
    candidates: astropy.table.Table,
    placed: Placed,
    rows: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
) -> dict[str, Any]:
    """Return offsets of candidates from predicted positions, arcseconds."""
    ra, dec = (np.asarray(candidates[name], dtype=np.float64)[rows] for name in ("ra", "dec"))
    part = placed.predicted[numbers]
    along, cross = along_cross(ra, dec, part.ra, part.dec, part.position_angle)
    north, west = along_cross(ra, dec, part.ra, part.dec, 0.0)
    return {
        "ephOffset": 3600.0 * separation(ra, dec, part.ra, part.dec),
        "ephOffsetRa": -3600.0 * west,
        "ephOffsetDec": 3600.0 * north,
        "ephOffsetAlongTrack": 3600.0 * along,
        "ephOffsetCrossTrack": 3600.0 * cross,
    }


def _signed_difference(angle: _Floats, other: _Floats) -> _Floats:
    """Return the difference of angles of undirected lines, degrees, (-90, 90]."""
    size = angle_difference(angle, other)
    return np.where(np.isclose(wrap_angle(angle - other), size), size, -size)
