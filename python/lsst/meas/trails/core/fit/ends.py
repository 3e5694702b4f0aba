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

"""Locate the ends of a trail and estimate their uncertainty.

The likelihood of a trail has many maxima in its length, because of noise and of stars on the line. A scan of
all pairs of ends before the fit finds a start near the right maximum; a scan after the fit measures the
scatter of the maxima of similar likelihood.
"""

from __future__ import annotations

__all__ = ("end_variances", "find_ends")

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import scipy.special

from ..background import SkySubtracted
from ..geometry import Trail
from ..psf import FWHM_PER_SIGMA

type _Floats = npt.NDArray[np.float64]

_HALF_WIDTH = 1.2
"""Half of the width of the strip that is summed, FWHM."""

_MAX_EXTENSION = 120.0
"""Farthest extension of the given ends, pixels."""

_BRIGHTEST = 3.0
"""Greatest brightness of a trail, in units of its median brightness."""

_BLURRED = 5.0
"""Distance from the end of a line beyond which it is not blurred, sigma of the PSF."""

_GRID = 81
"""Number of positions of each end on the grid."""

_LOCAL_REACH = 6.0
"""Reach of the grid from the fitted end, in units of its local error."""

_WALK_REACH = 20.0
"""The same, in units of the length with a significance of one; see `end_variances`."""

_WALK_MATTERS = 0.16
"""Least relevant ratio of this length to the local error: the ends scatter by five times the length."""


def find_ends(sky: SkySubtracted, trail: Trail) -> Trail:
    """Find the ends of a trail along its line.

    Parameters
    ----------
    sky
        The image.
    trail
        The trail; its line is taken as known, its ends are approximate.

    Returns
    -------
    trail
        The uniform piece of the line that improves the likelihood most; the input if no piece does.

    Notes
    -----
    With ``a`` the best-fitting brightness per pixel of line at each position and ``w`` its inverse variance,
    a piece of constant brightness improves the log-likelihood by ``(sum a w)^2 / (2 sum w)``. Positions
    brighter than three times the median over the given trail, and positions within a FWHM of them, are
    ignored, so that a star on the line is not taken for the trail.
    """
    fwhm = sky.psf.fwhm(trail.x, trail.y)
    reach = 0.5 * trail.length + min(max(0.6 * trail.length, 3.0 * fwhm), _MAX_EXTENSION)
    t = np.arange(-np.ceil(reach), np.ceil(reach) + 1.0)
    brightness, weight = _profile(sky, trail, t, fwhm)
    typical = _typical(brightness, weight, t, trail.length)
    if not typical > 0.0:
        return trail
    weight = _without_stars(brightness, weight, typical, fwhm)
    signal = np.concatenate([[0.0], np.cumsum(brightness * weight)])
    norm = np.concatenate([[0.0], np.cumsum(weight)])
    gain = np.maximum(signal[None, :] - signal[:, None], 0.0)
    gain *= gain
    # Zero for ends in the wrong order.
    spread = norm[None, :] - norm[:, None]
    spread[spread <= 0.0] = np.inf
    gain /= spread
    first, last = np.unravel_index(int(np.argmax(gain)), gain.shape)
    if gain[first, last] <= 0.0:
        return trail
    # Piece k of the line reaches from t[k] - 1/2 to t[k] + 1/2.
    start, stop = float(t[first]) - 0.5, float(t[last - 1]) + 0.5
    middle = 0.5 * (start + stop)
    c, s = trail.direction
    return Trail(trail.x + middle * c, trail.y + middle * s, stop - start, trail.angle)


def end_variances(
    sky: SkySubtracted, trail: Trail, *, snr: float, end_error: float, level: float = 0.0
) -> tuple[float, float]:
    """Return the variances of the ends of a fitted trail.

    Parameters
    ----------
    sky
        The image.
    trail
        The fitted trail.
    snr
        Flux over its error.
    end_error
        Standard error of each end along the line, from the curvature of the likelihood at the fit, pixels.
    level
        Local background above the level of the image.

    Returns
    -------
    midpoint, length
        Mean square deviations, from the fit, of the midpoint along the line and of the length, pixels
        squared; zero if the curvature is sufficient.

    Notes
    -----
    As an end moves along the line, the log-likelihood falls by ``snr^2 / (2 length)`` per pixel on average,
    plus a random walk: the end is a change point. Its position scatters by ``5.1 length / snr^2`` (Yao 1987,
    Ann. Statist. 15, 1321) however sharp the maximum, for faint and long trails several times more than the
    curvature suggests. The mean squares are averages over the likelihood of all pairs of ends on a grid, each
    with its best-fitting brightness.
    """
    length = trail.length
    walk = length / max(snr, 1.0) ** 2
    if not (np.isfinite(end_error) and walk > _WALK_MATTERS * end_error):
        return 0.0, 0.0
    fwhm = sky.psf.fwhm(trail.x, trail.y)
    sigma = fwhm / FWHM_PER_SIGMA
    reach = min(max(_LOCAL_REACH * end_error, _WALK_REACH * walk), _MAX_EXTENSION)
    stop = np.ceil(0.5 * length + reach + 4.0 * sigma)
    t = np.arange(-stop, stop + 1.0)
    brightness, weight = _profile(sky, trail, t, fwhm, level)
    typical = _typical(brightness, weight, t, length)
    if not typical > 0.0:
        return 0.0, 0.0
    weight = _without_stars(brightness, weight, typical, fwhm)
    shift = np.linspace(-reach, reach, _GRID)
    # A trail is the difference of two half-lines, blurred by the PSF.
    first, last = (_half_lines(t, shift + end, sigma) for end in (-0.5 * length, 0.5 * length))
    signal = (first @ (weight * brightness))[:, None] - (last @ (weight * brightness))[None, :]
    norm = (
        (np.square(first) @ weight)[:, None]
        + (np.square(last) @ weight)[None, :]
        - 2.0 * (first * weight) @ last.T
    )
    usable = (length + shift[None, :] - shift[:, None] > 0.0) & (signal > 0.0) & (norm > 0.0)
    if not np.any(usable):
        return 0.0, 0.0
    log_likelihood = np.where(usable, 0.5 * np.square(signal) / np.where(usable, norm, 1.0), -np.inf)
    probability = np.exp(log_likelihood - log_likelihood.max())
    probability /= probability.sum()
    midpoint = 0.5 * (shift[:, None] + shift[None, :])
    longer = shift[None, :] - shift[:, None]
    return float(np.sum(probability * np.square(midpoint))), float(np.sum(probability * np.square(longer)))


def _half_lines(t: _Floats, start: _Floats, sigma: float) -> _Floats:
    """Return lines that begin at increasing positions, blurred by a Gaussian, shape (len(start), len(t))."""
    lines = np.zeros((len(start), len(t)))
    low, high = np.searchsorted(t, (start[0] - _BLURRED * sigma, start[-1] + _BLURRED * sigma))
    lines[:, high:] = 1.0
    lines[:, low:high] = scipy.special.ndtr((t[low:high] - start[:, None]) / sigma)
    return lines


def _typical(brightness: _Floats, weight: _Floats, t: _Floats, length: float) -> float:
    """Return the median brightness on a trail, 0 without good pixels."""
    inside = (np.abs(t) <= 0.5 * length) & (weight > 0.0)
    return float(np.median(brightness[inside])) if np.any(inside) else 0.0


def _without_stars(brightness: _Floats, weight: _Floats, typical: float, fwhm: float) -> _Floats:
    """Return the weights of a profile, zero near stars."""
    # Clipped noise would bias the mean of faint trails.
    noise = 1.0 / np.sqrt(np.where(weight > 0.0, weight, np.inf))
    star = brightness > _BRIGHTEST * typical + 5.0 * noise
    if not star.any():
        return weight
    return np.where(scipy.ndimage.binary_dilation(star, iterations=max(1, round(fwhm))), 0.0, weight)


def _profile(
    sky: SkySubtracted, trail: Trail, t: _Floats, fwhm: float, level: float = 0.0
) -> tuple[_Floats, _Floats]:
    """Return brightness along a line and its inverse variance, shape (n,)."""
    sigma = fwhm / FWHM_PER_SIGMA
    v = np.arange(-np.ceil(_HALF_WIDTH * fwhm), np.ceil(_HALF_WIDTH * fwhm) + 1.0)
    x, y = trail.x, trail.y
    c, s = trail.direction
    columns = np.rint(x + t[:, None] * c - v[None, :] * s).astype(np.int64)
    rows = np.rint(y + t[:, None] * s + v[None, :] * c).astype(np.int64)
    # The pixels are up to half a pixel off the strip: use their own distance from the line.
    off = (rows - y) * c - (columns - x) * s
    cross = np.exp(-0.5 * np.square(off / sigma)) / (np.sqrt(2.0 * np.pi) * sigma)
    inside = (rows >= 0) & (rows < sky.shape[0]) & (columns >= 0) & (columns < sky.shape[1])
    rows, columns = np.where(inside, rows, 0), np.where(inside, columns, 0)
    good = inside & ~sky.bad[rows, columns]
    variance = np.where(good, sky.planes.variance[rows, columns], 1.0).astype(np.float64)
    data = np.where(good, sky.planes.image[rows, columns] - sky.level[rows, columns] - level, 0.0)
    weight = np.sum(np.where(good, np.square(cross) / variance, 0.0), axis=1)
    signal = np.sum(np.where(good, cross * data / variance, 0.0), axis=1)
    return np.divide(signal, weight, out=np.zeros_like(signal), where=weight > 0.0), weight
