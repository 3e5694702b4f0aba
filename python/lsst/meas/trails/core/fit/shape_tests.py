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

__all__ = ("ShapeTests", "is_point", "measure_shape")

import dataclasses

import numpy as np
import numpy.typing as npt

from ..background import SkySubtracted
from ..geometry import Trail, near_segment
from ..psf import FWHM_PER_SIGMA
from ..render import FourierTrail, trail_kernels
from .minimize import gram
from .pixels import MAX_FITTED_LENGTH, pixel_values

type _Floats = npt.NDArray[np.float64]

_REACH = 2.5
"""Largest distance of the pixels from the segment, FWHM."""

_BLUR = 0.8
"""FWHM of the blur of the wide trail, in units of the FWHM of the PSF."""

_CORE = 0.4
"""Length of the core, in units of the length of the trail."""

_OUTLIER = 8.0
"""Residual, in sigma, beyond which a pixel belongs to a neighbor."""

_MIN_PIXELS = 20
"""Fewest good pixels."""

_DEGENERATE = 1e-12
"""Least ratio of the eigenvalues of normal equations."""

_POINT_ERRORS = 4.0
"""Least length of a trail of one FWHM that is not a point, in units of its error; see `is_point`."""

_POINT_LENGTH = 3.0
"""Length beyond which a fit is not a point, whatever its error, FWHM."""

_MODEL, _WIDE, _SHORT, _POINT, _LEVEL, _DATA = range(6)
"""Trail, wider trail, shorter trail, point source, background and data, as rows of a matrix."""


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
    near = near_segment(x0, y0, x1, y1, _REACH * fwhm, sky.shape)
    data, variance, good = pixel_values(sky, near)
    near.use[near.use] = good
    data, noise = data[good], np.sqrt(variance[good])
    if data.size < _MIN_PIXELS:
        return nothing
    kernels = trail_kernels(sky.psf, x0, y0, x1, y1).astype(np.float32)
    renderer = FourierTrail(kernels, near.use.shape, near.use)
    x, y = trail.x - near.left, trail.y - near.bottom
    dx, dy = x1 - x0, y1 - y0
    rows = np.empty((6, data.size))
    rows[_DATA], rows[_LEVEL] = data, 1.0
    rows[_MODEL] = renderer.image(x, y, dx, dy)
    rows[_WIDE] = renderer.image(x, y, dx, dy, blur=_BLUR * fwhm / FWHM_PER_SIGMA)
    rows[_SHORT] = renderer.image(x, y, _CORE * dx, _CORE * dy)
    rows[_POINT] = renderer.image(x, y, 0.0, 0.0)
    rows /= noise
    _, amplitudes, _ = _linear_fit(gram(rows), _MODEL, _LEVEL)
    kept = np.abs(rows[_DATA] - amplitudes @ rows[[_MODEL, _LEVEL]]) < _OUTLIER
    if np.count_nonzero(kept) < _MIN_PIXELS:
        return nothing
    products = gram(np.compress(kept, rows, axis=1))
    gain = _linear_fit(products, _POINT, _LEVEL)[0] - _linear_fit(products, _MODEL, _LEVEL)[0]
    return ShapeTests(
        wide=_linear_fit(products, _WIDE, _MODEL, _LEVEL)[2],
        core=_linear_fit(products, _SHORT, _MODEL, _LEVEL)[2] if trail.length > fwhm else 0.0,
        length=float(np.sign(gain) * np.sqrt(abs(gain))),
    )


def is_point(length: npt.ArrayLike, length_err: npt.ArrayLike, fwhm: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return which fitted trails are not distinguishable from points.

    Parameters
    ----------
    length, length_err
        Fitted length and its standard error, pixels; a length without an error, from a fit that failed, is
        not a point.
    fwhm
        FWHM of the PSF, pixels.

    Returns
    -------
    is_point
        Whether ``length < 3 fwhm`` and ``length / length_err sqrt(length / fwhm) < 4``.

    Notes
    -----
    The image of a short trail differs from a point by its second moment, which grows with the square of the
    length: a length of four errors is an excess of two. The factor asks for more errors of a length below the
    FWHM, as the PSF is not known exactly, and for fewer of a length above it. An error is meaningless if an
    end lies behind a mask or beyond the edge of the image, hence the limit of three FWHM.
    ``benchmarks/points.py`` measures how often points and trails are flagged.
    """
    length, length_err, fwhm = (np.asarray(value, dtype=np.float64) for value in (length, length_err, fwhm))
    short = np.power(length, 3) < np.square(_POINT_ERRORS * length_err) * fwhm
    return np.asarray(short & (length < _POINT_LENGTH * fwhm))


def _linear_fit(products: _Floats, *components: int) -> tuple[float, _Floats, float]:
    """Fit amplitudes of components to data, from the scalar products of all rows.

    Returns
    -------
    chi2, amplitudes, significance
        Sum of the squared residuals; amplitudes of the components; amplitude of the first component over its
        error, 0 if it is degenerate with the others.
    """
    rows = list(components)
    norm = np.maximum(np.sqrt(products.diagonal()[rows]), 1e-30)
    normal = products[np.ix_(rows, rows)] / np.outer(norm, norm)
    projection = products[rows, _DATA] / norm
    try:
        inverse = np.linalg.inv(normal)
    except np.linalg.LinAlgError:
        inverse = np.full_like(normal, np.inf)
    significance = 0.0
    if inverse.diagonal().max() < 1.0 / _DEGENERATE:
        solution = inverse @ projection
        significance = float(solution[0] / np.sqrt(inverse[0, 0]))
    else:
        solution = np.linalg.pinv(normal, hermitian=True, rcond=_DEGENERATE) @ projection
    return float(products[_DATA, _DATA] - solution @ projection), solution / norm, significance
