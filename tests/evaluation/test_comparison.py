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

"""Tests of counts over many detectors."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.meas.trails.evaluation.comparison import tally
from lsst.meas.trails.evaluation.match_table import ImageContext, match_table

from .conftest import make_candidates, make_truth

CONTEXT = ImageContext(shape=(500, 500))
N_PIXELS = 500 * 500
TRUTH = make_truth(
    [(100.0, 100.0, 60.0, 20.0), (300.0, 150.0, 30.0, 90.0), (200.0, 400.0, 10.0, 45.0)],
    snr=np.array([20.0, 10.0, 5.0]),
)


def test_counts_of_one_detector() -> None:
    rows = [(101.0, 99.0, 55.0, 22.0), (400.0, 50.0, 40.0, 70.0), (300.0, 150.0, 30.0, 30.0)]
    counts = tally([match_table(make_candidates(rows), TRUTH, CONTEXT)], N_PIXELS)
    assert (counts.trails, counts.found, counts.false) == (3, 1, 2)
    assert counts.completeness == pytest.approx(1.0 / 3.0)
    # Per detector of 16.4 megapixels.
    assert counts.false_per_detector == pytest.approx(2 * 16.4 / 0.25)


def test_counts_of_samples() -> None:
    found = make_candidates([(100.0, 100.0, 60.0, 20.0), (400.0, 50.0, 9.0, 7.0)])
    matches = [match_table(found, TRUTH, CONTEXT), match_table(make_candidates([]), TRUTH, CONTEXT)]
    counts = tally(matches, 4 * N_PIXELS)
    assert (counts.trails, counts.found) == (6, 1)
    assert counts.false_per_detector == pytest.approx(16.4 / 1.0)
    bright = tally(matches, 4 * N_PIXELS, min_snr=15.0, min_length=20.0)
    assert (bright.trails, bright.found) == (2, 1)
    assert bright.completeness == 0.5
    # False candidates have no SNR of their own.
    assert bright.false == counts.false


def test_trails_without_visible_flux_are_trails() -> None:
    truth = make_truth([(100.0, 100.0, 60.0, 20.0)], visible=0.0)
    counts = tally([match_table(make_candidates([(100.0, 100.0, 60.0, 20.0)]), truth, CONTEXT)], N_PIXELS)
    assert (counts.trails, counts.found) == (1, 1)


def test_no_detectors() -> None:
    counts = tally([], 0)
    assert counts.trails == counts.false == 0
    assert np.isnan(counts.completeness)
    assert np.isnan(counts.false_per_detector)
