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

"""Images as plain arrays, and the names of their mask planes."""

from __future__ import annotations

__all__ = ("ALIASES", "BAD_PLANES", "MASK_PLANES", "ImagePlanes", "canonical_plane", "plane_bits")

import dataclasses
from collections.abc import Iterable

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
"""Mask planes that this package knows, under the names of `lsst.images`;
plane ``i`` is bit ``i`` of the masks of `ImagePlanes` and of tile files.
"""

ALIASES: dict[str, str] = {
    "SAT": "SATURATED",
    "CR": "COSMIC_RAY",
    "INTRP": "INTERPOLATED",
    "EDGE": "DETECTION_EDGE",
    "UNMASKEDNAN": "UNMASKED_NAN",
}
"""Names of `lsst.afw` for the planes that `lsst.images` calls otherwise."""

BAD_PLANES: tuple[str, ...] = (
    "BAD",
    "SATURATED",
    "INTERPOLATED",
    "COSMIC_RAY",
    "NO_DATA",
    "UNMASKED_NAN",
)
"""Planes whose pixels say nothing about the sky.

``DETECTION_EDGE`` is not among them: its pixels are good, they were only too
close to the edge for the stack's own convolution.
"""


def canonical_plane(name: str) -> str:
    """Return the name of a mask plane in `lsst.images`' spelling."""
    return ALIASES.get(name, name)


def plane_bits(names: Iterable[str]) -> int:
    """Return the bitmask of some mask planes.

    Parameters
    ----------
    names
        Names of mask planes, in either spelling.

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
            raise ValueError(f"Unknown mask plane {name!r}; known are {', '.join(MASK_PLANES)}.") from None
    return bits


@dataclasses.dataclass(frozen=True, eq=False)
class ImagePlanes:
    """A calibrated image as arrays, all of shape (ny, nx).

    Parameters
    ----------
    image
        Pixel values, float32, in any flux unit.
    variance
        Variance of the pixel values, float32.
    mask
        Mask bits, uint32; bit ``i`` is plane ``MASK_PLANES[i]``.
    psf
        Point-spread function in the array coordinates of the image.
    template
        Template of the same sky on the same pixels, float32, if there is one:
        without its background, in the units of the image, NaN where it has
        no data.

    Raises
    ------
    ValueError
        Raised if the shapes disagree or the image is not two-dimensional.
    """

    image: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint32]
    psf: PsfGrid
    template: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 2:
            raise ValueError(f"An image must have two dimensions, not shape {self.image.shape}.")
        for name in ("variance", "mask", "template"):
            plane = getattr(self, name)
            if plane is not None and plane.shape != self.image.shape:
                raise ValueError(
                    f"The {name} plane has shape {plane.shape}, the image {self.image.shape}: "
                    "they must be the same."
                )

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx) of the image (`tuple` [`int`, `int`])."""
        return (self.image.shape[0], self.image.shape[1])

    def has(self, *names: str) -> npt.NDArray[np.bool_]:
        """Return where any of some mask planes is set, shape (ny, nx)."""
        return (self.mask & np.uint32(plane_bits(names))) != 0

    def bad(self, planes: Iterable[str] = BAD_PLANES) -> npt.NDArray[np.bool_]:
        """Return where the pixels carry no information, shape (ny, nx).

        Parameters
        ----------
        planes
            Mask planes that make a pixel bad.  Pixels with a value that is
            not finite, or with a variance that is not finite and positive,
            are bad whatever their mask says.
        """
        bad = (self.mask & np.uint32(plane_bits(planes))) != 0
        bad |= ~np.isfinite(self.image)
        # A NaN variance fails both comparisons.
        bad |= ~((self.variance > 0.0) & (self.variance < np.inf))
        return bad
