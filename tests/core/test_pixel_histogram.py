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

import math

import numpy as np
import pytest

from lsst.meas.trails.core.pixel_histogram import PixelHistogram


def _histogram(true: list[float], false: list[float]) -> PixelHistogram:
    truth = np.array([True] * len(true) + [False] * len(false))
    return PixelHistogram.from_logits(np.array(true + false, dtype=np.float32), truth)


def test_known_rankings() -> None:
    perfect = _histogram([2.0, 3.0], [-1.0, 0.0, 1.0])
    assert perfect.auc == pytest.approx(1.0)
    assert perfect.average_precision == pytest.approx(1.0)
    # From the top: trail, none, trail, none.
    mixed = _histogram([4.0, 2.0], [3.0, 1.0])
    assert mixed.auc == pytest.approx(0.75)
    assert mixed.average_precision == pytest.approx(0.5 * 1.0 + 0.5 * 2.0 / 3.0)
    assert _histogram([0.0], [0.0]).auc == pytest.approx(0.5)


def test_without_a_class() -> None:
    assert math.isnan(_histogram([], [1.0]).average_precision)
    assert math.isnan(_histogram([], [1.0]).auc)
    assert math.isnan(_histogram([1.0], []).auc)
    assert _histogram([], [1.0]).threshold_at_precision(0.5) == 1.0


def test_gaussian_classes_over_batches() -> None:
    rng = np.random.default_rng(1)
    histogram = PixelHistogram()
    truth = np.repeat([True, False], 5000)
    for _ in range(4):
        histogram += PixelHistogram.from_logits(rng.normal(truth.astype(float), 1.0), truth)
    assert histogram.true.sum() == histogram.false.sum() == 20000
    # Phi(1 / sqrt(2)), within two standard deviations of 20000 pixels of each
    # class.
    assert histogram.auc == pytest.approx(0.7602, abs=0.008)


def test_extremes_are_counted() -> None:
    histogram = _histogram([1.0e4, np.inf], [-1.0e4, -np.inf])
    assert histogram.true.sum() == histogram.false.sum() == 2
    assert histogram.auc == pytest.approx(1.0)


def test_both_ways_to_count_agree() -> None:
    logits = np.random.default_rng(2).normal(0.0, 3.0, (20, 30))
    truth = logits > 1.0
    ignored = logits > 4.0
    by_pixel = PixelHistogram.from_pixels(1.0 / (1.0 + np.exp(-logits)), truth, ignored)
    by_logit = PixelHistogram.from_logits(logits[~ignored], truth[~ignored])
    # A logit on the edge of a bin may fall on either side.
    assert np.abs(np.cumsum(by_pixel.true - by_logit.true)).max() <= 1
    assert by_pixel.false.sum() == by_logit.false.sum()


def test_threshold_at_precision() -> None:
    histogram = _histogram([3.0, 2.0, 1.0], [1.5, 0.0, -1.0, -2.0])
    # Down to 1.0 there are 3 trail pixels of 4.
    threshold = histogram.threshold_at_precision(0.7)
    assert 1.0 / (1.0 + math.exp(0.0)) < threshold <= 1.0 / (1.0 + math.exp(-1.0)) + 1.0e-6
    assert histogram.threshold_at_precision(0.9) > threshold
