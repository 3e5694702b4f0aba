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

from typing import Any

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.matching import MatchCriteria
from lsst.meas.trails.evaluation.comparison import compare_detector, tally

# x, y, length, angle, SNR, kind
TRUTH = [
    (100.0, 100.0, 60.0, 20.0, 20.0, "Trail"),
    (300.0, 150.0, 30.0, 90.0, 10.0, "Trail"),
    (200.0, 400.0, 10.0, 45.0, 5.0, "Trail"),
    (250.0, 300.0, 700.0, 0.0, 200.0, "Satellite"),
]
N_PIXELS = 500 * 500


def make_truth(rows: list[tuple[Any, ...]] = TRUTH) -> astropy.table.Table:
    names = ("x", "y", "trail_length", "beta", "snr_optimal", "source_type")
    dtype = (float, float, float, float, float, "U9")
    table = astropy.table.Table(rows=rows or None, names=names, dtype=dtype)
    table["flux"] = 100.0 * table["snr_optimal"]
    return table


def make_candidates(*rows: tuple[float, float, float, float, float, bool]) -> astropy.table.Table:
    """Return candidates of x, y, length, angle, score and streak flag."""
    names = ("x", "y", "trailLengthPix", "trailAnglePix", "score", "streakFlag")
    dtype = (float, float, float, float, float, bool)
    table = astropy.table.Table(rows=list(rows) or None, names=names, dtype=dtype)
    table["trailFlux"] = np.full(len(table), 1000.0)
    return table


def test_every_kind_of_candidate() -> None:
    candidates = make_candidates(
        (101.0, 99.0, 55.0, 22.0, 0.9, False),  # the first trail
        (110.0, 104.0, 40.0, 20.0, 0.6, False),  # again
        (400.0, 50.0, 40.0, 70.0, 0.7, False),  # nothing is there
        (251.0, 301.0, 600.0, 0.5, 0.8, True),  # the satellite
        (420.0, 298.0, 50.0, 178.0, 0.5, False),  # a fragment of it
        (300.0, 150.0, 30.0, 30.0, 0.4, False),  # across the second trail
    )
    result = compare_detector(candidates, make_truth(), N_PIXELS)
    assert list(result.found) == [True, False, False]
    assert list(result.false) == [False, False, True, False, False, True]
    assert list(result.on_satellite) == [False, False, False, True, True, False]
    assert list(result.matches.is_duplicate) == [False, True, False, False, False, False]
    assert len(result.truth) == 3
    counts = tally([result])
    assert (counts.trails, counts.found, counts.false, counts.detectors) == (3, 1, 2, 1)
    assert counts.completeness == pytest.approx(1.0 / 3.0)
    # Per detector of 16.4 megapixels.
    assert counts.false_per_detector == pytest.approx(2 * 16.4 / 0.25)


def test_candidates_on_other_distractors_are_false() -> None:
    """Only a satellite is forgiven: cosmic rays and stars are what must not be found."""
    rows = [*TRUTH, (60.0, 450.0, 20.0, 30.0, np.nan, "CosmicRay"), (420.0, 60.0, 0.0, 0.0, np.nan, "Star")]
    candidates = make_candidates((60.0, 450.0, 20.0, 30.0, 0.9, False), (420.0, 60.0, 6.0, 0.0, 0.8, False))
    result = compare_detector(candidates, make_truth(rows), N_PIXELS)
    assert list(result.false) == [True, True]
    assert not result.on_satellite.any()
    assert len(result.truth) == 3


def test_truth_against_itself() -> None:
    """All are found, and nothing is false: no trail leaks anywhere."""
    candidates = make_candidates(*((x, y, length, angle, 0.9, False) for x, y, length, angle, *_ in TRUTH))
    result = compare_detector(candidates, make_truth(), N_PIXELS)
    counts = tally([result])
    assert counts.completeness == 1.0
    assert counts.false == 0
    assert list(result.on_satellite) == [False, False, False, True]


def test_best_score_is_the_match() -> None:
    candidates = make_candidates(
        (100.0, 100.0, 60.0, 20.0, 0.3, False), (104.0, 101.0, 50.0, 20.0, 0.8, False)
    )
    result = compare_detector(candidates, make_truth(), N_PIXELS)
    assert result.matches.candidate_of[0] == 1


def test_least_score() -> None:
    candidates = make_candidates(
        (100.0, 100.0, 60.0, 20.0, 0.3, False), (400.0, 50.0, 40.0, 70.0, 0.5, False)
    )
    result = compare_detector(candidates, make_truth(), N_PIXELS, min_score=0.5)
    assert len(result.candidates) == 1
    assert list(result.false) == [True]
    assert not result.found.any()


def test_trail_along_a_satellite() -> None:
    """What is matched to a trail is found, whatever else is there."""
    truth = make_truth([(250.0, 300.0, 60.0, 0.0, 20.0, "Trail"), TRUTH[3]])
    result = compare_detector(make_candidates((250.0, 300.0, 60.0, 0.0, 0.9, True)), truth, N_PIXELS)
    assert list(result.found) == [True]
    assert list(result.on_satellite) == [False]
    assert not result.false.any()


def test_criteria() -> None:
    candidates = make_candidates((100.0, 110.0, 60.0, 20.0, 0.9, False))
    assert not compare_detector(candidates, make_truth(), N_PIXELS).found.any()
    criteria = MatchCriteria(max_distance=12.0)
    assert compare_detector(candidates, make_truth(), N_PIXELS, criteria=criteria).found[0]


@pytest.mark.parametrize("truth", [[], TRUTH], ids=["no truth", "truth"])
def test_no_candidates(truth: list[tuple[Any, ...]]) -> None:
    result = compare_detector(make_candidates(), make_truth(truth), N_PIXELS)
    assert not result.found.any()
    assert len(result.false) == 0
    counts = tally([result])
    assert counts.false_per_detector == 0.0
    assert counts.trails == (3 if truth else 0)


def test_tally_of_samples() -> None:
    found = make_candidates((100.0, 100.0, 60.0, 20.0, 0.9, False), (400.0, 50.0, 9.0, 7.0, 0.9, False))
    comparisons = [
        compare_detector(found, make_truth(), N_PIXELS),
        compare_detector(make_candidates(), make_truth(), 3 * N_PIXELS),
    ]
    everything = tally(comparisons)
    assert (everything.trails, everything.found, everything.detectors) == (6, 1, 2)
    assert everything.false_per_detector == pytest.approx(16.4 / 1.0)
    bright = tally(comparisons, min_snr=15.0, min_length=20.0)
    assert (bright.trails, bright.found) == (2, 1)
    assert bright.completeness == 0.5
    # False candidates have no SNR of their own.
    assert bright.false == everything.false


def test_tally_of_nothing() -> None:
    counts = tally([])
    assert counts.trails == counts.false == counts.detectors == 0
    assert np.isnan(counts.completeness)
    assert np.isnan(counts.false_per_detector)
