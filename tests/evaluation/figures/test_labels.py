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

import astropy.table
import numpy as np

from lsst.meas.trails.evaluation.figures.labels import label_figure
from lsst.meas.trails.evaluation.figures.metrics import metric_figures
from lsst.meas.trails.evaluation.labels import label_metrics


def test_figure_shows_purity_and_kinds() -> None:
    labels = astropy.table.Table(
        {
            "label": ["trail"] * 3 + ["artifact"] * 3 + ["unsure"],
            "kind": [""] * 3 + ["galaxy", "galaxy", "cosmic_ray", ""],
            "score": [0.92, 0.94, 0.15, 0.96, 0.12, 0.12, 0.5],
        }
    )
    metrics = label_metrics(labels)
    left, right = label_figure(metrics).axes
    line = left.containers[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [0.13, 0.94])
    np.testing.assert_allclose(line.get_ydata(), [1 / 3, 2 / 3])
    assert [bar.get_width() for bar in right.patches] == [2.0, 1.0]
    assert [text.get_text() for text in right.get_yticklabels()] == ["galaxy", "cosmic ray"]
    assert list(metric_figures(metrics)) == ["trail_label_plot"]
