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

"""Figure of labeled candidates."""

from __future__ import annotations

__all__ = ("label_figure",)

import astropy.table
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...core.catalog.labels import ARTIFACT_KINDS
from ..metrics_table import select
from .style import STYLES, error_bars, finish_fractions


def label_figure(metrics: astropy.table.Table) -> Figure:
    """Draw the fraction of trails against the score, and the kinds of artifacts.

    Parameters
    ----------
    metrics
        Output of `~lsst.meas.trails.evaluation.labels.label_metrics`, and any other metrics.
    """
    rows = select(metrics, section="label", metric="purity", by="score")
    mean = select(metrics, section="label", metric="mean_score")
    kinds = {kind: select(metrics, section="label", metric=f"kind_{kind}") for kind in ARTIFACT_KINDS}
    color, marker, line = STYLES[0]
    figure = Figure(figsize=(10.0, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0.0, 1.0], [0.0, 1.0], color="0.6", linestyle=":", label="ideal")
    left.errorbar(
        mean["value"], rows["value"], error_bars(rows), color=color, marker=marker, linestyle=line,
        elinewidth=0.9, label="labeled candidates",
    )  # fmt: skip
    for x, y, row in zip(mean["value"], rows["value"], rows, strict=True):
        left.annotate(str(row["count"]), (x, y), (-5, 4), textcoords="offset points", fontsize=8, ha="right")
    left.set_xlim(-0.02, 1.02)
    left.set_xlabel("score of the candidate")
    finish_fractions(left, "fraction of trails")
    left.legend(loc="upper left", fontsize=9)
    known = {ARTIFACT_KINDS[kind]: part for kind, part in kinds.items() if len(part)}
    counts = [round(float(part["value"][0] * part["count"][0])) for part in known.values()]
    right.barh(np.arange(len(known)), counts, color="0.75")
    right.set_yticks(np.arange(len(known)), list(known))
    # A few kinds get bars of the same width as many.
    right.set_ylim(max(len(known), 4) - 0.5, -0.5)
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_xlabel("number of artifacts")
    right.grid(alpha=0.25, axis="x")
    figure.suptitle("labeled candidates, with their numbers")
    return figure
