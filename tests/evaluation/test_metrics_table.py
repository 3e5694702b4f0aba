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

"""Tests of the table of metrics."""

from __future__ import annotations

import numpy as np

from lsst.meas.trails.evaluation.metrics_table import METRIC_COLUMNS, MetricRows, names_in, point_name, select


def test_rows_have_defaults() -> None:
    rows = MetricRows()
    rows.add("detection", "completeness", 0.5, (0.4, 0.6), count=10)
    rows.add("stack", "chance", 0.1, method="sep 3 sigma")
    table = rows.table()
    assert table.colnames == list(METRIC_COLUMNS)
    assert list(table["method"]) == ["network", "sep 3 sigma"]
    assert list(table["count"]) == [10, -1]
    assert np.isnan(table["valueLow"][1])
    assert all(column.description for column in table.itercols())


def test_selection() -> None:
    rows = MetricRows()
    for rate in (10.0, 1.0, 10.0):
        rows.add("detection", "purity", rate, operatingPoint=point_name(rate))
    table = rows.table()
    assert names_in(table, "operatingPoint") == ["10 false per detector", "1 false per detector"]
    assert list(select(table, operatingPoint=point_name(10.0))["value"]) == [10.0, 10.0]
    assert len(select(table, metric="auc")) == 0
