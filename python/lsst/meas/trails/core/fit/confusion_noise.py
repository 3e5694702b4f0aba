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

"""Confusion noise from unresolved faint sources.

The variance plane holds the photon noise of the sky and of bright sources. Faint stars and galaxies add a
noise that is correlated over the PSF, so that sums over many pixels, such as the flux of a trail, scatter
more than the variance of their pixels suggests.
"""

from __future__ import annotations

__all__ = ("confusion_excess", "inflate_errors", "trail_excess")

import math

import astropy.table
import numpy as np
import numpy.typing as npt
import scipy.ndimage
import scipy.special

from ..background import SkySubtracted
from ..psf import FWHM_PER_SIGMA

type _Mask = npt.NDArray[np.bool_]
type _Floats = npt.NDArray[np.float64]

_BLOCK = 256
"""Side of the sampled blocks of an image, pixels."""

_BLOCKS = 4
"""Number of blocks along each side of a large image."""

_BRIGHT = 5.0
"""Least significance of bright sources, which are ignored."""

_MIN_PIXELS = 2000
"""Fewest pixels without bright sources for a measurement."""

_LINEAR = ("xErr", "yErr", "trailLengthPixErr", "trailAnglePixErr", "fluxErr")


def confusion_excess(sky: SkySubtracted) -> float:
    """Return the variance of PSF fluxes from faint sources.

    Parameters
    ----------
    sky
        The image.

    Returns
    -------
    excess
        Variance in units of the variance from the noise; 0 for pure noise, and with too few pixels that are
        neither masked nor bright.

    Notes
    -----
    The excess is the variance, less one, of the significance of PSF fluxes between sources above 5 sigma. For
    a Gaussian PSF of width ``sigma``, sources of a peak significance ``a`` and density ``n`` add
    ``2 pi n (a sigma)^2``.
    """
    ny, nx = sky.shape
    total, square, count = 0.0, 0.0, 0
    for y in _starts(ny):
        for x in _starts(nx):
            part = slice(y, y + _BLOCK), slice(x, x + _BLOCK)
            fwhm = sky.psf.fwhm(min(x + _BLOCK / 2, nx / 2 + x / 2), min(y + _BLOCK / 2, ny / 2 + y / 2))
            found = _significance(
                sky.planes.image[part] - sky.level[part], sky.planes.variance[part], ~sky.bad[part], fwhm
            )
            total += float(found.sum())
            square += float(np.square(found).sum())
            count += len(found)
    if count < _MIN_PIXELS:
        return 0.0
    return max(square / count - (total / count) ** 2 - 1.0, 0.0)


def _starts(size: int) -> npt.NDArray[np.int64]:
    """Return the first pixels of the blocks along an axis."""
    number = min(_BLOCKS, -(-size // _BLOCK))
    return np.unique(np.linspace(0, max(size - _BLOCK, 0), number).astype(np.int64))


def _significance(
    data: npt.NDArray[np.floating], variance: npt.NDArray[np.floating], good: _Mask, fwhm: float
) -> _Floats:
    """Return the significance of PSF fluxes between bright sources, (n,)."""
    good = good & np.isfinite(data) & np.isfinite(variance) & (variance > 0.0)
    scaled = np.zeros(data.shape)
    scaled[good] = data[good] / np.sqrt(variance[good].astype(np.float64))
    sigma = fwhm / FWHM_PER_SIGMA
    # The norm of a Gaussian PSF.
    unit = 2.0 * math.sqrt(math.pi) * sigma
    bright = unit * scipy.ndimage.gaussian_filter(scaled, sigma) > _BRIGHT
    good &= ~scipy.ndimage.binary_dilation(bright, iterations=max(1, round(fwhm)))
    scaled[~good] = 0.0
    # The norm holds only for pixels with a complete PSF.
    whole = scipy.ndimage.binary_erosion(good, iterations=max(1, round(fwhm)))
    return np.asarray(unit * scipy.ndimage.gaussian_filter(scaled, sigma)[whole])


def trail_excess(excess: float, length: npt.ArrayLike, fwhm: npt.ArrayLike) -> _Floats:
    """Return the excess of trail fluxes for an excess of PSF fluxes.

    Parameters
    ----------
    excess
        Excess of PSF fluxes; see `confusion_excess`.
    length
        Length of the trail, pixels.
    fwhm
        FWHM of the PSF, pixels.

    Returns
    -------
    excess
        Equal to the excess of PSF fluxes for a point, greater by the square root of 2 for an infinite line.

    Notes
    -----
    The sources are noise convolved with the PSF. With F and P the Fourier transforms of the convolved line
    and the PSF, the excess is proportional to the ratio of the integrals of ``F^2 P^2`` and ``F^2``. Across
    the line the integrals do not depend on its length; along the line both are integrals of a triangle times
    a Gaussian.
    """
    sigma = np.asarray(fwhm, dtype=np.float64) / FWHM_PER_SIGMA
    # A point is the limit of short lines.
    lengths = np.maximum(np.asarray(length, dtype=np.float64), 1e-3 * sigma)
    ratio = _along(lengths, math.sqrt(2.0) * sigma) / _along(lengths, sigma)
    return np.asarray(excess * math.sqrt(2.0) * ratio)


def _along(length: _Floats, sigma: _Floats) -> _Floats:
    """Return the integral over a squared line, convolved with a Gaussian.

    The line has unit flux and one dimension.
    """
    ratio = length / (2.0 * sigma)
    return np.asarray(
        scipy.special.erf(ratio) / length
        + 2.0 * sigma / (math.sqrt(math.pi) * length**2) * np.expm1(-np.square(ratio))
    )


def inflate_errors(table: astropy.table.Table, excess: float) -> None:
    """Add the confusion noise to the errors of candidates, in place.

    Parameters
    ----------
    table
        Candidates; see `~lsst.meas.trails.core.candidates.find.find_candidates`.
    excess
        Excess of PSF fluxes; see `confusion_excess`.
    """
    factor = np.sqrt(1.0 + trail_excess(excess, table["trailLengthPix"], table["psfFwhm"]))
    for name in _LINEAR:
        table[name] *= factor
    table["trailAnglePixErr"] = np.minimum(table["trailAnglePixErr"], 90.0)
    table["xyCovariance"] *= np.square(factor)
    table["snr"] /= factor
