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

"""Satellite streaks among the candidates."""

from __future__ import annotations

__all__ = ("crosses_image", "on_streak")

import astropy.table
import numpy as np
import numpy.typing as npt

from ..fit.pixels import MAX_FITTED_LENGTH
from ..geometry import Trail, Trails, angle_difference, edge_distance, segment_distance

_STREAK_MARGIN = 12.0
"""Largest distance from the edges of both ends of a streak, pixels."""

_MIN_STREAK_LENGTH = 200.0
"""Shortest satellite streak that crosses the image, pixels; the trails of asteroids are shorter. A candidate
longer than `MAX_FITTED_LENGTH` is a streak wherever it ends.
"""


def crosses_image(line: Trail, shape: tuple[int, int]) -> bool:
    """Return whether a component is a satellite streak across an image.

    Parameters
    ----------
    line
        Line of the component.
    shape
        Shape (ny, nx) of the image.
    """
    if line.length < _MIN_STREAK_LENGTH:
        return False
    if line.length > MAX_FITTED_LENGTH:
        return True
    x0, y0, x1, y1 = line.ends
    return all(edge_distance(x, y, shape) < _STREAK_MARGIN for x, y in ((x0, y0), (x1, y1)))


def on_streak(table: astropy.table.Table) -> npt.NDArray[np.bool_]:
    """Return which candidates lie along a flagged streak, as its fragments do.

    Parameters
    ----------
    table
        Candidates in array coordinates, with the column ``streakFlag``.
    """
    trails = Trails.from_table(table, length="trailLengthPix", angle="trailAnglePix")
    found = np.zeros(len(table), dtype=bool)
    for streak in trails[np.asarray(table["streakFlag"])]:
        near = segment_distance(trails.x, trails.y, *streak.ends) < 15.0
        found |= near & (angle_difference(trails.angle, streak.angle) < 5.0)
    return found
