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

"""Tests of the calibration error of scores."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.meas.trails.evaluation.calibration import calibration_error, score_bins


def test_bins_of_scores() -> None:
    assert list(score_bins(np.array([0.0, 0.09, 0.1, 0.95, 1.0]))) == [0, 0, 1, 9, 9]


def test_calibration_error() -> None:
    score = np.repeat([0.25, 0.75], 100)
    exact = np.concatenate([np.arange(100) < 25, np.arange(100) < 75])
    assert calibration_error(score, exact) == pytest.approx(0.0, abs=1e-12)
    # All are trails: wrong by 0.75 for one half and by 0.25 for the other.
    assert calibration_error(score, np.ones(200, dtype=bool)) == pytest.approx(0.5)
    assert calibration_error(np.ones(10), np.ones(10, dtype=bool)) == pytest.approx(0.0)
    assert np.isnan(calibration_error(np.zeros(0), np.zeros(0, dtype=bool)))


def test_weights_are_repetitions() -> None:
    rng = np.random.default_rng(1)
    score, times = rng.random(500), rng.integers(0, 4, 500)
    is_true = rng.random(500) < score**2
    expected = calibration_error(np.repeat(score, times), np.repeat(is_true, times))
    assert calibration_error(score, is_true, weight=times.astype(float)) == pytest.approx(expected, rel=1e-12)


def test_a_score_that_is_a_probability() -> None:
    """The error of a shifted score is the shift."""
    rng = np.random.default_rng(2)
    probability = rng.random(10_000)
    is_true = rng.random(10_000) < probability
    assert calibration_error(probability, is_true) < 0.02
    assert calibration_error(0.8 * probability + 0.2, is_true) == pytest.approx(0.1, abs=0.02)
