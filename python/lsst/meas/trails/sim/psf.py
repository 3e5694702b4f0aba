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

"""Point-spread functions of simulated images."""

from __future__ import annotations

__all__ = (
    "Seeing",
    "draw_seeing",
    "make_psf",
)

import dataclasses
from typing import TYPE_CHECKING

import galsim
import numpy as np
import numpy.typing as npt
import piff

from lsst.images import Box
from lsst.images.psfs import PiffWrapper

if TYPE_CHECKING:
    pass

_HALF_DETECTOR = 2000.0
"""Distance in pixels over which the PSF changes by the amounts below: half of
a full detector, also where the image is a smaller one.
"""

_SIZE_GRADIENT, _SIZE_CURVATURE = 0.02, 0.012
_SHAPE_GRADIENT, _SHAPE_CURVATURE = 0.012, 0.006
_MAX_ELLIPTICITY = 0.15


@dataclasses.dataclass(frozen=True)
class Seeing:
    """What the PSFs of the detectors of one visit have in common.

    Parameters
    ----------
    fwhm
        Full width at half maximum before pixels integrate it, pixels.
    beta
        Exponent of the Moffat profile.
    e1, e2
        Ellipticity ``(a^2 - b^2) / (a^2 + b^2)`` along x and along the
        diagonal.
    """

    fwhm: float
    beta: float
    e1: float
    e2: float


def draw_seeing(rng: np.random.Generator) -> Seeing:
    """Draw the seeing of a visit.

    Parameters
    ----------
    rng
        Random number generator.

    Returns
    -------
    seeing
        FWHM of 3 to 6 pixels (0.6 to 1.2 arcsec) with a median of 3.9;
        ellipticity up to 0.11, to which `make_psf` adds what varies.
    """
    fwhm = float(np.clip(rng.lognormal(np.log(3.9), 0.18), 3.0, 6.0))
    ellipticity = min(float(rng.rayleigh(0.04)), 0.11)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    return Seeing(
        fwhm=fwhm,
        beta=float(rng.uniform(2.8, 4.2)),
        e1=float(ellipticity * np.cos(angle)),
        e2=float(ellipticity * np.sin(angle)),
    )


def make_psf(seeing: Seeing, rng: np.random.Generator, bbox: Box, pixel_scale: float = 0.2) -> PiffWrapper:
    """Make the PSF of a detector.

    Parameters
    ----------
    seeing
        Mean of the PSF over the visit.
    rng
        Random number generator, for what varies over the detector.
    bbox
        Box of the detector.
    pixel_scale
        Arcseconds per pixel.

    Returns
    -------
    psf
        Elliptical Moffat profile; its size, by several per cent from corner
        to corner of a full detector, and its ellipticity are second-order
        polynomials of the position.
    """
    center = (0.5 * (bbox.x.min + bbox.x.max), 0.5 * (bbox.y.min + bbox.y.max))
    half = _HALF_DETECTOR * pixel_scale
    u0, v0 = center[0] * pixel_scale, center[1] * pixel_scale

    size = _draw_surface(rng, 1.0, _SIZE_GRADIENT, _SIZE_CURVATURE)
    e1 = _draw_surface(rng, seeing.e1, _SHAPE_GRADIENT, _SHAPE_CURVATURE)
    e2 = _draw_surface(rng, seeing.e2, _SHAPE_GRADIENT, _SHAPE_CURVATURE)
    limit = _largest_ellipticity(e1, e2, bbox)
    if limit > _MAX_ELLIPTICITY:
        e1 *= _MAX_ELLIPTICITY / limit
        e2 *= _MAX_ELLIPTICITY / limit
    model = piff.Moffat(beta=seeing.beta)
    unit_fwhm = galsim.Moffat(half_light_radius=1.0, beta=seeing.beta).fwhm
    scale = size * (seeing.fwhm * pixel_scale / unit_fwhm)

    interp = piff.Polynomial(order=2)
    wcs = galsim.PixelScale(pixel_scale)
    stars = []
    for y in np.linspace(bbox.y.min, bbox.y.max, 5):
        for x in np.linspace(bbox.x.min, bbox.x.max, 5):
            star = piff.Star.makeTarget(x=x, y=y, wcs=wcs, stamp_size=1)
            stars.append(
                piff.Star(star.data, star.fit.newParams(np.array([scale[0, 0], 0.0, 0.0]), num=None))
            )
    psf = piff.SimplePSF(model, interp)
    psf.stars = interp.initialize(stars)
    # The reduced shear that Piff asks for is half of the ellipticity, to third
    # order.
    interp.coeffs = [_in_field_units(c, u0, v0, half) for c in (scale, 0.5 * e1, 0.5 * e2)]
    psf.stars = interp.interpolateList(psf.stars)
    psf.wcs = {0: wcs}
    psf.pointing = None
    # The wings beyond 2.7 FWHM hold about 1% of the flux.
    stamp_size = max(25, 2 * int(np.ceil(2.7 * seeing.fwhm)) + 1)
    return PiffWrapper(psf, bounds=bbox, stamp_size=stamp_size)


def _draw_surface(
    rng: np.random.Generator, mean: float, gradient: float, curvature: float
) -> npt.NDArray[np.float64]:
    """Return coefficients c[i, j] of X^i Y^j, shape (3, 3), where X and Y are
    -1 and 1 at the edges of a full detector.
    """
    c = np.zeros((3, 3))
    c[0, 0] = mean
    c[1, 0], c[0, 1] = rng.normal(0.0, gradient, 2)
    c[2, 0], c[1, 1], c[0, 2] = rng.normal(0.0, curvature, 3)
    return c


def _in_field_units(c: npt.NDArray[np.float64], u0: float, v0: float, half: float) -> npt.NDArray[np.float64]:
    """Return the coefficients of the same polynomial in u and v, for
    X = (u - u0) / half and Y = (v - v0) / half.
    """
    a, b = -u0 / half, -v0 / half
    out = np.zeros((3, 3))
    out[0, 0] = c[0, 0] + c[1, 0] * a + c[0, 1] * b + c[2, 0] * a * a + c[1, 1] * a * b + c[0, 2] * b * b
    out[1, 0] = (c[1, 0] + 2.0 * c[2, 0] * a + c[1, 1] * b) / half
    out[0, 1] = (c[0, 1] + 2.0 * c[0, 2] * b + c[1, 1] * a) / half
    out[2, 0] = c[2, 0] / half**2
    out[1, 1] = c[1, 1] / half**2
    out[0, 2] = c[0, 2] / half**2
    return out


def _largest_ellipticity(e1: npt.NDArray[np.float64], e2: npt.NDArray[np.float64], bbox: Box) -> float:
    x = np.linspace(-0.5, 0.5, 9) * bbox.x.size / _HALF_DETECTOR
    y = np.linspace(-0.5, 0.5, 9) * bbox.y.size / _HALF_DETECTOR
    polynomial = np.polynomial.polynomial.polygrid2d
    return float(np.max(np.hypot(polynomial(x, y, e1), polynomial(x, y, e2))))
