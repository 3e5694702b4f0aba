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

"""Measurement of the PSF on the stars of an image."""

from __future__ import annotations

__all__ = ("TooFewStarsError", "gaussian_psf", "measure_psf")

import logging
from typing import TYPE_CHECKING

import galsim
import numpy as np
import numpy.typing as npt
import sep
import threadpoolctl

from lsst.images import Box
from lsst.images.psfs import GaussianPointSpreadFunction

from ..core.psf import FWHM_PER_SIGMA
from .psf_fit import MAX_FWHM, MIN_FWHM, MIN_STARS, Field, MeasuredPsf, Star, fit_psf, stamp_size

if TYPE_CHECKING:
    pass

_LOG = logging.getLogger(__name__)

_MAX_STARS = 40
"""Largest number of stars for the fit of the PSF."""

_MAX_CANDIDATES = 300
_MIN_SNR = 30.0
_DETECTION_SIGMA = 8.0

_MIN_MINOR_SIGMA = 0.45
"""Smallest minor-axis sigma of a star, pixels.

It is 0.29 for a cosmic ray and 0.51 for a star with a FWHM of one pixel.
"""

_MAX_ELLIPTICITY = 0.35

_NEIGHBOR_REACH = 5.0
"""Distance of the sources whose pixels are left out of the fit of a star, FWHM."""


class TooFewStarsError(ValueError):
    """Raised if an image has no star to measure the PSF on."""


def gaussian_psf(fwhm: float, shape: tuple[int, int], n_stars: int = 0) -> MeasuredPsf:
    """Return a circular Gaussian PSF.

    Parameters
    ----------
    fwhm
        FWHM in pixels.
    shape
        Shape (ny, nx) of the image.
    n_stars
        Number of stars that the FWHM was measured on.

    Raises
    ------
    ValueError
        Raised if the FWHM is implausible.
    """
    if not MIN_FWHM <= fwhm <= MAX_FWHM:
        raise ValueError(f"a FWHM of {fwhm:.3g} pixels is not between {MIN_FWHM:g} and {MAX_FWHM:g}.")
    psf = GaussianPointSpreadFunction(
        sigma=fwhm / FWHM_PER_SIGMA, bounds=Box.from_shape(shape), stamp_size=stamp_size(fwhm)
    )
    return MeasuredPsf(psf=psf, fwhm=fwhm, n_stars=n_stars, kind="Gaussian")


def measure_psf(
    image: npt.NDArray[np.float32],
    variance: npt.NDArray[np.float32],
    bad: npt.NDArray[np.bool_],
    *,
    pixel_scale: float = 1.0,
) -> MeasuredPsf:
    """Measure the PSF on the stars of an image.

    Parameters
    ----------
    image, variance
        Pixel values and their variances, shape (ny, nx).
    bad
        Pixels without information (saturated, dead, ...), same shape.
    pixel_scale
        Arcseconds per pixel, for the units of the model.

    Returns
    -------
    measured
        A Gaussian, Kolmogorov or Moffat profile fitted by Piff, or a circular Gaussian if the fit fails. Size
        and ellipticity are polynomials of the position; the number of stars determines their order.

    Raises
    ------
    TooFewStarsError
        Raised if the image has no isolated point source of high signal-to-noise ratio.
    """
    filled = np.where(bad, np.float32(0.0), image)
    data = filled - sep.Background(filled, mask=bad, bw=64, bh=64).back(dtype=np.float32)
    data[bad] = 0.0
    field = Field(data, variance, bad)
    stars = _find_stars(field)
    if not stars:
        raise TooFewStarsError("the image has no bright, isolated, unsaturated star")
    fwhm = float(np.median([star.fwhm for star in stars]))
    try:
        # On the small matrices of the fit, more threads only wait for each other.
        with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
            return fit_psf(stars, fwhm, field, pixel_scale)
    except (RuntimeError, ValueError, galsim.GalSimError, np.linalg.LinAlgError) as error:
        _LOG.warning("The PSF fit to %d stars failed (%s); a Gaussian is used.", len(stars), error)
        return gaussian_psf(fwhm, image.shape, n_stars=len(stars))


def _find_stars(field: Field) -> list[Star]:
    """Select stars.

    Point sources are a narrow concentration among the sizes of bright sources. Galaxies are larger; cosmic
    rays are smaller, and most are rejected by their shape.
    """
    data, variance, bad = field
    noise = np.sqrt(np.where(bad, np.float32(1.0), variance))
    sources = _extract(data, noise, bad)
    if len(sources) == 0:
        return []

    x, y = sources["x"], sources["y"]
    radius, _ = sep.flux_radius(data, x, y, np.maximum(6.0 * sources["a"], 4.0), 0.5, mask=bad, subpix=5)
    flux, flux_error, _ = sep.sum_circle(data, x, y, np.maximum(2.5 * radius, 2.0), err=noise, mask=bad)
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = np.where(flux_error > 0.0, flux / flux_error, 0.0)
    candidates = np.flatnonzero((sources["flag"] == 0) & (snr > _MIN_SNR))
    candidates = candidates[np.argsort(-snr[candidates])][:_MAX_CANDIDATES]
    found = {int(i): _measure(data, bad, x[i], y[i], radius[i]) for i in candidates}
    measured = {i: star for i, star in found.items() if star is not None}
    if not measured:
        return []

    typical = _locus(np.array([star.fwhm for star in measured.values()]))
    similar = {i: star for i, star in measured.items() if abs(np.log(star.fwhm / typical)) < 0.1}
    stars: list[Star] = []
    # Crowded fields have too few stars without neighbors of a few percent of
    # the flux; ten percent are accepted there.
    for contamination in (0.02, 0.1):
        stars = []
        for i, star in similar.items():
            distance = np.hypot(x - x[i], y - y[i])
            distance[i] = np.inf
            near = distance < 3.5 * typical
            if not np.any(near & (flux > contamination * flux[i])):
                around = np.flatnonzero(distance < _NEIGHBOR_REACH * typical)
                stars.append(star._replace(neighbors=tuple((float(x[k]), float(y[k])) for k in around)))
        if len(stars) >= MIN_STARS:
            break
    return stars[:_MAX_STARS]


def _measure(
    data: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_], x: float, y: float, radius: float
) -> Star | None:
    """Measure the adaptive moments of a source (Hirata & Seljak 2003, MNRAS 343, 459).

    The result is `None` for sources that are rejected for their shape, bad pixels, or distance to the edge.
    """
    if not np.isfinite(radius) or not 0.5 * MIN_FWHM <= 2.0 * radius <= MAX_FWHM:
        return None
    r = max(5, int(np.ceil(5.0 * radius)))
    ix, iy = round(float(x)), round(float(y))
    inner = int(np.ceil(3.0 * radius))
    if not (inner <= ix < bad.shape[1] - inner and inner <= iy < bad.shape[0] - inner):
        return None
    if np.any(bad[iy - inner : iy + inner + 1, ix - inner : ix + inner + 1]):
        return None
    x0, y0 = max(0, ix - r), max(0, iy - r)
    stamp = galsim.Image(
        data[y0 : iy + r + 1, x0 : ix + r + 1].astype(np.float64), xmin=x0, ymin=y0, scale=1.0
    )
    moments = galsim.hsm.FindAdaptiveMom(
        stamp,
        guess_sig=max(radius / 1.1774, 0.5),
        guess_centroid=galsim.PositionD(float(x), float(y)),
        strict=False,
    )
    if moments.moments_status != 0:
        return None
    # moments_sigma belongs to the circle with the area of the ellipse.
    shape = moments.observed_shape
    minor = moments.moments_sigma * np.sqrt((1.0 - shape.g) / (1.0 + shape.g))
    fwhm = float(FWHM_PER_SIGMA * moments.moments_sigma)
    if shape.e > _MAX_ELLIPTICITY or minor < _MIN_MINOR_SIGMA or not MIN_FWHM <= fwhm <= MAX_FWHM:
        return None
    return Star(x=moments.moments_centroid.x, y=moments.moments_centroid.y, fwhm=fwhm)


def _extract(
    data: npt.NDArray[np.float32], noise: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_]
) -> npt.NDArray[np.void]:
    """Detect sources with a pixel buffer for crowded images."""
    original = sep.get_extract_pixstack()
    try:
        sep.set_extract_pixstack(max(original, data.size // 4))
        return sep.extract(data, _DETECTION_SIGMA, err=noise, mask=bad, minarea=5)
    except Exception as error:
        # sep raises plain Exception when a buffer overflows.
        raise TooFewStarsError(f"the sources cannot be separated ({error})") from error
    finally:
        sep.set_extract_pixstack(original)


def _locus(sizes: npt.NDArray[np.floating]) -> float:
    """Return the size of point sources among the sizes of bright sources.

    It is the smallest size of several sources: galaxies are larger, and few smaller sources were accepted as
    stars.
    """
    values = np.sort(np.log(sizes))
    if len(values) < MIN_STARS:
        return float(np.exp(values[0]))
    count = np.searchsorted(values, values + 0.12, side="right") - np.arange(len(values))
    enough = np.flatnonzero(count >= max(2.0, 0.08 * len(values)))
    # Densest part of the same concentration.
    start = int(enough[0]) if len(enough) else int(np.argmax(count))
    reach = int(np.searchsorted(values, values[start] + 0.12, side="right"))
    densest = start + int(np.argmax(count[start:reach]))
    return float(np.exp(np.median(values[densest : densest + count[densest]])))
