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

"""Figures of curves and distributions, from a table of metrics."""

from __future__ import annotations

__all__ = (
    "adcnn_figure",
    "calibration_figure",
    "draw_by_length",
    "froc_figure",
    "pixel_figure",
    "pull_figure",
    "rescue_figure",
    "residual_figure",
)

import astropy.table
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ..metrics_table import names_in, point_name, select
from .style import STYLES, bin_edges, error_bars, finish_fractions, legend_below, log_axis, style

_BLUE, _ORANGE, _GREEN = (style[0] for style in STYLES[:3])

_ERRORS = (
    ("dAlong", "the midpoint along the trail (pixels)"),
    ("dAcross", "the midpoint across the trail (pixels)"),
    ("dLength", "the length (pixels)"),
    ("dAngle", "the angle (degrees)"),
    ("dMag", "the magnitude"),
    ("dRate", "the rate (deg/day)"),
)

_PULLS = (
    ("pullX", "x"),
    ("pullY", "y"),
    ("pullLength", "length"),
    ("pullAngle", "angle"),
    ("pullFlux", "flux"),
)

_FEWEST = 5
"""Fewest trails in a bin whose scatter is drawn."""


def draw_by_length(axis: Axes, rows: astropy.table.Table) -> None:
    """Draw completeness against SNR, a curve for each class of lengths.

    Parameters
    ----------
    axis
        The panel.
    rows
        Section ``completeness2d`` of a table of metrics.
    """
    classes = sorted({(float(row["low2"]), float(row["high2"])) for row in rows})
    for i, (low, high) in enumerate(classes):
        part = select(rows, low2=low, high2=high)
        part = part[np.argsort(part["low"])]
        # Shifted, so that the bars do not hide each other.
        x = 1.02 ** (i - 0.5 * (len(classes) - 1)) * np.sqrt(np.asarray(part["low"] * part["high"]))
        axis.errorbar(
            x, part["value"], error_bars(part), elinewidth=0.8, linewidth=1.4, label=f"{low:g}-{high:g}",
            **style(i),
        )  # fmt: skip
    log_axis(axis, bin_edges(rows))
    finish_fractions(axis)
    axis.set_xlabel("optimal SNR of the trail")


def froc_figure(metrics: astropy.table.Table) -> Figure:
    """Draw completeness against false candidates per area."""
    rows = select(metrics, section="froc", by="false_per_detector")
    areas = select(metrics, section="froc", by="false_per_square_degree")
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    axis = figure.subplots()
    x = np.asarray(rows["low"])
    _draw_curve(axis, rows, _BLUE, "-", "network")
    for rate, marker in ((1.0, "o"), (10.0, "s"), (100.0, "^")):
        found = select(metrics, section="detection", metric="completeness", operatingPoint=point_name(rate))
        if len(found) and x.min() <= rate <= x.max():
            axis.plot(
                rate, found["value"][0], marker=marker, color=_ORANGE, markersize=8, linestyle="none",
                label=f"{found['value'][0]:.2f} at {rate:g}",
            )  # fmt: skip
    axis.set_xscale("log")
    finish_fractions(axis, "fraction of trails found")
    axis.set_xlabel("false candidates per detector of 16.4 Mpix")
    scale = float(areas["low"][0] / rows["low"][0])
    functions = (lambda value: np.multiply(value, scale), lambda value: np.divide(value, scale))
    second = axis.secondary_xaxis("top", functions=functions)
    second.set_xlabel("false candidates per square degree")
    # Labels of minor ticks overlap on a short range.
    second.xaxis.set_minor_formatter(NullFormatter())
    axis.legend(loc="lower right", title="with 95% interval")
    figure.suptitle("completeness against false candidates")
    return figure


def rescue_figure(metrics: astropy.table.Table) -> Figure:
    """Draw the fraction of the trails missed by others that the network finds."""
    rows = select(metrics, section="rescue")
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    axis = figure.subplots()
    for i, name in enumerate(names_in(rows, "method")):
        color, _, line = STYLES[i % len(STYLES)]
        part = select(rows, method=name)
        _draw_curve(axis, part, color, line, f"{part['count'][0]} trails missed by {name}")
    axis.set_xscale("log")
    finish_fractions(axis, "fraction found by the network")
    axis.set_xlabel("false candidates added per detector of 16.4 Mpix")
    axis.legend(loc="upper left")
    figure.suptitle("trails missed by other methods that the network finds")
    return figure


def _draw_curve(axis: Axes, rows: astropy.table.Table, color: str, line: str, label: str) -> None:
    """Draw a curve with its interval."""
    x = np.asarray(rows["low"])
    axis.fill_between(x, rows["valueLow"], rows["valueHigh"], color=color, alpha=0.15, linewidth=0.0)
    # A line through a single point is invisible.
    marker = "o" if len(x) == 1 else ""
    axis.plot(x, rows["value"], color=color, linestyle=line, linewidth=1.8, marker=marker, label=label)


def pixel_figure(metrics: astropy.table.Table) -> Figure:
    """Draw the ROC and precision-recall curves of pixels."""
    figure = Figure(figsize=(10.5, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    numbers = {str(row["metric"]): row for row in select(metrics, section="pixel", operatingPoint="")}
    roc, curve = select(metrics, section="roc"), select(metrics, section="precision_recall")
    left.plot(roc["low"], roc["value"], color=_BLUE, linewidth=1.8, label=f"AUC {_with_ends(numbers['auc'])}")
    shown = np.asarray(roc["low"])
    least = max(float(np.min(shown[shown > 0.0], initial=1.0)), 1e-8)
    x = np.geomspace(least, 1.0, 50)
    left.plot(x, x, color="0.6", linestyle=":", label="chance")
    left.set_xscale("log")
    left.set_xlim(least, 1.0)
    left.set_xlabel("false positive rate of pixels")
    right.plot(
        curve["low"], curve["value"], color=_BLUE, linewidth=1.8,
        label=f"average precision {_with_ends(numbers['average_precision'])}",
    )  # fmt: skip
    points = select(metrics, section="pixel", metric="recall")
    for row, marker, color in zip(points, ("o", "s"), (_ORANGE, _GREEN), strict=False):
        point = str(row["operatingPoint"])
        values = {
            str(r["metric"]): float(r["value"])
            for r in select(metrics, section="pixel", operatingPoint=point)
        }
        label = f"{point}\nF1 {values['f1']:.2f}, IoU {values['iou']:.2f}"
        right.plot(
            values["recall"], values["precision"], marker=marker, color=color, markersize=8,
            linestyle="none", label=label,
        )  # fmt: skip
    right.set_xlim(-0.02, 1.02)
    right.set_xlabel("recall of pixels")
    finish_fractions(left, "true positive rate of pixels")
    finish_fractions(right, "precision of pixels")
    for axis in (left, right):
        axis.legend(loc="best", fontsize=9)
    ignored = sum(float(numbers[name]["value"]) for name in ("ignored_bad", "ignored_satellite"))
    total = float(numbers["auc"]["count"]) + ignored
    figure.suptitle(f"single pixels; {100.0 * ignored / total:.2f}% are ignored")
    return figure


def _with_ends(row: astropy.table.Row) -> str:
    if not np.isfinite(row["valueLow"]):
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} ({row['valueLow']:.3f} to {row['valueHigh']:.3f})"


def calibration_figure(metrics: astropy.table.Table) -> Figure:
    """Draw the fraction of trails against the score."""
    rows = select(metrics, section="calibration", metric="fraction")
    mean = select(metrics, section="calibration", metric="mean_score")
    error = select(metrics, section="calibration", metric="expected_calibration_error")[0]
    figure = Figure(figsize=(6.2, 6.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.0, 1.0))
    upper.plot([0.0, 1.0], [0.0, 1.0], color="0.6", linestyle=":", label="ideal")
    upper.errorbar(
        mean["value"], rows["value"], error_bars(rows), color=_BLUE, marker="o", linewidth=1.4,
        elinewidth=0.9, label=f"network: calibration error {_with_ends(error)}",
    )  # fmt: skip
    finish_fractions(upper, "fraction of trails")
    upper.legend(loc="upper left", fontsize=9)
    lower.bar(rows["low"], rows["count"], rows["high"] - rows["low"], align="edge", color="0.75",
              edgecolor="white")  # fmt: skip
    lower.set_xlim(-0.02, 1.02)
    lower.set_xlabel("score of the candidate")
    lower.set_ylabel("candidates")
    lower.grid(alpha=0.25)
    figure.suptitle("calibration of the score")
    return figure


def residual_figure(metrics: astropy.table.Table) -> Figure:
    """Draw errors of fitted values against SNR."""
    figure = Figure(figsize=(12.0, 6.8), layout="constrained")
    axes = figure.subplots(2, 3)
    for axis, (name, label) in zip(axes.ravel(), _ERRORS, strict=True):
        rows = _finite_bins(select(metrics, section="error", metric=f"{name}_median"))
        spread = _finite_bins(select(metrics, section="error", metric=f"{name}_scatter"))
        x = np.sqrt(np.asarray(rows["low"]) * np.asarray(rows["high"]))
        axis.axhline(0.0, color="0.6", linestyle=":")
        axis.fill_between(x, spread["valueLow"], spread["valueHigh"], color=_BLUE, alpha=0.2, linewidth=0.0,
                          label="68% of the trails")  # fmt: skip
        axis.plot(x, rows["value"], color=_BLUE, marker="o", markersize=4.5, linewidth=1.5, label="median")
        if len(rows):
            log_axis(axis, bin_edges(rows))
        axis.set_xlabel("optimal SNR of the trail")
        axis.set_title(f"error of {label}", fontsize=10)
        axis.grid(alpha=0.25)
    handles, names = axes[0][0].get_legend_handles_labels()
    legend_below(figure, dict(zip(names, handles, strict=True)))
    figure.suptitle("measured minus true values of all trails with a candidate")
    return figure


def _finite_bins(rows: astropy.table.Table) -> astropy.table.Table:
    finite = np.isfinite(np.asarray(rows["high"], dtype=np.float64))
    return rows[finite & (np.asarray(rows["count"]) >= _FEWEST)]


def pull_figure(metrics: astropy.table.Table) -> Figure:
    """Draw the distributions of errors divided by their estimates."""
    figure = Figure(figsize=(13.0, 3.8), layout="constrained")
    axes = figure.subplots(1, len(_PULLS), sharey=True)
    grid = np.linspace(-5.0, 5.0, 201)
    for axis, (name, label) in zip(axes, _PULLS, strict=True):
        rows = select(metrics, section="pull", by=name)
        width = np.asarray(rows["high"] - rows["low"])
        axis.bar(
            rows["low"], np.asarray(rows["value"]) / width, width, align="edge", color="#56B4E9",
            edgecolor="white", label="trails",
        )  # fmt: skip
        axis.plot(grid, np.exp(-0.5 * grid**2) / np.sqrt(2.0 * np.pi), color="black", linewidth=1.2,
                  label="normal distribution")  # fmt: skip
        median = select(metrics, section="pull", metric=f"{name}_median")
        spread = select(metrics, section="pull", metric=f"{name}_spread")
        if len(median):
            axis.set_title(
                f"{label}: median {median['value'][0]:+.2f}, spread {spread['value'][0]:.2f}", fontsize=9.5
            )
        axis.set_xlabel("error / estimated error")
        axis.set_xlim(-5.0, 5.0)
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("density")
    handles, names = axes[0].get_legend_handles_labels()
    legend_below(figure, dict(zip(names, handles, strict=True)))
    count = max((int(n) for n in select(metrics, section="pull")["count"]), default=0)
    figure.suptitle(f"errors of the fit divided by their estimates: {count} trails of SNR above 10")
    return figure


def adcnn_figure(metrics: astropy.table.Table) -> Figure:
    """Draw completeness as Asteroid_detection_CNN measures it."""
    found = select(metrics, section="adcnn", metric="completeness")
    false = select(metrics, section="adcnn", metric="false_per_detector")
    figure = Figure(figsize=(7.0, 4.8), layout="constrained")
    axis = figure.subplots()
    x = np.asarray(false["value"])
    axis.errorbar(
        x, found["value"], error_bars(found), color=_BLUE, marker="o", linewidth=1.5, elinewidth=0.9
    )
    for i in (0, 3, 7, 9):
        if i < len(x) and (i == 0 or x[i] < x[0]):
            axis.annotate(
                f"{found['low'][i]:g}", (x[i], found["value"][i]), xytext=(6, -13),
                textcoords="offset points", fontsize=9,
            )  # fmt: skip
    axis.set_xlim(left=0.0)
    finish_fractions(axis, "fraction of trails near a component")
    axis.set_xlabel("false components per detector of 16.4 Mpix")
    figure.suptitle("Asteroid_detection_CNN metrics; numbers are the lowest scores")
    return figure
