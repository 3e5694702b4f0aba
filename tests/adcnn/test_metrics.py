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

"""Detections and matches in the manner of Asteroid_detection_CNN."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.meas.trails.adcnn.metrics import adcnn_detections, adcnn_match
from lsst.meas.trails.core.geometry import Trails


def trails(*rows: tuple[float, float, float, float]) -> Trails:
    x, y, length, angle = np.array(rows).T
    return Trails(x, y, length, angle, np.ones(len(rows)))


def test_a_gap_of_two_joins_and_one_of_five_does_not() -> None:
    # Pixels are grown by two on each side: with four between them they touch.
    for empty, components in ((4, 1), (5, 2)):
        probability = np.zeros((20, 40))
        probability[10, 5:10] = 0.5
        probability[10, 10 + empty : 15 + empty] = 0.5
        found = adcnn_detections(probability)
        assert len(found.score) == components, empty
        # Added pixels do not belong to a component.
        assert np.array_equal(found.labels > 0, probability >= 0.2)


def test_the_score_is_the_mean_of_the_best_twentieth() -> None:
    probability = np.zeros((20, 60))
    # The score is the mean of the best two of 40 pixels.
    probability[5, 5:45] = np.linspace(0.3, 0.69, 40)
    assert adcnn_detections(probability).score == pytest.approx([0.685])


def test_small_and_faint_components_are_dropped() -> None:
    probability = np.zeros((20, 40))
    probability[5, 5:7] = 0.9
    probability[15, 5:20] = 0.19
    found = adcnn_detections(probability)
    assert len(found.score) == 0
    assert not found.labels.any()
    assert adcnn_detections(np.zeros((4, 5))).labels.shape == (4, 5)


def test_numbers_follow_when_a_component_is_dropped() -> None:
    probability = np.zeros((30, 40))
    probability[5, 5] = 0.9
    probability[15, 5:15] = 0.4
    probability[25, 5:15] = 0.6
    found = adcnn_detections(probability)
    assert found.score == pytest.approx([0.4, 0.6])
    assert found.labels[15, 6] == 1
    assert found.labels[25, 6] == 2


def test_a_trail_is_found_by_a_touch_of_its_band() -> None:
    probability = np.zeros((60, 100))
    probability[39:42, 60:63] = 0.8
    # The band reaches 10 pixels from the line.
    near, far = trails((50.0, 30.0, 40.0, 0.0)), trails((50.0, 28.0, 40.0, 0.0))
    found = adcnn_detections(probability)
    assert adcnn_match(found, near) == pytest.approx([0.8])
    assert adcnn_match(found, far) == pytest.approx([0.0])


def test_a_component_is_taken_once() -> None:
    probability = np.zeros((60, 100))
    probability[30, 20:80] = 0.7
    probability[38, 20:30] = 0.9
    found = adcnn_detections(probability)
    assert len(found.score) == 2
    # The first trail matches both components and has the better score; the
    # second matches none.
    both = trails((50.0, 30.0, 60.0, 0.0), (50.0, 31.0, 60.0, 0.0))
    assert adcnn_match(found, both) == pytest.approx([0.9, 0.0])


def test_no_components() -> None:
    nothing = Trails(*(np.zeros(0) for _ in range(5)))
    assert adcnn_match(adcnn_detections(np.zeros((10, 10))), nothing).shape == (0,)
    assert adcnn_match(adcnn_detections(np.zeros((10, 10))), trails((5.0, 5.0, 4.0, 0.0))) == [0.0]
