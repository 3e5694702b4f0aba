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

"""Association of candidates with predicted trails, one to one, with fragments."""

from __future__ import annotations

__all__ = ("Association", "associate")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.optimize

from .likelihood import AssociationOptions, CandidateTrails, ExpectedTrails, Pairs, log_normal, rate_pairs

type _Floats = npt.NDArray[np.float64]
type _Ints = npt.NDArray[np.int64]
type _Bools = npt.NDArray[np.bool_]

_SECOND_FRAGMENT = 0.1
"""Prior probability that a matched trail has another fragment."""

_MAX_LOG_ODDS = 500.0
"""Largest logarithm of odds; larger ones overflow."""


@dataclasses.dataclass(frozen=True, eq=False)
class Association:
    """Candidates associated with known objects."""

    object_of: _Ints
    """Number of each candidate's predicted trail, or -1, shape (n,)."""

    is_primary: _Bools
    """Best candidate of its predicted trail, shape (n,); the others are fragments."""

    probability: _Floats
    """Probability of the association, NaN without one, shape (n,)."""

    candidate_of: _Ints
    """Number of each predicted trail's primary candidate, or -1, shape (m,)."""

    @property
    def fragments(self) -> _Ints:
        """Number of candidates of each predicted trail, shape (m,)."""
        found = self.object_of[self.object_of >= 0]
        return np.bincount(found, minlength=len(self.candidate_of)).astype(np.int64)


def associate(
    candidates: CandidateTrails,
    expected: ExpectedTrails,
    area: float,
    options: AssociationOptions = AssociationOptions(),
) -> Association:
    """Associate candidates with predicted trails.

    Parameters
    ----------
    candidates, expected
        Candidates, and predicted trails, in the same coordinates.
    area
        Area of the image, pixels.
    options
        Criteria and errors.

    Notes
    -----
    Primary candidates are the assignment of candidates to predicted trails, one to one, with the largest sum
    of log odds. The probability of a match is its odds over the sum of the odds of all allowed matches of the
    candidate and of the predicted trail, and of no match. Further candidates on the line of the primary one,
    within the predicted length, are fragments of the same trail.
    """
    n, m = len(candidates), len(expected)
    object_of, candidate_of = np.full(n, -1, dtype=np.int64), np.full(m, -1, dtype=np.int64)
    probability = np.full(n, np.nan)
    is_primary = np.zeros(n, dtype=bool)
    if n == 0 or m == 0:
        return Association(object_of, is_primary, probability, candidate_of)
    pairs = rate_pairs(candidates, expected, area, options)
    log_odds = np.where(pairs.allowed, np.minimum(pairs.log_odds, _MAX_LOG_ODDS), -np.inf)
    # A pair less probable than none has no place in the assignment.
    gain = np.where(np.isfinite(log_odds), np.maximum(log_odds, 0.0), 0.0)
    rows, columns = scipy.optimize.linear_sum_assignment(gain, maximize=True)
    chosen = gain[rows, columns] > 0.0
    matched = dict(zip(columns[chosen].tolist(), rows[chosen].tolist(), strict=True))
    taken = np.zeros(n, dtype=bool)
    taken[list(matched.values())] = True
    parts = {j: _fragments(candidates, expected, pairs, (i, j), ~taken, options) for j, i in matched.items()}
    for j, i in matched.items():
        rivals = log_odds[:, j].copy()
        rivals[[i, *parts[j]]] = -np.inf
        others = np.append(rivals, np.delete(log_odds[i], j))
        chance = _share(float(log_odds[i, j]), others)
        if chance < options.min_probability:
            continue
        candidate_of[j], is_primary[i] = i, True
        for k, share in ((i, 1.0), *parts[j].items()):
            # A fragment of two trails belongs to the more probable one.
            if chance * share >= options.min_probability and not probability[k] >= chance * share:
                object_of[k], probability[k] = j, chance * share
    return Association(object_of, is_primary, probability, candidate_of)


def _share(log_odds: float, others: _Floats) -> float:
    """Return the probability of a match against others and none."""
    everything = np.concatenate([[0.0, log_odds], others[np.isfinite(others)]])
    return float(np.exp(log_odds - np.logaddexp.reduce(everything)))


def _fragments(
    candidates: CandidateTrails,
    expected: ExpectedTrails,
    pairs: Pairs,
    match: tuple[int, int],
    free: _Bools,
    options: AssociationOptions,
) -> dict[int, float]:
    """Return further candidates on a matched trail, and their probabilities."""
    primary, number = match
    possible = np.flatnonzero(pairs.allowed[:, number] & free)
    length = candidates.trails.length
    whole = float(expected.visible.length[number])
    reach = whole + options.n_sigma * float(pairs.length_err[primary, number])
    start = pairs.along[primary, number] - 0.5 * length[primary]
    stop = pairs.along[primary, number] + 0.5 * length[primary]
    found: dict[int, float] = {}
    # The nearest first, as each must leave the sum within the predicted length.
    for k in sorted(possible, key=lambda k: abs(pairs.along[k, number] - pairs.along[primary, number])):
        first = min(start, pairs.along[k, number] - 0.5 * length[k])
        last = max(stop, pairs.along[k, number] + 0.5 * length[k])
        away = pairs.cross[k, number] - pairs.cross[primary, number]
        lever = abs(pairs.along[k, number] - pairs.along[primary, number])
        turn = np.deg2rad(options.angle_floor) * lever
        sigma = float(np.hypot(np.hypot(pairs.cross_err[k, number], pairs.cross_err[primary, number]), turn))
        if last - first > reach or abs(away) > options.n_sigma * sigma:
            continue
        # At any place and of any length within the predicted trail.
        log_signal = log_normal(away, sigma) - 2.0 * np.log(whole + 1.0)
        log_signal += pairs.log_angle[k, number]
        log_odds = np.log(_SECOND_FRAGMENT) + log_signal - pairs.log_background[k]
        found[int(k)] = _share(float(log_odds), np.zeros(0))
        start, stop = first, last
    return found
