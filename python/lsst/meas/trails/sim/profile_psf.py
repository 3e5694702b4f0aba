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

"""Point-spread functions of any width, ellipticity and lopsidedness, drawn on pixels."""

from __future__ import annotations

__all__ = ("PsfShape", "make_profile_psf")

import dataclasses

import numpy as np
import numpy.typing as npt

from ..core.psf import PsfGrid, kernel_fwhm
from .stars import TAPER

type _Floats = npt.NDArray[np.float64]

_SUBPIXELS = 3
"""Samples per pixel along each axis."""

_REACH = 2.7
"""Half of the side of a stamp, FWHM; the wings beyond hold about 1% of the flux."""

_HALF_DETECTOR = 2000.0
"""Distance over which the PSF changes by the following amounts, pixels."""

_SIZE_CHANGE, _SHAPE_CHANGE = 0.02, 0.012


@dataclasses.dataclass(frozen=True)
class PsfShape:
    """PSF in the middle of an image."""

    fwhm: float
    """FWHM of the Gaussian with the same effective area, pixels."""

    beta: float = 3.5
    """Exponent of the Moffat profile; large values approach a Gaussian."""

    axis_ratio: float = 1.0
    """Minor over major axis."""

    angle: float = 0.0
    """Angle of the major axis, degrees from +x."""

    coma: float = 0.0
    """Relative change of the radius from one side to the opposite side."""

    trefoil: float = 0.0
    """Relative change of the radius with a period of 120 degrees."""

    aberration_angle: float = 0.0
    """Angle of coma and trefoil, degrees from +x."""


def make_profile_psf(
    shape: PsfShape, image_shape: tuple[int, int], rng: np.random.Generator, stamp_side: int | None = None
) -> PsfGrid:
    """Make a PSF that varies over an image.

    Parameters
    ----------
    shape
        PSF in the middle of the image.
    image_shape
        Shape (ny, nx) of the image.
    rng
        Random numbers of the variation: several percent in size from corner to corner of a full detector.
    stamp_side
        Side of the stamps, odd, pixels; by default 5.4 FWHM, at least 25.

    Returns
    -------
    psf
        Moffat profiles, integrated over pixels, which fall smoothly to zero toward the edge of the stamp.
    """
    side = max(25, 2 * int(np.ceil(_REACH * shape.fwhm)) + 1) if stamp_side is None else stamp_side
    # Pixels and aberrations widen a profile: two steps reach one percent.
    width = 0.95 * shape.fwhm
    ellipticity = np.log(1.0 / shape.axis_ratio) * np.exp(2j * np.deg2rad(shape.angle))
    for _ in range(2):
        width *= shape.fwhm / kernel_fwhm(_kernel(shape, width, ellipticity, side))
    size = rng.normal(0.0, _SIZE_CHANGE, 5)
    e1, e2 = rng.normal(0.0, _SHAPE_CHANGE, (2, 5))
    ny, nx = image_shape

    def kernel(x: float, y: float) -> _Floats:
        u, v = (x - 0.5 * nx) / _HALF_DETECTOR, (y - 0.5 * ny) / _HALF_DETECTOR
        terms = np.array([u, v, u * u, u * v, v * v])
        change = complex(2.0 * (e1 @ terms), 2.0 * (e2 @ terms))
        return _kernel(shape, width * (1.0 + float(size @ terms)), ellipticity + change, side)

    return PsfGrid.sampled(kernel, image_shape)


def _kernel(shape: PsfShape, width: float, ellipticity: complex, side: int) -> _Floats:
    """Return a kernel of a given profile FWHM, shape (side, side).

    The modulus of the ellipticity is the logarithm of major over minor axis, its phase twice the angle.
    """
    r = side // 2
    fine = (np.arange(side * _SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5 - r
    x, y = fine[None, :], fine[:, None]
    angle, stretch = 0.5 * np.angle(ellipticity), np.exp(0.5 * np.abs(ellipticity))
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    r2 = np.square(along / stretch) + np.square(across * stretch)
    if shape.coma or shape.trefoil:
        phi = np.arctan2(y, x) - np.deg2rad(shape.aberration_angle)
        r2 = r2 * np.square(1.0 + shape.coma * np.cos(phi) + shape.trefoil * np.cos(3.0 * phi))
    scale = 0.5 * width / np.sqrt(2.0 ** (1.0 / shape.beta) - 1.0)
    profile = np.power(1.0 + r2 / scale**2, -shape.beta)
    kernel = profile.reshape(side, _SUBPIXELS, side, _SUBPIXELS).mean(axis=(1, 3))
    distance = np.hypot(*np.ogrid[-r : r + 1, -r : r + 1]) / r
    fall = np.clip((TAPER[1] - distance) / (TAPER[1] - TAPER[0]), 0.0, 1.0)
    kernel *= np.square(fall) * (3.0 - 2.0 * fall)
    return np.asarray(kernel / kernel.sum())
