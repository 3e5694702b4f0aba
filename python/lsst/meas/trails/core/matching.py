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

"""The one matcher of candidates with true trails."""

from __future__ import annotations

__all__ = ("MatchCriteria", "Matches", "Sorting", "classify_candidates", "match_trails")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.spatial

from .geometry import Trails, angle_difference, segment_distance

type _Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class MatchCriteria:
    """When a candidate is a true trail.

    Parameters
    ----------
    max_distance
        Largest distance of the candidate's midpoint from the true segment,
        pixels.
    max_angle
        Largest angle between them, degrees, where both are longer than
        ``min_angle_length``.
    min_angle_length
        Trails shorter than this have no angle to speak of, pixels.
    min_overlap
        Smallest part of the true trail that the candidate covers, and of the
        candidate that lies on the true trail, both along the true trail and
        widened by ``max_distance`` at each end.  A candidate that covers less
        but lies on the trail is a fragment: no match, but not false either.
    """

    max_distance: float = 6.0
    max_angle: float = 20.0
    min_angle_length: float = 15.0
    min_overlap: float = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class Matches:
    """Which candidate is which trail.

    Parameters
    ----------
    candidate_of
        For each true trail the number of its candidate, or -1, shape (m,).
    truth_of
        For each candidate the number of the trail that it touches, or -1,
        shape (n,): of its own trail, or of the one that it duplicates.
    is_duplicate
        Candidates on a trail that they are not the match of, because another
        is or because they are only a fragment of it, (n,).
    """

    candidate_of: _Ints
    truth_of: _Ints
    is_duplicate: npt.NDArray[np.bool_]

    @property
    def is_true(self) -> npt.NDArray[np.bool_]:
        """Candidates that are the match of a trail, shape (n,)."""
        return (self.truth_of >= 0) & ~self.is_duplicate

    @property
    def is_false(self) -> npt.NDArray[np.bool_]:
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
        The two lists, in the same coordinates.
    criteria
        When they agree.
    rank
        Of several candidates on one trail the one of the highest rank is its
        match, for instance the score; by default the one that overlaps most.
    """
    n, m = len(candidates), len(truth)
    candidate_of = np.full(m, -1, dtype=np.int64)
    truth_of = np.full(n, -1, dtype=np.int64)
    pairs, overlap = _pairs(candidates, truth, criteria)
    quality = overlap if rank is None else np.asarray(rank)[pairs[:, 0]]
    # The best pairs choose first; ties go to the greater overlap.
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
    """What each candidate of an image is.

    Parameters
    ----------
    matches
        Which candidate is which trail.
    on_satellite
        Candidates on a satellite's streak, and on no trail, shape (n,).
    """

    matches: Matches
    on_satellite: npt.NDArray[np.bool_]

    @property
    def is_false(self) -> npt.NDArray[np.bool_]:
        """Candidates that are on nothing, shape (n,): neither a trail or a
        repetition of one, nor a satellite.
        """
        return self.matches.is_false & ~self.on_satellite


def classify_candidates(
    candidates: Trails,
    trails: Trails,
    satellites: Trails,
    *,
    rank: npt.NDArray[np.floating],
    streak_flag: npt.NDArray[np.bool_],
    criteria: MatchCriteria = MatchCriteria(),
) -> Sorting:
    """Sort the candidates of an image into true, repeated, satellite, false.

    Parameters
    ----------
    candidates
        The candidates.
    trails, satellites
        What is there, in the same coordinates.
    rank
        Score of the candidates; see `match_trails`.
    streak_flag
        Candidates that are flagged as a streak across the image.
    criteria
        When a candidate is a trail.
    """
    matches = match_trails(candidates, trails, criteria, rank=rank)
    on_streak = match_trails(candidates, satellites, criteria).truth_of >= 0
    on_streak |= np.asarray(streak_flag, dtype=bool)
    return Sorting(matches=matches, on_satellite=on_streak & ~matches.is_true)


def _pairs(
    candidates: Trails, truth: Trails, criteria: MatchCriteria
) -> tuple[_Ints, npt.NDArray[np.float64]]:
    """Return the pairs of which the candidate lies on the trail, shape
    (k, 2), and their overlaps, (k,).
    """
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
    # Both as intervals along the true trail, about its midpoint.
    radians = np.deg2rad(t.angle)
    shift = (c.x - t.x) * np.cos(radians) + (c.y - t.y) * np.sin(radians)
    half_c = 0.5 * c.length * np.abs(np.cos(np.deg2rad(c.angle - t.angle))) + criteria.max_distance
    half_t = 0.5 * t.length + criteria.max_distance
    common = np.minimum(shift + half_c, half_t) - np.maximum(shift - half_c, -half_t)
    overlap = np.clip(common, 0.0, None) / (2.0 * np.maximum(half_c, half_t))
    on_trail = close & aligned & (common >= criteria.min_overlap * 2.0 * half_c)
    return np.stack([i[on_trail], j[on_trail]], axis=1), overlap[on_trail]
