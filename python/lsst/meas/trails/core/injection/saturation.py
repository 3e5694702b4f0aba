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

"""Saturation of bright sources, which bleeds along columns."""

from __future__ import annotations

__all__ = ("SATURATION_PLANES", "saturate", "saturate_light")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ..planes import ImagePlanes, plane_bits
from .gain import GainMap

type _Mask = npt.NDArray[np.bool_]

SATURATION_PLANES = ("SATURATED", "INTERPOLATED", "SUSPECT")
"""Mask planes of saturated pixels and their neighbors."""


def saturate(image: npt.NDArray[np.float32], level: float, rng: np.random.Generator) -> _Mask:
    """Clip an image at the full well and let the excess bleed along columns.

    Parameters
    ----------
    image
        Noiseless signal, shape (ny, nx); changed in place.
    level
        Full well in the units of the image.
    rng
        Random number generator of the bleed lengths.

    Returns
    -------
    saturated
        Pixels at the full well, shape (ny, nx).

    Notes
    -----
    Each column of a saturated region bleeds from its own middle, so that a trail's bleeds follow the trail.
    """
    labels, count = scipy.ndimage.label(image > level)
    saturated = image > level
    for number, region in enumerate(scipy.ndimage.find_objects(labels, count), start=1):
        part = np.where(labels[region] == number, image[region], np.float32(0.0))
        excess = np.maximum(part - level, 0.0).sum(axis=0)
        full = part > level
        height = full.sum(axis=0)
        center = (full * np.arange(len(part))[:, None]).sum(axis=0) / np.maximum(height, 1) + region[0].start
        # Bleeds are shorter than the excess charge suggests.
        reach = 0.5 * height + 0.15 * excess / level * rng.uniform(0.8, 1.2, len(excess))
        for offset in np.flatnonzero(height):
            start = max(0, int(center[offset] - reach[offset]))
            stop = min(image.shape[0], int(center[offset] + reach[offset]) + 1)
            saturated[start:stop, region[1].start + offset] = True
    image[saturated] = level
    return saturated


def saturate_light(
    before: ImagePlanes,
    lit: ImagePlanes,
    full_well: npt.ArrayLike,
    rng: np.random.Generator,
    gain: GainMap = GainMap.uniform(np.inf),
) -> ImagePlanes:
    """Saturate the pixels that added light takes above the full well, with the mask planes of the stack.

    Parameters
    ----------
    before, lit
        The image without and with the light, neither changed.
    full_well
        Full well above the sky in image units, of the image or of each pixel, shape (ny, nx).
    rng
        Random numbers of the bleed lengths.
    gain
        Electrons per image unit. The variance of a saturated pixel is that of a full well; with an infinite
        gain it does not change.

    Returns
    -------
    saturated
        Copy of ``lit``, or ``lit`` itself if nothing saturates.

    Notes
    -----
    This is what IsrTaskLSST of ip_isr does by default: ``SATURATED`` and ``SUSPECT`` have the same threshold,
    ``SATURATED`` grows by one pixel, and its pixels are interpolated along rows, which ``INTERPOLATED``
    marks. The interpolation here is linear.
    """
    level = np.broadcast_to(np.asarray(full_well, dtype=np.float32), lit.shape)
    fresh = (lit.image > level) & (before.image <= level) & ~before.has("SATURATED")
    if not fresh.any():
        return lit
    relative = np.zeros(lit.shape, dtype=np.float32)
    relative[fresh] = lit.image[fresh] / level[fresh]
    full = saturate(relative, 1.0, rng) & np.isfinite(level)
    grown = scipy.ndimage.binary_dilation(full)
    image, variance, mask = lit.image.copy(), lit.variance.copy(), lit.mask.copy()
    mask[full] |= np.uint32(plane_bits(["SUSPECT"]))
    mask[grown] |= np.uint32(plane_bits(["SATURATED", "INTERPOLATED"]))
    # A variance that is not positive marks a pixel without data.
    rows, columns = np.nonzero(full & (before.variance > 0.0))
    variance[rows, columns] = before.variance[rows, columns] + level[rows, columns] / gain.at(rows, columns)
    _interpolate_rows(image, grown & np.isfinite(image))
    return dataclasses.replace(lit, image=image, variance=variance, mask=mask)


def _interpolate_rows(image: npt.NDArray[np.float32], hidden: _Mask) -> None:
    """Interpolate pixels linearly between their neighbors in the same row, in place."""
    for row in np.flatnonzero(hidden.any(axis=1)):
        known = ~hidden[row] & np.isfinite(image[row])
        if known.any():
            at = np.flatnonzero(hidden[row])
            image[row, at] = np.interp(at, np.flatnonzero(known), image[row, known])
