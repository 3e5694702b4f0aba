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

Each row is a trail: ``ra`` and ``dec`` of its midpoint (ICRS degrees), ``source_type`` (``"Trail"``),
``trail_length`` (pixels), ``mag`` (AB, per pixel of length: the trail has ``trail_length`` times the flux of
``mag``) and ``beta`` (degrees counter-clockwise from +x of the image's pixels). ``injection_id``, and
``visit``, which restricts a row to a visit, are optional.
"""

from __future__ import annotations

__all__ = ("CatalogError", "CatalogSelection", "ImageFootprint", "select_trails")

import dataclasses
from collections.abc import Callable, Sequence

import astropy.table
import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.coordinates import angular_separation

from ..geometry import Trails, wrap_angle
from ..photometry import mag_to_flux
from .population import MAX_INJECTED_LENGTH

type _Floats = npt.NDArray[np.float64]

SOURCE_TYPE = "Trail"
"""Value of ``source_type`` of trails."""

_UNITS: dict[str, u.UnitBase] = {
    "ra": u.deg,
    "dec": u.deg,
    "mag": u.mag,
    "trail_length": u.pix,
    "beta": u.deg,
}
"""Required columns of trails, with their units."""

_BRIGHTEST = 0.0
"""Smallest magnitude; smaller ones are mistakes."""


class CatalogError(ValueError):
    """Raised if a catalog lacks usable columns."""


@dataclasses.dataclass(frozen=True)
class ImageFootprint:
    """Position of an image on the sky and in pixels."""

    shape: tuple[int, int]
    """Shape (ny, nx), pixels."""

    ra: float
    """Right ascension of the center, ICRS degrees."""

    dec: float
    """Declination of the center, ICRS degrees."""

    pixel_scale: float
    """Arcseconds per pixel."""

    sky_to_pixel: Callable[[_Floats, _Floats], tuple[_Floats, _Floats]]
    """Map from ICRS degrees to array coordinates x, y."""

    margin: float
    """Radius of the PSF's kernel, pixels."""

    def may_reach(self, ra: _Floats, dec: _Floats) -> npt.NDArray[np.bool_]:
        """Return which midpoints are near enough for a trail in the image.

        Far from the image, its map to pixels is meaningless, and may return positions inside the image.
        """
        reach = 0.5 * float(np.hypot(*self.shape)) + 0.5 * MAX_INJECTED_LENGTH + self.margin
        with np.errstate(invalid="ignore"):
            distance = angular_separation(*np.deg2rad([self.ra, self.dec]), np.deg2rad(ra), np.deg2rad(dec))
        # A tenth more for the distortion of the image.
        return np.asarray(np.rad2deg(distance) * 3600.0 / self.pixel_scale <= 1.1 * reach)

    def touches(self, trails: Trails) -> npt.NDArray[np.bool_]:
        """Return which trails have light in the image."""
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
    """Trails of catalogs for an image, with the numbers of other rows."""

    trails: Trails
    """Trails in array coordinates, fluxes in nJy."""

    injection_id: npt.NDArray[np.int64]
    """Numbers of the trails."""

    excluded: tuple[str, ...] = ()
    """Problems of rows that cannot be injected, one text per row."""

    other_types: int = 0
    """Number of rows of another ``source_type``."""

    other_visits: int = 0
    """Number of trails for other visits."""

    off_image: int = 0
    """Number of trails without light in the image."""

    repeated: int = 0
    """Number of rows that repeat another row."""

    renumbered: int = 0
    """Number of trails with a new number because another trail has theirs."""


def select_trails(
    catalogs: Sequence[astropy.table.Table],
    names: Sequence[str],
    footprint: ImageFootprint,
    visit: int | None = None,
) -> CatalogSelection:
    """Select the trails of catalogs for an image.

    Parameters
    ----------
    catalogs
        The catalogs, not changed.
    names
        Names of the catalogs for messages.
    footprint
        The image.
    visit
        Visit of the image; rows for other visits are left out.

    Returns
    -------
    selection
        Each trail once, in the order of the catalogs: rows of overlapping catalogs that agree in number,
        position, brightness, length and angle are the same trail.

    Raises
    ------
    CatalogError
        Raised if a column is missing or has another unit or type; the message has catalog and column.
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
        # Rows without a position are reported below.
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
    """Return the numbers of the rows of trails, after checking the columns."""
    if len(catalog) == 0:
        return np.zeros(0, dtype=np.int64)
    if "source_type" not in catalog.colnames:
        raise CatalogError(f"{name} has no column 'source_type'; a trail needs {_needs()}.")
    kinds = np.ma.filled(np.ma.asarray(catalog["source_type"]).astype(str), "")
    rows = np.flatnonzero(np.char.strip(np.asarray(kinds, dtype=str)) == SOURCE_TYPE)
    if len(rows) and (missing := [column for column in _UNITS if column not in catalog.colnames]):
        raise CatalogError(f"{name} has no column(s) {', '.join(missing)}; a trail needs {_needs()}.")
    return rows.astype(np.int64)


def _needs() -> str:
    return ", ".join(("source_type", *_UNITS))


def _column(catalog: astropy.table.Table, column: str, name: str) -> _Floats:
    """Return a column as numbers, NaN for masked values."""
    try:
        values = np.ma.asarray(catalog[column])
        if values.ndim != 1 or values.dtype.kind not in "biufSUO":
            raise TypeError(f"it has shape {values.shape} and type {values.dtype}")
        return np.asarray(np.ma.filled(values.astype(np.float64), np.nan))
    except (TypeError, ValueError, OverflowError) as error:
        raise CatalogError(f"Column {column!r} of {name} has no numbers: {error}") from error


def _values(catalog: astropy.table.Table, name: str, pixel_scale: float) -> _Floats:
    """Return the required columns in their units, shape (n, 5)."""
    columns = []
    for column, unit in _UNITS.items():
        values = _column(catalog, column, name)
        given = catalog[column].unit
        if given not in (None, u.dimensionless_unscaled, unit) and not (unit == u.mag and given == u.ABmag):
            scale = u.pixel_scale(pixel_scale * u.arcsec / u.pix) if unit == u.pix else []
            try:
                values = np.asarray((values * given).to_value(unit, equivalencies=scale))
            except (u.UnitConversionError, TypeError, ValueError) as error:
                raise CatalogError(f"Column {column!r} of {name} is in {given}, not in {unit}.") from error
        columns.append(values)
    return np.stack(columns, axis=1)


def _numbers(catalog: astropy.table.Table, name: str) -> npt.NDArray[np.int64]:
    """Return the injection_id of all rows, -1 if missing."""
    if "injection_id" not in catalog.colnames:
        return np.full(len(catalog), -1, dtype=np.int64)
    column = np.ma.asarray(catalog["injection_id"])
    if column.dtype.kind not in "iu" or column.ndim != 1:
        raise CatalogError(f"Column 'injection_id' of {name} has {column.dtype}, not integers.")
    return np.asarray(np.ma.filled(column, -1)).astype(np.int64)


def _first_of_each(values: _Floats, number: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return the rows that do not repeat an earlier row.

    Numbers alone do not identify trails: many catalogs count from 0.
    """
    if len(values) == 0:
        return np.zeros(0, dtype=np.intp)
    # Compared as bits, NaNs are equal; adding zero makes 0 and -0 equal.
    key = np.column_stack([(values + 0.0).view(np.int64), number])
    _, first = np.unique(key, axis=0, return_index=True)
    return np.sort(first)


def _problem(ra: float, dec: float, mag: float, length: float, beta: float) -> str | None:
    """Return the reason why a trail cannot be injected, if any."""
    for column, value in (("ra", ra), ("dec", dec), ("mag", mag), ("trail_length", length), ("beta", beta)):
        if not np.isfinite(value):
            return f"{column} is {value}."
    if abs(dec) > 90.0:
        return f"dec is {dec:g}."
    if length <= 0.0:
        return f"trail_length is {length:g}; it must be positive (mag is per pixel of length)."
    if length > MAX_INJECTED_LENGTH:
        return f"trail_length is {length:g}, more than {MAX_INJECTED_LENGTH:g} pixels."
    if mag < _BRIGHTEST:
        return f"mag is {mag:g}, brighter than {_BRIGHTEST:g} per pixel."
    if mag_to_flux(mag) * length < 1e-6:
        return f"mag is {mag:g}: the flux is zero."
    return None


def _place(values: _Floats, footprint: ImageFootprint) -> Trails:
    if len(values) == 0:
        return Trails.empty()
    ra, dec, mag, length, beta = values.T
    x, y = footprint.sky_to_pixel(ra, dec)
    return Trails(x=x, y=y, length=length, angle=wrap_angle(beta), flux=mag_to_flux(mag) * length)


def _unique_numbers(number: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """Return distinct numbers, and how many of them were changed."""
    _, first = np.unique(number, return_index=True)
    keep = np.zeros(len(number), dtype=bool)
    keep[first] = True
    keep &= number >= 0
    result = number.copy()
    start = int(number[keep].max()) + 1 if np.any(keep) else 0
    result[~keep] = start + np.arange(np.count_nonzero(~keep))
    return result, int(np.count_nonzero(~keep & (number >= 0)))
