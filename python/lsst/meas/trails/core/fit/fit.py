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

__all__ = ("fit_trail", "scan_and_fit", "start_as_fit")

import dataclasses

import numpy as np

from ..background import SkySubtracted
from ..geometry import Trail
from .ends import end_variances, find_ends
from .minimize import Minimum, minimize_huber
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
    return _fit(sky, start, reach).with_errors(sky)


def scan_and_fit(sky: SkySubtracted, start: Trail, reach: float) -> TrailFit:
    """Scan along a line for the ends of a trail, and fit; do this twice.

    The second scan is along the line of the first fit, which is more accurate. The parameters and the result
    are the same as for `fit_trail`.
    """
    first = _fit(sky, find_ends(sky, start), reach)
    if first.fit.failed:
        return first.fit
    ends = find_ends(sky, first.fit)
    moved = np.hypot(ends.x - first.fit.x, ends.y - first.fit.y) + 0.5 * abs(ends.length - first.fit.length)
    if moved >= 1.0:
        # Ends within the PSF belong to the same maximum of the likelihood, which the first fit is closer to.
        near = moved < sky.psf.fwhm(first.fit.x, first.fit.y)
        second = _fit(sky, ends, reach, guess=first.fit if near else ends).with_errors(sky)
        if not second.failed:
            return second
    return first.with_errors(sky)


@dataclasses.dataclass(frozen=True, eq=False)
class _Solution:
    """A fit without errors, and what its errors need."""

    fit: TrailFit
    region: FitRegion | None = None
    minimum: Minimum | None = None

    def with_errors(self, sky: SkySubtracted) -> TrailFit:
        """Return the fit with its errors."""
        if self.fit.failed or self.region is None or self.minimum is None:
            return self.fit
        return _with_end_errors(self.region.with_errors(self.fit, self.minimum), sky)


def _fit(sky: SkySubtracted, start: Trail, reach: float, guess: Trail | None = None) -> _Solution:
    """Fit a trail to the pixels around a start, and to the ones around the fit until it stays there."""
    for _ in range(_PASSES):
        if (region := _region(sky, start, reach, guess)) is None:
            return _Solution(TrailFit.failure(start))
        minimum = minimize_huber(
            region.evaluate, region.parameters, region.scales, threshold=OUTLIER, max_evaluations=_EVALUATIONS
        )
        fit = region.result(minimum)
        # Pixels are chosen around the start: a trail that has grown or moved
        # out of them is fitted again around its new position.
        stays = minimum.converged and _ends_moved(start, fit) < sky.psf.fwhm(fit.x, fit.y)
        if fit.failed or stays:
            return _Solution(fit, region, minimum)
        last, start, guess = region, fit, None
    return _Solution(fit, last, minimum) if minimum.converged else _Solution(last.failure())


def start_as_fit(sky: SkySubtracted, start: Trail) -> TrailFit:
    """Return a trail as a failed fit, with its best-fitting flux.

    The parameters are the same as for `fit_trail`.
    """
    region = _region(sky, start, reach=1.5)
    return TrailFit.failure(start) if region is None else region.failure()


def _region(sky: SkySubtracted, start: Trail, reach: float, guess: Trail | None = None) -> FitRegion | None:
    """Return the pixels around a start, or `None` if it cannot be fitted."""
    finite = np.all(np.isfinite([start.x, start.y, start.length, start.angle]))
    if not finite or not 0.0 <= start.length <= MAX_FITTED_LENGTH:
        return None
    region = FitRegion(sky, start, reach, guess)
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
