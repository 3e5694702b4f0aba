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

"""Completeness and biases on known objects, without injected trails."""

from __future__ import annotations

__all__ = (
    "KNOWN_NEEDED",
    "MISSED_COLUMNS",
    "SCORES",
    "add_known_objects",
    "is_counted",
    "known_object_metrics",
    "missed_objects",
)

import functools

import astropy.table
import numpy as np
import numpy.typing as npt

from ..core.association.expected import MISSED_REASONS
from .intervals import binomial_interval
from .metrics_table import ALL_CANDIDATES, MetricRows

type _Floats = npt.NDArray[np.float64]

SCORES = {ALL_CANDIDATES: 0.0, "score above 0.5": 0.5}
"""Lowest score of a found trail at each operating point."""

EDGES: dict[str, tuple[float, ...]] = {
    "snr": (2, 3, 4, 5, 6, 7, 8, 10, 14, 20, 30, 60, 200, 1000),
    "length": (0.5, 2, 4, 6, 9, 14, 20, 30, 45, 62, 90, 150, 250),
}
"""Bins of the expected SNR and of the predicted length, pixels."""

_COLUMNS = {"snr": "expectedSnr", "length": "expectedLengthPix"}

KNOWN_NEEDED = (
    "visit",
    "detector",
    "designation",
    "expectedSnr",
    "expectedLength",
    "expectedLengthPix",
    "expectedMag",
    "expectedCompleteness",
    "onImageFraction",
    "goodFraction",
    "isFound",
    "missedReason",
    "nCandidates",
    "score",
    "trailLength",
    "trailMag",
    "trail_flag_edge",
)
"""Columns of `trail_known_object_detector` that the metrics need."""


MISSED_COLUMNS = (
    "designation",
    "visit",
    "detector",
    "ephRa",
    "ephDec",
    "expectedMag",
    "expectedSnr",
    "expectedLengthPix",
    "ephRate",
    "missedReason",
)
"""Columns of the list of missed objects in a report."""


def is_counted(known: astropy.table.Table) -> npt.NDArray[np.bool_]:
    """Return the trails that count: at least half of each is on good pixels of the image."""
    return (np.asarray(known["onImageFraction"]) >= 0.5) & (np.asarray(known["goodFraction"]) >= 0.5)


def missed_objects(known: astropy.table.Table) -> astropy.table.Table:
    """Return the counted objects that were not found, brightest first.

    Parameters
    ----------
    known
        Rows of `trail_known_object_detector`.
    """
    missed = known[is_counted(known) & ~np.asarray(known["isFound"], dtype=bool)]
    return missed[np.argsort(-np.nan_to_num(np.asarray(missed["expectedSnr"], dtype=np.float64)))]


def known_object_metrics(known: astropy.table.Table) -> astropy.table.Table:
    """Return the metrics of known objects.

    Parameters
    ----------
    known
        Rows of `trail_known_object_detector`.

    Returns
    -------
    metrics
        Columns of `~lsst.meas.trails.evaluation.metrics_table.METRIC_COLUMNS`.
    """
    rows = MetricRows()
    add_known_objects(rows, known)
    return rows.table()


def add_known_objects(rows: MetricRows, known: astropy.table.Table) -> None:
    """Add the metrics of known objects in the section ``known``.

    Parameters
    ----------
    rows
        Metrics.
    known
        Rows of `trail_known_object_detector`; nothing is added without rows.

    Notes
    -----
    Intervals of fractions are binomial. Biases are medians, and their intervals hold the central 68% of the
    trails. An object that was found is known to be at its predicted place; a missed one may be elsewhere if
    its orbit is poor, so that the completeness is a lower limit.
    """
    if len(known) == 0:
        return
    counted = known[is_counted(known)]
    found = np.asarray(counted["isFound"], dtype=bool)
    score = np.where(found, np.asarray(counted["score"], dtype=np.float64), -1.0)
    rows.add("known", "objects", len(known), description="predicted trails of known objects on the images")
    rows.add("known", "counted", len(counted), description="of these, with half of the trail on good pixels")
    for point, least in SCORES.items():
        kept = found & (score >= least)
        text = "fraction of the counted known objects that are found"
        _add_fraction(rows, kept, point, description=text)
        for by, edges in EDGES.items():
            values = np.asarray(counted[_COLUMNS[by]], dtype=np.float64)
            for low, high in zip(edges[:-1], edges[1:], strict=True):
                inside = (values >= low) & (values < high)
                if np.any(inside):
                    _add_fraction(rows, kept[inside], point, by=by, low=low, high=high)
    if len(counted):
        expected = float(np.mean(np.asarray(counted["expectedCompleteness"], dtype=np.float64)))
        rows.add(
            "known", "expected_completeness", expected, count=len(counted),
            description="mean completeness expected from the SNRs",
        )  # fmt: skip
    reasons = np.asarray(counted["missedReason"])[~found]
    for reason in filter(None, MISSED_REASONS):
        if np.any(reasons == reason):
            number = int(np.sum(reasons == reason))
            text = f"missed known objects, reason: {reason}"
            rows.add("known", f"missed_{reason}", number, description=text)
    _add_biases(rows, counted)


def _add_fraction(
    rows: MetricRows, hits: npt.NDArray[np.bool_], point: str, **others: str | float | int
) -> None:
    total = len(hits)
    number = int(np.sum(hits))
    low, high = binomial_interval(number, total)
    value = number / total if total else np.nan
    rows.add("known", "completeness", value, (low, high), operatingPoint=point, count=total, **others)


def _add_biases(rows: MetricRows, known: astropy.table.Table) -> None:
    """Add differences of measured and predicted values of whole trails."""
    whole = np.asarray(known["isFound"], dtype=bool) & (np.asarray(known["nCandidates"]) == 1)
    whole &= ~np.asarray(known["trail_flag_edge"], dtype=bool) & (np.asarray(known["onImageFraction"]) > 0.99)
    part = known[whole]
    names = ("expectedSnr", "expectedLength", "expectedMag", "trailLength", "trailMag")
    numbers = {name: np.asarray(part[name], dtype=np.float64) for name in names}
    snr = numbers["expectedSnr"]
    for metric, values, unit, text in (
        (
            "length_bias",
            100.0 * (numbers["trailLength"] / np.maximum(numbers["expectedLength"], 1e-9) - 1.0),
            "%",
            "median of measured minus predicted length, relative; the interval holds 68% of the trails",
        ),
        (
            "mag_bias",
            numbers["trailMag"] - numbers["expectedMag"],
            "mag",
            "median of measured minus predicted magnitude; the interval holds 68% of the trails",
        ),
    ):
        add = functools.partial(_add_median, rows, metric, unit=unit)
        add(values, description=text)
        for low, high in zip(EDGES["snr"][:-1], EDGES["snr"][1:], strict=True):
            inside = (snr >= low) & (snr < high)
            if np.any(inside):
                add(values[inside], by="snr", low=low, high=high)


def _add_median(rows: MetricRows, metric: str, values: _Floats, **others: str | float) -> None:
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return
    low, middle, high = np.percentile(values, [15.87, 50.0, 84.13])
    rows.add("known", metric, float(middle), (low, high), count=len(values), **others)
