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

"""Figures of detectors compared: completeness, FROC and reliability."""

from __future__ import annotations

__all__ = ("completeness_figure", "froc_figure", "reliability_figure")

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lsst.meas.trails.core.operating_point import DETECTOR_PIXELS
from lsst.meas.trails.evaluation.figures.style import STYLES

from detection_sample import DetectionSample

_NAMES = {"snr": "optimal SNR of the trail", "length": "length of the trail (pixels)"}


def completeness_figure(
    samples: Mapping[str, DetectionSample],
    *,
    title: str,
    rates: Sequence[float],
    snr_edges: Sequence[float],
    length_edges: Sequence[float],
) -> Figure:
    """Draw completeness against SNR and against length.

    Parameters
    ----------
    samples
        What each detector found, by its name.
    title
        What the images are.
    rates
        False detections per detector, one column of panels each.
    snr_edges, length_edges
        Edges of the bins.

    Returns
    -------
    figure : `matplotlib.figure.Figure`
    """
    figure = Figure(figsize=(4.2 * len(rates) + 0.6, 8.2), layout="constrained")
    panels = figure.subplots(2, len(rates), sharey=True, squeeze=False)
    for row, (by, edges) in enumerate((("snr", snr_edges), ("length", length_edges))):
        centers = np.sqrt(np.asarray(edges[1:]) * np.asarray(edges[:-1]))
        for axis, rate in zip(panels[row], rates, strict=True):
            for i, (name, sample) in enumerate(samples.items()):
                fraction, low, high, _ = sample.completeness(rate, by, edges)
                # Beside each other, or the bars would hide one another.
                x = centers * 1.012 ** (2.0 * i - len(samples) + 1.0)
                bars = np.clip(np.stack([fraction - low, high - fraction]), 0.0, None)
                color, marker, line = STYLES[i % len(STYLES)]
                axis.errorbar(
                    x, fraction, bars, color=color, marker=marker, linestyle=line, markersize=5,
                    linewidth=1.4, elinewidth=0.9, label=name,
                )  # fmt: skip
            _log_axis(axis, edges)
            axis.set_xlabel(_NAMES[by])
            axis.set_ylim(-0.03, 1.03)
            axis.grid(alpha=0.25)
            axis.set_title(f"{rate:g} false per detector")
        panels[row][0].set_ylabel("fraction of trails found")
    _finish(figure, panels[0][0], f"{title}: completeness, with intervals of 95%")
    return figure


def froc_figure(
    groups: Mapping[str, Mapping[str, DetectionSample]], *, rates: tuple[float, float] = (0.3, 1000.0)
) -> Figure:
    """Draw completeness against false detections per detector.

    Parameters
    ----------
    groups
        By what the images are, and by the name of the detector.
    rates
        Range of false detections per detector.

    Returns
    -------
    figure : `matplotlib.figure.Figure`
    """
    figure = Figure(figsize=(4.6 * len(groups) + 0.8, 5.2), layout="constrained")
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    grid = np.geomspace(*rates, 120)
    order = _order(groups)
    handles: dict[str, Any] = {}
    for axis, (title, samples) in zip(panels, groups.items(), strict=True):
        for name, sample in samples.items():
            color, marker, line = STYLES[order.index(name) % len(STYLES)]
            # Below one false detection in all that was searched, the curve
            # is a guess; it ends where even the lowest threshold has no more.
            least = DETECTOR_PIXELS / sample.all.n_pixels
            most = float(np.clip(sample.all.is_false.sum() * least, max(least, rates[0]), rates[1]))
            shown = np.append(grid[(grid >= least) & (grid < most)], most)
            handles[name] = axis.plot(
                shown, sample.froc(shown), color=color, linestyle=line, linewidth=1.8, marker=marker,
                markersize=6, markevery=[len(shown) - 1],
            )[0]  # fmt: skip
        axis.set_xscale("log")
        axis.set_xlim(*rates)
        axis.set_ylim(-0.03, 1.03)
        axis.grid(alpha=0.25)
        axis.set_xlabel("false detections per detector of 16.4 Mpix")
        axis.set_title(title)
    panels[0].set_ylabel("fraction of trails found")
    figure.suptitle("What is found as more false detections are allowed; a marker is where a detector ends")
    names = [name for name in order if name in handles]
    figure.legend(
        [handles[name] for name in names], names, loc="outside lower center", ncols=min(len(names), 4)
    )
    return figure


def reliability_figure(groups: Mapping[str, Mapping[str, DetectionSample]]) -> Figure:
    """Draw the fraction of trails among candidates against their score.

    Parameters
    ----------
    groups
        By what the images are, and by the name of the detector; only of
        detectors whose rank is a score within [0, 1].

    Returns
    -------
    figure : `matplotlib.figure.Figure`
        The curves above, and how many candidates there are below.
    """
    figure = Figure(figsize=(4.4 * len(groups) + 0.8, 6.6), layout="constrained")
    panels = figure.subplots(
        2, len(groups), sharex=True, sharey="row", squeeze=False, height_ratios=(3.0, 1.0)
    )
    order = _order(groups)
    handles: dict[str, Any] = {}
    for column, (title, samples) in enumerate(groups.items()):
        upper, lower = panels[:, column]
        ideal = upper.plot([0.0, 1.0], [0.0, 1.0], color="0.6", linewidth=1.0, linestyle=":")[0]
        errors = []
        for name, sample in samples.items():
            color, marker, line = STYLES[order.index(name) % len(STYLES)]
            curve = sample.reliability()
            bars = np.clip(np.stack([curve.fraction - curve.low, curve.high - curve.fraction]), 0.0, None)
            handles[name] = upper.errorbar(
                curve.score, curve.fraction, bars, color=color, marker=marker, linestyle=line, markersize=5,
                linewidth=1.4, elinewidth=0.9,
            )  # fmt: skip
            errors.append(f"{name} {curve.error:.3f}")
            edges = np.linspace(0.0, 1.0, len(curve.count) + 1)
            lower.stairs(curve.count, edges, color=color, linestyle=line, linewidth=1.4)
        upper.set_title(f"{title}\nexpected calibration error: {', '.join(errors)}", fontsize=10)
        upper.set_xlim(-0.02, 1.02)
        upper.set_ylim(-0.03, 1.03)
        lower.set_yscale("symlog", linthresh=10.0)
        lower.set_xlabel("score")
        for axis in (upper, lower):
            axis.grid(alpha=0.25)
    panels[0][0].set_ylabel("fraction that are trails")
    panels[1][0].set_ylabel("candidates")
    figure.suptitle("Is the score a probability?  (with intervals of 95%)")
    names = [name for name in order if name in handles]
    figure.legend(
        [ideal, *(handles[name] for name in names)],
        ["as it should be", *names],
        loc="outside lower center",
        ncols=min(len(names) + 1, 4),
    )
    return figure


def _order(groups: Mapping[str, Mapping[str, DetectionSample]]) -> list[str]:
    """Return the names of all detectors, so that each has one style."""
    return list(dict.fromkeys(name for samples in groups.values() for name in samples))


def _log_axis(axis: Any, edges: Sequence[float]) -> None:
    """Make a logarithmic axis whose ticks are the edges of the bins."""
    axis.set_xscale("log")
    axis.set_xlim(edges[0] * 0.97, edges[-1] * 1.03)
    axis.xaxis.set_major_locator(FixedLocator(list(edges)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())


def _finish(figure: Figure, axis: Any, title: str) -> None:
    """Add the title, and the legend below all panels, where it hides nothing."""
    figure.suptitle(title)
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 4))
