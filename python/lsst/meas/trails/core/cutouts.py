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

"""Square cutouts of candidates from the arrays of an image."""

from __future__ import annotations

__all__ = ("CUTOUT_MARGIN", "CUTOUT_SIDE", "MAX_CUTOUT_SIDE", "Cutout", "cut_candidates", "cutout_side")

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import astropy.table
import numpy as np
import numpy.typing as npt

from .planes import plane_bits
from .psf import PsfGrid

CUTOUT_SIDE = 101
"""Smallest side of a cutout, pixels."""

CUTOUT_MARGIN = 25
"""Margin beyond the ends of a trail, pixels."""

MAX_CUTOUT_SIDE = 1001
"""Largest side of a cutout, pixels; longer trails are cropped."""


@dataclasses.dataclass(frozen=True, eq=False)
class Cutout:
    """Square around one candidate, in the orientation of the image."""

    row: int
    """Row of the candidate in its table."""

    box: tuple[int, int, int, int]
    """First and last-plus-one column, first and last-plus-one row, in the image's own coordinates; beyond the
    image at its edges.
    """

    arrays: dict[str, npt.NDArray[Any]]
    """Pixels by name, shape (side, side)."""

    inside: npt.NDArray[np.bool_]
    """Pixels on the image, shape (side, side)."""

    psf: npt.NDArray[np.float64] | None
    """PSF at the midpoint, of sum 1."""

    @property
    def side(self) -> int:
        """Side of the square, pixels."""
        return self.box[1] - self.box[0]


def cutout_side(
    x0: float, y0: float, x1: float, y1: float, side: int = CUTOUT_SIDE, margin: int = CUTOUT_MARGIN
) -> int:
    """Return the side of the square around a trail, an odd number of pixels.

    Parameters
    ----------
    x0, y0, x1, y1
        Ends of the trail, pixels.
    side
        Smallest side, pixels.
    margin
        Margin beyond each end, pixels.
    """
    reach = max(abs(x1 - x0), abs(y1 - y0))
    wanted = max(side, int(np.ceil(reach)) + 2 * margin) if np.isfinite(reach) else side
    return min(wanted, max(side, MAX_CUTOUT_SIDE)) | 1


def cut_candidates(
    arrays: Mapping[str, npt.NDArray[Any]],
    candidates: astropy.table.Table,
    *,
    origin: tuple[int, int] = (0, 0),
    psf: PsfGrid | None = None,
    side: int = CUTOUT_SIDE,
    margin: int = CUTOUT_MARGIN,
) -> Iterator[Cutout]:
    """Cut a square around each candidate of an image.

    Parameters
    ----------
    arrays
        Arrays of one shape (ny, nx) by name, such as ``science``, ``variance`` and ``mask``. Beyond the
        image, floats are NaN, truth values false, and integers, as masks, have the bit of ``NO_DATA``.
    candidates
        Rows of a catalog of candidates, with the columns ``x``, ``y``, ``x0``, ``y0``, ``x1`` and ``y1``.
    origin
        Coordinates (x, y) of the first pixel of the arrays in the image.
    psf
        PSF in array coordinates, if it is wanted.
    side
        Smallest side of a square, pixels; an even number is increased by one.
    margin
        Margin beyond the ends of a trail, pixels.

    Yields
    ------
    cutout
        Copies of the pixels of one candidate, in the order of the rows. The midpoint is in the central pixel.

    Raises
    ------
    ValueError
        Raised if the arrays differ in shape, or a midpoint is not finite.
    """
    shapes = {name: array.shape for name, array in arrays.items()}
    if not shapes or len(set(shapes.values())) > 1:
        raise ValueError(f"Cutouts need arrays of one shape; these have the shapes {shapes}.")
    shape = next(iter(shapes.values()))
    names = ("x", "y", "x0", "y0", "x1", "y1")
    columns = [np.asarray(candidates[name], dtype=np.float64) for name in names]
    for row, (x, y, x0, y0, x1, y1) in enumerate(zip(*columns, strict=True)):
        if not (np.isfinite(x) and np.isfinite(y)):
            raise ValueError(f"Row {row} has the midpoint ({x}, {y}); remove rows without a position.")
        length = cutout_side(x0, y0, x1, y1, side, margin)
        column, line = (round(value) - length // 2 for value in (x, y))
        first = (line - origin[1], column - origin[0])
        yield Cutout(
            row=row,
            box=(column, column + length, line, line + length),
            arrays={name: _cut(array, first, length) for name, array in arrays.items()},
            inside=_cut(np.broadcast_to(np.True_, shape), first, length),
            psf=None if psf is None else psf.kernel(x - origin[0], y - origin[1]),
        )


def _cut(array: npt.NDArray[Any], first: tuple[int, int], side: int) -> npt.NDArray[Any]:
    """Return a copy of a square of an array, filled beyond its edges."""
    fill = {"f": np.nan, "b": False}.get(array.dtype.kind, plane_bits(["NO_DATA"]))
    result = np.full((side, side), fill, dtype=array.dtype)
    # Part of the square that is on the array, in the indices of the array.
    low = [min(max(start, 0), size) for start, size in zip(first, array.shape, strict=True)]
    high = [min(max(start + side, 0), size) for start, size in zip(first, array.shape, strict=True)]
    part = array[low[0] : high[0], low[1] : high[1]]
    y, x = low[0] - first[0], low[1] - first[1]
    if part.size:
        result[y : y + part.shape[0], x : x + part.shape[1]] = part
    return result
