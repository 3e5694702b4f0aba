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

"""Tests of the figures of a summary."""

from __future__ import annotations

import astropy.table

from lsst.meas.trails.evaluation.figures.captions import CAPTIONS
from lsst.meas.trails.evaluation.figures.metrics import metric_figures
from lsst.meas.trails.evaluation.metrics_table import select


def test_all_figures_are_drawn_and_labeled(metrics: astropy.table.Table) -> None:
    figures = metric_figures(metrics, title="Test")
    # No candidates of the sample are labeled, and there are no ephemerides.
    assert set(figures) == set(CAPTIONS) - {"trail_label_plot", "trail_known_plot"}
    for name, figure in figures.items():
        figure.draw_without_rendering()
        assert figure.get_suptitle().startswith("Test: "), name
        width, height = figure.get_size_inches() * figure.dpi
        drawn = [axis for axis in figure.axes if axis.axison]
        for axis in drawn:
            labels = [axis.xaxis.label, axis.yaxis.label, axis.title]
            for text in labels:
                box = text.get_window_extent()
                inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
                assert inside or not text.get_text(), (name, text.get_text())


def test_sections_without_numbers_have_no_figure(metrics: astropy.table.Table) -> None:
    figures = metric_figures(select(metrics, section="froc"))
    assert set(figures) == {"trail_froc_plot"}
