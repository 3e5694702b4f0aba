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

"""The parts of a report that are made of a table of metrics alone."""

from __future__ import annotations

__all__ = (
    "against_section",
    "head_cards",
    "metric_sections",
    "operating_point",
    "readable",
    "summary_section",
    "threshold_of",
)

from collections.abc import Mapping, Sequence
from typing import Any

import astropy.table
import numpy as np
from matplotlib.figure import Figure

from ..collection_sample import QUANTITIES
from ..figures.style import STYLES
from ..metrics_table import select
from .headlines import Headline
from .page import Card, FigurePart, Paragraph, Part, Section, TablePart

OPERATING_POINT = "10 false per detector"
"""Where collections are compared and cutouts are chosen, if it is there."""

_SECTIONS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], str], ...] = (
    (
        "Found against false",
        ("trail_froc_plot",),
        (),
        "How many of the trails are found depends on how many false detections are allowed.",
    ),
    ("Completeness", ("trail_completeness_plot", "trail_snr_length_plot"), (), ""),
    ("Purity", ("trail_purity_plot",), (), ""),
    (
        "Is the score a probability?",
        ("trail_calibration_plot",),
        ("calibration",),
        "Of the candidates with a score near 0.8, 80% should be trails.",
    ),
    (
        "Fitted parameters",
        ("trail_residual_plot", "trail_pull_plot"),
        ("error", "pull"),
        "Fitted minus true values of the trails that were found; pulls are these over their own errors, and "
        "should scatter by 1.",
    ),
    (
        "Beside the stack",
        ("trail_stack_plot", "trail_rescue_plot"),
        ("stack", "rescue"),
        "What other detections of the same images find. Sep at 3, 4 and 5 sigma is a baseline that stands in "
        "where no catalog of the stack's own was given; it is not the stack.",
    ),
    (
        "Pixels",
        ("trail_pixel_plot",),
        ("pixel",),
        "Every unmasked pixel by itself, before candidates are made.",
    ),
    (
        "Adcnn metrics",
        ("trail_adcnn_plot",),
        ("adcnn",),
        "Counted in the manner of Asteroid_detection_CNN (its gap-2 components, score, thresholds and "
        "matching), only so that its published numbers can be compared. They are not what is counted above.",
    ),
)
"""Title, figures and sections of the metrics of each part, and what it says."""

_LABELS = {
    "metric": "number",
    "operatingPoint": "at",
    "by": "of",
    "low": "from",
    "high": "to",
    "valueLow": "95% from",
    "valueHigh": "to",
}
_SHOWN = (
    "metric",
    "description",
    "method",
    "operatingPoint",
    "value",
    "valueLow",
    "valueHigh",
    "count",
    "unit",
)


def readable(name: str) -> str:
    """Return a name with spaces where it has capitals or underscores."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return words.replace("_", " ").strip()


def operating_point(metrics: astropy.table.Table) -> str:
    """Return the operating point that is spoken of where only one can be.

    Parameters
    ----------
    metrics
        A `trail_metrics`.
    """
    points = [str(name) for name in select(metrics, section="detection", method="network")["operatingPoint"]]
    return OPERATING_POINT if OPERATING_POINT in points or not points else points[0]


def threshold_of(metrics: astropy.table.Table) -> float:
    """Return the least score of a candidate at the operating point.

    Parameters
    ----------
    metrics
        A `trail_metrics`.
    """
    rows = select(
        metrics,
        section="detection",
        metric="threshold",
        method="network",
        operatingPoint=operating_point(metrics),
    )
    return float(rows["value"][0]) if len(rows) else 0.0


def head_cards(headlines: Sequence[Headline], point: str) -> list[Card]:
    """Return the numbers for the head of a page.

    Parameters
    ----------
    headlines
        All numbers of a summary.
    point
        The operating point that they are of.
    """
    wanted = (
        (f"at {point}", "trails found", f"of the trails found, {point}"),
        (
            f"at {point}",
            "SNR at which half of the trails are found",
            "SNR at which half of the trails are found",
        ),
        (
            f"at {point}",
            "the same for trails of 20 pixels and more",
            "the same, trails of 20 pixels and more",
        ),
        (f"at {point}", "candidates that are trails", "of the candidates are trails"),
        ("score", "expected calibration error", "calibration error of the score"),
        (
            "fitted values of trails with SNR above 10",
            "median error of the midpoint",
            "median midpoint error",
        ),
        ("sample", "of them, trails that enough is visible of", "trails counted"),
        ("sample", "images", "images searched"),
    )
    known = {(item.group, item.label): item.value for item in headlines}
    return [Card(known[group, label], text) for group, label, text in wanted if (group, label) in known]


def summary_section(metrics: astropy.table.Table) -> Section:
    """Return what was searched, and what is found at each threshold.

    Parameters
    ----------
    metrics
        A `trail_metrics`.
    """
    detection = select(metrics, section="detection", method="network", by="")
    points = list(dict.fromkeys(str(name) for name in detection["operatingPoint"]))
    rows: dict[str, dict[str, str]] = {}
    for row in detection:
        label = str(row["description"]) or readable(str(row["metric"]))
        rows.setdefault(label, {})[str(row["operatingPoint"])] = _interval(row)
    columns = {"number": list(rows)}
    columns |= {point: [found.get(point, "") for found in rows.values()] for point in points}
    sample = select(metrics, section="sample")
    searched = astropy.table.Table(
        {
            "what": [str(row["description"]) or readable(str(row["metric"])) for row in sample],
            "value": [f"{row['value']:.6g} {row['unit']}".strip() for row in sample],
        },
        dtype=(str, str),
    )
    return Section(
        "Summary",
        [
            TablePart(
                "detection",
                astropy.table.Table(columns, dtype=[str] * len(columns)),
                "What is found by the network, for several thresholds of the score: those that leave so many "
                "false candidates per detector of 16.4 Mpix in this sample, those that the model brought "
                "along, and none. In brackets intervals of 95%.",
            ),
            TablePart("sample", searched, "What was searched."),
        ],
    )


def metric_sections(
    metrics: astropy.table.Table, figures: Mapping[str, Figure], captions: Mapping[str, str]
) -> list[Section]:
    """Return figures and numbers, by what they are about.

    Parameters
    ----------
    metrics
        A `trail_metrics`.
    figures, captions
        What `~lsst.meas.trails.evaluation.figures.metrics.metric_figures` made
        of it.
    """
    sections = []
    shown: set[str] = set()
    for title, names, kinds, text in _SECTIONS:
        parts: list[Part] = [
            _figure(name, figures[name], captions, title) for name in names if name in figures
        ]
        parts += [table for kind in kinds if (table := _numbers(metrics, kind)) is not None]
        shown.update(names)
        if parts:
            sections.append(Section(title, [Paragraph(text), *parts] if text else parts))
    rest = [_figure(name, figures[name], captions, readable(name)) for name in figures if name not in shown]
    if rest:
        sections.append(Section("More figures", rest))
    return sections


def _figure(name: str, figure: Figure, captions: Mapping[str, str], title: str) -> FigurePart:
    caption = captions.get(name, "")
    return FigurePart(
        name.removesuffix("_plot"), figure, caption=caption, alt=f"{title}: {caption}" if caption else title
    )


def _numbers(metrics: astropy.table.Table, kind: str) -> TablePart | None:
    """Return the numbers of a section that are of no bin, if there are any."""
    rows = select(metrics, section=kind)
    # Of no bin, or of one that has no upper end: all that are bright.
    chosen = rows[(np.asarray(rows["by"]) == "") | np.isinf(np.asarray(rows["high"], dtype=np.float64))]
    if len(chosen) == 0:
        return None
    return TablePart(
        f"numbers-{kind.replace('_', '-')}",
        chosen,
        f"Numbers: {readable(kind)}, with intervals of 95%.",
        labels=_LABELS,
        shown=[name for name in _SHOWN if _told(chosen[name])],
    )


def _told(column: astropy.table.Column) -> bool:
    """Whether a column says anything."""
    values = np.asarray(column)
    if values.dtype.kind == "f":
        return bool(np.any(np.isfinite(values)))
    return bool(np.any(values != "")) if values.dtype.kind == "U" else bool(np.any(values >= 0))


def against_section(metrics: Mapping[str, astropy.table.Table]) -> Section:
    """Compare collections with each other.

    Parameters
    ----------
    metrics
        The `trail_metrics` of each, by its name; the first one is what the
        report is about.
    """
    parts: list[Part] = [
        Paragraph(
            "Each collection was evaluated with its own truth: differences mean something where the images "
            "and the trails are the same."
        )
    ]
    froc = _against_froc(metrics)
    if froc is not None:
        parts.append(froc)
    completeness = _against_completeness(metrics)
    if completeness is not None:
        parts.append(completeness)
    parts.append(_against_table(metrics))
    return Section("Against other collections", parts)


def _style(number: int) -> dict[str, Any]:
    color, marker, line = STYLES[number % len(STYLES)]
    return {"color": color, "marker": marker, "linestyle": line, "markersize": 5, "linewidth": 1.6}


def _against_froc(metrics: Mapping[str, astropy.table.Table]) -> FigurePart | None:
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axis = figure.subplots()
    drawn = 0
    for number, (name, table) in enumerate(metrics.items()):
        rows = select(table, section="froc", method="network", by="false_per_detector")
        order = np.argsort(rows["low"])
        x, y = np.asarray(rows["low"])[order], np.asarray(rows["value"])[order]
        axis.plot(x, y, label=name, **{**_style(number), "marker": ""})
        drawn += len(rows)
    if drawn == 0:
        return None
    axis.set_xscale("log")
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel("false detections per detector of 16.4 Mpix")
    axis.set_ylabel("fraction of trails found")
    axis.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=1)
    return FigurePart(
        "against_froc",
        figure,
        "Completeness as more false detections are allowed. Higher and further left is better.",
        f"Curves of completeness against false detections of {', '.join(metrics)}.",
    )


def _against_completeness(metrics: Mapping[str, astropy.table.Table]) -> FigurePart | None:
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axis = figure.subplots()
    drawn = 0
    for number, (name, table) in enumerate(metrics.items()):
        rows = select(
            table, section="completeness", method="network", by="snr", operatingPoint=operating_point(table)
        )
        rows = rows[np.argsort(rows["low"])]
        rows = rows[np.isfinite(rows["value"])]
        center = np.sqrt(np.asarray(rows["low"]) * np.asarray(rows["high"]))
        value = np.asarray(rows["value"])
        bars = np.clip([value - rows["valueLow"], rows["valueHigh"] - value], 0.0, None)
        # Beside each other, or the bars would hide one another.
        shift = 1.012 ** (2.0 * number - len(metrics) + 1.0)
        axis.errorbar(center * shift, value, bars, label=name, elinewidth=0.9, **_style(number))
        drawn += len(rows)
    if drawn == 0:
        return None
    point = operating_point(next(iter(metrics.values())))
    axis.set_xscale("log")
    ticks = [3, 5, 7, 10, 15, 20, 30]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel(QUANTITIES["snr"].label + " of the trail")
    axis.set_ylabel("fraction of trails found")
    axis.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=1)
    return FigurePart(
        "against_completeness",
        figure,
        f"Completeness against SNR at {point}, with intervals of 95%.",
        f"Curves of completeness against signal-to-noise ratio of {', '.join(metrics)}.",
    )


def _against_table(metrics: Mapping[str, astropy.table.Table]) -> TablePart:
    """Return the numbers of detection beside each other."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for name, table in metrics.items():
        for row in select(table, section="detection", method="network", by=""):
            key = (str(row["description"]) or readable(str(row["metric"])), str(row["operatingPoint"]))
            rows.setdefault(key, {})[name] = _interval(row)
    columns: dict[str, list[str]] = {
        "number": [metric for metric, _ in rows],
        "at": [point for _, point in rows],
    }
    columns |= {name: [found.get(name, "") for found in rows.values()] for name in metrics}
    return TablePart(
        "against",
        astropy.table.Table(columns, dtype=[str] * len(columns)),
        "Numbers of detection, with intervals of 95%.",
    )


def _interval(row: astropy.table.Row) -> str:
    """Return a number with its interval."""
    value, low, high = (float(row[name]) for name in ("value", "valueLow", "valueHigh"))
    text = f"{value:.4g}" if np.isfinite(value) else "\N{EN DASH}"
    if np.isfinite(low) and np.isfinite(high):
        text += f" ({low:.3g} to {high:.3g})"
    return f"{text} {row['unit']}".strip()
