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

"""Catalogs of trails to inject, in the columns of `lsst.source.injection`.

A row is a trail: ``ra`` and ``dec`` of its midpoint (ICRS degrees),
``source_type`` (``"Trail"``), ``trail_length`` (pixels), ``mag`` (AB, per
pixel of length: the trail has ``trail_length`` times the flux of ``mag``) and
``beta`` (degrees counter-clockwise from +x of the image's pixels, whatever
its orientation on the sky).  Optional are ``injection_id`` and ``visit``:
with the latter, a row is for that visit alone.
"""

from __future__ import annotations

__all__ = ("CatalogError", "CatalogSelection", "ImageFootprint", "select_trails")

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import numpy.typing as npt

from ..geometry import Trails, wrap_angle
from ..photometry import mag_to_flux
from .population import MAX_INJECTED_LENGTH

type _Floats = npt.NDArray[np.float64]

SOURCE_TYPE = "Trail"
"""Value of ``source_type`` of the rows that are meant here."""

_UNITS: dict[str, u.UnitBase] = {
    "ra": u.deg,
    "dec": u.deg,
    "mag": u.mag,
    "trail_length": u.pix,
    "beta": u.deg,
}
"""Columns that a trail must have, with the units they are in."""

_BRIGHTEST = 0.0
"""Magnitudes below this are taken for mistakes."""


class CatalogError(ValueError):
    """Raised when a catalog cannot be used at all, whatever its rows."""


@dataclasses.dataclass(frozen=True)
class ImageFootprint:
    """Where an image is, on the sky and in pixels.

    Parameters
    ----------
    shape
        Shape (ny, nx), pixels.
    ra, dec
        Its center, ICRS degrees.
    pixel_scale
        Arcseconds per pixel.
    sky_to_pixel
        Maps ICRS degrees to array coordinates x, y.
    margin
        Farthest that the PSF carries light, pixels.
    """

    shape: tuple[int, int]
    ra: float
    dec: float
    pixel_scale: float
    sky_to_pixel: Callable[[_Floats, _Floats], tuple[_Floats, _Floats]]
    margin: float

    def may_reach(self, ra: _Floats, dec: _Floats) -> npt.NDArray[np.bool_]:
        """Return which positions the image, or a trail into it, may have.

        Far from an image its mapping to pixels means nothing, and may come
        back to it.
        """
        reach = 0.5 * float(np.hypot(*self.shape)) + 0.5 * MAX_INJECTED_LENGTH + self.margin
        a, b = np.deg2rad(dec), np.deg2rad(self.dec)
        with np.errstate(invalid="ignore"):
            half = np.sin(0.5 * (a - b)) ** 2
            half = half + np.cos(a) * np.cos(b) * np.sin(0.5 * np.deg2rad(ra - self.ra)) ** 2
            distance = 2.0 * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))
        # A tenth more for the distortion of the image.
        return np.asarray(np.rad2deg(distance) * 3600.0 / self.pixel_scale <= 1.1 * reach)

    def touches(self, trails: Trails) -> npt.NDArray[np.bool_]:
        """Return which trails leave light on the image."""
        ny, nx = self.shape
        found = np.zeros(len(trails), dtype=bool)
        for i, (x0, y0, x1, y1) in enumerate(zip(*trails.ends, strict=True)):
            # Points half a pixel apart along the line.
            t = np.linspace(0.0, 1.0, max(2, int(2.0 * trails.length[i]) + 2))
            x, y = x0 + t * (x1 - x0), y0 + t * (y1 - y0)
            off_x = np.maximum(np.maximum(-0.5 - x, x - (nx - 0.5)), 0.0)
            off_y = np.maximum(np.maximum(-0.5 - y, y - (ny - 0.5)), 0.0)
            found[i] = bool(np.any(np.maximum(off_x, off_y) <= self.margin))
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class CatalogSelection:
    """The trails of some catalogs that belong to an image.

    Parameters
    ----------
    trails
        The trails in array coordinates, fluxes in nJy.
    injection_id
        Their numbers.
    excluded
        What is wrong with rows that cannot be injected, one text a row.
    other_types
        Number of rows that are no trails.
    other_visits
        Number of trails for other visits.
    off_image
        Number of trails that leave no light on the image.
    repeated
        Number of rows that repeat another.
    renumbered
        Number of trails whose number another trail has.
    """

    trails: Trails
    injection_id: npt.NDArray[np.int64]
    excluded: tuple[str, ...] = ()
    other_types: int = 0
    other_visits: int = 0
    off_image: int = 0
    repeated: int = 0
    renumbered: int = 0


def select_trails(
    catalogs: Sequence[astropy.table.Table],
    names: Sequence[str],
    footprint: ImageFootprint,
    visit: int | None = None,
) -> CatalogSelection:
    """Select the trails of catalogs that belong to an image.

    Parameters
    ----------
    catalogs
        The catalogs; never changed.
    names
        What to call each of them in messages.
    footprint
        The image.
    visit
        Visit of the image; rows for other visits are left out.

    Returns
    -------
    selection
        Each trail once, in the order of the catalogs: rows of overlapping
        catalogs that agree in number, position, brightness, length and angle
        are the same trail.

    Raises
    ------
    CatalogError
        Raised if a catalog lacks a column that its trails need, or has it in
        another unit or kind, naming catalog and column.
    """
    counts = {"other_types": 0, "other_visits": 0, "off_image": 0}
    parts: list[_Floats] = []
    numbers: list[npt.NDArray[np.int64]] = []
    where: list[str] = []
    for catalog, name in zip(catalogs, names, strict=True):
        rows = _trail_rows(catalog, name)
        counts["other_types"] += len(catalog) - len(rows)
        if len(rows) == 0:
            continue
        if visit is not None and "visit" in catalog.colnames:
            mine = _column(catalog, "visit", name)[rows] == visit
            counts["other_visits"] += int(np.count_nonzero(~mine))
            rows = rows[mine]
        values = _values(catalog, name, footprint.pixel_scale)[rows]
        # Rows without a position are nowhere: they are reported below.
        lost = ~np.isfinite(values[:, :2]).all(axis=1)
        near = lost | footprint.may_reach(values[:, 0], values[:, 1])
        counts["off_image"] += int(np.count_nonzero(~near))
        rows, values = rows[near], values[near]
        parts.append(values)
        numbers.append(_numbers(catalog, name)[rows])
        where += [f"row {row} of {name}" for row in rows]
    values = np.concatenate(parts) if parts else np.zeros((0, len(_UNITS)))
    number = np.concatenate(numbers) if numbers else np.zeros(0, dtype=np.int64)

    first = _first_of_each(values, number)
    repeated = len(values) - len(first)
    values, number, where = values[first], number[first], [where[i] for i in first]
    problems = [_problem(*row) for row in values]
    excluded = tuple(f"{place}: {what}" for place, what in zip(where, problems, strict=True) if what)
    good = np.array([what is None for what in problems], dtype=bool)
    values, number = values[good], number[good]
    trails = _place(values, footprint)
    on_image = footprint.touches(trails)
    counts["off_image"] += int(np.count_nonzero(~on_image))
    injection_id, renumbered = _unique_numbers(number[on_image])
    return CatalogSelection(
        trails=trails[on_image],
        injection_id=injection_id,
        excluded=excluded,
        repeated=repeated,
        renumbered=renumbered,
        **counts,
    )


def _trail_rows(catalog: astropy.table.Table, name: str) -> npt.NDArray[np.int64]:
    """Return which rows are trails, after a look at the columns."""
    if len(catalog) == 0:
        return np.zeros(0, dtype=np.int64)
    if "source_type" not in catalog.colnames:
        raise CatalogError(f"{name} has no column 'source_type'; a trail needs {_needs()}.")
    kinds = np.ma.filled(np.ma.asarray(catalog["source_type"]).astype(str), "")
    rows = np.flatnonzero(np.char.strip(np.asarray(kinds, dtype=str)) == SOURCE_TYPE)
    if len(rows) and (missing := [column for column in _UNITS if column not in catalog.colnames]):
        raise CatalogError(f"{name} lacks the column(s) {', '.join(missing)}; a trail needs {_needs()}.")
    return rows.astype(np.int64)


def _needs() -> str:
    return ", ".join(("source_type", *_UNITS))


def _column(catalog: astropy.table.Table, column: str, name: str) -> _Floats:
    """Return a column as numbers, NaN where it is masked."""
    try:
        values = np.ma.asarray(catalog[column])
        if values.ndim != 1 or values.dtype.kind not in "biufSUO":
            raise TypeError(f"it has shape {values.shape} and type {values.dtype}")
        return np.asarray(np.ma.filled(values.astype(np.float64), np.nan))
    except (TypeError, ValueError, OverflowError) as error:
        raise CatalogError(f"Column {column!r} of {name} does not hold numbers: {error}") from error


def _values(catalog: astropy.table.Table, name: str, pixel_scale: float) -> _Floats:
    """Return the numbers of all rows in the right units, shape (n, 5)."""
    columns = []
    for column, unit in _UNITS.items():
        values = _column(catalog, column, name)
        given: Any = catalog[column].unit
        if given not in (None, u.dimensionless_unscaled, unit) and not (unit == u.mag and given == u.ABmag):
            scale = u.pixel_scale(pixel_scale * u.arcsec / u.pix) if unit == u.pix else []
            try:
                values = np.asarray((values * given).to_value(unit, equivalencies=scale))
            except (u.UnitConversionError, TypeError, ValueError) as error:
                raise CatalogError(f"Column {column!r} of {name} is in {given}, not in {unit}.") from error
        columns.append(values)
    return np.stack(columns, axis=1)


def _numbers(catalog: astropy.table.Table, name: str) -> npt.NDArray[np.int64]:
    """Return the injection_id of all rows, -1 where there is none."""
    if "injection_id" not in catalog.colnames:
        return np.full(len(catalog), -1, dtype=np.int64)
    column = np.ma.asarray(catalog["injection_id"])
    if column.dtype.kind not in "iu" or column.ndim != 1:
        raise CatalogError(f"Column 'injection_id' of {name} must hold integers, not {column.dtype}.")
    return np.asarray(np.ma.filled(column, -1)).astype(np.int64)


def _first_of_each(values: _Floats, number: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return the first row of each that differs from all before it.

    The number alone would not do: catalogs that were made one by one all
    count from 0.
    """
    if len(values) == 0:
        return np.zeros(0, dtype=np.intp)
    # Compared bit by bit, NaN are equal; 0 and -0 must be.
    key = np.column_stack([(values + 0.0).view(np.int64), number])
    _, first = np.unique(key, axis=0, return_index=True)
    return np.sort(first)


def _problem(ra: float, dec: float, mag: float, length: float, beta: float) -> str | None:
    """Return why a trail cannot be injected, if so."""
    for column, value in (("ra", ra), ("dec", dec), ("mag", mag), ("trail_length", length), ("beta", beta)):
        if not np.isfinite(value):
            return f"{column} is {value}."
    if abs(dec) > 90.0:
        return f"dec is {dec:g}."
    if length <= 0.0:
        return f"trail_length is {length:g}: without a length it has no flux (mag is per pixel of length)."
    if length > MAX_INJECTED_LENGTH:
        return f"trail_length is {length:g}, more than the {MAX_INJECTED_LENGTH:g} pixels that can be drawn."
    if mag < _BRIGHTEST:
        return f"mag is {mag:g}, which no moving object is per pixel."
    if mag_to_flux(mag) * length < 1e-6:
        return f"mag is {mag:g}: that is no flux."
    return None


def _place(values: _Floats, footprint: ImageFootprint) -> Trails:
    if len(values) == 0:
        return Trails.empty()
    ra, dec, mag, length, beta = values.T
    x, y = footprint.sky_to_pixel(ra, dec)
    return Trails(x=x, y=y, length=length, angle=wrap_angle(beta), flux=mag_to_flux(mag) * length)


def _unique_numbers(number: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """Return numbers that differ, and how many had to be changed for that."""
    _, first = np.unique(number, return_index=True)
    keep = np.zeros(len(number), dtype=bool)
    keep[first] = True
    keep &= number >= 0
    result = number.copy()
    start = int(number[keep].max()) + 1 if np.any(keep) else 0
    result[~keep] = start + np.arange(np.count_nonzero(~keep))
    return result, int(np.count_nonzero(~keep & (number >= 0)))
