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

__all__ = ("saturate",)

import numpy as np
import numpy.typing as npt
import scipy.ndimage


def saturate(image: npt.NDArray[np.float32], level: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
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
