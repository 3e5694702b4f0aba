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

__all__ = ("MAX_FITTED_LENGTH", "MIN_PIXELS", "OUTLIER", "FitRegion", "TrailFit")

import dataclasses
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ..background import SkySubtracted
from ..geometry import Trail, near_segment, wrap_angle
from ..render import FourierTrail, trail_kernels

type _Mask = npt.NDArray[np.bool_]
type _Floats = npt.NDArray[np.float64]
type _Pixels = npt.NDArray[np.floating]

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


def _significance(data: _Floats, variance: _Floats, good: _Mask) -> _Floats:
    """Return pixels less their median in units of their noise, or NaN."""
    result = np.full(data.shape, np.nan)
    if np.any(good):
        result[good] = (data[good] - np.median(data[good])) / np.sqrt(variance[good])
    return result


def _on_neighbors(significance: _Floats, distance: _Floats, aside: _Floats, fwhm: float) -> _Mask:
    """Return the pixels of stars and other trails on and near a trail.

    Even a robust fit is drawn to a star that outshines a faint trail, so that pixels much brighter than the
    trail are not fitted. All arrays have shape (h, w): the significance of the pixels, NaN if bad, and their
    distances from the segment and, ``aside``, from the infinite line through it.
    """
    on_ridge = (distance < 0.5 * fwhm) & np.isfinite(significance)
    ridge = float(np.median(significance[on_ridge])) if np.any(on_ridge) else 0.0
    off_line, on_line = (max(least, factor * ridge) for least, factor in (_OFF_LINE, _ON_LINE))
    bright = (significance > on_line) | ((aside > fwhm) & (significance > off_line))
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
    """

    def __init__(self, sky: SkySubtracted, start: Trail, reach: float) -> None:
        self._start = start
        x, y = start.x, start.y
        x0, y0, x1, y1 = start.ends
        self._fwhm = sky.psf.fwhm(x, y)
        margin = reach * self._fwhm
        left, bottom, rows, columns, distance, use = near_segment(x0, y0, x1, y1, margin, sky.shape)
        self._origin = (left, bottom)
        pixels = rows[use], columns[use]
        data = sky.planes.image[pixels].astype(np.float64) - sky.level[pixels]
        variance = sky.planes.variance[pixels].astype(np.float64)
        good = ~sky.bad[pixels] & np.isfinite(data) & np.isfinite(variance) & (variance > 0.0)
        significance = np.full(use.shape, np.nan)
        significance[use] = _significance(data, variance, good)
        c, s = start.direction
        aside = np.abs((rows - y) * c - (columns - x) * s)
        good &= ~_on_neighbors(significance, distance, aside, self._fwhm)[use]
        use[use] = good
        self._box = use.shape
        self._pixels = np.flatnonzero(use)
        self.n_data = int(np.count_nonzero(good))
        if self.n_data < MIN_PIXELS:
            return
        side = max(1, round(_BLOCK * self._fwhm))
        box_rows, box_columns = np.nonzero(use)
        number = box_rows // side * use.shape[1] + box_columns // side
        self._blocks = np.unique(number, return_inverse=True)[1]
        self.data = data[good]
        self.sigma = np.sqrt(variance[good])
        self._renderer = FourierTrail(trail_kernels(sky.psf, x0, y0, x1, y1).astype(np.float32), use.shape)
        self._cache: tuple[bytes, _Pixels, _Pixels] | None = None
        shape = np.array([x - left, y - bottom, x1 - x0, y1 - y0])
        trail = self._draw(shape)[0].astype(np.float64)
        flux, self._level = self._linear(trail)
        self.flux_scale = max(1.0 / np.sqrt(np.sum(np.square(trail / self.sigma))), 1e-30)
        self.background_scale = float(np.median(self.sigma)) / np.sqrt(self.n_data)
        # The solver stops at steps that are small against the norm of all parameters: with flux and level of
        # order one it does not stop a pixel away from a bright trail.
        self._flux_unit = max(abs(flux), self.flux_scale)
        self.parameters = np.array([*shape, flux / self._flux_unit, 0.0])
        self.scales = np.array([1.0, 1.0, 2.0, 2.0, self.flux_scale / self._flux_unit, 1.0])

    def _linear(self, trail: _Floats) -> tuple[float, float]:
        """Return the best-fitting flux and background of a given shape."""
        design = np.stack([trail / self.sigma, 1.0 / self.sigma], axis=1)
        solution = np.linalg.lstsq(design, self.data / self.sigma, rcond=None)[0]
        return float(solution[0]), float(solution[1])

    def evaluate(self, p: _Floats) -> tuple[_Floats, _Floats]:
        """Return residuals in sigma, (n,), and their derivatives, (n, 6).

        The parameters are x, y, dx, dy in the box, flux and level; for the units of the last two see
        `_linear_values`.
        """
        trail, slopes = self._draw(p[:4])
        flux, level = self._linear_values(p)
        residual = (flux * trail + level - self.data) / self.sigma
        # Derivatives are stored by parameter, each in one piece.
        jacobian = np.empty((6, len(trail)))
        np.multiply(slopes, flux, out=jacobian[:4])
        np.multiply(trail, self._flux_unit, out=jacobian[4])
        jacobian[5] = self.background_scale
        jacobian /= self.sigma
        return residual, jacobian.T

    def _draw(self, shape: _Floats) -> tuple[_Pixels, _Pixels]:
        """Return a trail of unit flux, (n,), and its derivatives by x, y, dx, dy, (4, n); keep the last."""
        key = shape.tobytes()
        if self._cache is None or self._cache[0] != key:
            image, slopes = self._renderer.image_and_jacobian(*shape)
            self._cache = (key, image.ravel()[self._pixels], slopes.reshape(4, -1)[:, self._pixels])
        return self._cache[1], self._cache[2]

    def _linear_values(self, p: _Floats) -> tuple[float, float]:
        """Return flux and background level in image units."""
        return float(p[4] * self._flux_unit), float(self._level + p[5] * self.background_scale)

    def _chi2(self, residual: _Floats) -> tuple[float, _Mask]:
        """Return the chi-square without outliers, and the pixels it uses."""
        kept = np.abs(residual) < 2.0 * OUTLIER
        return float(np.sum(np.square(residual[kept]))), kept

    def _null(self, kept: _Mask) -> float:
        """Return the chi-square of a constant background."""
        weight = 1.0 / np.square(self.sigma[kept])
        level = np.sum(weight * self.data[kept]) / np.sum(weight)
        return float(np.sum(weight * np.square(self.data[kept] - level)))

    def result(self, p: _Floats) -> TrailFit:
        """Return the parameters of a solution as a `TrailFit`."""
        residual, jacobian = self.evaluate(p)
        chi2, kept = self._chi2(residual)
        x, y, dx, dy = (float(value) for value in p[:4])
        flux, level = self._linear_values(p)
        length = float(np.hypot(dx, dy))
        inside = -1.0 <= x <= self._box[1] and -1.0 <= y <= self._box[0]
        possible = np.all(np.isfinite(p)) and flux > 0.0 and length <= MAX_FITTED_LENGTH and inside
        if not possible or kept.sum() < MIN_PIXELS or not chi2 < (null := self._null(kept)):
            return self.failure()
        # A trail of length zero has no direction: x and y take its place.
        unit = (dx / length, dy / length) if length > 0.0 else (1.0, 0.0)
        blocks = self._blocks[kept]
        covariance = _covariance(jacobian[kept], residual[kept], blocks, unit)
        if covariance is None:
            return self.failure()
        length_err, angle_err = float(np.sqrt(covariance[2, 2])), float(np.sqrt(covariance[3, 3]))
        if length_err > 0.5 * length + self._fwhm:
            # An end lies beyond the edge of the image or behind a mask: the
            # other errors are for a trail of the fitted length.
            covariance = _covariance(jacobian[kept], residual[kept], blocks, unit, fixed_length=True)
            if covariance is None:
                return self.failure()
        variances = np.diag(covariance)
        return TrailFit(
            x=x + self._origin[0],
            y=y + self._origin[1],
            length=length,
            angle=float(wrap_angle(np.rad2deg(np.arctan2(dy, dx)))),
            flux=flux,
            background=level,
            x_err=float(np.sqrt(variances[0])),
            y_err=float(np.sqrt(variances[1])),
            length_err=length_err,
            angle_err=min(float(np.rad2deg(angle_err / max(length, 1e-3))), 90.0),
            flux_err=float(np.sqrt(variances[4]) * self._flux_unit),
            xy_covariance=float(covariance[0, 1]),
            chi2=chi2,
            n_data=int(kept.sum()),
            chi2_null=null,
        )

    def failure(self) -> TrailFit:
        """Return the start with its best-fitting flux as a failed fit."""
        flux, level = self._linear_values(self.parameters)
        residual, _ = self.evaluate(self.parameters)
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
    jacobian: _Floats,
    residual: _Floats,
    blocks: npt.NDArray[np.int64],
    unit: tuple[float, float],
    fixed_length: bool = False,
) -> _Floats | None:
    """Return the covariance of the parameters, or `None` if it is singular.

    Parameters
    ----------
    jacobian
        Derivatives of the residuals by x, y, dx, dy, flux and background, shape (n, 6).
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
    rotation = np.eye(6)
    rotation[2:4, 2:4] = [[unit[0], -unit[1]], [unit[1], unit[0]]]
    rotated = jacobian @ rotation
    free = [0, 1, 3, 4, 5] if fixed_length else [0, 1, 2, 3, 4, 5]
    # Scaled columns keep the units of a parameter from making the matrix look singular.
    scale = np.linalg.norm(rotated[:, free], axis=0)
    if not np.all(np.isfinite(scale)) or np.any(scale == 0.0):
        return None
    normal = rotated[:, free] / scale
    try:
        inverse = np.linalg.inv(normal.T @ normal) / np.outer(scale, scale)
    except np.linalg.LinAlgError:
        return None
    variances = np.diag(inverse)
    if not np.all(np.isfinite(variances)) or np.any(variances <= 0.0):
        return None
    pull = (
        rotated[:, free]
        * (residual * np.minimum(1.0, OUTLIER / np.maximum(np.abs(residual), 1e-30)))[:, None]
    )
    sums = np.stack([np.bincount(blocks, weights=column) for column in pull.T], axis=1)
    # Units of the errors avoid an overflow.
    shifts = sums @ inverse / np.sqrt(variances)
    raised = np.sqrt(np.maximum(np.sum(np.square(shifts), axis=0), 1.0))
    if not np.all(np.isfinite(raised)):
        return None
    covariance = np.zeros((6, 6))
    covariance[np.ix_(free, free)] = inverse * np.outer(raised, raised)
    return covariance
