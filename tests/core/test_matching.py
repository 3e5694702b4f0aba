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

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.matching import MatchCriteria, match_trails

type Row = tuple[float, float, float, float]


def trails(*rows: Row) -> Trails:
    """Return trails of given x, y, length and angle."""
    x, y, length, angle = np.array(rows, dtype=float).reshape(-1, 4).T
    return Trails(x, y, length, angle, flux=np.ones(len(x)))


def piece(trail: Row, start: float, stop: float) -> Row:
    """Return a part of a trail, as fractions of its length."""
    x, y, length, angle = trail
    offset = (0.5 * (start + stop) - 0.5) * length
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return x + offset * c, y + offset * s, (stop - start) * length, angle


def test_a_trail_and_its_candidate() -> None:
    matches = match_trails(
        trails((101.0, 99.0, 33.0, 42.0), (300.0, 50.0, 20.0, 10.0)), trails((100, 100, 30, 40))
    )
    assert matches.candidate_of.tolist() == [0]
    assert matches.truth_of.tolist() == [0, -1]
    assert matches.is_true.tolist() == [True, False]
    assert matches.is_false.tolist() == [False, True]
    assert matches.is_duplicate.tolist() == [False, False]


@pytest.mark.parametrize(
    ("candidate", "found"),
    [
        ((100.0, 105.9, 40.0, 0.0), True),
        ((100.0, 106.1, 40.0, 0.0), False),
        ((100.0, 100.0, 40.0, 19.0), True),
        ((100.0, 100.0, 40.0, 179.0), True),
        ((100.0, 100.0, 40.0, 21.0), False),
        ((100.0, 100.0, 40.0, 90.0), False),
        # Trails shorter than 15 pixels have no angle.
        ((100.0, 100.0, 14.0, 45.0), True),
        ((100.0, 100.0, 16.0, 45.0), False),
        # The midpoint has to lie on the trail ...
        ((125.9, 100.0, 40.0, 0.0), True),
        ((126.1, 100.0, 40.0, 0.0), False),
        # ... and the lengths have to agree: 52 of widened pixels are 30% of 173.
        ((100.0, 100.0, 160.0, 0.0), True),
        ((100.0, 100.0, 163.0, 0.0), False),
        ((100.0, 100.0, 4.0, 0.0), True),
    ],
)
def test_criteria(candidate: Row, found: bool) -> None:
    matches = match_trails(trails(candidate), trails((100.0, 100.0, 40.0, 0.0)))
    assert matches.is_true.tolist() == [found]


def test_crossing_trails() -> None:
    """Trails with the same midpoint are distinguished by their angles."""
    truth = trails((100.0, 100.0, 60.0, 30.0), (100.0, 100.0, 60.0, 100.0))
    found = trails((101.0, 100.0, 55.0, 98.0), (99.0, 100.0, 62.0, 31.0))
    matches = match_trails(found, truth)
    assert matches.candidate_of.tolist() == [1, 0]
    assert not np.any(matches.is_duplicate)


def test_a_trail_broken_in_three() -> None:
    """One part is the match, the others are duplicates."""
    trail = (200.0, 200.0, 90.0, 20.0)
    found = trails(piece(trail, 0.0, 0.3), piece(trail, 0.33, 0.7), piece(trail, 0.72, 1.0))
    matches = match_trails(found, trails(trail))
    assert matches.candidate_of.tolist() == [1]
    assert matches.truth_of.tolist() == [0, 0, 0]
    assert matches.is_true.tolist() == [False, True, False]
    assert matches.is_duplicate.tolist() == [True, False, True]
    # With a rank, the best of the parts that are long enough.
    ranked = match_trails(found, trails(trail), rank=np.array([0.1, 0.5, 0.9]))
    assert ranked.candidate_of.tolist() == [2]
    assert ranked.is_duplicate.tolist() == [True, True, False]


def test_fragments_of_a_long_trail_are_not_false() -> None:
    """The pieces of a satellite are all too short to match it."""
    trail = (2000.0, 2000.0, 4000.0, 45.0)
    found = trails(*(piece(trail, t, t + 0.02) for t in np.arange(0.0, 0.9, 0.1)))
    matches = match_trails(found, trails(trail))
    assert matches.candidate_of.tolist() == [-1]
    assert not np.any(matches.is_true)
    assert not np.any(matches.is_false)
    # A trail that crosses it or is longer does not lie on it.
    other = match_trails(trails((2000.0, 2000.0, 60.0, 135.0)), trails(trail))
    assert other.is_false.tolist() == [True]
    other = match_trails(trails((100.0, 100.0, 300.0, 0.0)), trails((100.0, 100.0, 20.0, 0.0)))
    assert other.is_false.tolist() == [True]


def test_one_candidate_over_two_trails() -> None:
    """A candidate matches only one of two trails."""
    truth = trails((100.0, 100.0, 40.0, 0.0), (145.0, 101.0, 40.0, 0.0))
    matches = match_trails(trails((118.0, 100.0, 85.0, 1.0)), truth)
    assert sorted(matches.candidate_of.tolist()) == [-1, 0]
    assert matches.is_true.tolist() == [True]


def test_every_trail_gets_its_own_candidate() -> None:
    """Each candidate is near enough to both of two parallel trails."""
    truth = trails((100.0, 100.0, 40.0, 0.0), (100.0, 105.0, 40.0, 0.0))
    found = trails((100.0, 101.0, 40.0, 0.0), (100.0, 104.0, 40.0, 0.0))
    matches = match_trails(found, truth)
    assert sorted(matches.candidate_of.tolist()) == [0, 1]
    assert np.all(matches.is_true)


def test_at_the_edge() -> None:
    """Only the part of the true trail on the image is found."""
    matches = match_trails(trails((12.0, 50.0, 25.0, 0.0)), trails((0.0, 50.0, 50.0, 0.0)))
    assert matches.is_true.tolist() == [True]


def test_a_point_source_of_no_length() -> None:
    matches = match_trails(trails((50.0, 50.0, 0.0, 0.0)), trails((50.0, 52.0, 6.0, 77.0)))
    assert matches.is_true.tolist() == [True]


def test_empty_lists() -> None:
    one, none = trails((1.0, 1.0, 10.0, 0.0)), Trails.empty()
    assert match_trails(none, one).candidate_of.tolist() == [-1]
    assert match_trails(one, none).truth_of.tolist() == [-1]
    assert match_trails(one, none).is_false.tolist() == [True]
    assert len(match_trails(none, none).candidate_of) == 0
    # Far away from each other.
    assert match_trails(trails((900.0, 1.0, 10.0, 0.0)), one).candidate_of.tolist() == [-1]


@pytest.mark.parametrize("column", range(4))
def test_candidates_of_nan_match_nothing(column: int) -> None:
    row = [100.0, 100.0, 30.0, 40.0]
    row[column] = np.nan
    found = trails((row[0], row[1], row[2], row[3]), (100.0, 100.0, 30.0, 40.0))
    matches = match_trails(found, trails((100.0, 100.0, 30.0, 40.0)), rank=np.array([np.nan, 0.5]))
    assert matches.candidate_of.tolist() == [1]
    assert matches.is_true.tolist() == [False, True]
    assert not np.any(match_trails(found[:1], trails((100.0, 100.0, 30.0, 40.0))).is_true)


def test_stricter_criteria() -> None:
    truth, found = trails((100.0, 100.0, 40.0, 0.0)), trails((100.0, 103.0, 40.0, 8.0))
    assert match_trails(found, truth).is_true[0]
    assert not match_trails(found, truth, MatchCriteria(max_distance=2.0)).is_true[0]
    assert not match_trails(found, truth, MatchCriteria(max_angle=5.0)).is_true[0]


some_trails = st.lists(
    st.tuples(st.floats(0, 60), st.floats(0, 60), st.floats(0, 80), st.floats(0, 180)), max_size=8
)


@given(some_trails, some_trails)
def test_matches_are_one_to_one(found: list[Row], truth: list[Row]) -> None:
    rank = np.linspace(0.0, 1.0, len(found))
    matches = match_trails(trails(*found), trails(*truth), rank=rank)
    matched = matches.candidate_of[matches.candidate_of >= 0]
    assert len(set(matched.tolist())) == len(matched)
    assert np.count_nonzero(matches.is_true) == len(matched)
    for j, i in enumerate(matches.candidate_of):
        if i >= 0:
            assert matches.truth_of[i] == j
            assert matches.is_true[i]
    # Every candidate has exactly one of the three classes.
    kinds = matches.is_true.astype(int) + matches.is_duplicate + matches.is_false
    assert np.all(kinds == 1)


@given(some_trails)
def test_no_candidate_of_a_list_is_false_in_itself(rows: list[Row]) -> None:
    both = trails(*rows)
    assert not np.any(match_trails(both, both).is_false)
