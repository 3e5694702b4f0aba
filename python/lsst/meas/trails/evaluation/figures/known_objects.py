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

"""Figure of the completeness and biases on known objects."""

from __future__ import annotations

__all__ = ("known_objects_figure",)

from typing import Any

import astropy.table
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..metrics_table import names_in, select
from .style import STYLES, bin_edges, error_bars, finish_fractions, legend_below, log_axis

_AXES = {"snr": "SNR expected from the ephemeris", "length": "predicted length (pixels)"}
_BIASES = {
    "length_bias": "measured / predicted length - 1 (%)",
    "mag_bias": "measured - predicted magnitude",
}


def known_objects_figure(metrics: astropy.table.Table) -> Figure:
    """Draw completeness on known objects, and length and magnitude against the prediction.

    Parameters
    ----------
    metrics
        A `trail_metrics` with a section ``known``.
    """
    rows = select(metrics, section="known")
    figure = Figure(figsize=(11.0, 7.6), layout="constrained")
    axes = figure.subplots(2, 2)
    handles: dict[str, Artist] = {}
    for axis, (by, label) in zip(axes[0], _AXES.items(), strict=True):
        binned = select(rows, metric="completeness", by=by)
        for i, point in enumerate(names_in(binned, "operatingPoint")):
            part = select(binned, operatingPoint=point)
            handles[point] = _draw(axis, part, i)
            if i == 0:
                _write_counts(axis, part)
        finish_fractions(axis, "fraction found")
        _finish(axis, binned, label)
    for axis, (metric, label) in zip(axes[1], _BIASES.items(), strict=True):
        binned = select(rows, metric=metric, by="snr")
        _draw(axis, binned, 2)
        axis.axhline(0.0, color="0.5", linewidth=0.8)
        axis.grid(alpha=0.25)
        axis.set_ylabel(label)
        _finish(axis, binned, _AXES["snr"])
    legend_below(figure, handles)
    figure.suptitle("known objects")
    return figure


def _draw(axis: Axes, rows: astropy.table.Table, number: int) -> Any:
    color, marker, line = STYLES[number % len(STYLES)]
    low, high = np.asarray(rows["low"]), np.asarray(rows["high"])
    shift = np.power(high / low, 0.06 * number)
    return axis.errorbar(
        np.sqrt(low * high) * shift, rows["value"], error_bars(rows), color=color, marker=marker,
        linestyle=line, markersize=5, linewidth=1.3, elinewidth=0.8,
    )  # fmt: skip


def _write_counts(axis: Axes, rows: astropy.table.Table) -> None:
    """Write the number of objects above each bin."""
    for row in rows:
        axis.text(
            float(np.sqrt(row["low"] * row["high"])), 1.06, str(row["count"]), ha="center", va="bottom",
            fontsize=8, color="0.4",
        )  # fmt: skip


def _finish(axis: Axes, rows: astropy.table.Table, label: str) -> None:
    axis.set_xlabel(label)
    if len(rows):
        log_axis(axis, bin_edges(rows))
