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

"""Random variations of tiles."""

from __future__ import annotations

__all__ = ("apply_symmetry", "augment_tile")

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ..core.planes import plane_bits
from ..core.tiles.reader import Tile
from .recipe import AugmentationRecipe


def apply_symmetry(array: npt.NDArray[Any], number: int) -> npt.NDArray[Any]:
    """Return an array rotated and mirrored in its last two axes.

    Parameters
    ----------
    array
        Shape (..., n, n).
    number
        Symmetry of the square, 0 to 7: the third bit mirrors, the lowest two bits then count quarter turns.
    """
    if number & 4:
        array = array[..., ::-1]
    return np.rot90(array, number & 3, axes=(-2, -1))


def augment_tile(tile: Tile, recipe: AugmentationRecipe, rng: np.random.Generator) -> Tile:
    """Return a randomly varied tile.

    It may be blurred, get noise, a gradient or masked columns, or lose its template. The variance grows with
    the noise, as in a real image.

    Parameters
    ----------
    tile
        The tile; it is not changed.
    recipe
        Probabilities and amplitudes of the variations.
    rng
        Random numbers.

    Notes
    -----
    A blurred tile has the PSF of worse seeing. Its variance plane holds the variance of single pixels, but
    the noise of neighbors is correlated, as in a resampled image. The PSF model and the template do not
    change.
    """
    image, variance, mask = tile.planes.image, tile.planes.variance, tile.planes.mask
    if recipe.blur > 0.0:
        image, variance = _blur(tile, rng.uniform(0.0, recipe.blur), rng)
    sigma = np.sqrt(np.where(variance > 0.0, variance, 0.0), dtype=np.float32)
    if recipe.noise > 0.0:
        scale = np.float32(rng.uniform(0.0, recipe.noise))
        image = image + scale * sigma * rng.standard_normal(image.shape, dtype=np.float32)
        variance = variance * (np.float32(1.0) + scale**2)
    if recipe.gradient > 0.0:
        angle = rng.uniform(0.0, 2.0 * np.pi)
        positive = sigma[np.isfinite(sigma) & (sigma > 0.0)]
        amplitude = rng.uniform(0.0, recipe.gradient) * (float(np.median(positive)) if positive.size else 0.0)
        y, x = (np.linspace(-0.5, 0.5, size) for size in image.shape)
        plane = amplitude * (np.cos(angle) * x[None, :] + np.sin(angle) * y[:, None])
        image = image + plane.astype(np.float32)
    if recipe.masked_columns > 0.0 and rng.random() < recipe.masked_columns:
        mask = mask.copy()
        # A seam of a few columns, or a block of dead columns.
        width = int(np.exp(rng.uniform(0.0, np.log(24.0))))
        start = int(rng.integers(0, mask.shape[1] - width)) if mask.shape[1] > width else 0
        view = mask if rng.random() < 0.5 else mask.T
        view[:, start : start + width] |= np.uint32(plane_bits(["BAD"]))
    template = tile.planes.template
    if recipe.template_dropout > 0.0 and rng.random() < recipe.template_dropout:
        template = None
    planes = dataclasses.replace(
        tile.planes,
        image=np.asarray(image, dtype=np.float32),
        variance=np.asarray(variance, dtype=np.float32),
        mask=mask,
        template=template,
    )
    return dataclasses.replace(tile, planes=planes)


_SMALLEST_BLUR = 0.1
"""Sigma, pixels, below which a Gaussian does not reach the next pixel."""

_HOLES = ("BAD", "COSMIC_RAY", "NO_DATA", "UNMASKED_NAN")
"""Mask planes of pixels without a sky value, which must not spread."""


def _blur(
    tile: Tile, sigma: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return image and variance convolved with a Gaussian.

    The excess over the background is convolved, which reduces the noise; white noise restores it. The
    variance rises near brighter pixels, which bring more noise.
    """
    image, variance = tile.planes.image, tile.planes.variance
    if sigma < _SMALLEST_BLUR:
        return image, variance
    usable = np.isfinite(image) & np.isfinite(variance) & (variance > 0.0) & ~tile.planes.has(*_HOLES)
    reach = int(np.ceil(4.0 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()

    def spread(values: npt.NDArray[np.float32], profile: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        rows = scipy.ndimage.correlate1d(values, profile, axis=0, mode="nearest")
        return np.asarray(scipy.ndimage.correlate1d(rows, profile, axis=1, mode="nearest"))

    weight = np.maximum(spread(usable.astype(np.float32), kernel), np.float32(1.0e-3))
    excess = spread(np.where(usable, image - tile.background, np.float32(0.0)), kernel) / weight
    kept = spread(np.where(usable, variance, np.float32(0.0)), kernel**2) / weight**2
    total = np.maximum(variance, kept, where=usable, out=variance.copy())
    lost = np.sqrt(np.where(usable, total - kept, np.float32(0.0)))
    blurred = tile.background + excess + lost * rng.standard_normal(image.shape, dtype=np.float32)
    return np.where(usable, blurred, image).astype(np.float32), total
