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

"""Mask planes of the pixels of a candidate, as the flags of a DiaSource."""

from __future__ import annotations

__all__ = ("PIXEL_FLAGS", "center_bits", "footprint_bits", "has_plane")

import numpy as np
import numpy.typing as npt

from ..planes import plane_bits

_PLANES: dict[str, tuple[str, str]] = {
    "bad": ("BAD", "Bad pixel in the footprint."),
    "cr": ("COSMIC_RAY", "Cosmic ray in the footprint."),
    "edge": ("DETECTION_EDGE", "Pixel outside the usable region (masked EDGE) in the footprint."),
    "interpolated": ("INTERPOLATED", "Interpolated pixel in the footprint."),
    "nodata": ("NO_DATA", "NO_DATA pixel in the footprint."),
    "saturated": ("SATURATED", "Saturated pixel in the footprint."),
    "streak": ("STREAK", "Pixel of a streak that the stack has masked in the footprint."),
    "suspect": ("SUSPECT", "Pixel near the saturation threshold (SUSPECT) in the footprint."),
}
"""Mask plane and meaning of each flag of the footprint."""

_AT_CENTER = ("cr", "interpolated", "nodata", "saturated", "streak", "suspect")
"""Flags that the APDB also has for the pixels around the center."""

PIXEL_FLAGS: dict[str, tuple[str, bool, str]] = {
    **{f"pixelFlags_{name}": (plane, False, text) for name, (plane, text) in _PLANES.items()},
    **{
        f"pixelFlags_{name}Center": (
            plane,
            True,
            text.replace("in the footprint", "in the 3x3 pixels around the midpoint"),
        )
        for name, (plane, text) in _PLANES.items()
        if name in _AT_CENTER
    },
}
"""Mask plane, whether the flag is for the center instead of the footprint, and meaning, by column."""


def footprint_bits(
    mask: npt.NDArray[np.uint32], rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> int:
    """Return the mask bits that any pixel of a footprint has.

    Parameters
    ----------
    mask
        Mask of an image, shape (ny, nx).
    rows, columns
        Array coordinates of the pixels, shape (n,).
    """
    return int(np.bitwise_or.reduce(mask[rows, columns]))


def center_bits(mask: npt.NDArray[np.uint32], x: float, y: float) -> int:
    """Return the mask bits that any of the 3x3 pixels around a point has; none beyond the image.

    Parameters
    ----------
    mask
        Mask of an image, shape (ny, nx).
    x, y
        The point, array coordinates.
    """
    if not (np.isfinite(x) and np.isfinite(y)):
        return 0
    row, column = round(y), round(x)
    part = mask[max(row - 1, 0) : max(row + 2, 0), max(column - 1, 0) : max(column + 2, 0)]
    return int(np.bitwise_or.reduce(part, axis=None))


def has_plane(bits: int, plane: str) -> bool:
    """Return whether mask bits contain a plane."""
    return bool(bits & plane_bits([plane]))
