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

__all__ = ("MIN_STARS", "MeasuredPsf", "TooFewStarsError", "gaussian_psf", "measure_psf")

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import galsim
import numpy as np
import numpy.typing as npt
import piff
import sep
import threadpoolctl

from lsst.images import Box
from lsst.images.psfs import GaussianPointSpreadFunction, PiffWrapper

from ..core.psf import FWHM_PER_SIGMA, kernel_fwhm

if TYPE_CHECKING:
    from lsst.images.psfs import PointSpreadFunction

_LOG = logging.getLogger(__name__)

MIN_STARS = 5
"""Number of stars for a reliable PSF."""

_MAX_STARS = 40
"""Largest number of stars for the fit of the PSF."""

_MAX_PROFILE_STARS = 8
"""Largest number of stars for the choice of the profile."""

_MIN_STARS_BY_ORDER = (1, 12, 36)
"""Number of stars for a constant, linear and quadratic PSF."""

_MAX_CANDIDATES = 300
_MIN_SNR = 30.0
_DETECTION_SIGMA = 8.0
_MIN_FWHM, _MAX_FWHM = 1.0, 40.0

_MIN_MINOR_SIGMA = 0.45
"""Smallest minor-axis sigma of a star, pixels.

It is 0.29 for a cosmic ray and 0.51 for a star with a FWHM of one pixel.
"""

_MAX_ELLIPTICITY = 0.35

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

_NEIGHBOR_REACH = 5.0
"""Distance of the sources whose pixels are left out of the fit of a star, FWHM."""

_MODEL_ERROR = 0.02
"""Relative error of a profile in the core of a star.

It limits the weight of bright stars and prevents their rejection.
"""


class TooFewStarsError(ValueError):
    """Raised if an image has no star to measure the PSF on."""


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


class _Field(NamedTuple):
    """Sky-subtracted pixels, their variances, and bad pixels, shape (ny, nx)."""

    image: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32]
    bad: npt.NDArray[np.bool_]


class _Star(NamedTuple):
    """Position and FWHM of a star from its moments, pixels, and the other sources near it."""

    x: float
    y: float
    fwhm: float
    neighbors: tuple[tuple[float, float], ...] = ()


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
    if not _MIN_FWHM <= fwhm <= _MAX_FWHM:
        raise ValueError(f"a FWHM of {fwhm:.3g} pixels is not between {_MIN_FWHM:g} and {_MAX_FWHM:g}.")
    psf = GaussianPointSpreadFunction(
        sigma=fwhm / FWHM_PER_SIGMA, bounds=Box.from_shape(shape), stamp_size=_stamp_size(fwhm)
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
    field = _Field(data, variance, bad)
    stars = _find_stars(field)
    if not stars:
        raise TooFewStarsError("the image has no bright, isolated, unsaturated star")
    fwhm = float(np.median([star.fwhm for star in stars]))
    try:
        # On the small matrices of the fit, more threads only wait for each other.
        with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
            return _fit_profile(stars, fwhm, field, pixel_scale)
    except (RuntimeError, ValueError, galsim.GalSimError, np.linalg.LinAlgError) as error:
        _LOG.warning("The PSF fit to %d stars failed (%s); a Gaussian is used.", len(stars), error)
        return gaussian_psf(fwhm, image.shape, n_stars=len(stars))


def _stamp_size(fwhm: float) -> int:
    """Return the side of PSF images; the wings beyond hold about 1% of the flux."""
    return max(25, 2 * int(np.ceil(2.7 * fwhm)) + 1)


def _find_stars(field: _Field) -> list[_Star]:
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
    stars: list[_Star] = []
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
) -> _Star | None:
    """Measure the adaptive moments of a source (Hirata & Seljak 2003, MNRAS 343, 459).

    The result is `None` for sources that are rejected for their shape, bad pixels, or distance to the edge.
    """
    if not np.isfinite(radius) or not 0.5 * _MIN_FWHM <= 2.0 * radius <= _MAX_FWHM:
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
    if shape.e > _MAX_ELLIPTICITY or minor < _MIN_MINOR_SIGMA or not _MIN_FWHM <= fwhm <= _MAX_FWHM:
        return None
    return _Star(x=moments.moments_centroid.x, y=moments.moments_centroid.y, fwhm=fwhm)


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


def _fit_profile(stars: list[_Star], fwhm: float, field: _Field, pixel_scale: float) -> MeasuredPsf:
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
    wrapper = PiffWrapper(best, bounds=Box.from_shape(shape), stamp_size=_stamp_size(fwhm))
    center = wrapper.compute_kernel_image(x=0.5 * (shape[1] - 1), y=0.5 * (shape[0] - 1))
    measured = kernel_fwhm(center.array)
    if not _MIN_FWHM <= measured <= _MAX_FWHM or not 0.6 < measured / fwhm < 1.7:
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


def _piff_star(star: _Star, fwhm: float, field: _Field, wcs: galsim.PixelScale) -> piff.Star:
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
    star: _Star, fwhm: float, x0: int, y0: int, shape: tuple[int, ...]
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
            kernel = psf.draw(x, y, stamp_size=_stamp_size(fwhm), center=True).array
            if not np.all(np.isfinite(kernel)) or not 0.6 < kernel_fwhm(kernel) / fwhm < 1.7:
                return False
    return True
