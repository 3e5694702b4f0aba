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

"""What sources too faint to be told apart add to the noise.

The variance plane knows the photons of the sky and of what stands out of it.
A crowd of faint stars and galaxies is one more noise, correlated over the
PSF: a sum over many pixels, as the flux of a trail is one, scatters more than
its pixels say.
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

_BLOCK = 256
"""Side of the parts of an image that are looked at, pixels."""

_BLOCKS = 4
"""So many of them along each side of a large image."""

_BRIGHT = 5.0
"""Significance from which on a source stands out, and is not looked at."""

_MIN_PIXELS = 2000
"""Fewer pixels without bright sources say nothing."""

_LINEAR = ("xErr", "yErr", "trailLengthPixErr", "trailAnglePixErr", "fluxErr")


def confusion_excess(sky: SkySubtracted) -> float:
    """Return the variance that faint sources add to the PSF flux of a place,
    in units of that of the noise.

    Parameters
    ----------
    sky
        The image.

    Returns
    -------
    excess
        0 where noise is all that there is; also where so much is masked or
        bright that nothing can be said.

    Notes
    -----
    It is the variance, less one, of the significance of PSF fluxes between
    sources above 5 sigma.  Sources of a peak significance ``a`` and density
    ``n`` add ``2 pi n (a sigma)^2``, for a Gaussian PSF of width ``sigma``.
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
    """Return where the parts begin along an axis."""
    number = min(_BLOCKS, -(-size // _BLOCK))
    return np.unique(np.linspace(0, max(size - _BLOCK, 0), number).astype(np.int64))


def _significance(
    data: npt.NDArray[np.floating],
    variance: npt.NDArray[np.floating],
    good: npt.NDArray[np.bool_],
    fwhm: float,
) -> npt.NDArray[np.float64]:
    """Return the significance of the PSF flux at the pixels between bright
    sources, shape (n,).
    """
    good = good & np.isfinite(data) & np.isfinite(variance) & (variance > 0.0)
    scaled = np.zeros(data.shape)
    scaled[good] = data[good] / np.sqrt(variance[good].astype(np.float64))
    sigma = fwhm / FWHM_PER_SIGMA
    # The norm of a Gaussian PSF.
    unit = 2.0 * math.sqrt(math.pi) * sigma
    bright = unit * scipy.ndimage.gaussian_filter(scaled, sigma) > _BRIGHT
    good &= ~scipy.ndimage.binary_dilation(bright, iterations=max(1, round(fwhm)))
    scaled[~good] = 0.0
    # Only where all of the PSF is there is the norm that.
    whole = scipy.ndimage.binary_erosion(good, iterations=max(1, round(fwhm)))
    return np.asarray(unit * scipy.ndimage.gaussian_filter(scaled, sigma)[whole])


def trail_excess(excess: float, length: npt.ArrayLike, fwhm: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return what an excess of PSF fluxes is for the flux of a trail.

    Parameters
    ----------
    excess
        That of PSF fluxes; see `confusion_excess`.
    length
        Length of the trail, pixels.
    fwhm
        FWHM of the PSF, pixels.

    Returns
    -------
    excess
        The same for a point, greater by the square root of 2 for a line
        without end.

    Notes
    -----
    Sources are noise that was convolved with the PSF.  With F the Fourier
    transform of the convolved line and P that of the PSF, the excess goes as
    the integral of ``F^2 P^2`` over that of ``F^2``; across the line nothing
    depends on its length, and along it both are integrals of a triangle times
    a Gaussian.
    """
    sigma = np.asarray(fwhm, dtype=np.float64) / FWHM_PER_SIGMA
    # Of a point both integrals are the limit of those of short lines.
    lengths = np.maximum(np.asarray(length, dtype=np.float64), 1e-3 * sigma)
    ratio = _along(lengths, math.sqrt(2.0) * sigma) / _along(lengths, sigma)
    return np.asarray(excess * math.sqrt(2.0) * ratio)


def _along(length: npt.NDArray[np.float64], sigma: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the integral of the square of a line of unit flux that was
    convolved with a Gaussian, in one dimension.
    """
    ratio = length / (2.0 * sigma)
    return np.asarray(
        scipy.special.erf(ratio) / length
        + 2.0 * sigma / (math.sqrt(math.pi) * length**2) * np.expm1(-np.square(ratio))
    )


def inflate_errors(table: astropy.table.Table, excess: float) -> None:
    """Raise the errors of fits by what faint sources add to the noise.

    Parameters
    ----------
    table
        Candidates as `~lsst.meas.trails.core.candidates.find.find_candidates` has
        them; changed in place.
    excess
        That of PSF fluxes; see `confusion_excess`.
    """
    factor = np.sqrt(1.0 + trail_excess(excess, table["trailLengthPix"], table["psfFwhm"]))
    for name in _LINEAR:
        table[name] *= factor
    table["trailAnglePixErr"] = np.minimum(table["trailAnglePixErr"], 90.0)
    table["xyCovariance"] *= np.square(factor)
    table["snr"] /= factor
