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

"""Fit of a PSF to the stars of an image."""

from __future__ import annotations

__all__ = ("MAX_FWHM", "MIN_FWHM", "MIN_STARS", "Field", "MeasuredPsf", "Star", "fit_psf", "stamp_size")

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import galsim
import numpy as np
import numpy.typing as npt
import piff

from lsst.images import Box
from lsst.images.psfs import PiffWrapper

from ..core.psf import kernel_fwhm

if TYPE_CHECKING:
    from lsst.images.psfs import PointSpreadFunction

MIN_FWHM, MAX_FWHM = 1.0, 40.0
"""Range of the FWHM of stars, pixels."""

MIN_STARS = 5
"""Number of stars for a reliable PSF."""

_MAX_PROFILE_STARS = 8
"""Largest number of stars for the choice of the profile."""

_MIN_STARS_BY_ORDER = (1, 12, 36)
"""Number of stars for a constant, linear and quadratic PSF."""

_PROFILES: Mapping[str, Callable[..., piff.Model]] = {
    "Gaussian": piff.Gaussian,
    "Kolmogorov": piff.Kolmogorov,
    # GalSim has closed forms for these exponents; others are ten times slower.
    "Moffat of beta 3.5": functools.partial(piff.Moffat, beta=3.5),
    "Moffat of beta 2.5": functools.partial(piff.Moffat, beta=2.5),
}
"""Profiles, by increasing strength of the wings."""

_MAX_SHEAR = 0.5
"""Largest shear of the profile of a star.

Profiles that are a needle need Fourier transforms of gigabytes.
"""

_MAX_ITERATIONS = 10
_MAX_EVALUATIONS = 50

_MANY_NEIGHBORS = 3
"""Number of neighbors of a star in a crowded field."""

_MODEL_ERROR = 0.02
"""Relative error of a profile in the core of a star.

It limits the weight of bright stars and prevents their rejection.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredPsf:
    """A measured PSF."""

    psf: PointSpreadFunction
    """The PSF, in the array coordinates of the image."""

    fwhm: float
    """FWHM in the middle of the image, pixels.

    See `lsst.meas.trails.core.psf.kernel_fwhm`.
    """

    n_stars: int
    """Number of stars; 0 for a given FWHM."""

    kind: str
    """Description of the model."""


class Field(NamedTuple):
    """Sky-subtracted pixels, their variances, and bad pixels, shape (ny, nx)."""

    image: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32]
    bad: npt.NDArray[np.bool_]


class Star(NamedTuple):
    """Position and FWHM of a star from its moments, pixels, and the other sources near it."""

    x: float
    y: float
    fwhm: float
    neighbors: tuple[tuple[float, float], ...] = ()


def fit_psf(stars: list[Star], fwhm: float, field: Field, pixel_scale: float) -> MeasuredPsf:
    """Fit the best of several profiles, with a polynomial in the position, to stars.

    Parameters
    ----------
    stars
        The stars, the best first.
    fwhm
        Their FWHM, pixels.
    field
        The image.
    pixel_scale
        Arcseconds per pixel.

    Raises
    ------
    ValueError
        Raised if the FWHM of the fit differs from that of the stars.
    RuntimeError
        Raised if no fit converges.
    """
    shape = field.image.shape
    wcs = galsim.PixelScale(pixel_scale)
    piff_stars = [_piff_star(star, fwhm, field, wcs) for star in stars]
    limits = _fit_limits(fwhm, pixel_scale)
    trials = {
        name: _fit(piff_stars[:_MAX_PROFILE_STARS], make_model(scipy_kwargs=limits), 0, wcs)
        for name, make_model in _PROFILES.items()
    }
    profile = min(trials, key=lambda name: trials[name].chisq / trials[name].dof)
    order = max(n for n, needed in enumerate(_MIN_STARS_BY_ORDER) if len(stars) >= needed)
    while True:
        try:
            best = _fit(piff_stars, _PROFILES[profile](scipy_kwargs=limits), order, wcs)
            if order == 0 or (_has_enough(best, order) and _is_plausible(best, shape, fwhm)):
                break
        except (RuntimeError, ValueError, np.linalg.LinAlgError):
            # Too few stars are left.
            if order == 0:
                raise
        order -= 1
    wrapper = PiffWrapper(best, bounds=Box.from_shape(shape), stamp_size=stamp_size(fwhm))
    center = wrapper.compute_kernel_image(x=0.5 * (shape[1] - 1), y=0.5 * (shape[0] - 1))
    measured = kernel_fwhm(center.array)
    if not MIN_FWHM <= measured <= MAX_FWHM or not 0.6 < measured / fwhm < 1.7:
        raise ValueError(f"its FWHM is {measured:.2f} pixels, the stars' {fwhm:.2f}")
    n_stars = sum(not star.is_flagged for star in best.stars)
    variation = ("constant", "linear in position", "quadratic in position")[order]
    return MeasuredPsf(psf=wrapper, fwhm=measured, n_stars=n_stars, kind=f"{profile}, {variation}")


def _fit_limits(fwhm: float, pixel_scale: float) -> dict[str, Any]:
    """Return options of the fit of a profile: flux, center, size and shear, in arcseconds.

    Piff begins with a size of 1 arcsecond.
    """
    size = max(2.0, 3.0 * fwhm * pixel_scale)
    upper = [np.inf, np.inf, np.inf, size, _MAX_SHEAR, _MAX_SHEAR]
    lower = [-np.inf, -np.inf, -np.inf, 1e-3 * pixel_scale, -_MAX_SHEAR, -_MAX_SHEAR]
    return {"bounds": (lower, upper), "max_nfev": _MAX_EVALUATIONS}


def _piff_star(star: Star, fwhm: float, field: Field, wcs: galsim.PixelScale) -> piff.Star:
    r = int(np.ceil(2.5 * fwhm))
    x0, y0 = max(0, round(star.x) - r), max(0, round(star.y) - r)
    part = (slice(y0, round(star.y) + r + 1), slice(x0, round(star.x) + r + 1))
    pixels = field.image[part].astype(np.float64)
    weight = np.where(field.bad[part], 0.0, 1.0 / (field.variance[part] + np.square(_MODEL_ERROR * pixels)))
    weight[_near_neighbors(star, fwhm, x0, y0, pixels.shape)] = 0.0
    data = piff.StarData(
        galsim.Image(pixels, xmin=x0, ymin=y0, wcs=wcs),
        galsim.PositionD(star.x, star.y),
        weight=galsim.Image(weight, xmin=x0, ymin=y0, wcs=wcs),
    )
    return piff.Star(data, None)


def _near_neighbors(
    star: Star, fwhm: float, x0: int, y0: int, shape: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    """Return the pixels of a stamp that are nearer to another source than to the star."""
    y, x = np.mgrid[y0 : y0 + shape[0], x0 : x0 + shape[1]]
    own = np.hypot(x - star.x, y - star.y)
    near = np.zeros(shape, dtype=np.bool_)
    for other_x, other_y in star.neighbors:
        distance = np.hypot(x - other_x, y - other_y)
        near |= (distance < own) & (distance < 1.5 * fwhm)
    if len(star.neighbors) > _MANY_NEIGHBORS:
        # Fainter sources that were not detected fill the rest of the stamp.
        near |= own > 1.5 * fwhm
    return near & (own > 0.7 * fwhm)


def _fit(stars: list[piff.Star], model: piff.Model, order: int, wcs: galsim.PixelScale) -> piff.SimplePSF:
    outliers = piff.ChisqOutliers(nsigma=4.0, max_remove=0.2) if len(stars) >= MIN_STARS else None
    psf = piff.SimplePSF(model, piff.Polynomial(order=order), outliers=outliers, max_iter=_MAX_ITERATIONS)
    psf.fit(list(stars), {0: wcs}, None)
    if not (np.isfinite(psf.chisq) and psf.dof > 0):
        raise RuntimeError("the fit did not converge")
    return psf


def _has_enough(psf: piff.SimplePSF, order: int) -> bool:
    """Return whether half of the stars that a polynomial needs are left."""
    return 2 * sum(not star.is_flagged for star in psf.stars) >= _MIN_STARS_BY_ORDER[order]


def _is_plausible(psf: piff.SimplePSF, shape: tuple[int, int], fwhm: float) -> bool:
    """Return whether a PSF is plausible in the corners of the image."""
    for y in (0.0, shape[0] - 1.0):
        for x in (0.0, shape[1] - 1.0):
            kernel = psf.draw(x, y, stamp_size=stamp_size(fwhm), center=True).array
            if not np.all(np.isfinite(kernel)) or not 0.6 < kernel_fwhm(kernel) / fwhm < 1.7:
                return False
    return True


def stamp_size(fwhm: float) -> int:
    """Return the side of PSF images; the wings beyond hold about 1% of the flux."""
    return max(25, 2 * int(np.ceil(2.7 * fwhm)) + 1)
