# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""Injection of trails into images, as arrays."""

from __future__ import annotations

__all__ = ("inject_trails",)

import dataclasses

import numpy as np

from .geometry import Trails
from .planes import ImagePlanes
from .render import render_trail


def inject_trails(
    planes: ImagePlanes, trails: Trails, rng: np.random.Generator | None, gain: float = np.inf
) -> ImagePlanes:
    """Add trails to an image, with their own Poisson noise.

    Parameters
    ----------
    planes
        The image, never changed.
    trails
        Trails to add, array coordinates, fluxes in image units.
    rng
        Random numbers for the noise; `None` adds noiseless trails and leaves
        the variance as it is.
    gain
        Electrons per image unit.  The photons of the trail add
        ``signal / gain`` to the variance, and noise of that variance to the
        image; none with an infinite gain.

    Returns
    -------
    injected
        New planes; mask, PSF and template are those of the input.

    Raises
    ------
    ValueError
        Raised if a flux is negative or not finite, naming the trail.
    """
    broken = ~np.isfinite(trails.flux) | (trails.flux < 0.0)
    if np.any(broken):
        index = int(np.argmax(broken))
        raise ValueError(f"Trail {index} has a flux of {trails.flux[index]}: it cannot be injected.")
    signal = np.zeros(planes.shape, dtype=np.float32)
    for x, y, length, angle, flux in zip(
        trails.x, trails.y, trails.length, trails.angle, trails.flux, strict=True
    ):
        slices, part = render_trail(planes.psf, x, y, length, angle).clipped(planes.shape)
        signal[slices] += flux * part
    image = planes.image + signal
    variance = planes.variance.copy()
    if rng is not None and np.isfinite(gain):
        lit = signal > 0.0
        electrons = signal[lit].astype(np.float64) * gain
        image[lit] += ((rng.poisson(electrons) - electrons) / gain).astype(np.float32)
        variance[lit] += (signal[lit] / gain).astype(np.float32)
    return dataclasses.replace(planes, image=image, variance=variance)
