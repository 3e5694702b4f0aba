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

"""Pixels of a trail fit, the model on these pixels, and the result."""

from __future__ import annotations

__all__ = ("MAX_FITTED_LENGTH", "MIN_PIXELS", "OUTLIER", "FitRegion", "TrailFit", "pixel_values")

import dataclasses
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ..background import SkySubtracted
from ..geometry import SegmentPixels, Trail, near_segment, wrap_angle
from ..render import FourierTrail, trail_kernels
from .minimize import Minimum, gram

type _Mask = npt.NDArray[np.bool_]
type _Floats = npt.NDArray[np.float64]

MIN_PIXELS = 20
"""Fewest good pixels for a fit."""

MAX_FITTED_LENGTH = 400.0
"""Longest trail that is fitted, pixels."""

_OFF_LINE = (5.0, 2.0)
"""Least significance, and least multiple of the trail's ridge, of neighbors more than a FWHM off its line."""

_ON_LINE = (8.0, 4.0)
"""The same on the line, which the start may miss by a part of a FWHM."""

OUTLIER = 4.0
"""Residual, in sigma, beyond which a pixel belongs to a neighbor."""

_DEGENERATE = 1e-12
"""Least determinant of scaled normal equations."""

_BLOCK = 2.0
"""Side of the blocks, in FWHM, between which residuals are independent."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TrailFit(Trail):
    """A fitted trail, in array coordinates and image units.

    Parameters
    ----------
    background
        Local background per pixel, above the level of the image.
    x_err, y_err, length_err, angle_err, flux_err
        Standard errors; NaN if the fit failed.
    xy_covariance
        Covariance of x and y, pixels squared; NaN if the fit failed.
    chi2
        Sum of squared residuals over the variance.
    n_data
        Number of pixels fitted.
    chi2_null
        Value of ``chi2`` for a constant background without a trail.
    failed
        Whether the fit failed. The trail is then the start, with its best-fitting flux, or NaN if the flux
        was not fitted.
    """

    background: float = np.nan
    x_err: float = np.nan
    y_err: float = np.nan
    length_err: float = np.nan
    angle_err: float = np.nan
    flux_err: float = np.nan
    xy_covariance: float = np.nan
    chi2: float = np.nan
    n_data: int = 0
    chi2_null: float = np.nan
    failed: bool = False

    @classmethod
    def failure(cls, start: Trail) -> Self:
        """Return a failed fit without a flux."""
        return cls(start.x, start.y, start.length, float(wrap_angle(start.angle)), failed=True)


def pixel_values(sky: SkySubtracted, near: SegmentPixels) -> tuple[_Floats, _Floats, _Mask]:
    """Return data and variance of the used pixels near a segment, and which are good, shape (n,)."""
    (rows, inner_rows), (columns, inner_columns) = (
        (slice(first, last), slice(first - start, last - start))
        for start, first, last in (
            (start, min(max(start, 0), limit), min(max(start + size, 0), limit))
            for start, size, limit in zip((near.bottom, near.left), near.use.shape, sky.shape, strict=True)
        )
    )
    use = near.use[inner_rows, inner_columns]
    data = sky.planes.image[rows, columns][use].astype(np.float64)
    data -= sky.level[rows, columns][use]
    variance = sky.planes.variance[rows, columns][use].astype(np.float64)
    good = np.isfinite(data) & np.isfinite(variance) & (variance > 0.0)
    good &= ~sky.bad[rows, columns][use]
    return data, variance, good


def _on_neighbors(significance: _Floats, distance: _Floats, aside: _Floats, fwhm: float) -> _Mask:
    """Return the pixels of stars and other trails on and near a trail.

    Even a robust fit is drawn to a star that outshines a faint trail, so that pixels much brighter than the
    trail are not fitted. All arrays have shape (h, w): the significance of the pixels, NaN if bad, and their
    distances from the segment and, ``aside``, from the infinite line through it.
    """
    on_ridge = significance[distance < 0.5 * fwhm]
    on_ridge = on_ridge[np.isfinite(on_ridge)]
    ridge = float(np.median(on_ridge)) if on_ridge.size else 0.0
    off_line, on_line = (max(least, factor * ridge) for least, factor in (_OFF_LINE, _ON_LINE))
    bright = significance > min(off_line, on_line)
    if not bright.any():
        return bright
    bright &= (significance > on_line) | ((aside > fwhm) & (significance > off_line))
    # The wings of a star are as harmful as its core.
    return np.asarray(scipy.ndimage.binary_dilation(bright, iterations=max(1, round(0.75 * fwhm))))


class FitRegion:
    """Pixels of a fit, and the model on these pixels.

    Parameters
    ----------
    sky
        The image.
    start
        Start of the fit.
    reach
        Largest distance of the pixels from the start, FWHM.
    guess
        First parameters of the fit; by default the start, around which the pixels are.
    """

    def __init__(self, sky: SkySubtracted, start: Trail, reach: float, guess: Trail | None = None) -> None:
        self._start = start
        x, y = start.x, start.y
        x0, y0, x1, y1 = start.ends
        self._fwhm = sky.psf.fwhm(x, y)
        near = near_segment(x0, y0, x1, y1, reach * self._fwhm, sky.shape)
        self._origin = (near.left, near.bottom)
        use = near.use
        data, variance, good = pixel_values(sky, near)
        significance = np.full(use.shape, np.nan)
        if good.any():
            noise = np.sqrt(np.where(good, variance, np.nan))
            significance[use] = (data - np.median(data[good])) / noise
        c, s = start.direction
        aside = np.abs((near.rows[:, :1] - y) * c - (near.columns[:1] - x) * s)
        good &= ~_on_neighbors(significance, near.distance, aside, self._fwhm)[use]
        use[use] = good
        self._box = use.shape
        self.n_data = int(np.count_nonzero(good))
        if self.n_data < MIN_PIXELS:
            return
        side = max(1, round(_BLOCK * self._fwhm))
        rows, columns = np.nonzero(use)
        self._blocks = rows // side * (use.shape[1] // side + 1) + columns // side
        self.sigma = np.sqrt(variance[good])
        self._unit = float(np.sqrt(np.mean(variance[good])))
        self._weight = self._unit / self.sigma
        self.data = data[good]
        self._scaled = self.data / self.sigma
        kernels = trail_kernels(sky.psf, x0, y0, x1, y1).astype(np.float32)
        self._renderer = FourierTrail(kernels, use.shape, use)
        self._cache: tuple[bytes, _Floats] | None = None
        guess = guess or start
        x0, y0, x1, y1 = guess.ends
        shape = np.array([guess.x - near.left, guess.y - near.bottom, x1 - x0, y1 - y0])
        trail = self._draw(shape)[4]
        flux, self._level = self._linear(trail)
        self.flux_scale = max(self._unit / np.sqrt(trail @ trail), 1e-30)
        self.background_scale = self._unit / np.sqrt(self.n_data)
        # The solver stops at steps that are small against the norm of all parameters: with flux and level of
        # order one it does not stop a pixel away from a bright trail.
        self._flux_unit = max(abs(flux), self.flux_scale)
        self.parameters = np.array([*shape, flux / self._flux_unit, 0.0])
        self.scales = np.array([1.0, 1.0, 2.0, 2.0, self.flux_scale / self._flux_unit, 1.0])

    def _linear(self, trail: _Floats) -> tuple[float, float]:
        """Return the best-fitting flux and background of a given shape."""
        (square, cross), (_, norm) = gram(np.stack([trail, self._weight]))
        along_trail, along_level = float(trail @ self._scaled), float(self._weight @ self._scaled)
        determinant = square * norm - cross * cross
        flux = 0.0
        if determinant > _DEGENERATE * square * norm:
            flux = float((norm * along_trail - cross * along_level) / determinant)
        level = float((along_level - flux * cross) / norm)
        return flux * self._unit, level * self._unit

    def evaluate(self, p: _Floats) -> tuple[_Floats, _Floats, _Floats]:
        """Return residuals in sigma, (n,), and their derivatives as a basis, (6, n), and its factors, (6,).

        The parameters are x, y, dx, dy in the box, flux and level; for the units of the last two see
        `_linear_values`.
        """
        basis = self._draw(p[:4])
        flux, level = self._linear_values(p)
        residual = basis[4] * (flux / self._unit) + self._weight * (level / self._unit) - self._scaled
        factors = np.array([flux, flux, flux, flux, self._flux_unit, self.background_scale]) / self._unit
        return residual, basis, factors

    def _draw(self, shape: _Floats) -> _Floats:
        """Return the derivatives of the data by x, y, dx, dy, flux and level of a trail of unit flux.

        The shape is (6, n), the unit the median noise over the noise of each pixel. The last draw is kept.
        """
        key = shape.tobytes()
        if self._cache is None or self._cache[0] != key:
            image, slopes = self._renderer.image_and_jacobian(*shape)
            # Products of derivatives need double precision: beyond the edge of an image they nearly cancel.
            basis = np.empty((6, len(image)))
            np.multiply(slopes, self._weight, out=basis[:4])
            np.multiply(image, self._weight, out=basis[4])
            basis[5] = self._weight
            self._cache = (key, basis)
        return self._cache[1]

    def _linear_values(self, p: _Floats) -> tuple[float, float]:
        """Return flux and background level in image units."""
        return float(p[4] * self._flux_unit), float(self._level + p[5] * self.background_scale)

    def _chi2(self, residual: _Floats) -> tuple[float, _Mask]:
        """Return the chi-square without outliers, and the pixels it uses."""
        kept = np.abs(residual) < 2.0 * OUTLIER
        inner = residual[kept]
        return float(inner @ inner), kept

    def _null(self, kept: _Mask) -> float:
        """Return the chi-square of a constant background."""
        weight, scaled = self._weight[kept], self._scaled[kept]
        residual = scaled - weight * ((weight @ scaled) / (weight @ weight))
        return float(residual @ residual)

    def result(self, minimum: Minimum) -> TrailFit:
        """Return a solution as a `TrailFit`, whose errors are NaN; see `with_errors`."""
        p = minimum.parameters
        chi2, kept = self._chi2(minimum.residual)
        x, y, dx, dy = (float(value) for value in p[:4])
        flux, level = self._linear_values(p)
        length = float(np.hypot(dx, dy))
        inside = -1.0 <= x <= self._box[1] and -1.0 <= y <= self._box[0]
        possible = np.all(np.isfinite(p)) and flux > 0.0 and length <= MAX_FITTED_LENGTH and inside
        if not possible or kept.sum() < MIN_PIXELS or not chi2 < (null := self._null(kept)):
            return self.failure()
        return TrailFit(
            x=x + self._origin[0],
            y=y + self._origin[1],
            length=length,
            angle=float(wrap_angle(np.rad2deg(np.arctan2(dy, dx)))),
            flux=flux,
            background=level,
            chi2=chi2,
            n_data=int(kept.sum()),
            chi2_null=null,
        )

    def with_errors(self, fit: TrailFit, minimum: Minimum) -> TrailFit:
        """Return the result of a solution with its errors; a failure if they are not finite."""
        kept = self._chi2(minimum.residual)[1]
        pixels = (
            np.compress(kept, minimum.basis, axis=1),
            minimum.factors,
            minimum.residual[kept],
            self._blocks[kept],
        )
        # A trail of length zero has no direction: x and y take its place.
        dx, dy = minimum.parameters[2:4]
        unit = (dx / fit.length, dy / fit.length) if fit.length > 0.0 else (1.0, 0.0)
        covariance = _covariance(*pixels, unit)
        if covariance is None:
            return self.failure()
        length_err = float(np.sqrt(covariance[2, 2]))
        if length_err > 0.5 * fit.length + self._fwhm:
            # An end lies beyond the edge of the image or behind a mask: the
            # other errors are for a trail of the fitted length.
            covariance = _covariance(*pixels, unit, fixed_length=True)
            if covariance is None:
                return self.failure()
        variances = covariance.diagonal()
        return dataclasses.replace(
            fit,
            x_err=float(np.sqrt(variances[0])),
            y_err=float(np.sqrt(variances[1])),
            length_err=length_err,
            angle_err=min(float(np.rad2deg(np.sqrt(variances[3]) / max(fit.length, 1e-3))), 90.0),
            flux_err=float(np.sqrt(variances[4]) * self._flux_unit),
            xy_covariance=float(covariance[0, 1]),
        )

    def failure(self) -> TrailFit:
        """Return the start with its best-fitting flux as a failed fit."""
        flux, level = self._linear_values(self.parameters)
        residual, _, _ = self.evaluate(self.parameters)
        chi2, kept = self._chi2(residual)
        return dataclasses.replace(
            TrailFit.failure(self._start),
            flux=flux,
            background=level,
            flux_err=float(self.flux_scale),
            chi2=chi2,
            n_data=int(kept.sum()),
            chi2_null=self._null(kept) if np.any(kept) else np.nan,
        )


def _covariance(
    basis: _Floats,
    factors: _Floats,
    residual: _Floats,
    blocks: npt.NDArray[np.int64],
    unit: tuple[float, float],
    fixed_length: bool = False,
) -> _Floats | None:
    """Return the covariance of the parameters, or `None` if it is singular.

    Parameters
    ----------
    basis, factors
        Derivatives of the residuals by x, y, dx, dy, flux and background, shapes (6, n) and (6,).
    residual
        Residuals in sigma, shape (n,).
    blocks
        Number of the block of the image with each pixel, shape (n,).
    unit
        Direction of the trail.
    fixed_length
        Whether the extent along the trail is known.

    Returns
    -------
    covariance
        Covariance of midpoint, extent along and across the trail, flux and background, shape (6, 6); zero for
        a fixed length.

    Notes
    -----
    Each error is the larger of the error from the noise and a robust error. The robust error is the scatter
    over blocks of the pull of their residuals on the parameters, which includes the effect of faint neighbors
    on the line (Huber 1967, Proc. Fifth Berkeley Symp. 1, 221; in blocks, Liang and Zeger 1986, Biometrika
    73, 13).
    """
    rotation = np.diag(factors)
    rotation[2:4, 2:4] = np.array([[unit[0], -unit[1]], [unit[1], unit[0]]]) * factors[2:4, None]
    free = [0, 1, 3, 4, 5] if fixed_length else [0, 1, 2, 3, 4, 5]
    rotation = rotation[:, free]
    normal = rotation.T @ gram(basis) @ rotation
    # Scaled parameters keep their units from making the matrix look singular.
    scale = np.sqrt(normal.diagonal())
    if not np.isfinite(scale).all() or np.any(scale == 0.0):
        return None
    try:
        inverse = np.linalg.inv(normal / np.outer(scale, scale)) / np.outer(scale, scale)
    except np.linalg.LinAlgError:
        return None
    variances = inverse.diagonal()
    if not np.isfinite(variances).all() or np.any(variances <= 0.0):
        return None
    pull = basis * np.clip(residual, -OUTLIER, OUTLIER)
    sums = np.stack([np.bincount(blocks, weights=row) for row in pull], axis=1)
    # Units of the errors avoid an overflow.
    shifts = sums @ rotation @ inverse / np.sqrt(variances)
    raised = np.sqrt(np.maximum(np.sum(np.square(shifts), axis=0), 1.0))
    if not np.isfinite(raised).all():
        return None
    covariance = np.zeros((6, 6))
    covariance[np.ix_(free, free)] = inverse * np.outer(raised, raised)
    return covariance
