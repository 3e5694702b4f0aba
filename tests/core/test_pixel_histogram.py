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
import sklearn.metrics

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


def test_scikit_learn_agrees() -> None:
    rng = np.random.default_rng(4)
    truth = rng.uniform(size=(200, 300)) < 0.05
    logit = rng.normal(np.where(truth, 1.0, -3.0), 2.0)
    probability = (1.0 / (1.0 + np.exp(-logit))).astype(np.float32)
    ignored = rng.uniform(size=truth.shape) < 0.1
    histogram = PixelHistogram.from_pixels(probability, truth, ignored)
    seen, score = truth[~ignored], probability[~ignored]
    # Bins of 0.05 in the logit, a fortieth of the spread; precision is that at
    # their lower ends.
    assert histogram.auc == pytest.approx(sklearn.metrics.roc_auc_score(seen, score), abs=1e-4)
    assert histogram.average_precision == pytest.approx(
        sklearn.metrics.average_precision_score(seen, score), abs=5e-3
    )
    threshold = float(histogram.thresholds[np.argmin(np.abs(histogram.thresholds - 0.5))])
    above = score >= threshold
    measures = histogram.at(0.5)
    for name, expected in (
        ("precision", sklearn.metrics.precision_score(seen, above)),
        ("recall", sklearn.metrics.recall_score(seen, above)),
        ("f1", sklearn.metrics.f1_score(seen, above)),
        ("iou", sklearn.metrics.jaccard_score(seen, above)),
    ):
        assert measures[name] == pytest.approx(expected, abs=1e-9)
    _, best = histogram.best()
    assert best["f1"] >= measures["f1"]


def test_ignored_and_unknown_pixels_do_not_count() -> None:
    probability = np.array([[0.0, 1.0, np.nan, 0.5]], dtype=np.float32)
    truth = np.array([[False, True, True, True]])
    histogram = PixelHistogram.from_pixels(probability, truth, np.array([[False, False, False, True]]))
    assert (histogram.true.sum(), histogram.false.sum()) == (1, 1)
    assert histogram.auc == 1.0
    assert np.isnan(PixelHistogram().auc)
    assert np.isnan(PixelHistogram().average_precision)
