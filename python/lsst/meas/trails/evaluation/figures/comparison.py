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

"""Figures that compare collections or methods: completeness, FROC, calibration.

Each function takes panels by title, and for each panel the `trail_metrics` to compare, by name.
"""

from __future__ import annotations

__all__ = ("calibration_comparison", "completeness_comparison", "froc_comparison")

from collections.abc import Mapping, Sequence

import astropy.table
import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from ..metrics_table import select
from ..quantities import QUANTITIES
from .style import bin_edges, error_bars, finish_fractions, legend_below, log_axis, style

type _Panels = Mapping[str, Mapping[str, astropy.table.Table]]

_FALSE = "false candidates per detector of 16.4 Mpix"


def completeness_comparison(panels: _Panels, *, by: Sequence[str] = ("snr",)) -> Figure:
    """Draw completeness in the bins of quantities.

    Parameters
    ----------
    panels
        Metrics at a single operating point; each panel is a column.
    by
        Quantities; each has a row of panels.
    """
    figure = _figure(panels, 4.1 * len(by))
    axes = figure.subplots(len(by), len(panels), sharey=True, squeeze=False)
    order, handles = _order(panels), {}
    for line, quantity in zip(axes, by, strict=True):
        for axis, (title, metrics) in zip(line, panels.items(), strict=True):
            edges: set[float] = set()
            for name, table in metrics.items():
                number = order.index(name)
                rows = select(table, section="completeness", by=quantity)
                rows = rows[np.argsort(rows["low"])]
                # Shifted, so that the bars do not hide each other.
                shift = 1.012 ** (2.0 * number - len(order) + 1.0)
                x = shift * np.sqrt(np.asarray(rows["low"]) * np.asarray(rows["high"]))
                handles[name] = axis.errorbar(
                    x, rows["value"], error_bars(rows), elinewidth=0.9, linewidth=1.4, **style(number)
                )
                edges.update(bin_edges(rows))
            if edges:
                log_axis(axis, sorted(edges))
            finish_fractions(axis)
            axis.set_xlabel(QUANTITIES[quantity].label)
            axis.set_title(title)
        line[0].set_ylabel("fraction of trails found")
    legend_below(figure, handles)
    return figure


def froc_comparison(panels: _Panels) -> Figure:
    """Draw completeness against false candidates per detector.

    Parameters
    ----------
    panels
        Metrics of each panel; a curve ends with its lowest score.
    """
    figure = _figure(panels, 4.6)
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    order = _order(panels)
    handles: dict[str, Artist] = {}
    for axis, (title, metrics) in zip(axes, panels.items(), strict=True):
        for name, table in metrics.items():
            number = order.index(name)
            rows = select(table, section="froc", by="false_per_detector")
            rows = rows[np.argsort(rows["low"])]
            last = [len(rows) - 1] if len(rows) else []
            (handles[name],) = axis.plot(
                rows["low"], rows["value"], linewidth=1.8, markevery=last, **style(number)
            )
        axis.set_xscale("log")
        finish_fractions(axis)
        axis.set_xlabel(_FALSE)
        axis.set_title(title)
    axes[0].set_ylabel("fraction of trails found")
    legend_below(figure, handles)
    return figure


def calibration_comparison(panels: _Panels) -> Figure:
    """Draw the fraction of trails among candidates against their score.

    Parameters
    ----------
    panels
        Metrics of each panel, of methods whose score is in [0, 1].
    """
    figure = _figure(panels, 6.6)
    axes = figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=(3.0, 1.0))
    order = _order(panels)
    handles: dict[str, Artist] = {}
    for (upper, lower), (title, metrics) in zip(axes.T, panels.items(), strict=True):
        (handles["ideal"],) = upper.plot([0.0, 1.0], [0.0, 1.0], color="0.6", linewidth=1.0, linestyle=":")
        errors = []
        for name, table in metrics.items():
            keywords = style(order.index(name))
            rows = select(table, section="calibration", metric="fraction")
            mean = select(table, section="calibration", metric="mean_score")
            (error,) = select(table, section="calibration", metric="expected_calibration_error")["value"]
            handles[name] = upper.errorbar(
                mean["value"], rows["value"], error_bars(rows), linewidth=1.4, elinewidth=0.9, **keywords
            )
            errors.append(f"{name} {error:.3f}")
            lower.plot(mean["value"], rows["count"], **keywords)
        upper.set_title(f"{title}\nexpected calibration error: {', '.join(errors)}", fontsize=10)
        finish_fractions(upper)
        lower.set_xlim(-0.02, 1.02)
        lower.set_yscale("symlog", linthresh=10.0)
        lower.set_xlabel("score")
        lower.grid(alpha=0.25)
    axes[0][0].set_ylabel("fraction of trails")
    axes[1][0].set_ylabel("candidates")
    legend_below(figure, handles)
    return figure


def _figure(panels: _Panels, height: float) -> Figure:
    return Figure(figsize=(max(4.4 * len(panels) + 0.8, 6.4), height), layout="constrained")


def _order(panels: _Panels) -> list[str]:
    """Return all names, so that each has the same style in every panel."""
    return list(dict.fromkeys(name for metrics in panels.values() for name in metrics))
