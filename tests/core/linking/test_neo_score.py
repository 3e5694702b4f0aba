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

"""Tests of scores by digest2."""

from __future__ import annotations

import sys

import pytest

from lsst.meas.trails.core.linking.link import LinkResult, link_candidates
from lsst.meas.trails.core.linking.neo_score import NeoScoreError, add_neo_scores

from support.linking import moving_object


def linked(rate: float) -> LinkResult:
    # At opposition at the time of the visits, where main-belt asteroids move by 0.25 degrees per day.
    return link_candidates(moving_object([0.0, 60.0], ra=155.0, dec=10.0, rate=rate, angle=290.0))


def test_fast_objects_score_higher() -> None:
    scores = []
    for rate in (0.25, 5.0):
        result = linked(rate)
        add_neo_scores(result.tracklets, result.members, result.positions)
        scores.append(float(result.tracklets["digest2Neo"][0]))
    assert scores[0] < 95.0
    # A single pair at 5 degrees per day cannot be a main-belt asteroid.
    assert scores[1] > 99.0


def test_unknown_observatory() -> None:
    result = linked(5.0)
    with pytest.raises(NeoScoreError, match="'QQQ'"):
        add_neo_scores(result.tracklets, result.members, result.positions, "QQQ")


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "digest2", None)
    result = linked(5.0)
    with pytest.raises(NeoScoreError, match=r"digest2.*pip install"):
        add_neo_scores(result.tracklets, result.members, result.positions)
