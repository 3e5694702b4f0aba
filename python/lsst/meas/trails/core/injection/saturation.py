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
    """
    labels, count = scipy.ndimage.label(image > level)
    saturated = image > level
    for region in scipy.ndimage.find_objects(labels, count):
        part = image[region]
        excess = np.maximum(part - level, 0.0).sum(axis=0)
        center = 0.5 * (region[0].start + region[0].stop)
        height = region[0].stop - region[0].start
        for offset, charge in enumerate(excess):
            # Bleeds are shorter than the excess charge suggests.
            reach = 0.5 * height + 0.15 * charge / level * rng.uniform(0.8, 1.2)
            start = max(0, int(center - reach))
            stop = min(image.shape[0], int(center + reach) + 1)
            if charge > 0.0:
                saturated[start:stop, region[1].start + offset] = True
    image[saturated] = level
    return saturated
