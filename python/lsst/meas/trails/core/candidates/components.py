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

"""Connected components of a probability map."""

from __future__ import annotations

__all__ = ("MAX_COMPONENTS", "Component", "find_components", "label_pixels")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.csgraph
import scipy.spatial

from ..geometry import Trail, angle_difference, wrap_angle
from .crossings import split_lines

MAX_COMPONENTS = 5000
"""Most components, so that a ruined image does not delay a night's processing."""

_MAX_ANGLE = 15.0
"""Largest angle of a fragment with the line to the next fragment, degrees."""

_ELONGATED = 6.0
"""Least ratio of length and rms width for a meaningful angle of a component; a disk has 4, an ellipse of axis
ratio 1.5 has 6.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Component:
    """Connected pixels of a probability map.

    Parameters
    ----------
    rows, columns
        Array coordinates of the pixels, shape (n,).
    probability
        Their probabilities, shape (n,).
    line
        Principal axis: the probability-weighted centroid, and the extent and angle of the axis.
    width
        Root-mean-square extent across the axis, pixels.
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float32]
    line: Trail
    width: float

    @classmethod
    def from_pixels(
        cls, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], probability: npt.NDArray[np.float32]
    ) -> Component:
        """Measure the shape of a set of pixels."""
        weight = probability.astype(np.float64)
        weight = weight / weight.sum()
        x, y = float(np.sum(weight * columns)), float(np.sum(weight * rows))
        u, v = columns - x, rows - y
        xx, yy, xy = (float(np.sum(weight * a * b)) for a, b in ((u, u), (v, v), (u, v)))
        angle = 0.5 * np.arctan2(2.0 * xy, xx - yy)
        along = u * np.cos(angle) + v * np.sin(angle)
        across = v * np.cos(angle) - u * np.sin(angle)
        line = Trail(x, y, float(along.max() - along.min()), float(wrap_angle(np.rad2deg(angle))))
        width = float(np.sqrt(np.sum(weight * across * across)))
        return cls(rows, columns, probability, line, width)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return len(self.rows)

    def fraction_of(self, mask: npt.NDArray[np.bool_]) -> float:
        """Return the fraction of the pixels that are set in a mask."""
        return float(np.mean(mask[self.rows, self.columns]))

    @property
    def is_elongated(self) -> bool:
        """Whether the angle of the component is meaningful."""
        return self.line.length >= _ELONGATED * self.width

    @property
    def peak(self) -> float:
        """Largest probability."""
        return float(self.probability.max())

    @property
    def top_quarter(self) -> float:
        """Mean of the largest quarter of the probabilities."""
        count = max(1, (len(self.probability) + 3) // 4)
        return float(np.mean(np.partition(self.probability, -count)[-count:]))


def find_components(
    probability: npt.NDArray[np.float32],
    *,
    grow: float,
    seed: float,
    min_area: int = 6,
    max_gap: float = 12.0,
) -> list[Component]:
    """Find connected components by hysteresis.

    Crossing lines are separated and collinear fragments are joined. Only the components with the highest
    peaks are returned, at most `MAX_COMPONENTS`.

    Parameters
    ----------
    probability
        Probability per pixel that it belongs to a trail, shape (ny, nx); non-finite pixels belong to no
        component.
    grow
        Least probability of the pixels of a component; must be positive.
    seed
        Least peak probability of a component.
    min_area
        Fewest pixels of a component after fragments are joined.
    max_gap
        Largest gap between the ends of two fragments of one trail, pixels.

    Returns
    -------
    components
        In decreasing order of peak probability.
    """
    width = probability.shape[1]
    pixels = np.flatnonzero(probability >= grow)
    pixels = pixels[np.isfinite(probability[np.divmod(pixels, max(width, 1))])]
    pixels, labels, count = label_pixels(pixels, width)
    if count == 0:
        return []
    rows, columns = np.divmod(pixels, width)
    values = probability[rows, columns]
    bounds = np.searchsorted(labels, np.arange(count + 1))
    peaks = np.maximum.reduceat(values, bounds[:-1])
    kept = np.flatnonzero(peaks >= seed)
    kept = kept[np.argsort(-peaks[kept], kind="stable")][:MAX_COMPONENTS]
    components = []
    for index in kept:
        part = slice(bounds[index], bounds[index + 1])
        components += [
            Component.from_pixels(rows[part][line], columns[part][line], values[part][line])
            for line in split_lines(rows[part], columns[part])
        ]
    joined = _join_collinear(components, max_gap)
    joined = [component for component in joined if component.area >= min_area]
    return sorted(joined, key=lambda component: -component.peak)


def label_pixels(
    pixels: npt.NDArray[np.int64], width: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Find the connected components of a few pixels of an image, neighbors at corners included.

    This is faster than `scipy.ndimage.label`, which visits all pixels of the image.

    Parameters
    ----------
    pixels
        Indices of the pixels in the flat image, increasing, shape (n,).
    width
        Number of columns of the image.

    Returns
    -------
    pixels, labels
        Pixels and their components from 0 in the order of their first pixels, sorted by component, shape
        (n,).
    count
        Number of components.
    """
    if pixels.size == 0:
        return pixels, pixels, 0
    # Runs of adjacent pixels of a row, by their first and last pixels.
    starts_run = np.diff(pixels, prepend=-2) > 1
    starts_run |= pixels % width == 0
    first, last = pixels[starts_run], pixels[np.roll(starts_run, -1)]
    # The runs of the next row that touch a run.
    low = np.searchsorted(last, first + width - (first % width > 0))
    high = np.searchsorted(first, last + width + (last % width < width - 1), side="right")
    touching = high - low
    upper = np.repeat(np.arange(len(first)), touching)
    lower = np.arange(len(upper)) + np.repeat(low - (np.cumsum(touching) - touching), touching)
    graph = scipy.sparse.coo_array((np.ones(len(upper)), (upper, lower)), shape=(len(first),) * 2)
    count, labels = scipy.sparse.csgraph.connected_components(graph, directed=False)
    labels = labels[np.cumsum(starts_run) - 1]
    order = np.argsort(labels, kind="stable")
    return pixels[order], labels[order], count


def _join_collinear(components: list[Component], max_gap: float) -> list[Component]:
    """Join collinear fragments."""
    if len(components) < 2 or max_gap <= 0.0:
        return components
    ends = np.array([component.line.ends for component in components])
    points = np.concatenate([ends[:, :2], ends[:, 2:]])
    owner = np.tile(np.arange(len(components)), 2)
    pairs = scipy.spatial.KDTree(points).query_pairs(max_gap, output_type="ndarray")
    links = [(a, b) for a, b in owner[pairs] if a != b and _collinear(components[a], components[b])]
    if not links:
        return components
    graph = scipy.sparse.coo_array((np.ones(len(links)), np.array(links).T), shape=(len(components),) * 2)
    count, group = scipy.sparse.csgraph.connected_components(graph, directed=False)
    result = []
    for number in range(count):
        members = [components[i] for i in np.flatnonzero(group == number)]
        pixels = ((member.rows, member.columns, member.probability) for member in members)
        joined = (np.concatenate(values) for values in zip(*pixels, strict=True))
        result.append(members[0] if len(members) == 1 else Component.from_pixels(*joined))
    return result


def _collinear(a: Component, b: Component) -> bool:
    """Return whether two fragments lie on one line.

    The longer one must be elongated, because only then its angle has a meaning.
    """
    longer, shorter = (a, b) if a.line.length >= b.line.length else (b, a)
    if not longer.is_elongated:
        return False
    joint = Trail.from_ends(a.line.x, a.line.y, b.line.x, b.line.y)
    if angle_difference(joint.angle, longer.line.angle) > _MAX_ANGLE:
        return False
    if not shorter.is_elongated:
        return True
    return bool(angle_difference(longer.line.angle, shorter.line.angle) <= 2.0 * _MAX_ANGLE)
