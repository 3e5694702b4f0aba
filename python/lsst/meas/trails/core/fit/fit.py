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

The model is the trail of `lsst.meas.trails.core.render` plus a constant
background; its parameters are midpoint, extent (dx, dy), flux and
background.  In these parameters nothing is singular when a trail is short,
where length and angle would be, so that the fit works from point sources to
trails of hundreds of pixels.
"""

from __future__ import annotations

__all__ = ("MAX_FITTED_LENGTH", "TrailFit", "fit_trail", "start_as_fit")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.optimize

from ..geometry import trail_ends
from ..planes import ImagePlanes
from .ends import end_variances
from .pixels import MAX_FITTED_LENGTH, MIN_PIXELS, OUTLIER, FitRegion, TrailFit, failed_fit

_PASSES = 4
"""Times that the pixels to fit may be chosen anew."""


def fit_trail(
    planes: ImagePlanes,
    background: npt.NDArray[np.floating],
    bad: npt.NDArray[np.bool_],
    *,
    x: float,
    y: float,
    length: float,
    angle: float,
    max_length: float = MAX_FITTED_LENGTH,
    max_evaluations: int = 40,
    reach: float = 3.0,
) -> TrailFit:
    """Fit a trail, starting from approximate parameters.

    Parameters
    ----------
    planes
        The image.
    background
        Its background level, shape (ny, nx), subtracted before the fit.
    bad
        Pixels that carry no information, same shape.
    x, y, length, angle
        Where to start: midpoint, length (pixels) and angle (degrees).
    max_length
        Longest trail that counts as a success, pixels; of a longer start
        not even the flux is measured, as the cost grows with the cube.
    max_evaluations
        Most evaluations of the model, each time that the pixels are chosen.
    reach
        Pixels farther from the segment than this many FWHM are not fitted.

    Returns
    -------
    fit
        The fit; ``failed`` is set where the start is too long or not finite,
        fewer than 20 good pixels are left, nothing converged, or the result
        is no trail.
    """
    for _ in range(_PASSES):
        if not _is_drawable(x, y, length, angle, max_length):
            return failed_fit((x, y, length, angle))
        region = FitRegion(planes, background, bad, x, y, length, angle, reach)
        if region.n_data < MIN_PIXELS:
            return failed_fit((x, y, length, angle))
        # Neighbors and cosmic rays are not part of the model: a Huber loss
        # limits their pull (Huber 1964).
        solution = scipy.optimize.least_squares(
            lambda p: region.evaluate(p)[0],
            region.parameters,
            jac=lambda p: region.evaluate(p)[1],
            method="trf",
            loss="huber",
            f_scale=OUTLIER,
            x_scale=region.scales,
            max_nfev=max_evaluations,
            xtol=1e-8,
            ftol=1e-7,
            gtol=1e-8,
        )
        fit = region.result(solution.x, max_length)
        # Pixels are chosen around the start: a trail that has grown or moved
        # out of them is fitted again around where it is now.
        moved = _ends_moved((x, y, length, angle), (fit.x, fit.y, fit.length, fit.angle))
        if fit.failed or (solution.success and moved < planes.psf.fwhm(fit.x, fit.y)):
            return _with_end_errors(fit, planes, background, bad)
        x, y, length, angle = fit.x, fit.y, fit.length, fit.angle
    return _with_end_errors(fit, planes, background, bad) if solution.success else region.failure()


def start_as_fit(
    planes: ImagePlanes,
    background: npt.NDArray[np.floating],
    bad: npt.NDArray[np.bool_],
    *,
    x: float,
    y: float,
    length: float,
    angle: float,
    reach: float = 1.5,
) -> TrailFit:
    """Return given parameters as a failed fit, with the flux that fits best.

    Parameters are those of `fit_trail`.
    """
    if not _is_drawable(x, y, length, angle, MAX_FITTED_LENGTH):
        return failed_fit((x, y, length, angle))
    region = FitRegion(planes, background, bad, x, y, length, angle, reach)
    return region.failure() if region.n_data >= MIN_PIXELS else failed_fit((x, y, length, angle))


def _with_end_errors(
    fit: TrailFit,
    planes: ImagePlanes,
    background: npt.NDArray[np.floating],
    bad: npt.NDArray[np.bool_],
) -> TrailFit:
    """Return a fit whose errors along the line allow for ends that noise has
    moved.  The other errors do not change: the trail is where it is.
    """
    if fit.failed or fit.length_err > 0.5 * fit.length + planes.psf.fwhm(fit.x, fit.y):
        # An end that is not seen at all is no matter of noise.
        return fit
    c, s = float(np.cos(np.deg2rad(fit.angle))), float(np.sin(np.deg2rad(fit.angle)))
    along = (c * fit.x_err) ** 2 + (s * fit.y_err) ** 2 + 2.0 * c * s * fit.xy_covariance
    midpoint, length = end_variances(
        planes,
        background,
        bad,
        x=fit.x,
        y=fit.y,
        length=fit.length,
        angle=fit.angle,
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


def _is_drawable(x: float, y: float, length: float, angle: float, max_length: float) -> bool:
    return bool(np.all(np.isfinite([x, y, length, angle])) and 0.0 <= length <= max_length)


def _ends_moved(old: tuple[float, float, float, float], new: tuple[float, float, float, float]) -> float:
    """Return the largest distance of the new ends from the old segment's."""
    a, b = np.array(trail_ends(*old)).reshape(2, 2), np.array(trail_ends(*new)).reshape(2, 2)
    direct = np.hypot(*(a - b).T).max()
    swapped = np.hypot(*(a - b[::-1]).T).max()
    return float(min(direct, swapped))
