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

"""Sections of a report that need nothing but a table of metrics."""

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

import astropy.table
import numpy as np
from matplotlib.figure import Figure

from ..figures.comparison import completeness_comparison, froc_comparison
from ..metrics_table import names_in, select
from .headlines import HALF, Headline
from .page import Card, FigurePart, Paragraph, Part, Section, TablePart

OPERATING_POINT = "10 false per detector"
"""Preferred operating point of comparisons and cutouts."""

_SECTIONS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], str], ...] = (
    (
        "Completeness and false candidates",
        ("trail_froc_plot",),
        (),
        "Completeness depends on the allowed rate of false candidates.",
    ),
    ("Completeness", ("trail_completeness_plot", "trail_snr_length_plot"), (), ""),
    ("Purity", ("trail_purity_plot",), (), ""),
    (
        "Calibration of the score",
        ("trail_calibration_plot",),
        ("calibration",),
        "80% of the candidates with a score near 0.8 should be trails.",
    ),
    (
        "Fitted parameters",
        ("trail_residual_plot", "trail_pull_plot"),
        ("error", "pull"),
        "Measured minus true values of the trails that were found. Pulls are these divided by their "
        "estimated errors, and should scatter by 1.",
    ),
    (
        "Comparison with the stack",
        ("trail_stack_plot", "trail_rescue_plot"),
        ("stack", "rescue"),
        "Trails found in the same images by other methods. Sep at 3, 4 and 5 sigma is a baseline that "
        "substitutes for the stack's own catalog; it is not the stack.",
    ),
    (
        "Pixels",
        ("trail_pixel_plot",),
        ("pixel",),
        "Every unmasked pixel on its own, before components are formed.",
    ),
    (
        "Known objects",
        ("trail_known_plot",),
        ("known",),
        "Objects of the ephemerides, in images as they are: no injection is needed. At least half of a "
        "counted trail is on good pixels of an image. An object that is not at its predicted place counts as "
        "missed.",
    ),
    (
        "Labeled candidates",
        ("trail_label_plot",),
        ("label",),
        "Candidates that people labeled with meas-trails vet, on real images: no truth is needed. Purity is "
        "the fraction of trails among the candidates labeled trail or artifact.",
    ),
    (
        "Asteroid_detection_CNN metrics",
        ("trail_adcnn_plot",),
        ("adcnn",),
        "Measured as Asteroid_detection_CNN does (gap-2 components, score, thresholds and matching), for "
        "comparison with its published numbers only. The sections above use other definitions.",
    ),
)
"""Title, figures, sections of the metrics, and text of each section."""

_KINDS = {
    "calibration": "calibration of the score",
    "error": "errors of fitted parameters",
    "pull": "errors divided by their estimates",
    "stack": "comparison with other methods",
    "rescue": "trails missed by other methods",
    "pixel": "single pixels",
    "known": "known objects",
    "label": "labeled candidates",
    "adcnn": "Asteroid_detection_CNN metrics",
}
"""Captions of the tables of numbers, by section of the metrics."""

_UNITS = {"1 / deg2": "", "deg2": "square degrees", "pix": "pixels"}
"""Words for units; descriptions name those of densities."""

_LABELS = {"metric": "number", "operatingPoint": "at", "valueLow": "95% from", "valueHigh": "to"}
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
    """Return a name with spaces in place of capitals and underscores."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return words.replace("_", " ").strip()


def operating_point(metrics: astropy.table.Table) -> str:
    """Return the operating point of comparisons and cutouts.

    Parameters
    ----------
    metrics
        A `trail_metrics`.
    """
    points = names_in(select(metrics, section="detection"), "operatingPoint")
    return OPERATING_POINT if OPERATING_POINT in points or not points else points[0]


def threshold_of(metrics: astropy.table.Table) -> float:
    """Return the lowest score of a candidate at the operating point.

    Parameters
    ----------
    metrics
        A `trail_metrics`.
    """
    point = operating_point(metrics)
    rows = select(metrics, section="detection", metric="threshold", operatingPoint=point)
    return float(rows["value"][0]) if len(rows) else 0.0


def head_cards(headlines: Sequence[Headline], point: str) -> list[Card]:
    """Return the numbers for the top of a page.

    Parameters
    ----------
    headlines
        The main numbers of a summary.
    point
        Operating point.
    """
    wanted = (
        (f"at {point}", "trails found", f"of the trails found, {point}"),
        (f"at {point}", HALF, HALF),
        (f"at {point}", f"{HALF}, 20 pixels and longer", f"{HALF}, trails of 20 pixels and longer"),
        (f"at {point}", "candidates that are trails", "of the candidates are trails"),
        ("score", "expected calibration error", "calibration error of the score"),
        (
            "measured values of trails with SNR above 10",
            "median error of the midpoint",
            "median midpoint error",
        ),
        ("sample", "counted trails, with enough visible flux", "counted trails"),
        ("sample", "images", "searched images"),
    )
    known = {(item.group, item.label): item.value for item in headlines}
    return [Card(known[group, label], text) for group, label, text in wanted if (group, label) in known]


def summary_section(metrics: astropy.table.Table) -> Section:
    """Return the searched area, and the detection metrics at each threshold.

    Parameters
    ----------
    metrics
        A `trail_metrics`.
    """
    detection = select(metrics, section="detection")
    points = names_in(detection, "operatingPoint")
    rows: dict[str, dict[str, str]] = {}
    for row in detection:
        rows.setdefault(_label(row), {})[str(row["operatingPoint"])] = _interval(row)
    columns = {"number": list(rows)}
    columns |= {point: [found.get(point, "") for found in rows.values()] for point in points}
    sample = select(metrics, section="sample")
    searched = astropy.table.Table(
        {
            "quantity": [_label(row) for row in sample],
            "value": [f"{row['value']:.6g} {_unit(row)}".strip() for row in sample],
        },
        dtype=(str, str),
    )
    return Section(
        "Summary",
        [
            TablePart(
                "detection",
                astropy.table.Table(columns, dtype=[str] * len(columns)),
                "Detection metrics of the network for several score thresholds: chosen in this sample for a "
                "rate of false candidates per detector of 16.4 Mpix, chosen for the same rate when the model "
                "was calibrated, and none. 95% intervals in parentheses.",
            ),
            TablePart("sample", searched, "Searched images."),
        ],
    )


def metric_sections(
    metrics: astropy.table.Table, figures: Mapping[str, Figure], captions: Mapping[str, str]
) -> list[Section]:
    """Return the figures and numbers of each subject.

    Parameters
    ----------
    metrics
        A `trail_metrics`.
    figures, captions
        Figures of `~lsst.meas.trails.evaluation.figures.metrics.metric_figures`, and their captions.
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
    """Return the numbers of a section that do not belong to a bin, if any."""
    rows = select(metrics, section=kind)
    # The bin without an upper end holds all bright trails.
    chosen = rows[(np.asarray(rows["by"]) == "") | np.isinf(np.asarray(rows["high"], dtype=np.float64))]
    if len(chosen) == 0:
        return None
    chosen["count"] = astropy.table.MaskedColumn(chosen["count"], mask=np.asarray(chosen["count"]) < 0)
    return TablePart(
        f"numbers-{kind.replace('_', '-')}",
        chosen,
        f"Numbers with 95% intervals: {_KINDS[kind]}.",
        labels=_LABELS,
        shown=[name for name in _SHOWN if _has_values(chosen[name])],
    )


def _has_values(column: astropy.table.Column) -> bool:
    """Return whether a column has any known value."""
    values = np.asarray(column)
    if values.dtype.kind == "f":
        return bool(np.any(np.isfinite(values)))
    return bool(np.any(values != "")) if values.dtype.kind == "U" else bool(np.any(values >= 0))


def against_section(metrics: Mapping[str, astropy.table.Table]) -> Section:
    """Return the comparison of several collections.

    Parameters
    ----------
    metrics
        The `trail_metrics` of each, by its name; the first one is the subject of the report.
    """
    parts: list[Part] = [
        Paragraph(
            "Each collection was evaluated with its own truth: differences are meaningful if the images and "
            "the trails are the same."
        )
    ]
    names = ", ".join(metrics)
    if any(len(select(table, section="froc")) for table in metrics.values()):
        parts.append(
            FigurePart(
                "against_froc",
                froc_comparison({"": metrics}),
                "Completeness against the rate of false candidates. Higher and further left is better.",
                f"Curves of completeness against false candidates of {names}.",
            )
        )
    at_point = {
        name: select(table, section="completeness", by="snr", operatingPoint=operating_point(table))
        for name, table in metrics.items()
    }
    if any(len(table) for table in at_point.values()):
        point = operating_point(next(iter(metrics.values())))
        parts.append(
            FigurePart(
                "against_completeness",
                completeness_comparison({"": at_point}),
                f"Completeness against SNR at {point}, with 95% intervals.",
                f"Curves of completeness against signal-to-noise ratio of {names}.",
            )
        )
    return Section("Comparison with other collections", [*parts, _against_table(metrics)])


def _against_table(metrics: Mapping[str, astropy.table.Table]) -> TablePart:
    """Return the detection metrics of all collections in one table."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for name, table in metrics.items():
        for row in select(table, section="detection"):
            key = (_label(row), str(row["operatingPoint"]))
            rows.setdefault(key, {})[name] = _interval(row)
    columns: dict[str, list[str]] = {
        "number": [metric for metric, _ in rows],
        "at": [point for _, point in rows],
    }
    columns |= {name: [found.get(name, "") for found in rows.values()] for name in metrics}
    return TablePart(
        "against",
        astropy.table.Table(columns, dtype=[str] * len(columns)),
        "Detection metrics, with 95% intervals.",
    )


def _label(row: astropy.table.Row) -> str:
    """Return the description of a number, or its name."""
    return str(row["description"]) or readable(str(row["metric"]))


def _interval(row: astropy.table.Row) -> str:
    """Return a number with its interval."""
    value, low, high = (float(row[name]) for name in ("value", "valueLow", "valueHigh"))
    text = f"{value:.4g}" if np.isfinite(value) else "\N{EN DASH}"
    if np.isfinite(low) and np.isfinite(high):
        text += f" ({low:.3g} to {high:.3g})"
    return f"{text} {_unit(row)}".strip()


def _unit(row: astropy.table.Row) -> str:
    """Return the unit of a number in words."""
    return _UNITS.get(str(row["unit"]), str(row["unit"]))
