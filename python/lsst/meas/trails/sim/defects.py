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

"""Image defects: cosmic rays, bad columns, dead amplifiers."""

from __future__ import annotations

__all__ = ("add_cosmic_rays", "bad_columns", "dead_amplifier")

import numpy as np
import numpy.typing as npt

from ..core.injection.artifacts import add_cosmic_ray
from ..core.injection.population import draw_log_uniform
from .detector import AMPLIFIER_GRID


def add_cosmic_rays(
    image: npt.NDArray[np.float32],
    count: int,
    charge: tuple[float, float],
    rng: np.random.Generator,
    flagged_fraction: float,
    scatter: tuple[float, float] = (0.04, 0.04),
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
    scatter
        Range of the wandering of the tracks, uniform in the logarithm; see
        `~lsst.meas.trails.core.injection.artifacts.add_cosmic_ray`.

    Returns
    -------
    flagged
        Pixels of the flagged tracks, shape (ny, nx).
    """
    flagged = np.zeros(image.shape, dtype=bool)
    for _ in range(count):
        low, high = scatter
        wander = low if low == high else draw_log_uniform(low, high, rng)
        track = add_cosmic_ray(image, charge, rng, wander)
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
