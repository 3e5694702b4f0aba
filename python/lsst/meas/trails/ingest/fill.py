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

"""Pixels of images without data: padding, gaps and fill values."""

from __future__ import annotations

__all__ = ("find_fill",)

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.ndimage

type _Pixels = npt.NDArray[Any]
type _Flags = npt.NDArray[np.bool_]

_LARGEST = 1e18
"""Largest absolute value of a pixel with data; fill values such as -1e30 exceed it."""

_FILL_VALUES = (0, -1, -99, -999, -9999, -32767, -32768, -99999, -(2**31))
"""Values that programs write where they have no data."""

_FILL_SIGMA = 10.0
"""Distance of a fill value below the sky, in units of the noise."""

_BRIGHT_SIGMA = 5.0
"""Distance of a plateau of saturated pixels above the sky, in units of the noise."""

_MIN_RUN = 16
"""Smallest number of equal pixels in a row or column without data."""

_MIN_AREA = 64
"""Smallest number of adjacent constant pixels without data."""

_SAMPLE = 200_000
"""Number of pixels for the statistics of an image."""

_CHANCE = 1e-3
"""Fraction of images in which noise makes a run that is taken for missing data."""


def find_fill(image: _Pixels, blanks: Iterable[float] = ()) -> _Flags:
    """Find the pixels of an image that hold no data.

    Parameters
    ----------
    image
        Pixel values of any type, shape (ny, nx); not changed.
    blanks
        Values without data by the header.

    Returns
    -------
    no_data
        Pixels that are not finite, have a fill value far below the sky, or belong to a patch of one constant
        value: along the border with any value, in the interior if not brighter than the sky, as saturated
        stars are. Noise does not repeat a value in 16 adjacent pixels; in images of few different values,
        the runs must be longer. Same shape.
    """
    no_data = ~np.isfinite(image)
    if image.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            no_data |= np.abs(image) > _LARGEST
    for value in blanks:
        no_data |= image == value
    constant = _constant_runs(image, no_data)
    usable = image[~(no_data | constant)]
    if usable.size == 0:
        return no_data | constant
    usable = usable[:: max(1, usable.size // _SAMPLE)].astype(np.float64)
    level = float(np.median(usable))
    sigma = 1.4826 * float(np.median(np.abs(usable - level)))
    no_data |= _patches(image, constant, level + _BRIGHT_SIGMA * sigma)
    if sigma > 0.0:
        limit = level - _FILL_SIGMA * sigma
        for value in _fill_values(image[~no_data]):
            if value < limit:
                no_data |= image == value
    return no_data


def _fill_values(pixels: _Pixels) -> set[float]:
    """Return possible fill values: the usual ones, and the smallest if it occurs several times."""
    values = {float(value) for value in _FILL_VALUES}
    if pixels.size:
        smallest = np.min(pixels)
        if np.count_nonzero(pixels == smallest) > 2:
            values.add(float(smallest))
    return values


def _constant_runs(image: _Pixels, no_data: _Flags) -> _Flags:
    """Return the pixels in runs of one value, along rows or columns, that noise does not make."""
    constant = _equal_runs(image, _MIN_RUN)
    if not np.any(constant):
        return constant
    rest = image[~(no_data | constant)]
    sample = rest[:: max(1, rest.size // _SAMPLE)].astype(np.float64)
    steps = np.diff(np.unique(sample))
    for value in np.unique(image[constant]) if steps.size else ():
        often = np.mean(sample == value) > (_CHANCE / image.size) ** (1.0 / _MIN_RUN)
        if not often and np.median(np.abs(sample - value)) > 1.5 * np.min(steps):
            continue
        # A common value, such as zero in an image of few counts, needs a longer run.
        is_value = image == value
        fraction = np.count_nonzero(is_value) / np.count_nonzero(~constant | is_value)
        length = np.log(_CHANCE / image.size) / np.log(fraction) if fraction < 1.0 else np.inf
        constant &= ~is_value
        if length < max(image.shape):
            constant |= _equal_runs(image, int(np.ceil(length))) & is_value
    return constant


def _equal_runs(image: _Pixels, length: int) -> _Flags:
    """Return the pixels in runs of equal values along rows or columns."""
    return _runs(image, length) | _runs(image.T, length).T


def _runs(image: _Pixels, length: int) -> _Flags:
    """Return the pixels in runs of equal values along rows."""
    starts = np.ones(image.shape, dtype=np.bool_)
    np.not_equal(image[:, 1:], image[:, :-1], out=starts[:, 1:])
    first = np.flatnonzero(starts)
    lengths = np.diff(first, append=image.size)
    return np.repeat(lengths >= length, lengths).reshape(image.shape)


def _patches(image: _Pixels, constant: _Flags, bright: float) -> _Flags:
    """Return the large patches of constant pixels at the border, and others that are not bright."""
    labels, count = scipy.ndimage.label(constant)
    if count == 0:
        return constant
    large = np.bincount(labels.ravel(), minlength=count + 1) >= _MIN_AREA
    at_border = np.zeros(count + 1, dtype=np.bool_)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        at_border[edge] = True
    dark = np.zeros(count + 1, dtype=np.bool_)
    dark[labels[constant & (image <= bright)]] = True
    chosen = large & (at_border | dark)
    chosen[0] = False
    return np.asarray(chosen[labels], dtype=np.bool_)
