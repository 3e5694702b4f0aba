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

from lsst.meas.trails.core.association.likelihood import AssociationOptions, CandidateTrails, ExpectedTrails
from lsst.meas.trails.core.association.match import Association, associate
from lsst.meas.trails.core.geometry import Trails

AREA = 4.0e6
TRAIL = (1000.0, 800.0, 60.0, 30.0)

type Row = tuple[float, float, float, float]


def match(found: list[Row], known: list[Row], *, err: float = 1.5, minimum: float = 0.5) -> Association:
    """Match candidates of x, y, length and angle with predicted trails."""
    ours, theirs = (
        Trails(*np.array([(*row, np.nan) for row in rows]).reshape(-1, 5).T) for rows in (found, known)
    )
    n, m = len(found), len(known)
    small, two, nothing = np.full(n, 0.5), np.full(n, 2.0), np.full(n, np.nan)
    return associate(
        CandidateTrails(ours, small, small, two, two, nothing, nothing, nothing),
        ExpectedTrails(
            theirs, theirs, np.zeros(m, dtype=bool), np.full(m, err), np.full(m, np.nan), np.full(m, 0.5)
        ),
        AREA,
        AssociationOptions(min_probability=minimum),
    )


def along(row: Row, distance: float, length: float) -> Row:
    """Return a piece of a trail, with its midpoint at a distance from the trail's."""
    radians = np.deg2rad(row[3])
    return row[0] + distance * np.cos(radians), row[1] + distance * np.sin(radians), length, row[3]


def test_each_object_has_its_own_candidate() -> None:
    other = (300.0, 1500.0, 20.0, 100.0)
    found = match([other, (50.0, 50.0, 30.0, 5.0), TRAIL], [TRAIL, other])
    assert list(found.object_of) == [1, -1, 0]
    assert list(found.candidate_of) == [2, 0]
    assert list(found.is_primary) == [True, False, True]
    assert np.isnan(found.probability[1])
    assert np.all(found.probability[[0, 2]] > 0.99)


def test_a_candidate_is_one_of_two_near_objects() -> None:
    near = (1004.0, 803.0, 60.0, 31.0)
    found = match([TRAIL], [near, TRAIL])
    assert list(found.object_of) == [1]
    assert found.candidate_of[0] == -1
    # The other object remains possible.
    assert found.probability[0] < match([TRAIL], [TRAIL]).probability[0]


def test_crossing_objects_are_told_apart() -> None:
    other = (1002.0, 801.0, 60.0, 120.0)
    assert list(match([other, TRAIL], [TRAIL, other]).object_of) == [1, 0]


@pytest.mark.parametrize("err", [1.5, 25.0])
def test_fragments_are_one_object(err: float) -> None:
    pieces = [along(TRAIL, -19.0, 22.0), along(TRAIL, 16.0, 28.0)]
    found = match([*pieces, (300.0, 300.0, 25.0, 30.0)], [TRAIL], err=err)
    assert list(found.object_of) == [0, 0, -1]
    assert np.sum(found.is_primary) == 1
    assert found.candidate_of[0] in (0, 1)
    assert found.fragments[0] == 2


def test_parallel_trails_are_not_fragments() -> None:
    """With an uncertain ephemeris both trails may be the object, but not together."""
    parallel = (1000.0, 815.0, 60.0, 30.0)
    found = match([TRAIL, parallel], [TRAIL], err=25.0, minimum=0.1)
    assert np.sum(found.object_of == 0) == 1
    assert found.probability[found.candidate_of[0]] < 0.9


def test_fragments_longer_than_the_prediction_are_not_one_object() -> None:
    found = match([along(TRAIL, -40.0, 58.0), along(TRAIL, 40.0, 58.0)], [TRAIL], err=25.0, minimum=0.1)
    assert np.sum(found.object_of == 0) <= 1


def test_nothing_to_match() -> None:
    for found in (match([], [TRAIL]), match([TRAIL], []), match([], [])):
        assert not np.any(found.object_of >= 0)
        assert not np.any(found.candidate_of >= 0)


coordinate = st.floats(0.0, 2000.0)
rows = st.lists(st.tuples(coordinate, coordinate, st.floats(0.0, 200.0), st.floats(0.0, 179.9)), max_size=8)


@given(rows, rows, st.floats(0.1, 100.0))
def test_any_match_is_one_to_one_and_probable(found: list[Row], known: list[Row], err: float) -> None:
    result = match(found, known, err=err)
    primary = result.object_of[result.is_primary]
    assert len(set(primary.tolist())) == len(primary)
    for number, candidate in enumerate(result.candidate_of):
        if candidate >= 0:
            assert result.object_of[candidate] == number
            assert result.is_primary[candidate]
    assert set(result.object_of[result.object_of >= 0].tolist()) <= set(primary.tolist())
    matched = result.object_of >= 0
    assert np.all((result.probability[matched] >= 0.5) & (result.probability[matched] <= 1.0))
    assert np.all(np.isnan(result.probability[~matched]))
