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

"""Main numbers of a summary, as text."""

from __future__ import annotations

__all__ = ("HALF", "Headline", "headlines")

import dataclasses

import astropy.table
import numpy as np

from ..metrics_table import ALL_CANDIDATES, names_in, select


@dataclasses.dataclass(frozen=True)
class Headline:
    """A number with its label."""

    group: str
    """Heading of the group that it belongs to."""

    label: str
    """Meaning of the number."""

    value: str
    """The number with its interval and unit."""


HALF = "SNR at which half of the trails are found"
"""Label of SNR50."""

_DETECTION = (
    ("completeness", "trails found", "%"),
    ("snr50", HALF, ""),
    ("snr50_long", f"{HALF}, 20 pixels and longer", ""),
    ("purity", "candidates that are trails", "%"),
    ("false_per_square_degree", "false candidates per square degree", ""),
    ("threshold", "lowest score", ""),
)
_PIXELS = (
    ("auc", "area under the ROC curve", ""),
    ("average_precision", "average precision", ""),
    ("f1", "F1", ""),
    ("iou", "intersection over union", ""),
    ("ignored_bad", "ignored: masked pixels", ""),
    ("ignored_satellite", "ignored: pixels near satellites", ""),
)
_OTHERS = (
    ("completeness", "trails found by {}", "%"),
    ("both", "trails found by both", "%"),
    ("other_only", "trails found by {} only", "%"),
    ("network_only", "trails found by the network only", "%"),
    ("neither", "trails found by neither", "%"),
    ("chance", "displaced trails found by {} by chance", "%"),
    ("detections_per_detector", "detections of {} per detector", ""),
)
_ERRORS = (
    ("dMidpoint_median_absolute", "median error of the midpoint", " pixels"),
    ("dAngle_median_absolute", "median error of the angle", " degrees"),
    ("dLength_median_absolute", "median error of the length", " pixels"),
    ("dMag_median_absolute", "median error of the magnitude", ""),
)


def headlines(metrics: astropy.table.Table) -> list[Headline]:
    """Return the main numbers of a table of metrics.

    Parameters
    ----------
    metrics
        Output of `~lsst.meas.trails.evaluation.summary.summarize`.
    """
    result: list[Headline] = []
    for row in select(metrics, section="sample"):
        unit = {"": "", "%": "%", "deg2": " square degrees"}.get(str(row["unit"]), f" {row['unit']}")
        result.append(Headline("sample", str(row["description"]), f"{row['value']:.6g}{unit}"))
    detection = select(metrics, section="detection")
    for point in names_in(detection, "operatingPoint"):
        group = f"at {point}" if point != ALL_CANDIDATES else "with all candidates"
        for metric, label, unit in _DETECTION:
            result += _of(select(detection, operatingPoint=point, metric=metric), group, label, unit)
        if point.startswith("model") or point == ALL_CANDIDATES:
            rows = select(detection, operatingPoint=point, metric="false_per_detector")
            result += _of(rows, group, "false candidates per detector", "")
    pixel = select(metrics, section="pixel")
    for metric, label, unit in _PIXELS:
        for row in select(pixel, metric=metric):
            point = str(row["operatingPoint"])
            result.append(Headline("pixels", f"{label} ({point})" if point else label, _text(row, unit)))
    rows = select(metrics, section="calibration", metric="expected_calibration_error")
    result += _of(rows, "score", "expected calibration error", "")
    for row in select(metrics, section="known", metric="completeness", by=""):
        label = f"found ({row['operatingPoint']})"
        result.append(Headline("known objects", label, _text(row, "%")))
    rows = select(metrics, section="label", metric="purity", by="")
    result += _of(rows, "labeled candidates", "labeled candidates that are trails", "%")
    for metric, label, unit in _ERRORS:
        rows = select(metrics, section="error", metric=metric, low=10.0, high=np.inf)
        result += _of(rows, "measured values of trails with SNR above 10", label, unit)
    others = select(metrics, section="stack", by="")
    for method in names_in(others, "method"):
        for metric, label, unit in _OTHERS:
            rows = select(others, method=method, metric=metric)
            result += _of(rows, f"network compared with {method}", label.format(method), unit)
    adcnn = select(metrics, section="adcnn", low=0.2)
    for metric, label, unit in (
        ("completeness", "trails near a component of score 0.2", "%"),
        ("false_per_detector", "false components per detector", ""),
    ):
        rows = select(adcnn, metric=metric)
        result += _of(rows, "Asteroid_detection_CNN metrics", label, unit)
    return result


def _of(rows: astropy.table.Table, group: str, label: str, unit: str) -> list[Headline]:
    """Return the headline of the first row, if there is one."""
    return [Headline(group, label, _text(row, unit)) for row in rows[:1]]


def _text(row: astropy.table.Row, unit: str) -> str:
    """Return a number with its interval."""
    scale = 100.0 if unit == "%" else 1.0
    value, low, high = (scale * float(row[name]) for name in ("value", "valueLow", "valueHigh"))
    if not np.isfinite(value):
        return "unknown"
    style = ".1f" if unit == "%" else ".3g" if abs(value) < 1000.0 else ".0f"
    text = f"{value:{style}}{unit}"
    return f"{text} ({low:{style}} to {high:{style}})" if np.isfinite(low) and np.isfinite(high) else text
