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

__all__ = ("Seeing", "draw_seeing", "make_psf", "pixel_psf")

import dataclasses
from collections.abc import Sequence

import galsim
import numpy as np
import numpy.typing as npt
import piff

from lsst.images import Box
from lsst.images.psfs import PiffWrapper

from ..core.psf import PsfGrid
from .detector import PIXEL_SCALE

type _Floats = npt.NDArray[np.float64]

_HALF_DETECTOR = 2000.0
"""Distance over which the PSF changes by the following amounts, pixels.

It is half of a full detector, also for smaller images.
"""

_SIZE_GRADIENT, _SIZE_CURVATURE = 0.02, 0.012
_SHAPE_GRADIENT, _SHAPE_CURVATURE = 0.012, 0.006
_MAX_ELLIPTICITY = 0.15


@dataclasses.dataclass(frozen=True)
class Seeing:
    """Mean PSF of the detectors of a visit."""

    fwhm: float
    """Full width at half maximum before pixel integration, pixels."""

    beta: float
    """Exponent of the Moffat profile."""

    e1: float
    """Ellipticity ``(a^2 - b^2) / (a^2 + b^2)`` along x."""

    e2: float
    """Ellipticity along the diagonal."""


def draw_seeing(rng: np.random.Generator, fwhm: float | None = None) -> Seeing:
    """Draw the seeing of a visit.

    Parameters
    ----------
    rng
        Random number generator.
    fwhm
        FWHM, pixels; by default drawn from 3 to 6 (0.6 to 1.2 arcsec) with a median of 3.9.

    Returns
    -------
    seeing
        Ellipticity up to 0.11, before the variation that `make_psf` adds.
    """
    if fwhm is None:
        fwhm = float(np.clip(rng.lognormal(np.log(3.9), 0.18), 3.0, 6.0))
    ellipticity = min(float(rng.rayleigh(0.04)), 0.11)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    return Seeing(
        fwhm=fwhm,
        beta=float(rng.uniform(2.8, 4.2)),
        e1=float(ellipticity * np.cos(angle)),
        e2=float(ellipticity * np.sin(angle)),
    )


def make_psf(seeing: Seeing, rng: np.random.Generator, bbox: Box) -> PiffWrapper:
    """Make the PSF of a detector.

    Parameters
    ----------
    seeing
        Mean of the PSF over the visit.
    rng
        Random number generator of the variation over the detector.
    bbox
        Box of the detector.

    Returns
    -------
    psf
        Elliptical Moffat profile; its size, by several percent from corner to corner of a full detector, and
        its ellipticity are second-order polynomials of the position.
    """
    u0 = 0.5 * (bbox.x.min + bbox.x.max) * PIXEL_SCALE
    v0 = 0.5 * (bbox.y.min + bbox.y.max) * PIXEL_SCALE
    size = _draw_surface(rng, 1.0, _SIZE_GRADIENT, _SIZE_CURVATURE)
    e1 = _draw_surface(rng, seeing.e1, _SHAPE_GRADIENT, _SHAPE_CURVATURE)
    e2 = _draw_surface(rng, seeing.e2, _SHAPE_GRADIENT, _SHAPE_CURVATURE)
    limit = _largest_ellipticity(e1, e2, bbox)
    if limit > _MAX_ELLIPTICITY:
        e1 *= _MAX_ELLIPTICITY / limit
        e2 *= _MAX_ELLIPTICITY / limit
    unit_fwhm = galsim.Moffat(half_light_radius=1.0, beta=seeing.beta).fwhm
    scale = size * (seeing.fwhm * PIXEL_SCALE / unit_fwhm)
    # Piff's reduced shear is half of the ellipticity, to third order.
    surfaces = [_in_field_units(c, u0, v0, _HALF_DETECTOR * PIXEL_SCALE) for c in (scale, 0.5 * e1, 0.5 * e2)]
    # The wings beyond 2.7 FWHM hold about 1% of the flux.
    stamp_size = max(25, 2 * int(np.ceil(2.7 * seeing.fwhm)) + 1)
    typical = np.array([scale[0, 0], 0.0, 0.0])
    return _polynomial_psf(piff.Moffat(beta=seeing.beta), surfaces, typical, bbox, stamp_size)


def pixel_psf(grid: PsfGrid, bbox: Box) -> PiffWrapper:
    """Make a PSF from its images.

    It is the inverse of `~lsst.meas.trails.repository.visit_image.sample_psf`.

    Parameters
    ----------
    grid
        The PSF in the array coordinates of the image.
    bbox
        Box of the image.

    Returns
    -------
    psf
        The PSF as pixels, each a polynomial of the position, of second order if the grid has enough nodes.
    """
    order = min(2, len(grid.x) - 1, len(grid.y) - 1)
    x, y = (part.ravel() for part in np.meshgrid(grid.x + bbox.x.start, grid.y + bbox.y.start))
    terms = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    # Piff's field positions are pixels times the scale.
    matrix = np.stack([(x * PIXEL_SCALE) ** i * (y * PIXEL_SCALE) ** j for i, j in terms], axis=1)
    solved = np.linalg.lstsq(matrix, grid.kernels.reshape(len(x), -1), rcond=None)[0]
    surfaces = np.zeros((grid.size**2, order + 1, order + 1))
    for (i, j), values in zip(terms, solved, strict=True):
        surfaces[:, i, j] = values
    model = piff.PixelGrid(scale=PIXEL_SCALE, size=grid.size)
    return _polynomial_psf(model, list(surfaces), grid.kernels[0, 0].ravel(), bbox, grid.size)


def _polynomial_psf(
    model: piff.Model, surfaces: Sequence[_Floats], typical: _Floats, bbox: Box, stamp_size: int
) -> PiffWrapper:
    """Return a PSF whose parameters are polynomials of the field position.

    Each parameter of the model has a surface, the coefficients of u^i v^j with shape (n, n), and a typical
    value.
    """
    interp = piff.Polynomial(order=len(surfaces[0]) - 1)
    wcs = galsim.PixelScale(PIXEL_SCALE)
    target = piff.Star.makeTarget(x=bbox.x.min, y=bbox.y.min, wcs=wcs, stamp_size=1)
    psf = piff.SimplePSF(model, interp)
    psf.stars = interp.initialize([piff.Star(target.data, target.fit.newParams(typical, num=None))])
    interp.coeffs = list(surfaces)
    psf.stars = interp.interpolateList(psf.stars)
    psf.wcs = {0: wcs}
    psf.pointing = None
    return PiffWrapper(psf, bounds=bbox, stamp_size=stamp_size)


def _draw_surface(rng: np.random.Generator, mean: float, gradient: float, curvature: float) -> _Floats:
    """Draw the coefficients c[i, j] of X^i Y^j, shape (3, 3).

    X and Y are -1 and 1 at the edges of a full detector.
    """
    c = np.zeros((3, 3))
    c[0, 0] = mean
    c[1, 0], c[0, 1] = rng.normal(0.0, gradient, 2)
    c[2, 0], c[1, 1], c[0, 2] = rng.normal(0.0, curvature, 3)
    return c


def _in_field_units(c: _Floats, u0: float, v0: float, half: float) -> _Floats:
    """Convert coefficients of X = (u - u0) / half and Y = (v - v0) / half to u and v."""
    a, b = -u0 / half, -v0 / half
    out = np.zeros((3, 3))
    out[0, 0] = c[0, 0] + c[1, 0] * a + c[0, 1] * b + c[2, 0] * a * a + c[1, 1] * a * b + c[0, 2] * b * b
    out[1, 0] = (c[1, 0] + 2.0 * c[2, 0] * a + c[1, 1] * b) / half
    out[0, 1] = (c[0, 1] + 2.0 * c[0, 2] * b + c[1, 1] * a) / half
    out[2, 0] = c[2, 0] / half**2
    out[1, 1] = c[1, 1] / half**2
    out[0, 2] = c[0, 2] / half**2
    return out


def _largest_ellipticity(e1: _Floats, e2: _Floats, bbox: Box) -> float:
    x = np.linspace(-0.5, 0.5, 9) * bbox.x.size / _HALF_DETECTOR
    y = np.linspace(-0.5, 0.5, 9) * bbox.y.size / _HALF_DETECTOR
    polynomial = np.polynomial.polynomial.polygrid2d
    return float(np.max(np.hypot(polynomial(x, y, e1), polynomial(x, y, e2))))
