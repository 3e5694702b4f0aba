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

"""Templates, earlier images of the same sky, as inputs of a network."""

from __future__ import annotations

__all__ = ("cut_template",)

import numpy as np
import numpy.typing as npt

from .background import fit_background


def cut_template(
    template: npt.NDArray[np.floating],
    missing: npt.NDArray[np.bool_],
    origin: tuple[int, int] = (0, 0),
    shape: tuple[int, int] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the template of an image as used by networks.

    Parameters
    ----------
    template
        Pixel values in the units of the image, shape (my, mx).
    missing
        Pixels of the template without data, same shape.
    origin
        Array coordinates (x, y) of its first pixel in the image; a template may cover more than the image, or
        less.
    shape
        Shape (ny, nx) of the image; the shape of the template by default.

    Returns
    -------
    template
        The template on the pixels of the image, shape (ny, nx), without its background, which is fitted to
        the whole template; NaN without data.
    """
    missing = missing | ~np.isfinite(template)
    values = np.where(missing, np.float32(np.nan), template).astype(np.float32, copy=False)
    if not np.all(missing):
        values -= fit_background(values, missing).level()
    shape = values.shape if shape is None else shape
    x, y = origin
    if (x, y) == (0, 0) and shape == values.shape:
        return values
    result = np.full(shape, np.nan, dtype=np.float32)
    y0, y1 = max(y, 0), min(y + values.shape[0], shape[0])
    x0, x1 = max(x, 0), min(x + values.shape[1], shape[1])
    if y0 < y1 and x0 < x1:
        result[y0:y1, x0:x1] = values[y0 - y : y1 - y, x0 - x : x1 - x]
    return result
