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

"""Tables of known objects from outside: reading, checks and units.

A row is the position of an object at a time, with its motion if that is known. Two rows of an object at
different times also give its motion.
"""

from __future__ import annotations

__all__ = (
    "COLUMN_NAMES",
    "KNOWN_OBJECT_COLUMNS",
    "KnownObjectsError",
    "normalize_known_objects",
    "read_known_objects",
)

import dataclasses
import logging
import re
import warnings
from pathlib import Path

import astropy.table
import astropy.time
import astropy.units as u
import numpy as np
import numpy.typing as npt
from erfa import ErfaWarning

from ..catalog.columns import table_of
from .designation import ss_object_id, unpack_designation
from .predict import texts

_LOG = logging.getLogger(__name__)

type _Floats = npt.NDArray[np.float64]

_RATE = u.deg / u.day

KNOWN_OBJECT_COLUMNS: dict[str, tuple[type, u.UnitBase | None, str]] = {
    "designation": (np.str_, None, "Designation or name of the object."),
    "ssObjectId": (np.int64, None, "Identifier in the Rubin catalogs, 0 if unknown."),
    "mjdTai": (np.float64, u.day, "Time of the position, MJD, TAI."),
    "ra": (np.float64, u.deg, "Right ascension, ICRS, as seen from the observatory."),
    "dec": (np.float64, u.deg, "Declination, ICRS, as seen from the observatory."),
    "rateRa": (np.float64, _RATE, "Rate in right ascension times cos(dec); NaN if unknown."),
    "rateDec": (np.float64, _RATE, "Rate in declination; NaN if unknown."),
    "vmag": (np.float64, u.mag, "V magnitude; NaN if unknown."),
    "positionErr": (
        np.float64,
        u.arcsec,
        "Standard deviation of the position in each of two directions; NaN if unknown.",
    ),
}
"""Columns of `known_objects`: type, unit and description."""


@dataclasses.dataclass(frozen=True)
class _Source:
    """Columns of foreign tables that hold a value."""

    unit: u.UnitBase | None
    """Unit of the value, and of a column without a unit."""

    names: tuple[str, ...]
    """Names of the columns, in lower case."""


_SOURCES: dict[str, _Source] = {
    "designation": _Source(None, ("designation", "objid", "targetname", "name", "desig", "id")),
    "ssObjectId": _Source(None, ("ssobjectid",)),
    "mjdTai": _Source(u.day, ("mjdtai", "mjd_tai", "fieldmjd_tai", "midpointmjdtai")),
    "mjdUtc": _Source(u.day, ("mjdutc", "mjd_utc", "obsmjd_utc")),
    "jdUtc": _Source(u.day, ("datetime_jd", "jdutc", "jd_utc")),
    "ra": _Source(u.deg, ("ra", "ratrue_deg", "ra_deg", "ephra")),
    "dec": _Source(u.deg, ("dec", "dectrue_deg", "dec_deg", "ephdec")),
    "rateRa": _Source(_RATE, ("ratera", "rate_ra", "ephratera", "ra_rate", "raratecosdec_deg_day")),
    "rateDec": _Source(_RATE, ("ratedec", "rate_dec", "ephratedec", "dec_rate", "decrate_deg_day")),
    "rate": _Source(_RATE, ("rate", "ephrate")),
    "positionAngle": _Source(u.deg, ("positionangle", "position_angle", "motionangle")),
    "vmag": _Source(u.mag, ("vmag", "mag", "v", "ephvmag", "trailedsourcemagtrue")),
    "positionErr": _Source(u.arcsec, ("positionerr", "position_err", "err", "err(arcsec)")),
}
"""Names of columns that are read, for each value."""

COLUMN_NAMES: dict[str, tuple[str, ...]] = {name: source.names for name, source in _SOURCES.items()}
"""Accepted names of columns in lower case, for each value."""

_HORIZONS_RATES = {"ra_rate": "rateRa", "dec_rate": "rateDec"}
"""Names of JPL Horizons, whose unit of arcseconds per hour is lost in a file without units, and ours."""

_FORMATS = {
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".parquet": "parquet",
    ".parq": "parquet",
    ".vot": "votable",
    ".xml": "votable",
}
"""Formats of files by their ending."""

_MAX_MJD = 100_000.0
"""Largest plausible time, MJD; larger ones are Julian dates."""

_MAX_VMAG = 50.0
"""Largest plausible absolute value of a magnitude."""

_MAX_RATE = 360.0
"""Largest plausible rate, degrees per day; larger ones have another unit."""


class KnownObjectsError(ValueError):
    """Raised if a table of known objects cannot be used."""


def read_known_objects(path: Path, *, mjd_tai: float | None = None) -> astropy.table.Table:
    """Read a table of known objects from a file.

    Parameters
    ----------
    path
        ECSV, CSV, Parquet or VOTable file; its ending decides.
    mjd_tai
        Time of all positions, MJD, TAI; for a table without a column of times.

    Returns
    -------
    table
        Columns of `KNOWN_OBJECT_COLUMNS`, ordered by time and designation.

    Raises
    ------
    KnownObjectsError
        Raised if the file or its content cannot be used; the message names row and column.
    """
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise KnownObjectsError(f"{path}: the ending {path.suffix!r} is unknown; use {', '.join(_FORMATS)}.")
    try:
        with warnings.catch_warnings():
            # Readers warn of units that they do not know; these are checked below.
            warnings.simplefilter("ignore", u.UnitsWarning)
            table = astropy.table.Table.read(path, format=kind)
    except OSError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        remedy = "; write UTF-8 text with columns separated by commas" if kind == "ascii.csv" else ""
        raise KnownObjectsError(f"{path} cannot be read as {kind}: {reason[:200]}{remedy}.") from error
    if (
        kind == "ascii.csv"
        and len(table.colnames) == 1
        and (other := re.search(r"[;|\t]", table.colnames[0]))
    ):
        raise KnownObjectsError(
            f"{path}: the columns are separated by {other[0]!r}; separate them by commas."
        )
    try:
        return normalize_known_objects(table, mjd_tai=mjd_tai)
    except KnownObjectsError as error:
        raise KnownObjectsError(f"{path}: {error}") from error


def normalize_known_objects(
    table: astropy.table.Table, *, mjd_tai: float | None = None
) -> astropy.table.Table:
    """Return a table of known objects with the columns, units and order of this package.

    Parameters
    ----------
    table
        Table with columns under any of `COLUMN_NAMES`, whatever their case. Units are converted; a column
        without a unit has the unit in `KNOWN_OBJECT_COLUMNS`.
    mjd_tai
        Time of all positions, MJD, TAI; for a table without a column of times.

    Raises
    ------
    KnownObjectsError
        Raised if the table has no rows, lacks a column, or has an impossible or contradictory value.
    """
    columns = _find_columns(table)
    needed = ("designation", "ra", "dec")
    if missing := [name for name in needed if name not in columns]:
        accepted = "; ".join(f"{name}: {', '.join(COLUMN_NAMES[name])}" for name in missing)
        raise KnownObjectsError(f"there is no column for {', '.join(missing)} (accepted names: {accepted}).")
    if len(table) == 0:
        raise KnownObjectsError("the table has no rows.")
    names = texts(table, columns["designation"])
    _refuse(names == "", columns["designation"], "has no designation")
    values = {
        name: _read_numbers(table, columns[name], _SOURCES[name].unit)
        for name in columns
        if name not in ("designation", "ssObjectId")
    }
    nothing = np.full(len(table), np.nan)
    time, time_name = _times(values, columns, mjd_tai, len(table))
    rate_ra, rate_dec = _rates(values, columns, nothing)
    error, vmag = values.get("positionErr", nothing), values.get("vmag", nothing)
    for name, wrong, text in (
        (time_name, ~np.isfinite(time), "is not a number"),
        (time_name, (time < 0.0) | (time > _MAX_MJD), f"is not an MJD between 0 and {_MAX_MJD:g}"),
        (columns["ra"], ~np.isfinite(values["ra"]), "is not a number"),
        (columns["dec"], ~np.isfinite(values["dec"]), "is not a number"),
        (columns["ra"], (values["ra"] < -360.0) | (values["ra"] > 360.0), "is outside [-360, 360] degrees"),
        (columns["dec"], np.abs(values["dec"]) > 90.0, "is outside [-90, 90] degrees"),
        # Programs write -99 or 99 for an unknown magnitude.
        (columns.get("vmag", ""), np.abs(vmag) > _MAX_VMAG, f"is not a magnitude up to {_MAX_VMAG:g}"),
        (columns.get("positionErr", ""), error < 0.0, "is negative"),
        (columns.get("positionErr", ""), np.isinf(error), "is infinite"),
    ):
        _refuse(wrong, name, text)
    ids = _identifiers(table, columns, names)
    made = table_of(
        {
            "designation": [unpack_designation(name) for name in names],
            "ssObjectId": ids,
            "mjdTai": time,
            "ra": np.mod(values["ra"], 360.0),
            "dec": values["dec"],
            "rateRa": rate_ra,
            "rateDec": rate_dec,
            "vmag": vmag,
            "positionErr": error,
        },
        KNOWN_OBJECT_COLUMNS,
    )
    return _without_duplicates(made)


def _find_columns(table: astropy.table.Table) -> dict[str, str]:
    """Return the column of the table that holds each value."""
    lower: dict[str, str] = {}
    for name in table.colnames:
        # Excel begins UTF-8 files with a byte order mark.
        lower.setdefault(name.removeprefix("\ufeff").lower(), name)
    found = {}
    for value, source in _SOURCES.items():
        matching = [lower[name] for name in source.names if name in lower]
        if matching:
            found[value] = matching[0]
    return found


def _read_numbers(table: astropy.table.Table, name: str, unit: u.UnitBase | None) -> _Floats:
    column = table[name]
    try:
        values = np.asarray(np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan))
    except (TypeError, ValueError) as error:
        for row, value in enumerate(column):
            try:
                float(value)
            except (TypeError, ValueError):
                raise KnownObjectsError(
                    f"row {row + 1}, column {name}: {str(value)!r} is not a number; write decimal numbers."
                ) from error
        raise KnownObjectsError(f"column {name} is not a column of numbers.") from error
    if values.ndim != 1:
        raise KnownObjectsError(f"column {name} has {values[0].size} values per row; write one.")
    if column.unit is None and (ours := _HORIZONS_RATES.get(name.lower())):
        raise KnownObjectsError(
            f"column {name} has no unit; JPL Horizons means arcsec per hour. Write the table with units "
            f"(.ecsv or .vot), or convert it to degrees per day and rename it to {ours}."
        )
    if column.unit is None or unit is None:
        return values
    if unit == u.mag and column.unit in (u.mag, u.ABmag, u.STmag):
        return values
    try:
        return np.asarray(u.Unit(column.unit).to(unit, values), dtype=np.float64)
    except (u.UnitConversionError, ValueError, TypeError) as error:
        raise KnownObjectsError(
            f"column {name} has unit {str(column.unit)!r}, which cannot be converted to {unit}; "
            "correct the unit."
        ) from error


def _refuse(wrong: npt.NDArray[np.bool_], name: str, text: str) -> None:
    """Raise an error for the first row with a wrong value."""
    rows = np.flatnonzero(wrong)
    if rows.size:
        more = f" ({rows.size} rows)" if rows.size > 1 else ""
        raise KnownObjectsError(
            f"row {rows[0] + 1}, column {name}: the value {text}{more}; correct the table."
        )


def _times(
    values: dict[str, _Floats], columns: dict[str, str], mjd_tai: float | None, count: int
) -> tuple[_Floats, str]:
    """Return the times of the rows, MJD, TAI, and the name of their column."""
    if "mjdTai" in values:
        return values["mjdTai"], columns["mjdTai"]
    for name, form in (("mjdUtc", "mjd"), ("jdUtc", "jd")):
        if name in values:
            finite = np.isfinite(values[name])
            result = np.full(count, np.nan)
            with warnings.catch_warnings():
                # An impossible time is refused later; future leap seconds are unknown.
                warnings.simplefilter("ignore", ErfaWarning)
                result[finite] = astropy.time.Time(values[name][finite], format=form, scale="utc").tai.mjd
            return result, columns[name]
    if mjd_tai is None:
        accepted = [name for key in ("mjdTai", "mjdUtc", "jdUtc") for name in COLUMN_NAMES[key]]
        raise KnownObjectsError(
            f"there is no column for the time (accepted names: {', '.join(accepted)}); name its scale in the "
            "column, or give one time for all rows with --mjd."
        )
    return np.full(count, mjd_tai), "--mjd"


def _rates(values: dict[str, _Floats], columns: dict[str, str], nothing: _Floats) -> tuple[_Floats, _Floats]:
    """Return rates in right ascension, with cos(dec), and declination."""
    first, second = "rateRa", "rateDec"
    if "rateRa" not in values and "rateDec" not in values and "rate" in values:
        first, second = "rate", "positionAngle"
    pair = [values.get(name, nothing) for name in (first, second)]
    half = np.isfinite(pair[0]) != np.isfinite(pair[1])
    present, absent = (first, second) if first in columns else (second, first)
    _refuse(
        half, columns.get(absent, absent), f"is missing, although {columns.get(present, present)} is given"
    )
    if first == "rate":
        angle = np.deg2rad(pair[1])
        _refuse(pair[0] < 0.0, columns["rate"], "is negative")
        pair = [pair[0] * np.sin(angle), pair[0] * np.cos(angle)]
    too_fast = np.hypot(*pair) > _MAX_RATE
    _refuse(
        too_fast, columns.get(first, first), f"is a rate above {_MAX_RATE:g} degrees per day: check its unit"
    )
    return pair[0], pair[1]


def _identifiers(
    table: astropy.table.Table, columns: dict[str, str], names: npt.NDArray[np.str_]
) -> npt.NDArray[np.int64]:
    """Return identifiers from the table, or else from the designations."""
    made = np.array([ss_object_id(name) for name in names], dtype=np.int64)
    if "ssObjectId" not in columns:
        return made
    column = np.ma.asarray(table[columns["ssObjectId"]])
    if column.dtype.kind not in "iu":
        raise KnownObjectsError(
            f"column {columns['ssObjectId']} does not hold integers; omit it or correct it."
        )
    given = np.ma.filled(column, 0).astype(np.int64)
    return np.where(given == 0, made, given)


def _without_duplicates(table: astropy.table.Table) -> astropy.table.Table:
    """Return a table without repeated rows, ordered by time and designation."""
    order = np.lexsort((np.asarray(table["designation"]), np.asarray(table["mjdTai"])))
    ordered = table[order]
    same = (ordered["designation"][1:] == ordered["designation"][:-1]) & (
        ordered["mjdTai"][1:] == ordered["mjdTai"][:-1]
    )
    for i in np.flatnonzero(np.asarray(same)):
        for name, (dtype, _, _) in KNOWN_OBJECT_COLUMNS.items():
            one, other = ordered[name][i], ordered[name][i + 1]
            if not np.array_equal(one, other, equal_nan=dtype is np.float64):
                raise KnownObjectsError(
                    f"rows {order[i] + 1} and {order[i + 1] + 1} are both '{ordered['designation'][i]}' at "
                    f"MJD {ordered['mjdTai'][i]:.6f} but differ in column {name}; remove one."
                )
    repeated = np.concatenate([[False], np.asarray(same, dtype=bool)])
    if np.any(repeated):
        _LOG.warning("Removed %d repeated rows.", int(np.sum(repeated)))
    return ordered[~repeated]
