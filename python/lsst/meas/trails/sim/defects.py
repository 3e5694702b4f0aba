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

"""Image defects: saturation, cosmic rays, bad columns, dead amplifiers."""

from __future__ import annotations

__all__ = ("add_cosmic_rays", "bad_columns", "dead_amplifier", "saturate")

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ..core.injection.artifacts import add_cosmic_ray
from .detector import AMPLIFIER_GRID


def saturate(image: npt.NDArray[np.float32], level: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Clip an image at the full well and let the excess bleed along columns.

    Parameters
    ----------
    image
        Noiseless signal, shape (ny, nx); changed in place.
    level
        Full well in the units of the image.
    rng
        Random number generator of the bleed lengths.

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
        center = 0.5 * (region[0].start + region[0].stop)
        height = region[0].stop - region[0].start
        for offset, charge in enumerate(excess):
            # Bleeds are shorter than the excess charge suggests.
            reach = 0.5 * height + 0.15 * charge / level * rng.uniform(0.8, 1.2)
            start = max(0, int(center - reach))
            stop = min(image.shape[0], int(center + reach) + 1)
            if charge > 0.0:
                saturated[start:stop, region[1].start + offset] = True
    image[saturated] = level
    return saturated


def add_cosmic_rays(
    image: npt.NDArray[np.float32],
    count: int,
    charge: tuple[float, float],
    rng: np.random.Generator,
    flagged_fraction: float,
) -> npt.NDArray[np.bool_]:
    """Add cosmic-ray tracks.

    Parameters
    ----------
    image
        Signal, shape (ny, nx); changed in place.
    count
        Number of tracks.
    charge
        Smallest and largest charge per pixel of track, image units.
    rng
        Random number generator.
    flagged_fraction
        Fraction of flagged tracks.

    Returns
    -------
    flagged
        Pixels of the flagged tracks, shape (ny, nx).
    """
    flagged = np.zeros(image.shape, dtype=bool)
    for _ in range(count):
        track = add_cosmic_ray(image, charge, rng)
        if rng.random() < flagged_fraction:
            flagged[track.rows, track.columns] = True
    return flagged


def bad_columns(shape: tuple[int, int], rate: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Draw a mask of full and partial bad columns, ``rate`` per thousand columns."""
    ny, nx = shape
    bad = np.zeros(shape, dtype=bool)
    for _ in range(rng.poisson(rate * nx / 1000.0)):
        column = int(rng.integers(0, nx))
        start = 0 if rng.random() < 0.5 else int(rng.integers(0, ny))
        bad[start:, column : column + int(rng.integers(1, 4))] = True
    return bad


def dead_amplifier(shape: tuple[int, int], rng: np.random.Generator) -> tuple[slice, slice]:
    """Return the pixels of a random amplifier as slices (y, x)."""
    ny, nx = shape
    row, column = rng.integers(0, AMPLIFIER_GRID[0]), rng.integers(0, AMPLIFIER_GRID[1])
    height, width = max(1, ny // AMPLIFIER_GRID[0]), max(1, nx // AMPLIFIER_GRID[1])
    y, x = int(row) * height, int(column) * width
    return slice(y, y + height), slice(x, x + width)
