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

"""Images as arrays, and the names of their mask planes."""

from __future__ import annotations

__all__ = (
    "ALIASES",
    "BAD_PLANES",
    "MASK_PLANES",
    "ImagePlanes",
    "PixelPlane",
    "canonical_plane",
    "pad_array",
    "plane_bits",
)

import dataclasses
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from .psf import PsfGrid

MASK_PLANES: tuple[str, ...] = (
    "BAD",
    "SATURATED",
    "INTERPOLATED",
    "COSMIC_RAY",
    "DETECTION_EDGE",
    "DETECTED",
    "SUSPECT",
    "NO_DATA",
    "SPIKE",
    "STREAK",
    "DETECTED_NEGATIVE",
    "CROSSTALK",
    "VIGNETTED",
    "ITL_DIP",
    "UNMASKED_NAN",
    "HIGH_VARIANCE",
)
"""Mask planes, under the names of `lsst.images`; plane ``i`` is bit ``i`` of the masks of `ImagePlanes` and
of tile files.
"""

ALIASES: dict[str, str] = {
    "SAT": "SATURATED",
    "CR": "COSMIC_RAY",
    "INTRP": "INTERPOLATED",
    "EDGE": "DETECTION_EDGE",
    "UNMASKEDNAN": "UNMASKED_NAN",
}
"""Names of `lsst.afw` for planes that have another name in `lsst.images`."""

BAD_PLANES: tuple[str, ...] = ("BAD", "SATURATED", "INTERPOLATED", "COSMIC_RAY", "NO_DATA", "UNMASKED_NAN")
"""Mask planes of pixels without information on the sky.

``DETECTION_EDGE`` is not one of them: its pixels are good, but too close to the edge for the convolution of
the stack.
"""


def canonical_plane(name: str) -> str:
    """Return the name of a mask plane in `lsst.images`."""
    return ALIASES.get(name, name)


def plane_bits(names: Iterable[str]) -> int:
    """Return the bitmask of some mask planes.

    Parameters
    ----------
    names
        Names of mask planes, in `lsst.images` or `lsst.afw`.

    Raises
    ------
    ValueError
        Raised if a name is not one of `MASK_PLANES`.
    """
    bits = 0
    for name in names:
        try:
            bits |= 1 << MASK_PLANES.index(canonical_plane(name))
        except ValueError:
            raise ValueError(f"Unknown mask plane {name!r}; use one of {', '.join(MASK_PLANES)}.") from None
    return bits


def pad_array[T: np.generic](
    array: npt.NDArray[T], shape: tuple[int, int], fill: float = 0
) -> npt.NDArray[T]:
    """Return an array of a larger shape, filled beyond the last pixels."""
    if array.shape == shape:
        return array
    missing = [(0, size - have) for size, have in zip(shape, array.shape, strict=True)]
    return np.pad(array, missing, constant_values=fill)


@dataclasses.dataclass(frozen=True)
class PixelPlane:
    """One kind of pixel values of an image or a tile."""

    dtype: type[np.generic]
    """Type of the values."""

    fill: float = 0
    """Value of pixels that do not exist, beyond the edges of an image."""

    optional: bool = False
    """Whether an image or a tile file may lack it."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImagePlanes:
    """A calibrated image as arrays, all of shape (ny, nx).

    The fields with a `PixelPlane` are the table of planes that layout, writer, reader and cutter of tiles
    follow, so that a new field needs no edit there.

    Raises
    ------
    ValueError
        Raised if the shapes disagree or the image is not two-dimensional.
    """

    image: npt.NDArray[np.float32] = dataclasses.field(metadata={"plane": PixelPlane(np.float32)})
    """Pixel values, in any flux unit."""

    variance: npt.NDArray[np.float32] = dataclasses.field(metadata={"plane": PixelPlane(np.float32)})
    """Variance of the pixel values."""

    mask: npt.NDArray[np.uint32] = dataclasses.field(
        metadata={"plane": PixelPlane(np.uint32, fill=plane_bits(["NO_DATA"]))}
    )
    """Mask bits; bit ``i`` is plane ``MASK_PLANES[i]``."""

    psf: PsfGrid
    """Point-spread function in the array coordinates of the image."""

    template: npt.NDArray[np.float32] | None = dataclasses.field(
        default=None, metadata={"plane": PixelPlane(np.float32, fill=np.nan, optional=True)}
    )
    """Template of the same sky on the same pixels, if there is one: without its background, in the units of
    the image, NaN where it has no data.
    """

    @classmethod
    def table(cls) -> dict[str, PixelPlane]:
        """Return the planes that an image may have, by name."""
        return {f.name: f.metadata["plane"] for f in dataclasses.fields(cls) if "plane" in f.metadata}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the planes that the image has, by name."""
        arrays = {name: getattr(self, name) for name in self.table()}
        return {name: array for name, array in arrays.items() if array is not None}

    def cut(self, rows: slice, columns: slice) -> Self:
        """Return part of the image, filled beyond its upper edges.

        The PSF is still in the coordinates of the whole image.
        """
        table = self.table()
        ny, nx = (len(range(s.start, s.stop, s.step or 1)) for s in (rows, columns))
        parts: dict[str, Any] = {
            name: pad_array(array[rows, columns], (ny, nx), table[name].fill)
            for name, array in self.arrays().items()
        }
        return dataclasses.replace(self, **parts)

    def __post_init__(self) -> None:
        if self.image.ndim != 2:
            raise ValueError(f"The image has shape {self.image.shape}; pass an image of two dimensions.")
        for name, plane in self.arrays().items():
            if plane.shape != self.image.shape:
                raise ValueError(
                    f"The {name} plane has shape {plane.shape}, the image {self.image.shape}; "
                    "pass planes of one shape."
                )

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx) of the image."""
        return (self.image.shape[0], self.image.shape[1])

    def has(self, *names: str) -> npt.NDArray[np.bool_]:
        """Return the pixels with any of some mask planes, shape (ny, nx)."""
        return (self.mask & np.uint32(plane_bits(names))) != 0

    def bad(self) -> npt.NDArray[np.bool_]:
        """Return the pixels that carry no information, shape (ny, nx).

        A mask plane of `BAD_PLANES` makes a pixel bad, and so does a value that is not finite or a variance
        that is not finite and positive.
        """
        bad = self.has(*BAD_PLANES)
        bad |= ~np.isfinite(self.image)
        # A NaN variance fails both comparisons.
        bad |= ~((self.variance > 0.0) & (self.variance < np.inf))
        return bad
