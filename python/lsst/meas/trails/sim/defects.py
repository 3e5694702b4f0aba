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

"""What a camera adds to an image: saturation, cosmic rays, bad columns, dead
amplifiers.
"""

from __future__ import annotations

__all__ = (
    "add_cosmic_rays",
    "bad_columns",
    "dead_amplifier",
    "saturate",
)

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ..core.injection.artifacts import add_cosmic_ray

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
        center = 0.5 * (region[0].start + region[0].stop)
        height = region[0].stop - region[0].start
        for offset, charge in enumerate(excess):
            # Only a part of the charge runs along the column before the
            # electronics give up: bleeds are shorter than the sum suggests.
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
    flagged_fraction: float = 0.85,
) -> npt.NDArray[np.bool_]:
    """Add the tracks of cosmic rays, some of which are flagged.

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
    flagged = np.zeros(image.shape, dtype=bool)
    for _ in range(count):
        track = add_cosmic_ray(image, charge, rng)
        if rng.random() < flagged_fraction:
            flagged[track.rows, track.columns] = True
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
