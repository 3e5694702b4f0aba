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

"""Background of an image, and the image with its background.

The background level is interpolated between clipped medians of blocks. Long faint trails need blocks of 64
pixels: a level from a smaller sample is noisy on the scale of the trail and takes part of its signal.
"""

from __future__ import annotations

__all__ = ("BLOCK", "BackgroundMesh", "SkySubtracted", "fit_background")

import dataclasses
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from .planes import ImagePlanes
from .psf import PsfGrid

BLOCK = 64
"""Side of the blocks, pixels."""

_CLIP_SIGMA = 2.5
_CLIP_ITERATIONS = 4
_MIN_GOOD_FRACTION = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class BackgroundMesh:
    """Background level, interpolated between the centers of blocks.

    Parameters
    ----------
    values
        Level at the centers of the blocks, shape (my, mx), image units.
    shape
        Shape (ny, nx) of the image.
    block
        Side of the blocks, pixels.
    """

    values: npt.NDArray[np.float32]
    shape: tuple[int, int]
    block: int = BLOCK

    def level(self, y: slice = slice(None), x: slice = slice(None)) -> npt.NDArray[np.float32]:
        """Return the level over a part of the image, float32.

        Parameters
        ----------
        y, x
            Slices of array coordinates; by default the whole image.
        """
        (below, above, fy), (left, right, fx) = (
            _neighbors(np.arange(*part.indices(size)), count, size)
            for part, size, count in zip((y, x), self.shape, self.values.shape, strict=True)
        )
        # Sums instead of a matrix product: for small matrices the threads of a BLAS cost several times more.
        rows = self.values[below] * (1.0 - fy)[:, None] + self.values[above] * fy[:, None]
        level = np.empty((len(rows), len(fx)), dtype=np.float32)
        # A few rows at a time, without temporary arrays as large as the image.
        for y0 in range(0, len(rows), 64):
            part = rows[y0 : y0 + 64]
            np.multiply(part[:, left], 1.0 - fx, out=level[y0 : y0 + 64])
            level[y0 : y0 + 64] += part[:, right] * fx
        return level


@dataclasses.dataclass(frozen=True, eq=False)
class SkySubtracted:
    """An image with its background level and its bad pixels.

    Parameters
    ----------
    planes
        The image, background included.
    level
        Background level, image units, shape (ny, nx).
    bad
        Pixels that carry no information, same shape.
    """

    planes: ImagePlanes
    level: npt.NDArray[np.floating]
    bad: npt.NDArray[np.bool_]

    @classmethod
    def from_planes(cls, planes: ImagePlanes, background: BackgroundMesh | None = None) -> Self:
        """Return an image with its background, fitted unless it is given."""
        bad = planes.bad()
        mesh = fit_background(planes.image, bad) if background is None else background
        return cls(planes, mesh.level(), bad)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx) of the image."""
        return self.planes.shape

    @property
    def psf(self) -> PsfGrid:
        """Point-spread function of the image."""
        return self.planes.psf


def fit_background(
    image: npt.NDArray[np.floating], bad: npt.NDArray[np.bool_], block: int = BLOCK
) -> BackgroundMesh:
    """Estimate the background level of an image.

    Parameters
    ----------
    image
        Pixel values, shape (ny, nx); bad pixels may be NaN.
    bad
        Pixels to ignore, same shape.
    block
        Approximate side of the blocks, pixels. The image is divided evenly, so that no block is cut off at
        the edge.

    Returns
    -------
    mesh
        The background; zero if all pixels are bad.

    Notes
    -----
    The level of a block is a median, clipped up to four times at 2.5 times the scatter. The scatter is taken
    from the pixels below the median, which stars and galaxies do not affect. A block with less than a fifth
    of good pixels takes the level of its nearest neighbor. A block that stands out from the median of its 3x3
    neighborhood, such as one filled by a bright star, takes that median.
    """
    ny, nx = image.shape
    rows = _block_edges(ny, block)
    columns = _block_edges(nx, block)
    values = np.full((len(rows) - 1, len(columns) - 1), np.nan)
    for i in range(values.shape[0]):
        band = slice(rows[i], rows[i + 1])
        for j in range(values.shape[1]):
            part = (band, slice(columns[j], columns[j + 1]))
            good = image[part][~bad[part]]
            if good.size >= _MIN_GOOD_FRACTION * bad[part].size and good.size > 0:
                values[i, j] = _clipped_median(good)
    return BackgroundMesh(values=_fill_and_smooth(values), shape=(ny, nx), block=block)


def _block_edges(size: int, block: int) -> npt.NDArray[np.int64]:
    count = max(1, round(size / block))
    return np.linspace(0, size, count + 1).round().astype(np.int64)


def _clipped_median(pixels: npt.NDArray[np.floating]) -> float:
    """Return the median of pixels after clipping; see `fit_background`."""
    ordered = np.sort(pixels)
    low, high = 0, ordered.size
    median = float(ordered[ordered.size // 2])
    for _ in range(_CLIP_ITERATIONS):
        count = high - low
        median = float(0.5 * (ordered[low + (count - 1) // 2] + ordered[low + count // 2]))
        # 15.9% of a Gaussian lies below minus one sigma.
        sigma = median - float(ordered[low + int(0.1587 * count)])
        new_low = int(np.searchsorted(ordered, median - _CLIP_SIGMA * sigma, side="left"))
        new_high = int(np.searchsorted(ordered, median + _CLIP_SIGMA * sigma, side="right"))
        if (new_low, new_high) == (low, high):
            break
        low, high = new_low, new_high
    count = high - low
    return float(0.5 * (ordered[low + (count - 1) // 2] + ordered[low + count // 2]))


def _fill_and_smooth(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    missing = np.isnan(values)
    if np.all(missing):
        return np.zeros(values.shape, dtype=np.float32)
    if np.any(missing):
        nearest = scipy.ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
        values = values[tuple(nearest)]
    if min(values.shape) >= 3:
        # The blocks beyond the edge are an odd reflection, which continues a
        # gradient: other extensions would flatten it at the edges.
        padded = np.pad(values, 1, mode="reflect", reflect_type="odd")
        median = scipy.ndimage.median_filter(padded, size=3)[1:-1, 1:-1]
        residual = values - median
        scatter = 1.4826 * np.median(np.abs(residual))
        values = np.where(np.abs(residual) > 4.0 * scatter, median, values)
    return np.asarray(values, dtype=np.float32)


def _neighbors(
    positions: npt.NDArray[np.int64], count: int, size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the blocks before and after positions along one axis.

    The third value is the weight of the block after each position in a linear interpolation between their
    centers, an extrapolation in the outer half blocks.
    """
    u = (positions + 0.5) * count / size - 0.5
    lower = np.clip(np.floor(u).astype(np.int64), 0, max(count - 2, 0))
    fraction = (u - lower).astype(np.float32) if count > 1 else np.zeros(len(positions), dtype=np.float32)
    return lower, np.minimum(lower + 1, count - 1), fraction
