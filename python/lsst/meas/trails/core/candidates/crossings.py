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

"""Separation of crossing trails in one component of a probability map."""

from __future__ import annotations

__all__ = ("split_lines",)

import numpy as np
import numpy.typing as npt
import scipy.ndimage

type _Indices = npt.NDArray[np.int64]
type _Floats = npt.NDArray[np.float64]

_ANGLES = np.deg2rad(np.arange(0.0, 180.0, 3.0))
"""Angles of the trial lines, radians."""

_MAX_LINES = 4
"""Most lines of a component."""

_SHARE = 0.15
"""Least fraction of the pixels of a component on a line."""

_ELONGATION = 4.0
"""Least ratio of length and thickness of another line."""


def split_lines(rows: _Indices, columns: _Indices) -> list[_Indices]:
    """Split a connected set of pixels into lines.

    Parameters
    ----------
    rows, columns
        The pixels, shape (n,).

    Returns
    -------
    lines
        Indices of the pixels of each line, most pixels first. Pixels at a crossing belong to all its lines,
        all other pixels to the nearest line. Pixels that do not form several lines are returned as one.

    Notes
    -----
    A Hough transform (Duda & Hart 1972, CACM 15, 11) finds the strip with most pixels, as wide as the lines
    are thick. This is repeated with the pixels outside of the strips while they are elongated.
    """
    everything = np.arange(len(rows))
    half = _half_thickness(rows, columns)
    extent = max(np.ptp(rows), np.ptp(columns)) if len(rows) else 0
    if extent < 2.0 * _ELONGATION * half:
        return [everything]
    x, y = columns.astype(np.float64), rows.astype(np.float64)
    strips: list[_Floats] = []
    left = np.ones(len(rows), dtype=bool)
    least = max(_SHARE * len(rows), 2.0 * _ELONGATION * half * half)
    while len(strips) < _MAX_LINES and np.count_nonzero(left) >= least:
        angle, offset = _best_strip(x[left], y[left], half)
        distance = np.abs(y * np.cos(angle) - x * np.sin(angle) - offset)
        members = left & (distance <= half)
        along = x[members] * np.cos(angle) + y[members] * np.sin(angle)
        # A strip across the rest of a thick or bent line holds few pixels for its length.
        full = np.count_nonzero(members) >= 0.4 * min(np.ptp(along) + 1.0, 2.0 * len(along)) * half
        if np.count_nonzero(members) < least or np.ptp(along) < 2.0 * _ELONGATION * half or not full:
            break
        strips.append(distance)
        # Pixels just outside belong to the same line.
        left &= distance > 2.0 * half
    if len(strips) < 2:
        return [everything]
    distances = np.stack(strips)
    nearest = np.argmin(distances, axis=0)
    lines = [np.flatnonzero((nearest == i) | (distances[i] <= half)) for i in range(len(strips))]
    return sorted(lines, key=len, reverse=True)


def _half_thickness(rows: _Indices, columns: _Indices) -> float:
    """Return half of the thickness of the lines, pixels.

    Distances to the border are uniform up to half of the thickness: their median is a quarter of the
    thickness.
    """
    mask = np.zeros((np.ptp(rows) + 3, np.ptp(columns) + 3), dtype=bool)
    mask[rows - rows.min() + 1, columns - columns.min() + 1] = True
    distance = scipy.ndimage.distance_transform_edt(mask)
    return float(2.0 * np.median(distance[mask])) + 0.5


def _best_strip(x: _Floats, y: _Floats, half: float) -> tuple[float, float]:
    """Return angle, radians, and offset of the strip with most points."""
    across = y[None, :] * np.cos(_ANGLES)[:, None] - x[None, :] * np.sin(_ANGLES)[:, None]
    first = np.floor(across.min(axis=1, keepdims=True))
    bins = (across - first).astype(np.int64)
    size = int(bins.max()) + 1
    flat = bins + size * np.arange(len(_ANGLES))[:, None]
    counts = np.bincount(flat.ravel(), minlength=size * len(_ANGLES)).reshape(len(_ANGLES), size)
    width = max(1, round(2.0 * half))
    sums = scipy.ndimage.uniform_filter1d(counts.astype(np.float64), width, axis=1, mode="constant")
    best = np.unravel_index(int(np.argmax(sums)), sums.shape)
    angle = float(_ANGLES[best[0]])
    # Refine by a fit to the points: the bins are a pixel wide and the angles three degrees apart.
    offset = float(first[best[0], 0] + best[1] + 0.5)
    for _ in range(2):
        distance = y * np.cos(angle) - x * np.sin(angle) - offset
        near = np.abs(distance) <= half
        if np.count_nonzero(near) < 3:
            break
        along = x[near] * np.cos(angle) + y[near] * np.sin(angle)
        slope, shift = np.polyfit(along - along.mean(), distance[near], 1)
        middle = float(along.mean())
        # The line through (middle, offset + shift) with the fitted slope.
        px = middle * np.cos(angle) - (offset + shift) * np.sin(angle)
        py = middle * np.sin(angle) + (offset + shift) * np.cos(angle)
        angle += float(np.arctan(slope))
        offset = float(py * np.cos(angle) - px * np.sin(angle))
    return angle, offset
