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

"""What a camera and the sky between add to an image: saturation, cosmic rays,
bad columns, dead amplifiers, satellites.
"""

from __future__ import annotations

__all__ = (
    "add_cosmic_rays",
    "add_satellite",
    "bad_columns",
    "dead_amplifier",
    "saturate",
)

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ..core.geometry import trail_from_ends
from ..core.psf import FWHM_PER_SIGMA, PsfGrid

AMPLIFIERS = (2, 8)
"""Rows and columns of amplifiers on a detector of LSSTCam."""


def saturate(image: npt.NDArray[np.float32], level: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Clip an image at the full well and let the excess bleed along columns.

    Parameters
    ----------
    image
        Noiseless signal, shape (ny, nx); changed in place.
    level
        Full well in the units of the image.
    rng
        Random numbers, for the ragged ends of the bleeds.

    Returns
    -------
    saturated
        Pixels at the full well, shape (ny, nx).
    """
    labels, count = scipy.ndimage.label(image > level)
    saturated = image > level
    for region in scipy.ndimage.find_objects(labels, count):
        part = image[region]
        excess = np.maximum(part - level, 0.0).sum(axis=0)
        centre = 0.5 * (region[0].start + region[0].stop)
        height = region[0].stop - region[0].start
        for offset, charge in enumerate(excess):
            # Only a part of the charge runs along the column before the
            # electronics give up: bleeds are shorter than the sum suggests.
            reach = 0.5 * height + 0.15 * charge / level * rng.uniform(0.8, 1.2)
            start = max(0, int(centre - reach))
            stop = min(image.shape[0], int(centre + reach) + 1)
            if charge > 0.0:
                saturated[start:stop, region[1].start + offset] = True
    image[saturated] = level
    return saturated


def add_cosmic_rays(
    image: npt.NDArray[np.float32],
    count: int,
    charge: tuple[float, float],
    rng: np.random.Generator,
    flagged_fraction: float = 0.85,
) -> npt.NDArray[np.bool_]:
    """Add straight, sharp tracks that no PSF has blurred.

    Parameters
    ----------
    image
        Signal, shape (ny, nx); changed in place.
    count
        Number of tracks.
    charge
        Least and greatest charge per pixel of track, image units.
    rng
        Random numbers.
    flagged_fraction
        Fraction of the tracks that the stack has found and flagged.

    Returns
    -------
    flagged
        Pixels of the flagged tracks, shape (ny, nx).
    """
    ny, nx = image.shape
    flagged = np.zeros(image.shape, dtype=bool)
    for _ in range(count):
        length = float(np.exp(rng.uniform(np.log(1.5), np.log(60.0))))
        angle = rng.uniform(0.0, np.pi)
        x, y = rng.uniform(0, nx), rng.uniform(0, ny)
        t = np.arange(0.0, length, 0.25)
        density = np.exp(rng.uniform(*np.log(charge))) * rng.uniform(0.7, 1.3, t.size) * 0.25
        # Delta electrons and diffusion in the silicon make tracks wander.
        wander = np.cumsum(rng.normal(0.0, 0.04, t.size))
        px = x + t * np.cos(angle) - wander * np.sin(angle)
        py = y + t * np.sin(angle) + wander * np.cos(angle)
        columns, rows = np.round(px).astype(int), np.round(py).astype(int)
        inside = (columns >= 0) & (rows >= 0) & (columns < nx) & (rows < ny)
        np.add.at(image, (rows[inside], columns[inside]), density[inside].astype(np.float32))
        if rng.random() < flagged_fraction:
            flagged[rows[inside], columns[inside]] = True
    return flagged


def bad_columns(shape: tuple[int, int], rate: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return bad columns, whole or in part.

    Parameters
    ----------
    shape
        Shape (ny, nx) of the image.
    rate
        Mean number per thousand columns.
    rng
        Random numbers.
    """
    ny, nx = shape
    bad = np.zeros(shape, dtype=bool)
    for _ in range(rng.poisson(rate * nx / 1000.0)):
        column = int(rng.integers(0, nx))
        start = 0 if rng.random() < 0.5 else int(rng.integers(0, ny))
        bad[start:, column : column + int(rng.integers(1, 4))] = True
    return bad


def dead_amplifier(shape: tuple[int, int], rng: np.random.Generator) -> tuple[slice, slice]:
    """Return the pixels of one amplifier, as slices (y, x)."""
    ny, nx = shape
    row, column = rng.integers(0, AMPLIFIERS[0]), rng.integers(0, AMPLIFIERS[1])
    height, width = max(1, ny // AMPLIFIERS[0]), max(1, nx // AMPLIFIERS[1])
    y, x = int(row) * height, int(column) * width
    return slice(y, y + height), slice(x, x + width)


def add_satellite(
    image: npt.NDArray[np.float32],
    psf: PsfGrid,
    surface_brightness: float,
    rng: np.random.Generator,
    defocus: float = 0.0,
) -> tuple[float, float, float, float, float]:
    """Add the streak of a satellite that crosses the whole image.

    Parameters
    ----------
    image
        Signal, shape (ny, nx); changed in place.
    psf
        Point-spread function.
    surface_brightness
        Flux per pixel of length, image units.
    rng
        Random numbers, for the place and the angle.
    defocus
        Extra width (Gaussian standard deviation, pixels) of a low satellite,
        for which the telescope is out of focus.

    Returns
    -------
    x, y, length, angle, flux
        The part of the streak within the image, as a trail.
    """
    ny, nx = image.shape
    cx, cy = rng.uniform(0, nx), rng.uniform(0, ny)
    angle = rng.uniform(0.0, np.pi)
    sigma = float(np.hypot(psf.fwhm(cx, cy) / FWHM_PER_SIGMA, defocus))
    c, s = np.cos(angle), np.sin(angle)
    steep = abs(s) > abs(c)
    # Walk along the axis that the streak crosses everywhere, and draw its
    # profile across.
    target = image.T if not steep else image
    along = np.arange(target.shape[0])
    slope = (c / s) if steep else (s / c)
    centre = (cx + (along - cy) * slope) if steep else (cy + (along - cx) * slope)
    normal = abs(s) if steep else abs(c)
    reach = int(np.ceil(5.0 * sigma / normal)) + 1
    offsets = np.arange(-reach, reach + 1)
    across = np.round(centre).astype(int)[:, None] + offsets[None, :]
    distance = (across - centre[:, None]) * normal
    profile = surface_brightness * np.exp(-0.5 * np.square(distance / sigma)) / (np.sqrt(2 * np.pi) * sigma)
    inside = (across >= 0) & (across < target.shape[1])
    rows = np.broadcast_to(along[:, None], across.shape)
    target[rows[inside], across[inside]] += profile[inside].astype(np.float32)
    on_image = np.flatnonzero((centre >= 0) & (centre <= target.shape[1] - 1))
    first, last = (on_image[0], on_image[-1]) if on_image.size else (0, 0)
    ends = [(centre[i], along[i]) if steep else (along[i], centre[i]) for i in (first, last)]
    x, y, length, degrees = trail_from_ends(*ends[0], *ends[1])
    return float(x), float(y), float(length), float(degrees), float(surface_brightness * length)
