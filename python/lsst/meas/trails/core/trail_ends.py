# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""Where does a trail end?  A scan along its line, before the fit.

The likelihood of a trail has many maxima in its length: noise, and stars on
the line, make ends at wrong places look better than those a little further.
The scan tries all pairs of ends at once, and gives the fit a start from which
it finds the right maximum.
"""

from __future__ import annotations

__all__ = ("find_ends",)

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from .planes import ImagePlanes
from .psf import FWHM_PER_SIGMA

_HALF_WIDTH = 1.2
"""Half of the width of the strip that is summed, in FWHM."""

_MAX_EXTENSION = 120.0
"""Farthest beyond the given ends that is searched, pixels."""

_BRIGHTEST = 3.0
"""Brightest part of a trail, in units of its median brightness."""


def find_ends(
    planes: ImagePlanes,
    background: npt.NDArray[np.floating],
    bad: npt.NDArray[np.bool_],
    *,
    x: float,
    y: float,
    length: float,
    angle: float,
) -> tuple[float, float, float]:
    """Find the ends of a trail along a line that is known.

    Parameters
    ----------
    planes
        The image.
    background
        Its background level, shape (ny, nx).
    bad
        Pixels that carry no information, same shape.
    x, y, length, angle
        Roughly where the trail is: midpoint, length (pixels) and angle
        (degrees).

    Returns
    -------
    x, y, length
        Midpoint and length of the uniform piece of the line that improves
        the likelihood most; what was given where nothing does.

    Notes
    -----
    With ``a`` the brightness per pixel of line that fits best at each place
    and ``w`` its inverse variance, a piece with constant brightness improves
    the log-likelihood by ``(sum a w)^2 / (2 sum w)``.  Places brighter than
    three times the median over the given trail, and what is within a FWHM of
    them, are left out, so that a star on the line does not pass for the whole
    of it.
    """
    fwhm = planes.psf.fwhm(x, y)
    reach = 0.5 * length + min(max(0.6 * length, 3.0 * fwhm), _MAX_EXTENSION)
    t = np.arange(-np.ceil(reach), np.ceil(reach) + 1.0)
    brightness, weight = _profile(planes, background, bad, x, y, angle, t, fwhm)
    inside = (np.abs(t) <= 0.5 * length) & (weight > 0.0)
    if not np.any(inside):
        return x, y, length
    typical = float(np.median(brightness[inside]))
    if not typical > 0.0:
        return x, y, length
    # Noise must not be clipped, or faint trails would lose their mean.
    noise = 1.0 / np.sqrt(np.where(weight > 0.0, weight, np.inf))
    star = brightness > _BRIGHTEST * typical + 5.0 * noise
    weight[scipy.ndimage.binary_dilation(star, iterations=max(1, round(fwhm)))] = 0.0
    signal = np.concatenate([[0.0], np.cumsum(brightness * weight)])
    norm = np.concatenate([[0.0], np.cumsum(weight)])
    total = signal[None, :] - signal[:, None]
    spread = norm[None, :] - norm[:, None]
    usable = np.triu(np.ones(total.shape, dtype=bool), k=1) & (spread > 0.0) & (total > 0.0)
    gain = np.where(usable, np.square(total) / np.where(usable, spread, 1.0), 0.0)
    first, last = np.unravel_index(int(np.argmax(gain)), gain.shape)
    if gain[first, last] <= 0.0:
        return x, y, length
    # Piece k of the line reaches from t[k] - 1/2 to t[k] + 1/2.
    start, stop = float(t[first]) - 0.5, float(t[last - 1]) + 0.5
    middle = 0.5 * (start + stop)
    radians = np.deg2rad(angle)
    return x + middle * float(np.cos(radians)), y + middle * float(np.sin(radians)), stop - start


def _profile(
    planes: ImagePlanes,
    background: npt.NDArray[np.floating],
    bad: npt.NDArray[np.bool_],
    x: float,
    y: float,
    angle: float,
    t: npt.NDArray[np.float64],
    fwhm: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return brightness along a line and its inverse variance, shape (n,)."""
    sigma = fwhm / FWHM_PER_SIGMA
    v = np.arange(-np.ceil(_HALF_WIDTH * fwhm), np.ceil(_HALF_WIDTH * fwhm) + 1.0)
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    columns = np.rint(x + t[:, None] * c - v[None, :] * s).astype(np.int64)
    rows = np.rint(y + t[:, None] * s + v[None, :] * c).astype(np.int64)
    # Rounding to whole pixels moves them by up to half of one: the profile
    # is taken at where they are.
    off = (rows - y) * c - (columns - x) * s
    cross = np.exp(-0.5 * np.square(off / sigma)) / (np.sqrt(2.0 * np.pi) * sigma)
    inside = (rows >= 0) & (rows < planes.shape[0]) & (columns >= 0) & (columns < planes.shape[1])
    rows, columns = np.where(inside, rows, 0), np.where(inside, columns, 0)
    good = inside & ~bad[rows, columns]
    variance = np.where(good, planes.variance[rows, columns], 1.0).astype(np.float64)
    data = np.where(good, planes.image[rows, columns] - background[rows, columns], 0.0)
    weight = np.sum(np.where(good, np.square(cross) / variance, 0.0), axis=1)
    signal = np.sum(np.where(good, cross * data / variance, 0.0), axis=1)
    return np.divide(signal, weight, out=np.zeros_like(signal), where=weight > 0.0), weight
