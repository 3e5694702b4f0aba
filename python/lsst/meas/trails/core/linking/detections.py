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

"""Detections: the candidates of a night as arrays for linking."""

from __future__ import annotations

__all__ = ("LINKING_COLUMNS", "MAG_MINUS_R", "Detections", "read_detections")

import dataclasses
from collections.abc import Iterable
from typing import Any

import astropy.table
import numpy as np
import numpy.typing as npt

from ..motion import east_north, sky_vectors
from .options import LinkOptions

type _Floats = npt.NDArray[np.float64]
type _Ints = npt.NDArray[np.int64]

LINKING_COLUMNS: tuple[str, ...] = (
    "trailCandidateId",
    "visit",
    "detector",
    "band",
    "midpointMjdTai",
    "exposureTime",
    "ra",
    "dec",
    "raErr",
    "decErr",
    "ra0",
    "dec0",
    "ra1",
    "dec1",
    "trailLength",
    "trailLengthErr",
    "trailAngle",
    "trailAngleErr",
    "trailFlux",
    "trailFluxErr",
    "trailMag",
    "score",
    "streakFlag",
    "trail_flag",
    "trail_flag_edge",
)
"""Columns of the candidate catalog that linking reads."""

KNOWN_OBJECT_COLUMNS: tuple[str, ...] = ("ssObjectId", "designation")
"""Columns of associated candidates that linking reads if they exist."""

MAG_MINUS_R = {"u": 2.0, "g": 0.51, "r": 0.0, "i": -0.16, "z": -0.14, "y": -0.13}
"""Mean colors of asteroids.

From the conversions of the Minor Planet Center to V
(https://minorplanetcenter.net/iau/info/BandConversion.txt); u from Ivezic et al. (2001, AJ 122, 2749).
"""

_FAILED_LENGTH_ERROR = 0.25
"""Relative error of the length of a candidate whose fit failed."""

_FAILED_WIDTH = 1.0
"""Error of the ends of a candidate whose fit failed, arcsec."""

_LARGEST_ERROR = 1000.0
"""Errors above this value, in the units of their columns, count as unknown."""

_EDGE_LENGTH_ERROR = 0.3
"""Relative error of the length of a candidate that reaches the edge of the image."""

_LARGEST_ANGLE_ERROR = 30.0
"""Largest error of an angle, degrees: the standard deviation of a random angle is 52 degrees."""


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """Candidates that can be linked.

    Parameters
    ----------
    candidate_id, visit, detector
        The candidate, shape (n,), as all but ``place`` and ``direction``.
    band
        Number of the band in ``bands``.
    time
        Middle of the exposure, MJD, TAI.
    exposure_time
        Seconds.
    place
        Unit vectors of the midpoints, shape (n, 3).
    direction
        Tangential unit vectors from end 0 to end 1, shape (n, 3).
    length, length_error
        Length and its error, arcsec.
    angle_error
        Error of the direction, degrees.
    position_error
        Error of the midpoint in either coordinate, arcsec.
    mag, mag_error
        Magnitude in the r band and its error; NaN without a positive flux.
    log_odds
        Logarithm of the odds that the candidate is a trail.
    known
        Number of the known object in ``objects``, -1 if none.
    sense
        1 if end 0 comes first in time, -1 if end 1 does, 0 if unknown.
    bands
        Names of the bands.
    objects
        Identifier and designation of each known object.
    """

    candidate_id: _Ints
    visit: _Ints
    detector: _Ints
    band: _Ints
    time: _Floats
    exposure_time: _Floats
    place: _Floats
    direction: _Floats
    length: _Floats
    length_error: _Floats
    angle_error: _Floats
    position_error: _Floats
    mag: _Floats
    mag_error: _Floats
    log_odds: _Floats
    known: _Ints
    sense: _Ints
    bands: tuple[str, ...]
    objects: tuple[tuple[int, str], ...]

    def __len__(self) -> int:
        return len(self.candidate_id)

    def take(self, rows: npt.NDArray[np.bool_ | np.integer]) -> Detections:
        """Return some of the detections."""
        arrays = {name: getattr(self, name)[rows] for name in _ARRAYS}
        return dataclasses.replace(self, **arrays)

    @property
    def rate(self) -> _Floats:
        """Rates of motion, arcsec per day."""
        return self.length / self.exposure_time * 86400.0


_ARRAYS = tuple(
    field.name for field in dataclasses.fields(Detections) if field.name not in ("bands", "objects")
)


def read_detections(
    tables: Iterable[astropy.table.Table], options: LinkOptions = LinkOptions()
) -> tuple[Detections, int]:
    """Return the detections of candidate catalogs.

    Parameters
    ----------
    tables
        Catalogs with `LINKING_COLUMNS`, in any order and division, one at a time in memory. Columns of known
        objects are optional.
    options
        Errors to add, limits, and the lowest score.

    Returns
    -------
    detections
        Candidates in order of visit time. Candidates with a score below the limit, on satellite streaks,
        without a finite position or a positive length, with assumed times, or faster than ``max_rate`` are
        left out.
    total
        Number of rows of the catalogs.

    Raises
    ------
    ValueError
        Raised if a column is missing or an identifier is repeated.
    """
    names: dict[str, dict[str, int]] = {"band": {}, "known": {}, "ssObjectId": {}}
    parts = []
    total = 0
    for table in tables:
        total += len(table)
        if len(table):
            parts.append(_arrays(table, options, names))
    joined = {
        name: np.concatenate([part[name] for part in parts]) if parts else _EMPTY[name] for name in _ARRAYS
    }
    parts.clear()
    objects = tuple((names["ssObjectId"][name], name) for name in names["known"])
    detections = Detections(**joined, bands=tuple(names["band"]), objects=objects)
    ids, counts = np.unique(detections.candidate_id, return_counts=True)
    if np.any(counts > 1):
        raise ValueError(
            f"trailCandidateId {ids[np.argmax(counts)]} is in {np.max(counts)} rows; pass each catalog once."
        )
    visits, inverse = np.unique(detections.visit, return_inverse=True)
    count = np.bincount(inverse, minlength=len(visits))
    mean = np.bincount(inverse, weights=detections.time, minlength=len(visits)) / np.maximum(count, 1)
    return detections.take(np.lexsort((detections.candidate_id, inverse, mean[inverse]))), total


_EMPTY: dict[str, Any] = {
    field: np.zeros((0, 3) if field in ("place", "direction") else 0) for field in _ARRAYS
} | {
    field: np.zeros(0, dtype=np.int64)
    for field in ("candidate_id", "visit", "detector", "band", "known", "sense")
}


def _arrays(
    table: astropy.table.Table, options: LinkOptions, names: dict[str, dict[str, int]]
) -> dict[str, Any]:
    """Return the usable rows of a catalog as arrays; add to the names of bands and objects."""
    if missing := [name for name in LINKING_COLUMNS if name not in table.colnames]:
        raise ValueError(f"The candidate catalog has no column {', '.join(missing)}; detect trails again.")
    value = {
        name: np.ma.filled(np.ma.asarray(table[name], dtype=np.float64), np.nan) for name in _FLOAT_COLUMNS
    }
    flags = {name: np.ma.filled(np.ma.asarray(table[name], dtype=bool), False) for name in _FLAG_COLUMNS}
    length, exposure = value["trailLength"], value["exposureTime"]
    with np.errstate(all="ignore"):
        use = (
            np.isfinite(value["ra"])
            & (np.abs(value["dec"]) <= 90.0)
            & np.isfinite(value["midpointMjdTai"])
            & (exposure > 0.0)
            & (length > 0.0)
            & (length / exposure <= options.max_rate * 3600.0 / 86400.0)
            & (value["score"] >= options.min_score)
            & ~flags["streakFlag"]
        )
    for name in _ASSUMED_COLUMNS:
        if name in table.colnames:
            use &= ~np.ma.filled(np.ma.asarray(table[name], dtype=bool), False)
    value = {name: column[use] for name, column in value.items()}
    flags = {name: column[use] for name, column in flags.items()}
    length = value["trailLength"]
    place, direction = _vectors(value)
    mag, mag_error, band = _magnitudes(table[use], value, names["band"])
    score = np.clip(value["score"], 0.02, 0.98)
    known, sense = _known_objects(table[use], value, direction, names)
    return {
        "candidate_id": np.asarray(table["trailCandidateId"][use], dtype=np.int64),
        "visit": np.asarray(table["visit"][use], dtype=np.int64),
        "detector": np.asarray(table["detector"][use], dtype=np.int64),
        "band": band,
        "time": value["midpointMjdTai"],
        "exposure_time": value["exposureTime"],
        "place": place,
        "direction": direction,
        "length": length,
        "mag": mag,
        "mag_error": mag_error,
        "log_odds": np.log(score / (1.0 - score)),
        "known": known,
        "sense": sense,
        **_errors(value, flags, options),
    }


_ASSUMED_COLUMNS = ("assumedTimeFlag", "assumedExposureTimeFlag")
"""Optional columns that mark times that no motion can be derived from."""

_FLAG_COLUMNS = ("streakFlag", "trail_flag", "trail_flag_edge")
_FLOAT_COLUMNS = tuple(
    name
    for name in LINKING_COLUMNS
    if name not in ("trailCandidateId", "visit", "detector", "band", *_FLAG_COLUMNS)
)


def _errors(
    value: dict[str, _Floats], flags: dict[str, npt.NDArray[np.bool_]], options: LinkOptions
) -> dict[str, _Floats]:
    """Return the errors of position, length and angle, with their floors."""
    length, failed = value["trailLength"], flags["trail_flag"]

    def error(name: str, otherwise: _Floats | float) -> _Floats:
        known = (value[name] > 0.0) & (value[name] <= _LARGEST_ERROR) & ~failed
        return np.where(known, value[name], otherwise)

    position = np.hypot(
        error("raErr", _FAILED_WIDTH / 3600.0), error("decErr", _FAILED_WIDTH / 3600.0)
    ) * 3600.0 / np.sqrt(2.0)  # fmt: skip
    length_error = error("trailLengthErr", _FAILED_LENGTH_ERROR * length + _FAILED_WIDTH)
    length_error = np.hypot(length_error, options.length_floor * length)
    edge = flags["trail_flag_edge"]
    length_error = np.hypot(length_error, np.where(edge, _EDGE_LENGTH_ERROR * length, 0.0))
    angle = error("trailAngleErr", np.rad2deg(np.arctan2(_FAILED_WIDTH, length)))
    return {
        "position_error": np.hypot(position, options.position_floor),
        "length_error": length_error,
        "angle_error": np.minimum(np.hypot(angle, options.angle_floor), _LARGEST_ANGLE_ERROR),
    }


def _vectors(value: dict[str, _Floats]) -> tuple[_Floats, _Floats]:
    """Return positions and directions; the angle stands in for ends that coincide or are missing."""
    place = sky_vectors(value["ra"], value["dec"])
    east, north = east_north(value["ra"], value["dec"])
    angle = np.deg2rad(np.nan_to_num(value["trailAngle"], posinf=0.0, neginf=0.0))
    direction = east * np.sin(angle)[:, None] + north * np.cos(angle)[:, None]
    with np.errstate(all="ignore"):
        chord = sky_vectors(value["ra1"], value["dec1"]) - sky_vectors(value["ra0"], value["dec0"])
        chord -= np.sum(chord * place, axis=1)[:, None] * place
        norm = np.linalg.norm(chord, axis=1)
        use = norm > 0.2 * _ARCSEC * value["trailLength"]
    direction[use] = chord[use] / norm[use, None]
    return place, direction


_ARCSEC = np.pi / 180.0 / 3600.0


def _magnitudes(
    table: astropy.table.Table, value: dict[str, _Floats], bands: dict[str, int]
) -> tuple[_Floats, _Floats, _Ints]:
    """Return magnitudes in the r band, their errors, and the numbers of the bands."""
    band = np.asarray(table["band"]).astype(str)
    unique, inverse = np.unique(band, return_inverse=True)
    numbers = np.array([bands.setdefault(str(name), len(bands)) for name in unique], dtype=np.int64)
    color = np.array([MAG_MINUS_R.get(str(name), 0.0) for name in unique])
    with np.errstate(all="ignore"):
        error = 2.5 / np.log(10.0) * value["trailFluxErr"] / value["trailFlux"]
    mag = value["trailMag"] - color[inverse]
    mag[~(np.abs(mag) < 100.0)] = np.nan
    return mag, np.clip(np.nan_to_num(error, nan=0.5), 1e-3, 5.0), numbers[inverse]


def _known_objects(
    table: astropy.table.Table,
    value: dict[str, _Floats],
    direction: _Floats,
    names: dict[str, dict[str, int]],
) -> tuple[_Ints, _Ints]:
    """Return the number of the known object of each candidate, and the sense of its motion."""
    count = len(table)
    known, sense = np.full(count, -1, dtype=np.int64), np.zeros(count, dtype=np.int64)
    if "designation" not in table.colnames:
        return known, sense
    designation = np.ma.filled(np.ma.asarray(table["designation"]).astype(str), "")
    ids, rate = np.zeros(count, dtype=np.int64), np.zeros((2, count))
    if "ssObjectId" in table.colnames:
        ids = np.ma.filled(np.ma.asarray(table["ssObjectId"], dtype=np.int64), 0)
    if {"ephRateRa", "ephRateDec"} <= set(table.colnames):
        columns = [np.ma.asarray(table[name], dtype=np.float64) for name in ("ephRateRa", "ephRateDec")]
        rate = np.nan_to_num(np.stack([np.ma.filled(column, 0.0) for column in columns]))
    for row in np.flatnonzero(designation != ""):
        # Not every ephemeris of an object has its identifier.
        name = str(designation[row])
        known[row] = names["known"].setdefault(name, len(names["known"]))
        names["ssObjectId"][name] = names["ssObjectId"].get(name, 0) or int(ids[row])
    east, north = east_north(value["ra"], value["dec"])
    motion = east * rate[0][:, None] + north * rate[1][:, None]
    sense = np.sign(np.sum(motion * direction, axis=1)).astype(np.int64)
    return known, np.where(known >= 0, sense, 0)
