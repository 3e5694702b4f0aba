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

from lsst.meas.trails.core.operating_point import (
    DETECTOR_PIXELS,
    FALSE_RATES,
    found_at_threshold,
    measure_detection,
    score_threshold,
    snr50,
)


def test_threshold_keeps_the_rate() -> None:
    """One false detection per detector is two on two detectors."""
    scores = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    is_false = scores < 0.95
    for rate in (0.5, 1.0, 2.0, 4.0):
        threshold = score_threshold(scores, is_false, 2.0 * DETECTOR_PIXELS, rate)
        assert np.count_nonzero(scores[is_false] >= threshold) == 2.0 * rate
    assert score_threshold(scores, is_false, 2.0 * DETECTOR_PIXELS, 1.0) == pytest.approx(0.7)


def test_threshold_of_a_small_area() -> None:
    """Without any allowed false detection none of them is kept."""
    assert score_threshold(np.array([0.9, 0.4]), np.array([False, True]), 1e5, 1.0) > 0.4


def test_threshold_where_there_are_few() -> None:
    scores = np.array([0.9, 0.4])
    assert score_threshold(scores, np.array([False, False]), 1e6, 10.0) == 0.0
    assert score_threshold(scores, np.array([False, True]), DETECTOR_PIXELS, 10.0) == 0.0
    assert score_threshold(np.zeros(0), np.zeros(0, dtype=bool), 1e6, 10.0) == 0.0


def test_ties_are_not_kept() -> None:
    """All or none of several equal scores reach a threshold."""
    scores = np.array([0.5, 0.5, 0.5, 0.2])
    threshold = score_threshold(scores, np.ones(4, dtype=bool), DETECTOR_PIXELS, 2.0)
    assert np.count_nonzero(scores >= threshold) <= 2


def test_completeness() -> None:
    scores = np.array([0.9, 0.5, 0.1])
    candidate_of = np.array([1, -1, 0, 2])
    assert list(found_at_threshold(0.3, scores, candidate_of)) == [True, False, True, False]
    # A candidate with the score of the threshold is kept.
    assert list(found_at_threshold(0.5, scores, candidate_of)) == [True, False, True, False]
    assert list(found_at_threshold(np.nextafter(0.5, 1.0), scores, candidate_of)) == [
        False,
        False,
        True,
        False,
    ]
    assert list(found_at_threshold(0.0, np.zeros(0), np.array([-1, -1]))) == [False, False]


@pytest.mark.parametrize("true", [5.0, 9.0, 20.0])
def test_snr50_of_a_known_curve(true: float) -> None:
    rng = np.random.default_rng(3)
    snr = rng.uniform(2.0, 40.0, 4000)
    found = rng.random(4000) < 1.0 / (1.0 + (true / snr) ** 6)
    # A few hundred of 4000 trails are near the middle.
    assert snr50(snr, found) == pytest.approx(true, rel=0.05)


def test_snr50_of_a_step() -> None:
    snr = np.linspace(1.0, 20.0, 96)
    assert snr50(snr, snr > 8.0) == pytest.approx(8.0, rel=0.03)


def test_snr50_leaves_out_what_has_no_snr() -> None:
    snr = np.concatenate([np.linspace(1.0, 20.0, 96), [np.nan, 0.0, np.inf]])
    assert snr50(snr, snr > 8.0) == pytest.approx(8.0, rel=0.03)


@pytest.mark.parametrize(
    ("snr", "found"),
    [
        (np.linspace(1.0, 20.0, 9), np.linspace(1.0, 20.0, 9) > 8.0),
        (np.linspace(1.0, 20.0, 50), np.ones(50, dtype=bool)),
        (np.linspace(1.0, 20.0, 50), np.zeros(50, dtype=bool)),
        (np.zeros(0), np.zeros(0, dtype=bool)),
    ],
    ids=["few", "all", "none", "empty"],
)
def test_snr50_is_undefined(snr: np.ndarray, found: np.ndarray) -> None:
    assert np.isnan(snr50(snr, found))


def test_measures_at_all_rates() -> None:
    """The scores of 30 trails grow with SNR; 200 false ones have 0 to 0.5.

    SNR50 ignores five bright trails that are missed.
    """
    snr = np.concatenate([np.linspace(1.0, 30.0, 30), np.geomspace(100.0, 1e4, 5)])
    scores = np.concatenate([np.linspace(0.1, 1.0, 30), np.linspace(0.0, 0.5, 200)])
    is_false = np.arange(230) >= 30
    candidate_of = np.concatenate([np.arange(30), np.full(5, -1)])
    length = np.where(np.arange(35) % 2 == 0, 10.0, 40.0)
    thresholds, metrics = measure_detection(scores, is_false, candidate_of, snr, length, DETECTOR_PIXELS)
    assert set(thresholds) == {str(rate) for rate in FALSE_RATES}
    for rate in FALSE_RATES:
        threshold = thresholds[str(rate)]
        assert np.count_nonzero(scores[is_false] > threshold) == rate
        found = scores[:30] > threshold
        assert metrics[f"completeness_at_{rate}"] == pytest.approx(np.sum(found) / 35)
        # The step lies between the last missed and the first found trail.
        assert metrics[f"snr50_at_{rate}"] == pytest.approx(snr[:30][found].min() - 0.5, rel=0.1)
        assert metrics[f"snr50_long_at_{rate}"] == pytest.approx(snr[:30][found].min() - 0.5, rel=0.2)


def test_measures_that_cannot_be_told() -> None:
    none = np.zeros(0)
    thresholds, metrics = measure_detection(
        none, none.astype(bool), none.astype(np.int64), none, none, DETECTOR_PIXELS
    )
    assert set(thresholds.values()) == {0.0}
    assert set(metrics.values()) == {None}
