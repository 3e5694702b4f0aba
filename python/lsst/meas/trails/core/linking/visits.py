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

"""Visits: detections of one exposure with an index of their positions."""

from __future__ import annotations

__all__ = ("Visit", "group_visits", "stationary_sources")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.spatial

from .detections import Detections
from .options import LinkOptions

type _Mask = npt.NDArray[np.bool_]
type _Floats = npt.NDArray[np.float64]

ARCSEC = np.pi / 180.0 / 3600.0
"""One arcsecond in radians."""

_NEIGHBORS = 8
"""Number of neighbors among which the repetition of a stationary source is searched."""

_STATIONARY = 0.3
"""Largest motion of a stationary source, in units of the motion that its length predicts."""


@dataclasses.dataclass(frozen=True, eq=False)
class Visit:
    """Detections of one visit."""

    start: int
    """First row."""

    stop: int
    """Row after the last."""

    time: float
    """Mean time, MJD, TAI."""

    center: _Floats
    """Unit vector of the mean position."""

    radius: float
    """Largest distance from the center, radians."""

    tree: scipy.spatial.cKDTree
    """Index of the positions."""


def group_visits(detections: Detections) -> list[Visit]:
    """Return the visits of detections, which are in order of visits."""
    edges = np.flatnonzero(np.diff(detections.visit)) + 1
    visits = []
    for start, stop in zip([0, *edges], [*edges, len(detections)], strict=True):
        if start == stop:
            continue
        place = detections.place[start:stop]
        center = place.mean(axis=0)
        center /= max(float(np.linalg.norm(center)), 1e-9)
        visits.append(
            Visit(
                start=int(start),
                stop=int(stop),
                time=float(detections.time[start:stop].mean()),
                center=center,
                radius=float(np.linalg.norm(place - center, axis=1).max()),
                tree=scipy.spatial.cKDTree(place),
            )
        )
    return visits


def stationary_sources(detections: Detections, options: LinkOptions = LinkOptions()) -> _Mask:
    """Return which detections are at the same place in another visit, such as galaxies and spikes.

    Parameters
    ----------
    detections
        The detections.
    options
        The largest distance. A detection that is as close is not stationary if its length predicts a motion
        that is as small.
    """
    found = np.zeros(len(detections), dtype=bool)
    if len(detections) < 2:
        return found
    tree = scipy.spatial.cKDTree(detections.place)
    count = min(_NEIGHBORS + 1, len(detections))
    reach = options.stationary_radius * ARCSEC
    for start in range(0, len(detections), 100_000):
        rows = np.arange(start, min(start + 100_000, len(detections)))
        distance, other = tree.query(detections.place[rows], k=count, distance_upper_bound=reach)
        near = np.isfinite(distance)
        other = np.where(near, other, rows[:, None])
        gap = np.abs(detections.time[other] - detections.time[rows, None])
        motion = detections.rate[rows, None] * gap * ARCSEC
        near &= detections.visit[other] != detections.visit[rows, None]
        found[rows] = np.any(near & (distance < _STATIONARY * motion), axis=1)
    return found
