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

"""Tests of the main numbers of a summary."""

from __future__ import annotations

import astropy.table
import numpy as np

from lsst.meas.trails.evaluation.metrics_table import MetricRows
from lsst.meas.trails.evaluation.report.headlines import HALF, headlines


def test_headlines_have_intervals(metrics: astropy.table.Table) -> None:
    lines = {(line.group, line.label): line.value for line in headlines(metrics)}
    assert " to " in lines["at 10 false per detector", HALF]
    assert lines["sample", "true trails"] == "240"


def test_headlines_of_nothing() -> None:
    assert headlines(MetricRows().table()) == []


def test_unknown_numbers() -> None:
    rows = MetricRows()
    rows.add("calibration", "expected_calibration_error", np.nan)
    rows.add("pixel", "auc", 0.98765, (0.98, 0.99))
    assert [line.value for line in headlines(rows.table())] == ["0.988 (0.98 to 0.99)", "unknown"]


def test_purity_of_labeled_candidates() -> None:
    rows = MetricRows()
    rows.add("label", "purity", 0.75, (0.5, 0.9))
    rows.add("label", "purity", 0.5, by="score", low=0.1, high=0.2)
    (line,) = headlines(rows.table())
    assert (line.label, line.value) == ("labeled candidates that are trails", "75.0% (50.0 to 90.0)")
