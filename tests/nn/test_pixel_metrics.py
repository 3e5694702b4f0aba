# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lsst.meas.trails.nn.pixel_metrics import PixelScores


def _scores(positive: list[float], negative: list[float]) -> PixelScores:
    logits = torch.tensor(positive + negative).reshape(1, 1, 1, -1)
    target = torch.tensor([1.0] * len(positive) + [0.0] * len(negative)).reshape(logits.shape)
    scores = PixelScores()
    scores.add(logits, target, torch.ones_like(logits))
    return scores


def test_known_rankings() -> None:
    perfect = _scores([2.0, 3.0], [-1.0, 0.0, 1.0])
    assert perfect.auc == pytest.approx(1.0)
    assert perfect.average_precision == pytest.approx(1.0)
    # From the top: trail, none, trail, none.
    mixed = _scores([4.0, 2.0], [3.0, 1.0])
    assert mixed.auc == pytest.approx(0.75)
    assert mixed.average_precision == pytest.approx(0.5 * 1.0 + 0.5 * 2.0 / 3.0)
    assert _scores([0.0], [0.0]).auc == pytest.approx(0.5)


def test_without_a_class() -> None:
    assert math.isnan(_scores([], [1.0]).average_precision)
    assert math.isnan(_scores([], [1.0]).auc)
    assert math.isnan(_scores([1.0], []).auc)
    assert _scores([], [1.0]).threshold_at_precision(0.5) == 1.0


def test_gaussian_classes() -> None:
    rng = np.random.default_rng(1)
    scores = PixelScores()
    for _ in range(4):
        logits = torch.from_numpy(np.concatenate([rng.normal(1.0, 1.0, 5000), rng.normal(0.0, 1.0, 5000)]))
        target = torch.cat([torch.ones(5000), torch.zeros(5000)])
        scores.add(logits, target, torch.ones(10000))
    # Phi(1 / sqrt(2)); 20000 pixels of each class.
    assert scores.auc == pytest.approx(0.7602, abs=0.008)


def test_ignores_and_survives_extremes() -> None:
    scores = PixelScores()
    logits = torch.tensor([1.0e4, -1.0e4, 3.0])
    scores.add(logits, torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 1.0, 0.0]))
    assert scores.positive.sum() == scores.negative.sum() == 1
    assert scores.auc == pytest.approx(1.0)


def test_threshold_at_precision() -> None:
    scores = _scores([3.0, 2.0, 1.0], [1.5, 0.0, -1.0, -2.0])
    # Down to 1.0 there are 3 trail pixels of 4.
    threshold = scores.threshold_at_precision(0.7)
    assert 1.0 / (1.0 + math.exp(0.0)) < threshold <= 1.0 / (1.0 + math.exp(-1.0)) + 1.0e-6
    assert scores.threshold_at_precision(0.9) > threshold
