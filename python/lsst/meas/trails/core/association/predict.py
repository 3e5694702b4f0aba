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

"""Predicted trails of known objects during an exposure.

Ephemerides come as Chebyshev polynomials (`preloaded_ss_object` of Alert Production), as positions and rates
(`preloaded_ss_object_visit` of Data Release Production), or as a table of one's own (`known_objects`). All of
them become `PredictedTrails`: positions at the begin, middle and end of the exposure.
"""

from __future__ import annotations

__all__ = ("Exposure", "PredictedTrails", "predict_from_polynomials", "predict_from_rates")

import dataclasses
import logging
from collections.abc import Sequence
from typing import NamedTuple, Self

import astropy.table
import astropy.units as u
import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from ..motion import motion, move, separation, vectors_to_sky
from .designation import plain_text, ss_object_id, unpack_designation

_LOG = logging.getLogger(__name__)

type _Floats = npt.NDArray[np.float64]
type _Ints = npt.NDArray[np.int64]
type _Bools = npt.NDArray[np.bool_]
type _Texts = npt.NDArray[np.str_]

SECONDS_PER_DAY = 86400.0

POLYNOMIALS = tuple(f"{body}_{axis}_poly" for body in ("obj", "obs") for axis in "xyz")
"""Columns with Chebyshev coefficients."""

_RATE_SPAN = 30.0
"""Shortest time over which polynomials are differenced, seconds."""


class Exposure(NamedTuple):
    """Time of an exposure."""

    midpoint: float
    """Middle, MJD, TAI."""

    seconds: float
    """Exposure time."""

    @property
    def days(self) -> float:
        """Exposure time in days."""
        return self.seconds / SECONDS_PER_DAY


@dataclasses.dataclass(frozen=True, eq=False)
class PredictedTrails:
    """Trails that known objects should leave in an exposure.

    All fields have shape (n,).
    """

    ss_object_id: _Ints
    """Identifiers in the Rubin catalogs, 0 if unknown."""

    designation: _Texts
    """Unpacked designations or names."""

    source: _Texts
    """Dataset types of the ephemerides."""

    ra: _Floats
    """Right ascensions at the middle of the exposure, degrees."""

    dec: _Floats
    """Declinations at the middle."""

    ra0: _Floats
    """Right ascensions at the begin."""

    dec0: _Floats
    """Declinations at the begin."""

    ra1: _Floats
    """Right ascensions at the end."""

    dec1: _Floats
    """Declinations at the end."""

    rate: _Floats
    """Rates of motion, degrees per day."""

    position_angle: _Floats
    """Directions of motion at the middle, degrees East of North, [0, 360)."""

    mag: _Floats
    """Predicted V magnitudes, NaN if unknown."""

    position_err: _Floats
    """Standard deviations of the positions in each of two directions, arcseconds."""

    error_assumed: _Bools
    """Whether ``position_err`` is the default because the ephemeris does not state it."""

    def __len__(self) -> int:
        return len(self.ra)

    def __getitem__(self, index: slice | _Bools | _Ints) -> PredictedTrails:
        return PredictedTrails(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))

    @property
    def rate_ra(self) -> _Floats:
        """Rates in right ascension times the cosine of declination, degrees per day."""
        return np.asarray(self.rate * np.sin(np.deg2rad(self.position_angle)))

    @property
    def rate_dec(self) -> _Floats:
        """Rates in declination, degrees per day."""
        return np.asarray(self.rate * np.cos(np.deg2rad(self.position_angle)))

    @classmethod
    def join(cls, parts: Sequence[PredictedTrails]) -> Self:
        """Return the trails of several ephemerides, each object once.

        Of an object with several predictions, which have the same designation or identifier, the one with the
        smallest uncertainty is kept, and the first of equal ones.
        """
        columns = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            if parts
            else np.zeros(0, dtype=_DTYPES.get(field.name, np.float64))
            for field in dataclasses.fields(cls)
        }
        joined = cls(**columns)
        order = np.argsort(joined.position_err, kind="stable")
        known: set[str | int] = set()
        keep = np.zeros(len(joined), dtype=bool)
        for i in order:
            names: set[str | int] = {str(joined.designation[i])}
            if joined.ss_object_id[i]:
                names.add(int(joined.ss_object_id[i]))
            keep[i] = known.isdisjoint(names)
            known |= names
        return cls(**{name: values[keep] for name, values in columns.items()})

    @classmethod
    def make(
        cls,
        *,
        designation: _Texts,
        ss_object_ids: _Ints,
        source: str,
        begin: tuple[_Floats, _Floats],
        middle: tuple[_Floats, _Floats],
        end: tuple[_Floats, _Floats],
        rate: _Floats,
        position_angle: _Floats,
        mag: _Floats,
        position_err: _Floats,
        default_err: float,
    ) -> Self:
        """Return the trails with finite positions and a designation.

        Parameters
        ----------
        designation, ss_object_ids, source, rate, position_angle, mag
            Fields of the trails.
        begin, middle, end
            Right ascensions and declinations, degrees.
        position_err
            Uncertainties, arcseconds; NaN if they are not stated.
        default_err
            Uncertainty for these, arcseconds.
        """
        stated = np.isfinite(position_err) & (position_err >= 0.0)
        made = cls(
            ss_object_id=np.asarray(ss_object_ids, dtype=np.int64),
            designation=np.asarray(designation, dtype=np.str_),
            source=np.full(len(designation), source),
            ra=middle[0],
            dec=middle[1],
            ra0=begin[0],
            dec0=begin[1],
            ra1=end[0],
            dec1=end[1],
            rate=rate,
            position_angle=position_angle,
            # A magnitude of zero substitutes for an unknown one in older tables.
            mag=np.where(np.isfinite(mag) & (mag > 0.0), mag, np.nan),
            position_err=np.where(stated, position_err, default_err),
            error_assumed=~stated,
        )
        positions = (*begin, *middle, *end, rate, position_angle)
        finite = np.all(np.isfinite(np.stack([np.asarray(value) for value in positions])), axis=0)
        use = finite & (made.designation != "")  # Rows without a name would be one object.
        if not np.all(use):
            names = ", ".join(made.designation[~use][:5])
            _LOG.warning("Ignored %d rows of %s without position or name: %s.", np.sum(~use), source, names)
        return cls(*(getattr(made, field.name)[use] for field in dataclasses.fields(cls)))


_DTYPES = {
    "ss_object_id": np.int64,
    "designation": np.str_,
    "source": np.str_,
    "error_assumed": np.bool_,
}


def predict_from_polynomials(
    table: astropy.table.Table,
    exposure: Exposure,
    *,
    default_err: float,
    source: str = "preloaded_ss_object",
) -> PredictedTrails:
    """Predict trails from the Chebyshev polynomials of Alert Production.

    Parameters
    ----------
    table
        A `preloaded_ss_object`: the columns of `POLYNOMIALS` are the coefficients of barycentric positions of
        object and observer, au, as functions of the days since ``tmin``; ``Err(arcsec)`` is the uncertainty.
    exposure
        The exposure. Objects whose polynomials do not cover it are left out.
    default_err
        Uncertainty of positions without one, arcseconds.
    source
        Name of the ephemeris.

    Raises
    ------
    ValueError
        Raised if a column is missing.
    """
    _require(table, source, (*POLYNOMIALS, "tmin", "tmax"))
    tmin, tmax = numbers(table, "tmin", u.day), numbers(table, "tmax", u.day)
    half = 0.5 * exposure.days
    covered = (tmin <= exposure.midpoint - half) & (exposure.midpoint + half <= tmax)
    if not np.all(covered):
        _LOG.warning(
            "Ignored %d rows of %s whose polynomials do not cover the exposure at MJD %.5f.",
            np.sum(~covered),
            source,
            exposure.midpoint,
        )
        table, tmin = table[covered], tmin[covered]
    coefficients = {name: _coefficients(table[name]) for name in POLYNOMIALS}

    def position(offset: float) -> tuple[_Floats, _Floats]:
        """Return the positions at a time from the middle, days."""
        elapsed = (exposure.midpoint - tmin) + offset
        # Shape (k, n) with one time per object.
        vectors = [
            chebyshev.chebval(elapsed, coefficients[f"obj_{axis}_poly"].T, tensor=False)
            - chebyshev.chebval(elapsed, coefficients[f"obs_{axis}_poly"].T, tensor=False)
            for axis in "xyz"
        ]
        return vectors_to_sky(np.stack(vectors, axis=-1))

    if len(table) == 0:
        return PredictedTrails.join(())
    middle = position(0.0)
    step = 0.5 * max(exposure.seconds, _RATE_SPAN) / SECONDS_PER_DAY
    before, after = position(-step), position(step)
    rate = separation(*before, *after) / (2.0 * step)
    _, direction = motion(*middle, *after)
    names = texts(table, _first(table, "MPCORB_unpacked_primary_provisional_designation", "ObjID"))
    names = np.where(names == "", texts(table, "ObjID"), names) if "ObjID" in table.colnames else names
    names = np.array([unpack_designation(name) for name in names])
    return PredictedTrails.make(
        designation=names,
        ss_object_ids=_identifiers(table, names),
        source=source,
        begin=position(-half),
        middle=middle,
        end=position(half),
        rate=rate,
        position_angle=direction,
        mag=numbers(table, "trailedSourceMagTrue"),
        position_err=numbers(table, "Err(arcsec)", u.arcsec),
        default_err=default_err,
    )


def predict_from_rates(
    table: astropy.table.Table,
    exposure: Exposure,
    *,
    default_err: float,
    source: str = "preloaded_ss_object_visit",
) -> PredictedTrails:
    """Predict trails from the positions and rates of Data Release Production.

    Parameters
    ----------
    table
        A `preloaded_ss_object_visit`, the output of Sorcha, as a table with the columns ``ObjID``,
        ``RATrue_deg``, ``DecTrue_deg``, ``RARateCosDec_deg_day``, ``DecRate_deg_day``. Positions hold at
        ``fieldMJD_TAI``, and at the middle of the exposure without that column.
    exposure
        The exposure.
    default_err
        Uncertainty of the positions, arcseconds, which these tables do not state.
    source
        Name of the ephemeris.

    Raises
    ------
    ValueError
        Raised if a column is missing.
    """
    needed = ("ObjID", "RATrue_deg", "DecTrue_deg", "RARateCosDec_deg_day", "DecRate_deg_day")
    _require(table, source, needed)
    if len(table) == 0:
        return PredictedTrails.join(())
    ra, dec = numbers(table, "RATrue_deg", u.deg), numbers(table, "DecTrue_deg", u.deg)
    east = numbers(table, "RARateCosDec_deg_day", u.deg / u.day)
    north = numbers(table, "DecRate_deg_day", u.deg / u.day)
    rate, angle = np.hypot(east, north), np.mod(np.rad2deg(np.arctan2(east, north)), 360.0)
    elapsed = np.zeros(len(table))
    if "fieldMJD_TAI" in table.colnames:
        elapsed = exposure.midpoint - numbers(table, "fieldMJD_TAI", u.day)
    half = 0.5 * exposure.days
    middle, end = move(ra, dec, rate, angle, elapsed), move(ra, dec, rate, angle, elapsed + half)
    # The position angle of a great circle changes along it.
    direction = np.where(rate > 0.0, motion(*middle, *end)[1], angle)
    packed = texts(table, _first(table, "packed_desig", "ObjID"))
    return PredictedTrails.make(
        designation=np.array([unpack_designation(name) for name in texts(table, "ObjID")]),
        ss_object_ids=_ids(packed),
        source=source,
        begin=move(ra, dec, rate, angle, elapsed - half),
        middle=middle,
        end=end,
        rate=rate,
        position_angle=direction,
        mag=numbers(table, _first(table, "trailedSourceMagTrue", "trailedSourceMag")),
        position_err=np.full(len(table), np.nan),
        default_err=default_err,
    )


def numbers(table: astropy.table.Table, name: str, unit: u.UnitBase | None = None) -> _Floats:
    """Return a column as numbers in a unit; NaN where it is masked or missing.

    A column without a unit is taken to be in this unit.
    """
    if name not in table.colnames:
        return np.full(len(table), np.nan)
    column = table[name]
    values = np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan)
    if unit is not None and column.unit is not None:
        values = column.unit.to(unit, values)
    return np.asarray(values, dtype=np.float64)


def texts(table: astropy.table.Table, name: str) -> _Texts:
    """Return a column as texts without surrounding blanks; empty where it is masked."""
    values = np.ma.filled(np.ma.asarray(table[name]).astype(object), "")
    return np.array([plain_text(value) for value in values], dtype=np.str_)


def _ids(names: _Texts) -> _Ints:
    return np.array([ss_object_id(name) for name in names], dtype=np.int64)


def _identifiers(table: astropy.table.Table, names: _Texts) -> _Ints:
    """Return ``ssObjectId``, or that of the names if it is missing or rounded to floating point."""
    column = np.ma.asarray(table["ssObjectId"]) if "ssObjectId" in table.colnames else np.zeros(0)
    return np.ma.filled(column, 0).astype(np.int64) if column.dtype.kind in "iu" else _ids(names)


def _coefficients(column: astropy.table.Column) -> _Floats:
    """Return Chebyshev coefficients, shape (n, k), of a column of arrays; NaN where there is none."""
    rows = [np.atleast_1d(np.ma.filled(row, np.nan)).astype(np.float64) for row in column]
    most = max((len(row) for row in rows), default=1)
    return np.array([np.pad(row, (0, most - len(row))) for row in rows]).reshape(len(rows), most)


def _first(table: astropy.table.Table, *names: str) -> str:
    """Return the first of several names that a table has, or else the last."""
    return next((name for name in names if name in table.colnames), names[-1])


def _require(table: astropy.table.Table, source: str, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in table.colnames]:
        raise ValueError(f"The ephemeris {source} has no column {', '.join(missing)}.")
