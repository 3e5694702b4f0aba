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

"""Injection of trails into image arrays."""

from __future__ import annotations

__all__ = ("add_light", "inject_trails", "paint_trails")

import dataclasses

import numpy as np
import numpy.typing as npt

from ..geometry import Trails
from ..planes import ImagePlanes
from ..render import add_trail
from .gain import GainMap


def inject_trails(
    planes: ImagePlanes, trails: Trails, rng: np.random.Generator | None, gain: float | GainMap = np.inf
) -> ImagePlanes:
    """Add trails to an image, with Poisson noise.

    Parameters
    ----------
    planes
        The image, not changed.
    trails
        Trails to add, array coordinates, fluxes in image units.
    rng, gain
        Random numbers and electrons per image unit; see `add_light`.

    Returns
    -------
    injected
        New image and variance, and the other planes of the input.

    Raises
    ------
    ValueError
        Raised if a flux is negative or not finite; the message has the trail.
    """
    return add_light(planes, paint_trails(planes, trails), rng, gain)


def paint_trails(planes: ImagePlanes, trails: Trails) -> npt.NDArray[np.float32]:
    """Return the noiseless image of trails, shape (ny, nx).

    Parameters
    ----------
    planes
        Image with the shape and the PSF.
    trails
        The trails, array coordinates, fluxes in image units.

    Raises
    ------
    ValueError
        Raised if a flux is negative or not finite; the message has the trail.
    """
    broken = ~np.isfinite(trails.flux) | (trails.flux < 0.0)
    if np.any(broken):
        index = int(np.argmax(broken))
        raise ValueError(f"Trail {index} has flux {trails.flux[index]}; it must be finite and >= 0.")
    signal = np.zeros(planes.shape, dtype=np.float32)
    for trail in trails:
        add_trail(signal, planes.psf, trail)
    return signal


def add_light(
    planes: ImagePlanes,
    signal: npt.NDArray[np.float32],
    rng: np.random.Generator | None,
    gain: float | GainMap = np.inf,
) -> ImagePlanes:
    """Add light to an image, with Poisson noise.

    Parameters
    ----------
    planes
        The image, not changed.
    signal
        Expected light, image units, shape (ny, nx).
    rng
        Random numbers for the noise; `None` adds no noise and does not change the variance.
    gain
        Electrons per image unit. The variance grows by ``signal / gain``, and the image gets noise of that
        variance; none with an infinite gain. A variance that is not positive marks a pixel without data and
        is not changed: the small Poisson variance alone would make it one of the best pixels.

    Returns
    -------
    lit
        New image and variance, and the other planes of the input.
    """
    image = planes.image + signal
    variance = planes.variance.copy()
    gains = gain if isinstance(gain, GainMap) else GainMap.uniform(gain)
    if rng is not None and gains.finite:
        rows, columns = np.nonzero(signal > 0.0)
        gain_here = gains.at(rows, columns)
        known = np.isfinite(gain_here)
        rows, columns, gain_here = rows[known], columns[known], gain_here[known]
        light = signal[rows, columns].astype(np.float64)
        electrons = light * gain_here
        image[rows, columns] += ((rng.poisson(electrons) - electrons) / gain_here).astype(np.float32)
        measured = variance[rows, columns] > 0.0
        rows, columns, grown = rows[measured], columns[measured], (light / gain_here)[measured]
        variance[rows, columns] += grown.astype(np.float32)
    return dataclasses.replace(planes, image=image, variance=variance)
