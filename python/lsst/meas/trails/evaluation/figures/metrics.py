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

"""Figures drawn from a table of metrics alone."""

from __future__ import annotations

__all__ = ("metric_figures",)

from collections.abc import Callable, Sequence
from functools import partial

import astropy.table
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from ..metrics_table import ALL_CANDIDATES, names_in, select
from ..quantities import QUANTITIES
from .curves import (
    adcnn_figure,
    calibration_figure,
    draw_by_length,
    froc_figure,
    pixel_figure,
    pull_figure,
    rescue_figure,
    residual_figure,
)
from .known_objects import known_objects_figure
from .labels import label_figure
from .style import STYLES, bin_edges, error_bars, finish_fractions, legend_below, log_axis

_PARTS = (
    ("both", "both", "#0072B2", ""),
    ("network_only", "network only", "#56B4E9", "//"),
    ("other_only", "other method only", "#E69F00", "\\\\"),
    ("neither", "neither", "#DDDDDD", ""),
)


def metric_figures(metrics: astropy.table.Table, *, title: str = "") -> dict[str, Figure]:
    """Draw the figures for which a table of metrics has numbers.

    Parameters
    ----------
    metrics
        Output of `~lsst.meas.trails.evaluation.summary.summarize`.
    title
        Name of the collection.

    Returns
    -------
    figures
        Figures by the names of their datasets; see `~lsst.meas.trails.evaluation.figures.captions.CAPTIONS`.
    """
    draw: dict[str, tuple[str, Callable[[astropy.table.Table], Figure]]] = {
        "trail_completeness_plot": ("completeness", partial(_bins_figure, section="completeness")),
        "trail_purity_plot": ("purity", partial(_bins_figure, section="purity")),
        "trail_snr_length_plot": ("completeness2d", _two_dimensions_figure),
        "trail_froc_plot": ("froc", froc_figure),
        "trail_pixel_plot": ("roc", pixel_figure),
        "trail_calibration_plot": ("calibration", calibration_figure),
        "trail_residual_plot": ("error", residual_figure),
        "trail_pull_plot": ("pull", pull_figure),
        "trail_stack_plot": ("stack", _stack_figure),
        "trail_rescue_plot": ("rescue", rescue_figure),
        "trail_adcnn_plot": ("adcnn", adcnn_figure),
        "trail_label_plot": ("label", label_figure),
        "trail_known_plot": ("known", known_objects_figure),
    }
    figures = {}
    for name, (section, function) in draw.items():
        rows = select(metrics, section=section)
        # Some sections hold nothing but unknown numbers.
        if np.any(np.isfinite(np.asarray(rows["value"], dtype=np.float64)) & (np.asarray(rows["by"]) != "")):
            figures[name] = figure = function(metrics)
            heading = figure.get_suptitle()
            figure.suptitle(f"{title}: {heading}" if title else heading, fontsize=12)
    return figures


def _points(rows: astropy.table.Table) -> list[str]:
    """Return the operating points chosen from the sample itself, in order."""
    names = names_in(rows, "operatingPoint")
    return [name for name in names if not name.startswith("model") and name != ALL_CANDIDATES]


def _bins_figure(metrics: astropy.table.Table, *, section: str) -> Figure:
    """Draw completeness or purity in bins of all quantities."""
    rows = select(metrics, section=section)
    points = _points(rows)
    figure = Figure(figsize=(13.0, 9.6), layout="constrained")
    axes = figure.subplots(3, 3)
    handles: dict[str, Artist] = {}
    for axis, (by, quantity) in zip(axes.ravel(), QUANTITIES.items(), strict=False):
        binned = select(rows, by=by)
        _draw_counts(axis, select(binned, operatingPoint=ALL_CANDIDATES))
        for i, point in enumerate(points):
            color, marker, line = STYLES[i % len(STYLES)]
            part = select(binned, operatingPoint=point)
            if len(part) == 0:
                continue
            x = _centers(part, quantity.log, i - 0.5 * (len(points) - 1))
            handles[point] = axis.errorbar(
                x, part["value"], error_bars(part), color=color, marker=marker, linestyle=line,
                markersize=4.5, linewidth=1.3, elinewidth=0.8,
            )  # fmt: skip
        label = quantity.label
        if section == "purity" and quantity.truth != quantity.candidate:
            label = f"fitted {label}"
        _finish_axis(axis, label, _used_edges(binned, quantity.edges), quantity.log)
    noun, label = (
        ("trails", "fraction found") if section == "completeness" else ("candidates", "fraction of trails")
    )
    for line in axes:
        line[0].set_ylabel(label)
    unused = axes[-1][-1]
    unused.set_axis_off()
    bar = unused.bar([0], [0], color="0.85")
    unused.legend(
        [*handles.values(), bar],
        [*handles, f"number of {noun} (right axes)"],
        loc="center",
        fontsize=11,
        frameon=False,
        title="score threshold chosen for",
        title_fontsize=11,
    )
    figure.suptitle(f"{section}, with 95% intervals")
    return figure


def _draw_counts(axis: Axes, rows: astropy.table.Table) -> None:
    """Draw the count in each bin behind the curves."""
    twin = axis.twinx()
    low, high = np.asarray(rows["low"]), np.asarray(rows["high"])
    twin.bar(low, rows["count"], high - low, align="edge", color="0.85", edgecolor="white", linewidth=0.6)
    most = max(int(np.max(rows["count"])), 1) if len(rows) else 1
    # The columns stay in the lower third.
    twin.set_ylim(0.0, 3.2 * most)
    twin.yaxis.set_major_locator(FixedLocator([0, most]))
    twin.tick_params(axis="y", colors="0.45", labelsize=8)
    axis.set_zorder(twin.get_zorder() + 1)
    axis.patch.set_visible(False)


def _centers(rows: astropy.table.Table, log: bool, shift: float) -> npt.NDArray[np.float64]:
    """Return the abscissas of bins, shifted by a fraction of their width."""
    low, high = np.asarray(rows["low"]), np.asarray(rows["high"])
    if log:
        return np.asarray(np.sqrt(low * high) * np.power(high / low, 0.09 * shift))
    return np.asarray(0.5 * (low + high) + 0.09 * shift * (high - low))


def _used_edges(rows: astropy.table.Table, edges: Sequence[float]) -> list[float]:
    """Return the edges of the bins, without empty bins at either end."""
    if len(rows) == 0:
        return list(edges)
    first, last = float(np.min(rows["low"])), float(np.max(rows["high"]))
    return [edge for edge in edges if first <= edge <= last]


def _finish_axis(axis: Axes, label: str, edges: Sequence[float], log: bool) -> None:
    axis.set_xlabel(label)
    finish_fractions(axis)
    if log:
        log_axis(axis, edges)
    else:
        margin = 0.015 * (edges[-1] - edges[0])
        axis.set_xlim(edges[0] - margin, edges[-1] + margin)
        if edges[-1] == 180.0:
            axis.xaxis.set_major_locator(FixedLocator([0, 45, 90, 135, 180]))
        else:
            axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _two_dimensions_figure(metrics: astropy.table.Table) -> Figure:
    """Draw completeness against SNR for each class of lengths: curves, and a table of bins."""
    rows = select(metrics, section="completeness2d")
    x_edges = bin_edges(rows)
    y_edges = sorted({*map(float, rows["low2"]), *map(float, rows["high2"])})
    grid = np.full((len(y_edges) - 1, len(x_edges) - 1), np.nan)
    figure = Figure(figsize=(max(9.0, 0.75 * len(x_edges)), 8.6), layout="constrained")
    upper, axis = figure.subplots(2, 1)
    draw_by_length(upper, rows)
    upper.set_ylabel("fraction found")
    upper.legend(loc="lower center", fontsize=9, title="length (pixels), 95% intervals", title_fontsize=9)
    for row in rows:
        i, j = y_edges.index(float(row["low2"])), x_edges.index(float(row["low"]))
        grid[i, j] = row["value"]
        axis.text(
            j + 0.5, i + 0.5, f"{100.0 * row['value']:.0f}%\n{row['count']}", ha="center", va="center",
            color="black" if row["value"] > 0.55 else "white", fontsize=9,
        )  # fmt: skip
    picture = axis.pcolormesh(np.ma.masked_invalid(grid), cmap="viridis", vmin=0.0, vmax=1.0, edgecolors="w")
    axis.set_facecolor("0.9")
    axis.set_xticks(range(len(x_edges)), [f"{edge:g}" for edge in x_edges])
    axis.set_yticks(range(len(y_edges)), [f"{edge:g}" for edge in y_edges])
    axis.set_xlabel("optimal SNR of the trail")
    axis.set_ylabel("length of the trail (pixels)")
    figure.colorbar(picture, ax=axis, label="fraction found")
    figure.suptitle(f"completeness at {rows['operatingPoint'][0]}, and number of trails")
    return figure


def _stack_figure(metrics: astropy.table.Table) -> Figure:
    """Draw the trails found by the network, another method, both or neither."""
    rows = select(metrics, section="stack")
    names = names_in(rows, "method")
    figure = Figure(figsize=(12.0, 2.9 * len(names) + 1.0), layout="constrained")
    axes = figure.subplots(len(names), 3, squeeze=False, sharey=True)
    for line, name in zip(axes, names, strict=True):
        for axis, by in zip(line, ("snr", "length", "distance"), strict=True):
            _draw_parts(axis, select(rows, method=name, by=by), by)
        line[0].set_ylabel(f"fraction of the trails\n({name})")
    point = next(str(p) for p in rows["operatingPoint"] if p)
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend_below(figure, dict(zip(labels, handles, strict=True)))
    figure.suptitle(f"trails found by each method (numbers of trails below); network at {point}")
    return figure


def _draw_parts(axis: Axes, rows: astropy.table.Table, by: str) -> None:
    """Draw the four parts of each bin as a stacked column."""
    parts = {metric: select(rows, metric=metric) for metric, *_ in _PARTS}
    base = parts["both"]
    x = np.arange(len(base))
    bottom = np.zeros(len(base))
    for metric, label, color, hatch in _PARTS:
        height = np.asarray(parts[metric]["value"])
        axis.bar(
            x, height, 0.94, bottom=bottom, color=color, hatch=hatch, edgecolor="white", linewidth=0.5,
            label=label,
        )  # fmt: skip
        bottom = bottom + height
    axis.set_xticks(x, [f"{row['low']:g}-{row['high']:g}\n({row['count']})" for row in base], fontsize=7.5)
    axis.set_xlabel(QUANTITIES[by].label)
    axis.set_ylim(0.0, 1.0)
