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

"""Tests of the figures of curves."""

from __future__ import annotations

import astropy.table
import numpy as np

from lsst.meas.trails.evaluation.figures.curves import calibration_figure, froc_figure, rescue_figure
from lsst.meas.trails.evaluation.metrics_table import names_in, select

from ..conftest import number


def test_froc_marks_the_operating_points(metrics: astropy.table.Table) -> None:
    figure = froc_figure(metrics)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    value = number(
        metrics, section="detection", metric="completeness", operatingPoint="10 false per detector"
    )
    assert labels[0] == "network"
    assert f"{value:.2f} at 10" in labels


def test_calibration_draws_every_bin(metrics: astropy.table.Table) -> None:
    figure = calibration_figure(metrics)
    rows = select(metrics, section="calibration", metric="fraction")
    np.testing.assert_array_equal([bar.get_height() for bar in figure.axes[1].patches], rows["count"])


def test_rescue_has_a_curve_for_each_method(metrics: astropy.table.Table) -> None:
    rows = select(metrics, section="rescue")
    lines = rescue_figure(metrics).axes[0].get_lines()
    assert len(lines) == len(names_in(rows, "method")) == 3
    np.testing.assert_array_equal(lines[0].get_ydata(), select(rows, method="sep 3 sigma")["value"])


def test_a_curve_of_one_point_is_visible(metrics: astropy.table.Table) -> None:
    rows = select(metrics, section="rescue")
    first = rows[[list(rows["method"]).index("sep 3 sigma")]]
    (line,) = rescue_figure(first).axes[0].get_lines()
    assert line.get_marker() == "o"
