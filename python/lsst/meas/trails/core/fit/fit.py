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

"""Robust maximum-likelihood fit of a PSF-convolved trail to an image.

The model is the trail of `lsst.meas.trails.core.render` plus a constant background; its parameters are
midpoint, extent (dx, dy), flux and background. Unlike length and angle, these are not singular for short
trails, so that the fit works from point sources to trails of hundreds of pixels.
"""

from __future__ import annotations

__all__ = ("fit_trail", "start_as_fit")

import dataclasses

import numpy as np

from ..background import SkySubtracted
from ..geometry import Trail
from .ends import end_variances
from .minimize import minimize_huber
from .pixels import MAX_FITTED_LENGTH, MIN_PIXELS, OUTLIER, FitRegion, TrailFit

_EVALUATIONS = 40
"""Most evaluations of the model for each choice of pixels."""

_PASSES = 4
"""Most choices of the pixels to fit."""


def fit_trail(sky: SkySubtracted, start: Trail, reach: float = 3.0) -> TrailFit:
    """Fit a trail, starting from approximate parameters.

    Parameters
    ----------
    sky
        The image; its background level is subtracted before the fit.
    start
        Approximate trail; its flux is not used.
    reach
        Pixels farther from the segment than this many FWHM are not fitted.

    Returns
    -------
    fit
        The fit; ``failed`` is set if the start is not finite, fewer than 20 good pixels are left, the fit did
        not converge, or its result is not a trail. If the start is longer than `MAX_FITTED_LENGTH`, its flux
        is not measured either, as the cost grows with the cube of the length.
    """
    for _ in range(_PASSES):
        if (region := _region(sky, start, reach)) is None:
            return TrailFit.failure(start)
        converged, fit = _solve(region)
        # Pixels are chosen around the start: a trail that has grown or moved
        # out of them is fitted again around its new position.
        if fit.failed or (converged and _ends_moved(start, fit) < sky.psf.fwhm(fit.x, fit.y)):
            return _with_end_errors(fit, sky)
        last, start = region, fit
    return _with_end_errors(fit, sky) if converged else last.failure()


def _solve(region: FitRegion) -> tuple[bool, TrailFit]:
    """Return whether the fit to given pixels converged, and the fit."""
    converged, parameters = minimize_huber(
        region.evaluate, region.parameters, region.scales, threshold=OUTLIER, max_evaluations=_EVALUATIONS
    )
    return converged, region.result(parameters)


def start_as_fit(sky: SkySubtracted, start: Trail) -> TrailFit:
    """Return a trail as a failed fit, with its best-fitting flux.

    The parameters are the same as for `fit_trail`.
    """
    region = _region(sky, start, reach=1.5)
    return TrailFit.failure(start) if region is None else region.failure()


def _region(sky: SkySubtracted, start: Trail, reach: float) -> FitRegion | None:
    """Return the pixels around a start, or `None` if it cannot be fitted."""
    finite = np.all(np.isfinite([start.x, start.y, start.length, start.angle]))
    if not finite or not 0.0 <= start.length <= MAX_FITTED_LENGTH:
        return None
    region = FitRegion(sky, start, reach)
    return region if region.n_data >= MIN_PIXELS else None


def _with_end_errors(fit: TrailFit, sky: SkySubtracted) -> TrailFit:
    """Return a fit with errors along the line that allow for noisy ends."""
    if fit.failed or fit.length_err > 0.5 * fit.length + sky.psf.fwhm(fit.x, fit.y):
        # Noise does not explain an end that is not seen at all.
        return fit
    c, s = fit.direction
    along = (c * fit.x_err) ** 2 + (s * fit.y_err) ** 2 + 2.0 * c * s * fit.xy_covariance
    midpoint, length = end_variances(
        sky,
        fit,
        snr=fit.flux / fit.flux_err,
        level=fit.background,
        end_error=float(np.sqrt(max(along, 0.0) + 0.25 * fit.length_err**2)),
    )
    more = max(midpoint - along, 0.0)
    return dataclasses.replace(
        fit,
        x_err=float(np.sqrt(fit.x_err**2 + more * c * c)),
        y_err=float(np.sqrt(fit.y_err**2 + more * s * s)),
        xy_covariance=fit.xy_covariance + more * c * s,
        length_err=float(np.sqrt(max(fit.length_err**2, length))),
    )


def _ends_moved(old: Trail, new: Trail) -> float:
    """Return the largest distance between the ends of two trails."""
    a, b = np.array(old.ends).reshape(2, 2), np.array(new.ends).reshape(2, 2)
    direct = np.hypot(*(a - b).T).max()
    swapped = np.hypot(*(a - b[::-1]).T).max()
    return float(min(direct, swapped))
