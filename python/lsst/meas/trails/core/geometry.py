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

"""Trails as line segments: midpoint, length, angle, ends and distances.

Pixel centers are integers. Angles are degrees counter-clockwise from +x; a trail has no direction, so that
angles run over [0, 180).
"""

from __future__ import annotations

__all__ = (
    "PixelToSky",
    "SegmentPixels",
    "Trail",
    "Trails",
    "angle_difference",
    "clip_segment",
    "edge_distance",
    "line_band",
    "near_segment",
    "segment_distance",
    "signed_angle_difference",
    "wrap_angle",
)

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self, overload

import numpy as np
import numpy.typing as npt

type _Mask = npt.NDArray[np.bool_]
type _Floats = npt.NDArray[np.float64]
"""Arrays; functions of scalars return scalars."""

type PixelToSky = Callable[[_Floats, _Floats], tuple[Any, Any]]
"""Map from pixel coordinates x and y to ICRS right ascension and declination, degrees."""

type _Subset = slice | npt.NDArray[np.bool_ | np.integer]
type _Values = float | npt.NDArray[np.floating | np.integer]


@dataclasses.dataclass(frozen=True)
class Trail:
    """A trail: a line segment and its flux.

    Parameters
    ----------
    x, y
        Midpoint, array coordinates, pixels.
    length
        Length between the ends of the underlying line, pixels.
    angle
        Angle, degrees counter-clockwise from +x.
    flux
        Flux of the whole trail, in the units of the image; NaN if unknown.
    """

    x: float
    y: float
    length: float
    angle: float
    flux: float = np.nan

    @classmethod
    def from_ends(cls, x0: float, y0: float, x1: float, y1: float, flux: float = np.nan) -> Self:
        """Return the trail between two ends, with its angle in [0, 180)."""
        dx, dy = np.subtract(x1, x0), np.subtract(y1, y0)
        angle = wrap_angle(np.rad2deg(np.arctan2(dy, dx)))
        return cls(0.5 * (x0 + x1), 0.5 * (y0 + y1), float(np.hypot(dx, dy)), float(angle), flux)

    @property
    def ends(self) -> tuple[float, float, float, float]:
        """Ends x0, y0, x1, y1 in array coordinates, pixels."""
        x0, y0, x1, y1 = _ends(self)
        return float(x0), float(y0), float(x1), float(y1)

    @property
    def direction(self) -> tuple[float, float]:
        """Cosine and sine of the angle."""
        radians = np.deg2rad(self.angle)
        return float(np.cos(radians)), float(np.sin(radians))


@dataclasses.dataclass(frozen=True, eq=False)
class Trails:
    """Many trails; an integer index gives a `Trail`, any other `Trails`.

    Parameters
    ----------
    x, y, length, angle, flux
        Fields of `Trail`, shape (n,).
    """

    x: _Floats
    y: _Floats
    length: _Floats
    angle: _Floats
    flux: _Floats

    def __post_init__(self) -> None:
        sizes = set()
        for field in dataclasses.fields(self):
            value = np.atleast_1d(np.asarray(getattr(self, field.name), dtype=np.float64))
            object.__setattr__(self, field.name, value)
            sizes.add(value.shape)
        if len(sizes) != 1 or len(next(iter(sizes))) != 1:
            raise ValueError(f"Trails have columns of different shapes {sorted(sizes)}; pass shape (n,).")

    def __len__(self) -> int:
        return len(self.x)

    @overload
    def __getitem__(self, index: int | np.integer) -> Trail: ...

    @overload
    def __getitem__(self, index: _Subset) -> Trails: ...

    def __getitem__(self, index: int | np.integer | _Subset) -> Trail | Trails:
        values = [getattr(self, field.name)[index] for field in dataclasses.fields(self)]
        return Trail(*map(float, values)) if np.ndim(values[0]) == 0 else Trails(*values)

    def __iter__(self) -> Iterator[Trail]:
        return (self[i] for i in range(len(self)))

    @classmethod
    def from_trails(cls, trails: Iterable[Trail]) -> Trails:
        """Return single trails as arrays."""
        rows = [(trail.x, trail.y, trail.length, trail.angle, trail.flux) for trail in trails]
        return cls(*np.array(rows, dtype=np.float64).reshape(-1, 5).T)

    @classmethod
    def from_table(
        cls,
        table: Mapping[str, npt.ArrayLike],
        *,
        length: str = "trail_length",
        angle: str = "beta",
        flux: str = "flux",
    ) -> Trails:
        """Return the trails of a table with columns ``x`` and ``y``.

        Parameters
        ----------
        table
            The table.
        length, angle, flux
            Names of its other columns; by default as in a truth table.
        """
        return cls(*(np.asarray(table[name], dtype=np.float64) for name in ("x", "y", length, angle, flux)))

    @classmethod
    def empty(cls) -> Trails:
        """Return a list of no trails."""
        return cls.from_trails(())

    @property
    def ends(self) -> tuple[_Floats, _Floats, _Floats, _Floats]:
        """Ends x0, y0, x1, y1 in array coordinates, pixels, shape (n,)."""
        return _ends(self)


def _ends(trail: Trail | Trails) -> tuple[_Floats, _Floats, _Floats, _Floats]:
    radians = np.deg2rad(trail.angle)
    dx = 0.5 * np.asarray(trail.length) * np.cos(radians)
    dy = 0.5 * np.asarray(trail.length) * np.sin(radians)
    return trail.x - dx, trail.y - dy, trail.x + dx, trail.y + dy


class SegmentPixels(NamedTuple):
    """Pixels near a segment; see `near_segment`.

    Parameters
    ----------
    left, bottom
        First column and row of a box around the segment.
    rows, columns
        Image coordinates of the pixels of the box, shape (h, w).
    distance
        Distances from the segment, pixels, same shape.
    use
        Pixels near the segment that lie in the image, same shape.
    """

    left: int
    bottom: int
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    distance: _Floats
    use: _Mask


def wrap_angle(angle: npt.ArrayLike) -> _Floats:
    """Return an angle of an undirected line in [0, 180) degrees."""
    wrapped = np.mod(angle, 180.0)
    # The remainder of a tiny negative angle rounds to 180 itself.
    return np.where(wrapped >= 180.0, 0.0, wrapped)[()]


def angle_difference(a: npt.ArrayLike, b: npt.ArrayLike) -> _Floats:
    """Return the angle between undirected lines, degrees in [0, 90].

    It is the same for angles in [0, 180), bearings in (-180, 180] and directions in [0, 360).
    """
    difference = np.mod(np.asarray(a) - b, 180.0)
    return np.minimum(difference, 180.0 - difference)


def signed_angle_difference(a: npt.ArrayLike, b: npt.ArrayLike) -> _Floats:
    """Return the turn from undirected lines ``b`` to lines ``a``, degrees in [-90, 90)."""
    return np.mod(np.asarray(a) - b + 90.0, 180.0) - 90.0


def segment_distance(px: _Values, py: _Values, x0: _Values, y0: _Values, x1: _Values, y1: _Values) -> _Floats:
    """Return distances of points to line segments, pixels.

    Parameters
    ----------
    px, py
        Points; broadcast against the segments.
    x0, y0, x1, y1
        Ends of the segments.
    """
    dx = np.asarray(x1) - x0
    dy = np.asarray(y1) - y0
    norm = dx * dx + dy * dy
    norm = np.where(norm > 0.0, norm, 1.0)
    u, v = px - x0, py - y0
    t = np.clip(u * (dx / norm) + v * (dy / norm), 0.0, 1.0)
    # Faster than numpy.hypot.
    return np.sqrt(np.square(u - t * dx) + np.square(v - t * dy))


def clip_segment(
    x0: _Values, y0: _Values, x1: _Values, y1: _Values, shape: tuple[int, int]
) -> tuple[_Floats, _Floats, _Floats, _Floats]:
    """Clip segments at the edges of an image.

    The algorithm is from Liang & Barsky (1984, ACM Trans. Graph. 3, 1).

    Parameters
    ----------
    x0, y0, x1, y1
        Ends of the segments, array coordinates.
    shape
        Shape (ny, nx) of the image, whose outer pixels end half a pixel beyond their centers.

    Returns
    -------
    x0, y0, x1, y1
        Ends of the parts on the image; unchanged for segments that do not touch the image.
    """
    start, stop = np.zeros(np.shape(x0)), np.ones(np.shape(x0))
    for begin, step, size in ((x0, np.subtract(x1, x0), shape[1]), (y0, np.subtract(y1, y0), shape[0])):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            bounds = np.sort(np.stack([(-0.5 - begin) / step, (size - 0.5 - begin) / step]), axis=0)
        # A segment parallel to two edges lies between them or not.
        inside = (begin >= -0.5) & (begin <= size - 0.5)
        low = np.where(step == 0.0, np.where(inside, 0.0, np.inf), bounds[0])
        high = np.where(step == 0.0, np.where(inside, 1.0, -np.inf), bounds[1])
        start, stop = np.maximum(start, low), np.minimum(stop, high)
    outside = start > stop
    start, stop = np.where(outside, 0.0, start), np.where(outside, 1.0, stop)
    dx, dy = np.subtract(x1, x0), np.subtract(y1, y0)
    # Ends that are not clipped stay exactly the same.
    first, last = start == 0.0, stop == 1.0
    return (
        np.where(first, x0, x0 + start * dx),
        np.where(first, y0, y0 + start * dy),
        np.where(last, x1, x0 + stop * dx),
        np.where(last, y1, y0 + stop * dy),
    )


def edge_distance(x: float, y: float, shape: tuple[int, int]) -> float:
    """Return the distance of a point to the edge of an image, pixels."""
    return min(x, y, shape[1] - 1 - x, shape[0] - 1 - y)


def near_segment(
    x0: float, y0: float, x1: float, y1: float, margin: float, shape: tuple[int, int]
) -> SegmentPixels:
    """Return the pixels of an image within a distance of a segment.

    Parameters
    ----------
    x0, y0, x1, y1
        Ends of the segment, array coordinates.
    margin
        The distance, pixels.
    shape
        Shape (ny, nx) of the image.

    Notes
    -----
    The box reaches beyond the image like the segment: in a smaller box, a trail drawn in Fourier space would
    wrap around.
    """
    left, right = int(np.floor(min(x0, x1) - margin)), int(np.ceil(max(x0, x1) + margin)) + 1
    bottom, top = int(np.floor(min(y0, y1) - margin)), int(np.ceil(max(y0, y1) + margin)) + 1
    rows, columns = np.ogrid[bottom:top, left:right]
    distance = segment_distance(columns, rows, x0, y0, x1, y1)
    use = distance <= margin
    use &= (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    rows, columns = (np.broadcast_to(values, use.shape) for values in (rows, columns))
    return SegmentPixels(left, bottom, rows, columns, distance, use)


def line_band(shape: tuple[int, int], x: float, y: float, angle: float, width: float) -> _Mask:
    """Return the pixels of an image near an infinite line.

    Parameters
    ----------
    shape
        Shape (ny, nx) of the image.
    x, y
        A point of the line, array coordinates.
    angle
        Angle of the line, degrees counter-clockwise from +x.
    width
        Largest distance from the line, pixels.
    """
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    radians = np.deg2rad(angle)
    across = (rows - y) * np.cos(radians) - (columns - x) * np.sin(radians)
    return np.asarray(np.abs(across) < width)
