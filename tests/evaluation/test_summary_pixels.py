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

"""Tests of the pixel metrics of a summary."""

from __future__ import annotations

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.operating_point import DETECTOR_PIXELS
from lsst.meas.trails.core.pixel_histogram import PixelHistogram
from lsst.meas.trails.evaluation.metrics_table import select

from .conftest import SIDE, Detectors


def test_pixel_numbers_of_a_collection(metrics: astropy.table.Table, collection: Detectors) -> None:
    true = np.sum([search["pixelTrue"][0] for _, search in collection], axis=0)
    false = np.sum([search["pixelFalse"][0] for _, search in collection], axis=0)
    expected = PixelHistogram(true, false)
    (row,) = select(metrics, section="pixel", metric="auc")
    assert row["value"] == pytest.approx(expected.auc)
    assert row["valueLow"] <= row["value"] <= row["valueHigh"]
    assert row["count"] == true.sum() + false.sum()


def test_adcnn_counts(metrics: astropy.table.Table, collection: Detectors) -> None:
    found = sum(int(np.sum(matches["adcnnScore"] > 0.0)) for matches, _ in collection)
    counts = select(metrics, section="adcnn", metric="completeness", low=0.5)
    assert counts["value"][0] == pytest.approx(found / 240)
    assert set(counts["method"]) == {"adcnn"}
    false = select(metrics, section="adcnn", metric="false_per_detector")
    scale = DETECTOR_PIXELS / (6 * SIDE**2)
    # 7 components of a score of 0.3 on each detector, and none above.
    assert list(false["value"][[0, 2]]) == pytest.approx([42 * scale, 0.0])
