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

"""Magnitudes, signal-to-noise scales, and the gain of an image."""

from __future__ import annotations

__all__ = (
    "AB_ZEROPOINT_NJY",
    "detection_magnitude_loss",
    "estimate_gain",
    "flux_to_mag",
    "mag_to_flux",
    "point_source_flux_limit",
    "typical_variance",
)

import numpy as np
import numpy.typing as npt

from .planes import ImagePlanes

type _Reals = npt.NDArray[np.floating]
type _Mask = npt.NDArray[np.bool_]
type _Floats = npt.NDArray[np.float64]
"""Arrays; functions of scalars return scalars."""

AB_ZEROPOINT_NJY = 31.4
"""AB magnitude of 1 nJy."""


def flux_to_mag(flux: npt.ArrayLike, zeropoint: float = AB_ZEROPOINT_NJY) -> _Floats:
    """Return magnitudes of fluxes; NaN for fluxes that are not positive.

    The zero point is the magnitude of unit flux, by default of 1 nJy.
    """
    flux = np.asarray(flux, dtype=np.float64)
    positive = flux > 0.0
    return np.where(positive, zeropoint - 2.5 * np.log10(np.where(positive, flux, 1.0)), np.nan)[()]


def mag_to_flux(mag: npt.ArrayLike, zeropoint: float = AB_ZEROPOINT_NJY) -> _Floats:
    """Return fluxes of magnitudes; nJy for the default zero point."""
    return np.power(10.0, -0.4 * (np.asarray(mag, dtype=np.float64) - zeropoint))


def detection_magnitude_loss(length: npt.ArrayLike, fwhm: float | _Floats) -> _Floats:
    """Return the loss of a trail in point-source detection, magnitudes.

    The loss is ``1.25 log10(1 + a x^2 / (1 + b x))`` with ``x = length / fwhm``, both in pixels, ``a = 0.42``
    and ``b = 0`` (Jones et al. 2018, Icarus 303, 181, eq. 5).
    """
    x = np.asarray(length, dtype=np.float64) / fwhm
    return 1.25 * np.log10(1.0 + 0.42 * np.square(x))


def point_source_flux_limit(kernel: _Reals, variance: npt.ArrayLike, nsigma: float = 5.0) -> _Floats:
    """Return the flux of a point source with a given optimal SNR.

    Parameters
    ----------
    kernel
        PSF of unit flux, shape (k, k).
    variance
        Variance per pixel, image units squared.
    nsigma
        The SNR.
    """
    return nsigma * np.sqrt(np.asarray(variance, dtype=np.float64) / np.sum(np.square(kernel)))


def typical_variance(planes: ImagePlanes, bad: _Mask) -> float:
    """Return the median variance of an image, the variance of its sky.

    Parameters
    ----------
    planes
        The image.
    bad
        Pixels to ignore, shape (ny, nx).

    Returns
    -------
    variance
        Image units squared; NaN if all pixels are bad.
    """
    good = planes.variance[~bad]
    return float(np.median(good[:: max(1, good.size // 100_000)])) if good.size else float("nan")


def estimate_gain(image: _Reals, variance: _Reals, bad: _Mask, max_pixels: int = 1_000_000) -> float:
    """Estimate the gain of an image from its variance plane.

    The variance of a pixel is the variance of the sky plus signal over gain, so that the slope of variance
    against signal is the inverse gain.

    Parameters
    ----------
    image, variance
        The planes, shape (ny, nx), image units and their square.
    bad
        Pixels to ignore.
    max_pixels
        Approximate number of pixels to sample at most.

    Returns
    -------
    gain
        Electrons per image unit; ``inf`` if the variance does not grow with the signal, as in a plane without
        the Poisson noise of sources.
    """
    step = max(1, int(np.sqrt(image.size / max_pixels)))
    good = ~bad[::step, ::step]
    signal = image[::step, ::step][good].astype(np.float64)
    v = variance[::step, ::step][good].astype(np.float64)
    if signal.size < 100:
        return np.inf
    # The median of the slopes from the sky to each bright pixel is robust to
    # outliers and to the noise of faint pixels, which biases a regression.
    sky = np.median(signal)
    noise = np.sqrt(np.median(v))
    # Beyond 5 sigma there are only sources, not the tail of the noise.
    bright = signal - sky > 5.0 * noise
    if np.count_nonzero(bright) < 20:
        return np.inf
    faint = np.abs(signal - sky) < 1.0 * noise
    slope = np.median((v[bright] - np.median(v[faint])) / (signal[bright] - np.median(signal[faint])))
    return float(1.0 / slope) if slope > 0.0 else np.inf
