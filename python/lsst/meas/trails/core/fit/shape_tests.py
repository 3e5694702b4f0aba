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

"""Tests of the shape of a fitted trail against other sources.

A trail is as wide as the PSF, equally bright along its length, and longer than a star. A galaxy is wider and
brighter in the middle. Each alternative is an additional component of a linear fit, tested by its
significance.
"""

from __future__ import annotations

__all__ = ("ShapeTests", "measure_shape")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ..background import SkySubtracted
from ..geometry import Trail, near_segment
from ..psf import FWHM_PER_SIGMA
from ..render import FourierTrail, trail_kernels
from .pixels import MAX_FITTED_LENGTH

type _Floats = npt.NDArray[np.float64]

_REACH = 2.5
"""Largest distance of the pixels from the segment, FWHM."""

_BLUR = 0.8
"""FWHM of the blur of the wide trail, in units of the FWHM of the PSF."""

_CORE = 0.4
"""Length of the core, in units of the length of the trail."""

_OUTLIER = 8.0
"""Residual, in sigma, beyond which a pixel belongs to a neighbor."""


@dataclasses.dataclass(frozen=True)
class ShapeTests:
    """Significance of the deviations of a source from a trail.

    Parameters
    ----------
    wide
        Significance of an additional wider trail, in sigma: standard normal for a trail, large for a galaxy.
    core
        Significance of an additional shorter trail with the same midpoint and angle: large for a source that
        is brighter in the middle.
    length
        Square root of the difference in chi-square between a point source with the same midpoint and the
        trail; negative if the point source fits better.
    """

    wide: float
    core: float
    length: float


def measure_shape(sky: SkySubtracted, trail: Trail) -> ShapeTests:
    """Test the shape of a source with its fitted trail.

    The tests are zero with too few good pixels, and for a trail that is too long to be fitted, such as a
    satellite.
    """
    nothing = ShapeTests(0.0, 0.0, 0.0)
    if not trail.length <= MAX_FITTED_LENGTH:
        return nothing
    fwhm = sky.psf.fwhm(trail.x, trail.y)
    x0, y0, x1, y1 = trail.ends
    left, bottom, rows, columns, _, use = near_segment(x0, y0, x1, y1, _REACH * fwhm, sky.shape)
    pixels = rows[use], columns[use]
    good = ~sky.bad[pixels]
    use[use] = good
    pixels = pixels[0][good], pixels[1][good]
    if pixels[0].size < 20:
        return nothing
    sigma = np.sqrt(sky.planes.variance[pixels].astype(np.float64))
    data = (sky.planes.image[pixels].astype(np.float64) - sky.level[pixels]) / sigma

    kernels = trail_kernels(sky.psf, x0, y0, x1, y1)
    narrow = FourierTrail(kernels, use.shape)
    wide = FourierTrail(_blurred(kernels, _BLUR * fwhm / FWHM_PER_SIGMA), use.shape)
    dx, dy = x1 - x0, y1 - y0
    place = (trail.x - left, trail.y - bottom)
    model, spread, core, point = (
        drawn[use] / sigma
        for drawn in (
            narrow.image(*place, dx, dy),
            wide.image(*place, dx, dy),
            narrow.image(*place, _CORE * dx, _CORE * dy),
            narrow.image(*place, 0.0, 0.0),
        )
    )
    level = 1.0 / sigma
    chi2_trail, _, residual = _linear_fit([model, level], data)
    kept = np.abs(residual) < _OUTLIER
    if np.count_nonzero(kept) < 20:
        return nothing
    data, model, spread, core, point, level = (a[kept] for a in (data, model, spread, core, point, level))
    chi2_trail, _, _ = _linear_fit([model, level], data)
    chi2_point, _, _ = _linear_fit([point, level], data)
    gain = chi2_point - chi2_trail
    return ShapeTests(
        wide=_linear_fit([spread, model, level], data)[1],
        core=_linear_fit([core, model, level], data)[1] if trail.length > fwhm else 0.0,
        length=float(np.sign(gain) * np.sqrt(abs(gain))),
    )


def _blurred(kernels: _Floats, sigma: float) -> _Floats:
    """Return PSF kernels convolved with a Gaussian, on larger stamps."""
    pad = int(np.ceil(3.0 * sigma))
    padded = np.pad(kernels, ((0, 0), (pad, pad), (pad, pad)))
    return np.asarray(scipy.ndimage.gaussian_filter(padded, (0.0, sigma, sigma), mode="constant"))


def _linear_fit(components: list[_Floats], data: _Floats) -> tuple[float, float, _Floats]:
    """Fit amplitudes of components to data, both in units of the noise.

    Returns
    -------
    chi2, significance, residual
        Sum of the squared residuals; amplitude of the first component over its error, 0 if it is degenerate
        with the others; data minus model.
    """
    design = np.stack(components, axis=1)
    design = design / np.maximum(np.linalg.norm(design, axis=0), 1e-30)
    solution, _, rank, _ = np.linalg.lstsq(design, data, rcond=1e-8)
    residual = data - design @ solution
    significance = 0.0
    if rank == design.shape[1]:
        error = np.sqrt(np.linalg.inv(design.T @ design)[0, 0])
        significance = float(solution[0] / error)
    return float(residual @ residual), significance, residual
