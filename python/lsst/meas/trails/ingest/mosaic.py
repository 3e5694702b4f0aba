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

"""Raw frames of color cameras, by their pixels."""

from __future__ import annotations

__all__ = ("MOST_MOSAIC", "measure_mosaic")

import numpy as np
import numpy.typing as npt

MOST_MOSAIC = 2.0
"""Largest plausible result of `measure_mosaic`; the sky through filters of different colors exceeds it."""


def measure_mosaic(image: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_]) -> float:
    """Measure the difference between the levels of adjacent pixels.

    Parameters
    ----------
    image
        Pixel values, shape (ny, nx); bad pixels may be NaN.
    bad
        Pixels to ignore, same shape.

    Returns
    -------
    difference
        Largest difference of the medians of the four kinds of pixels, by even and odd row and column, in
        units of the scatter within a kind; 0 if it cannot be measured.
    """
    levels, scatters = [], []
    for row in (0, 1):
        for column in (0, 1):
            pixels = image[row::2, column::2][~bad[row::2, column::2]]
            if pixels.size == 0:
                return 0.0
            levels.append(float(np.median(pixels)))
            scatters.append(1.4826 * float(np.median(np.abs(pixels - levels[-1]))))
    scatter = float(np.median(scatters))
    return (max(levels) - min(levels)) / scatter if scatter > 0.0 else 0.0
