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

"""Matching of candidates with true trails."""

from __future__ import annotations

__all__ = ("MatchCriteria", "Matches", "Sorting", "classify_candidates", "match_trails")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.spatial

from .geometry import Trails, angle_difference, segment_distance

type _Mask = npt.NDArray[np.bool_]
type _Floats = npt.NDArray[np.float64]
type _Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class MatchCriteria:
    """Criteria for a match of a candidate with a true trail.

    Parameters
    ----------
    max_distance
        Largest distance of the candidate's midpoint from the true segment, pixels.
    max_angle
        Largest angle between the two, degrees, if both are longer than ``min_angle_length``.
    min_angle_length
        Shortest trails with a meaningful angle, pixels.
    min_overlap
        Smallest fraction of the true trail that the candidate covers, and of the candidate that lies on the
        true trail, both along the true trail and widened by ``max_distance`` at each end. A candidate that
        covers less but lies on the trail is a fragment: neither a match nor false.
    """

    max_distance: float = 6.0
    max_angle: float = 20.0
    min_angle_length: float = 15.0
    min_overlap: float = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class Matches:
    """Matches of candidates with trails.

    Parameters
    ----------
    candidate_of
        Number of each true trail's candidate, or -1, shape (m,).
    truth_of
        Number of the trail that each candidate matches or duplicates, or -1, shape (n,).
    is_duplicate
        Candidates on a trail that has another match, or of which they are only a fragment, shape (n,).
    """

    candidate_of: _Ints
    truth_of: _Ints
    is_duplicate: _Mask

    @property
    def is_true(self) -> _Mask:
        """Candidates that match a trail, shape (n,)."""
        return (self.truth_of >= 0) & ~self.is_duplicate

    @property
    def is_false(self) -> _Mask:
        """Candidates that are on no trail, shape (n,)."""
        return self.truth_of < 0


def match_trails(
    candidates: Trails,
    truth: Trails,
    criteria: MatchCriteria = MatchCriteria(),
    rank: npt.NDArray[np.floating] | None = None,
) -> Matches:
    """Match candidates with true trails, one to one.

    Parameters
    ----------
    candidates, truth
        Candidates and trails, in the same coordinates.
    criteria
        Criteria for a match.
    rank
        Rank of the candidates, such as the score: of several candidates on a trail, its match has the highest
        rank; by default the largest overlap.
    """
    n, m = len(candidates), len(truth)
    candidate_of = np.full(m, -1, dtype=np.int64)
    truth_of = np.full(n, -1, dtype=np.int64)
    pairs, overlap = _pairs(candidates, truth, criteria)
    quality = overlap if rank is None else np.asarray(rank)[pairs[:, 0]]
    # The best pairs are matched first; ties go to the greater overlap.
    order = np.lexsort((-overlap, -quality))
    pairs, overlap = pairs[order], overlap[order]
    for i, j in pairs[overlap >= criteria.min_overlap]:
        if truth_of[i] < 0 and candidate_of[j] < 0:
            truth_of[i], candidate_of[j] = j, i
    is_duplicate = np.zeros(n, dtype=bool)
    for i, j in pairs:
        if truth_of[i] < 0:
            truth_of[i], is_duplicate[i] = j, True
    return Matches(candidate_of=candidate_of, truth_of=truth_of, is_duplicate=is_duplicate)


@dataclasses.dataclass(frozen=True, eq=False)
class Sorting:
    """Classes of the candidates of an image."""

    matches: Matches
    """Matches with trails."""

    on_satellite: _Mask
    """Candidates that match no trail and lie on a satellite, shape (n,)."""

    @property
    def is_false(self) -> _Mask:
        """Candidates on neither a trail nor a satellite, shape (n,)."""
        return self.matches.is_false & ~self.on_satellite


def classify_candidates(
    candidates: Trails,
    trails: Trails,
    satellites: Trails,
    *,
    rank: npt.NDArray[np.floating],
    streak_flag: _Mask,
    criteria: MatchCriteria = MatchCriteria(),
) -> Sorting:
    """Classify the candidates of an image: true, duplicate, satellite, false.

    Parameters
    ----------
    candidates
        The candidates.
    trails, satellites
        True trails and satellite streaks, in the same coordinates.
    rank
        Score of the candidates; see `match_trails`.
    streak_flag
        Candidates that are flagged as a streak across the image.
    criteria
        Criteria for a match.
    """
    matches = match_trails(candidates, trails, criteria, rank=rank)
    on_streak = match_trails(candidates, satellites, criteria).truth_of >= 0
    on_streak |= np.asarray(streak_flag, dtype=bool)
    return Sorting(matches=matches, on_satellite=on_streak & ~matches.is_true)


def _pairs(candidates: Trails, truth: Trails, criteria: MatchCriteria) -> tuple[_Ints, _Floats]:
    """Return pairs of a candidate on a trail, (k, 2), and overlaps, (k,)."""
    none = np.zeros((0, 2), dtype=np.int64), np.zeros(0)
    if len(candidates) == 0 or len(truth) == 0:
        return none
    finite = np.isfinite(candidates.x) & np.isfinite(candidates.y)
    usable = np.flatnonzero(finite)
    if usable.size == 0:
        return none
    # Only candidates within half a trail's length can be near it.
    tree = scipy.spatial.KDTree(np.stack([candidates.x[usable], candidates.y[usable]], axis=1))
    radius = 0.5 * truth.length + criteria.max_distance
    near = tree.query_ball_point(np.stack([truth.x, truth.y], axis=1), radius)
    j = np.repeat(np.arange(len(truth)), [len(found) for found in near])
    i = usable[np.concatenate([np.asarray(found, dtype=np.int64) for found in near]).astype(np.int64)]
    if i.size == 0:
        return none
    c, t = candidates[i], truth[j]
    x0, y0, x1, y1 = t.ends
    close = segment_distance(c.x, c.y, x0, y0, x1, y1) <= criteria.max_distance
    long = np.minimum(c.length, t.length) >= criteria.min_angle_length
    aligned = ~long | (angle_difference(c.angle, t.angle) <= criteria.max_angle)
    # Intervals of both along the true trail, relative to its midpoint.
    radians = np.deg2rad(t.angle)
    shift = (c.x - t.x) * np.cos(radians) + (c.y - t.y) * np.sin(radians)
    half_c = 0.5 * c.length * np.abs(np.cos(np.deg2rad(c.angle - t.angle))) + criteria.max_distance
    half_t = 0.5 * t.length + criteria.max_distance
    common = np.minimum(shift + half_c, half_t) - np.maximum(shift - half_c, -half_t)
    overlap = np.clip(common, 0.0, None) / (2.0 * np.maximum(half_c, half_t))
    on_trail = close & aligned & (common >= criteria.min_overlap * 2.0 * half_c)
    return np.stack([i[on_trail], j[on_trail]], axis=1), overlap[on_trail]
