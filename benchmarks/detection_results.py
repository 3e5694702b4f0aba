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

"""Detections of one method in many scenes, and tables of several of them."""

from __future__ import annotations

__all__ = (
    "OPTIONS",
    "Groups",
    "MethodResult",
    "Tables",
    "bin_table",
    "operating_table",
    "print_tables",
    "reliability_table",
)

import dataclasses
from collections.abc import Mapping, Sequence

import astropy.table
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from lsst.meas.trails.core.operating_point import FALSE_RATES
from lsst.meas.trails.evaluation.collection_sample import CollectionSample
from lsst.meas.trails.evaluation.metrics_table import point_name, select
from lsst.meas.trails.evaluation.quantities import QUANTITIES
from lsst.meas.trails.evaluation.summary import SummaryOptions, summarize

SNR_BINS = (3.0, 5.0, 7.0, 9.0, 12.0, 16.0, 30.0)
LENGTH_BINS = (6.0, 10.0, 20.0, 40.0, 80.0, 150.0)

OPTIONS = SummaryOptions(
    rates=tuple(map(float, FALSE_RATES)),
    curve=(0.3, 1000.0),
    quantities={
        "snr": dataclasses.replace(QUANTITIES["snr"], edges=SNR_BINS),
        "length": dataclasses.replace(QUANTITIES["length"], edges=LENGTH_BINS),
    },
)
"""Options of the summary of each method."""

type Tables = tuple[astropy.table.Table, astropy.table.Table]
"""Match table and search table of one scene."""


class MethodResult:
    """Detections of one method in all scenes of a kind.

    Parameters
    ----------
    tables
        Match and search table of each scene.
    options
        Options of the summary.
    """

    def __init__(self, tables: Sequence[Tables], options: SummaryOptions = OPTIONS) -> None:
        self.sample = CollectionSample([matches for matches, _ in tables], [search for _, search in tables])
        self.metrics = summarize(self.sample, options)
        """Output of `~lsst.meas.trails.evaluation.summary.summarize`."""

    @property
    def megapixels(self) -> float:
        """Searched area (`float`)."""
        return float(np.sum(self.sample.pixels)) / 1e6

    @property
    def calibration_error(self) -> float:
        """Expected calibration error of the score (`float`)."""
        (row,) = select(self.metrics, section="calibration", metric="expected_calibration_error")
        return float(row["value"])

    def detection(self, metric: str, rate: float) -> tuple[float, float, float]:
        """Return a detection metric at a false rate, and its interval."""
        (row,) = select(self.metrics, section="detection", metric=metric, operatingPoint=point_name(rate))
        return float(row["value"]), float(row["valueLow"]), float(row["valueHigh"])

    def bins(self, rate: float, by: str) -> dict[float, astropy.table.Row]:
        """Return completeness at a false rate, by the lower edge of its bin."""
        rows = select(self.metrics, section="completeness", by=by, operatingPoint=point_name(rate))
        return {float(row["low"]): row for row in rows}

    def median_errors(self, rate: float, min_snr: float = 10.0) -> tuple[npt.NDArray[np.float64], int]:
        """Return the median errors of the trails found at a false rate.

        Parameters
        ----------
        rate
            False candidates per detector.
        min_snr
            Lowest SNR of the trails.

        Returns
        -------
        errors
            Medians of the distance of the midpoints (pixels), the angle
            between the lines (degrees) and the relative error of the length;
            NaN if no trail was found.
        count
            Number of trails.
        """
        sample = self.sample
        found = sample.counted[sample.trail_score >= sample.threshold(rate)]
        found = found[sample.numbers("snrOptimal")[found] > min_snr]
        if len(found) == 0:
            return np.full(3, np.nan), 0
        relative = sample.numbers("dLength")[found] / sample.numbers("trueLength")[found]
        errors = [sample.numbers("dMidpoint")[found], sample.numbers("dAngle")[found], relative]
        return np.array([np.median(np.abs(error)) for error in errors]), len(found)


type Groups = Mapping[str, Mapping[str, MethodResult]]
"""Results by kind of scene and name of the method."""


def _interval(values: tuple[float, float, float], digits: int) -> str:
    value, low, high = values
    if not np.isfinite(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text if not np.isfinite(low) else f"{text} ({low:.{digits}f}-{high:.{digits}f})"


def print_tables(console: Console, title: str, results: Mapping[str, MethodResult]) -> None:
    """Print the detections in the scenes of a kind."""
    summary = Table(title=title, title_justify="left")
    summary.add_column("method", no_wrap=True)
    for name in ("Mpix", "trails", "false per detector", "completeness"):
        summary.add_column(name, justify="right")
    for name in ("SNR50", "SNR50, 20-150 px", "midpoint, px", "angle, deg", "length, %", "of"):
        summary.add_column(name, justify="right")
    bins = Table(title=f"{title}: completeness by SNR and by length", title_justify="left")
    bins.add_column("method", no_wrap=True)
    bins.add_column("false per detector", justify="right")
    for edges, label in ((SNR_BINS, "SNR {:g}-{:g}"), (LENGTH_BINS, "{:g}-{:g} px")):
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            bins.add_column(label.format(low, high), justify="right")
    for name, result in results.items():
        for i, rate in enumerate(FALSE_RATES):
            last = i == len(FALSE_RATES) - 1
            errors, count = result.median_errors(rate)
            trails = str(len(result.sample.counted))
            summary.add_row(
                *((name, f"{result.megapixels:.0f}", trails) if i == 0 else ("", "", "")),
                f"{rate:g}",
                _interval(result.detection("completeness", rate), 2),
                _interval(result.detection("snr50", rate), 1),
                _interval(result.detection("snr50_long", rate), 1),
                *(f"{e:.{d}f}" if count else "-" for e, d in zip(errors * [1.0, 1.0, 100.0], (2, 1, 1))),
                str(count),
                end_section=last,
            )
            fractions = [
                f"{found[low]['value']:.2f}" if low in found else "-"
                for edges, found in (
                    (SNR_BINS, result.bins(rate, "snr")),
                    (LENGTH_BINS, result.bins(rate, "length")),
                )
                for low in edges[:-1]
            ]
            bins.add_row(name if i == 0 else "", f"{rate:g}", *fractions, end_section=last)
    console.print(summary)
    console.print("Median errors of the trails of SNR > 10 that are found at that rate.", style="dim")
    console.print(bins)


def operating_table(groups: Groups) -> astropy.table.Table:
    """Return operating points, one row per kind, method and false rate."""
    rows = []
    for kind, results in groups.items():
        for name, result in results.items():
            for rate in FALSE_RATES:
                errors, count = result.median_errors(rate)
                row: dict[str, object] = {
                    "kind": kind,
                    "method": name,
                    "megapixels": result.megapixels,
                    "trails": len(result.sample.counted),
                    "false_per_detector": float(rate),
                    "threshold": result.detection("threshold", rate)[0],
                }
                for key in ("completeness", "snr50", "snr50_long"):
                    row |= zip((key, f"{key}_low", f"{key}_high"), result.detection(key, rate), strict=True)
                keys = ("median_midpoint_error", "median_angle_error", "median_length_error")
                row |= zip(keys, errors, strict=True)
                rows.append(row | {"errors_of": count})
    table = astropy.table.Table(rows)
    table["median_midpoint_error"].unit = "pix"
    table["median_angle_error"].unit = "deg"
    return table


def bin_table(groups: Groups) -> astropy.table.Table:
    """Return completeness in bins, one row per bin with trails."""
    keys = ("low", "high", "value", "valueLow", "valueHigh", "count")
    rows = [
        (kind, name, float(rate), by, *(row[key] for key in keys))
        for kind, results in groups.items()
        for name, result in results.items()
        for rate in FALSE_RATES
        for by in OPTIONS.quantities
        for row in result.bins(rate, by).values()
    ]
    names = ("kind", "method", "false_per_detector", "by", "start", "stop", "completeness", "low", "high")
    return astropy.table.Table(rows=rows, names=(*names, "trails"))


def reliability_table(groups: Groups) -> astropy.table.Table:
    """Return the calibration of scores, one row per bin with candidates."""
    rows = []
    for kind, results in groups.items():
        for name, result in results.items():
            fraction = select(result.metrics, section="calibration", metric="fraction")
            mean = select(result.metrics, section="calibration", metric="mean_score")
            for row, score in zip(fraction, mean["value"], strict=True):
                values = (row[key] for key in ("value", "valueLow", "valueHigh", "count"))
                rows.append((kind, name, score, *values, result.calibration_error))
    names = ("kind", "method", "score", "fraction", "low", "high", "candidates", "calibration_error")
    return astropy.table.Table(rows=rows, names=names)
