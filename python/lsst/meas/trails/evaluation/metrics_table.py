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
"""The table of metrics: one number a row."""

from __future__ import annotations

__all__ = ("ALL_CANDIDATES", "METRIC_COLUMNS", "MetricRows", "select")

from typing import Any

import astropy.table
import numpy as np

METRIC_COLUMNS: dict[str, tuple[type, Any, str]] = {
    "section": (np.str_, "", "What the number is about."),
    "metric": (np.str_, "", "Its name."),
    "method": (np.str_, "", "Whose it is: network, stack, sep 5 sigma, ..., adcnn."),
    "operatingPoint": (np.str_, "", "How the threshold of the score was chosen."),
    "by": (np.str_, "", "Quantity of the bins, if it is of a bin."),
    "low": (np.float64, np.nan, "Lower edge of the bin, or the abscissa of a point of a curve."),
    "high": (np.float64, np.nan, "Upper edge of the bin."),
    "by2": (np.str_, "", "Second quantity of the bins."),
    "low2": (np.float64, np.nan, "Lower edge in it."),
    "high2": (np.float64, np.nan, "Upper edge in it."),
    "value": (np.float64, np.nan, "The number."),
    "valueLow": (np.float64, np.nan, "Lower end of its interval of 95%; NaN without one."),
    "valueHigh": (np.float64, np.nan, "Upper end."),
    "count": (np.int64, -1, "Trails, candidates or pixels behind it; -1 where that makes no sense."),
    "unit": (np.str_, "", "Unit of the number."),
    "description": (np.str_, "", "What it is, in words."),
}
"""Columns of `trail_metrics`: type, value of what is left out, description."""

ALL_CANDIDATES = "all candidates"
"""Operating point at which no candidate is left out."""


class MetricRows:
    """Rows of a table of metrics in the making."""

    def __init__(self) -> None:
        self._rows: list[tuple[Any, ...]] = []

    def add(
        self,
        section: str,
        metric: str,
        value: float,
        interval: Any = (np.nan, np.nan),
        **others: Any,
    ) -> None:
        """Add a number.

        Parameters
        ----------
        section, metric, value
            See `METRIC_COLUMNS`.
        interval
            Its ends.
        **others
            Other columns.
        """
        row = {name: blank for name, (_, blank, _) in METRIC_COLUMNS.items()} | others
        row |= {
            "section": section,
            "metric": metric,
            "value": float(value),
            "valueLow": float(interval[0]),
            "valueHigh": float(interval[1]),
        }
        self._rows.append(tuple(row[name] for name in METRIC_COLUMNS))

    def table(self) -> astropy.table.Table:
        """Return the table."""
        columns = list(zip(*self._rows, strict=True)) or [()] * len(METRIC_COLUMNS)
        table = astropy.table.Table()
        for values, (name, (dtype, _, description)) in zip(columns, METRIC_COLUMNS.items(), strict=True):
            table[name] = astropy.table.Column(np.array(values, dtype=dtype), description=description)
        return table


def select(metrics: astropy.table.Table, **equal: Any) -> astropy.table.Table:
    """Return rows of a table of metrics.

    Parameters
    ----------
    metrics
        The table.
    **equal
        Values that columns must have.
    """
    chosen = np.ones(len(metrics), dtype=bool)
    for name, value in equal.items():
        chosen &= np.asarray(metrics[name]) == value
    return metrics[chosen]
