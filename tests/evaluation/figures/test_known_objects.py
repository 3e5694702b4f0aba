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

from lsst.meas.trails.evaluation.figures.known_objects import known_objects_figure
from lsst.meas.trails.evaluation.figures.metrics import metric_figures
from lsst.meas.trails.evaluation.known_objects import known_object_metrics

from ..test_known_objects import known_objects


def test_figure_is_drawn_and_labeled() -> None:
    metrics = known_object_metrics(known_objects())
    figure = known_objects_figure(metrics)
    figure.draw_without_rendering()
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes)
    assert set(metric_figures(metrics)) == {"trail_known_plot"}
