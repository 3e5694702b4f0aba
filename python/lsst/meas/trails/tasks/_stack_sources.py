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

"""Sources of the stack's catalogs, and the trails that they detect."""

from __future__ import annotations

__all__ = ("StackSources", "found_trails", "read_sources")

import dataclasses
from collections.abc import Sequence
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import numpy.typing as npt
import scipy.spatial

from ..core.geometry import segment_distance
from ..core.photometry import flux_to_mag
from ._input_image import InputImage

_PIXEL_COLUMNS = (
    ("x", "y"),
    ("slot_Centroid_x", "slot_Centroid_y"),
    ("base_SdssCentroid_x", "base_SdssCentroid_y"),
)
_SKY_COLUMNS = (("ra", "dec"), ("coord_ra", "coord_dec"))
"""Names of positions in the stack's catalogs, standardized or raw."""

_FLUX_COLUMNS = (
    ("psfFlux", "psfFluxErr"),
    ("slot_PsfFlux_flux", "slot_PsfFlux_fluxErr"),
    ("base_PsfFlux_flux", "base_PsfFlux_fluxErr"),
)
"""Names of calibrated fluxes and their errors, nJy."""

_SAME_SOURCE = 1.0
"""Largest shift of a source between the catalogs before and after the injection, pixels; sources on or near a
trail shift more.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class StackSources:
    """The stack's sources in an image."""

    positions: npt.NDArray[np.float64]
    """Columns x and y, array coordinates, shape (k, 2)."""

    flux: npt.NDArray[np.float64]
    """PSF fluxes, nJy; NaN where the catalog has none."""

    flux_err: npt.NDArray[np.float64]
    """Errors of the PSF fluxes, nJy; NaN where the catalog has none."""

    @classmethod
    def joined(cls, parts: Sequence[StackSources]) -> StackSources:
        """Return the sources of several catalogs."""
        return cls(
            np.concatenate([part.positions for part in parts]),
            np.concatenate([part.flux for part in parts]),
            np.concatenate([part.flux_err for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Any) -> StackSources:
        return StackSources(self.positions[index], self.flux[index], self.flux_err[index])


def read_sources(catalog: astropy.table.Table, image: InputImage) -> StackSources:
    """Return the stack's sources in the coordinates of the arrays.

    Parameters
    ----------
    catalog
        A source catalog, with pixel or sky positions under one of the names that the stack uses.
    image
        The image.

    Returns
    -------
    sources
        Sources with a finite position.

    Raises
    ------
    ValueError
        Raised if the catalog has no positions.
    """
    if names := _names_in(catalog, _PIXEL_COLUMNS):
        x, y = (_filled(catalog[name]) for name in names)
    elif names := _names_in(catalog, _SKY_COLUMNS):
        ra, dec = (_degrees(catalog[name], names[0].startswith("coord_")) for name in names)
        known = np.isfinite(ra) & np.isfinite(dec)
        x, y = (np.full(len(catalog), np.nan) for _ in range(2))
        x[known], y[known] = image.sky_to_pixel(ra[known], dec[known])
    else:
        known_names = ", ".join("/".join(pair) for pair in (*_PIXEL_COLUMNS, *_SKY_COLUMNS))
        raise ValueError(f"The source catalog has no positions: it needs one of {known_names}.")
    positions = np.stack([x - image.origin[0], y - image.origin[1]], axis=1)
    flux, flux_err = (np.full(len(catalog), np.nan) for _ in range(2))
    if names := _names_in(catalog, _FLUX_COLUMNS):
        flux, flux_err = (_filled(catalog[name]) for name in names)
    return StackSources(positions, flux, flux_err)[np.all(np.isfinite(positions), axis=1)]


def found_trails(
    trails: astropy.table.Table, after: StackSources, before: StackSources | None, distance: float
) -> tuple[npt.NDArray[np.bool_], astropy.table.Table]:
    """Find the trails that the stack detects.

    Parameters
    ----------
    trails
        Truth table, in array coordinates.
    after, before
        The stack's sources with the trails and without them; ``before`` is `None` if unknown.
    distance
        Largest distance of a source from the line of its trail, pixels.

    Returns
    -------
    found
        Whether a source that was not there before lies on each trail.
    table
        The truth table with columns ``stack_detection``, ``stack_mag``, ``stack_mag_err`` and ``stack_snr``
        of the brightest such source.
    """
    if before is not None and len(before) and len(after):
        nearest, _ = scipy.spatial.KDTree(before.positions).query(after.positions)
        after = after[nearest > _SAME_SOURCE]
    ends = (np.asarray(trails[name])[:, None] for name in ("x0", "y0", "x1", "y1"))
    on_trail = segment_distance(after.positions[None, :, 0], after.positions[None, :, 1], *ends) <= distance
    found = np.asarray(np.any(on_trail, axis=1))
    flux, error = (np.full(len(trails), np.nan) for _ in range(2))
    for i in np.flatnonzero(found):
        members = np.flatnonzero(on_trail[i])
        brightest = members[np.argmax(np.nan_to_num(after.flux[members], nan=-np.inf))]
        flux[i], error[i] = after.flux[brightest], after.flux_err[brightest]
    table = trails.copy()
    snr = np.divide(flux, error, out=np.full(len(trails), np.nan), where=error > 0.0)
    table["stack_detection"] = found
    table["stack_mag"] = flux_to_mag(flux)
    table["stack_mag_err"] = 2.5 / np.log(10.0) / np.where(snr > 0.0, snr, np.nan)
    table["stack_snr"] = snr
    return found, table


def _names_in(catalog: astropy.table.Table, pairs: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the first pair of columns that a catalog has."""
    return next((pair for pair in pairs if set(pair) <= set(catalog.colnames)), None)


def _filled(column: Any) -> npt.NDArray[np.float64]:
    return np.asarray(np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan))


def _degrees(column: Any, radians: bool) -> npt.NDArray[np.float64]:
    """Return angles in degrees; afw's columns without a unit are in radians."""
    unit = column.unit if column.unit is not None else (u.rad if radians else u.deg)
    return np.asarray(_filled(column) * unit.to(u.deg))
