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

"""Table of metrics, with one number per row."""

from __future__ import annotations

__all__ = ("ALL_CANDIDATES", "METRIC_COLUMNS", "MetricRows", "names_in", "point_name", "select")

from collections.abc import Iterable

import astropy.table
import numpy as np
import numpy.typing as npt

METRIC_COLUMNS: dict[str, tuple[type, str | float | int, str]] = {
    "section": (np.str_, "", "Subject of the number."),
    "metric": (np.str_, "", "Name of the number."),
    "method": (np.str_, "network", "Method that it describes: network, stack, sep 5 sigma, ..., adcnn."),
    "operatingPoint": (np.str_, "", "Choice of the score threshold."),
    "by": (np.str_, "", "Quantity of the bin; empty if the number has no bin."),
    "low": (np.float64, np.nan, "Lower edge of the bin, or abscissa of a point of a curve."),
    "high": (np.float64, np.nan, "Upper edge of the bin."),
    "by2": (np.str_, "", "Second quantity of the bin."),
    "low2": (np.float64, np.nan, "Lower edge in the second quantity."),
    "high2": (np.float64, np.nan, "Upper edge in the second quantity."),
    "value": (np.float64, np.nan, "The number."),
    "valueLow": (np.float64, np.nan, "Lower end of its 95% interval; NaN without one."),
    "valueHigh": (np.float64, np.nan, "Upper end of its 95% interval; NaN without one."),
    "count": (np.int64, -1, "Trails, candidates or pixels that it was measured on; -1 if not applicable."),
    "unit": (np.str_, "", "Unit of the number."),
    "description": (np.str_, "", "Meaning of the number."),
}
"""Columns of `trail_metrics`: type, default and description."""

ALL_CANDIDATES = "all candidates"
"""Operating point that keeps every candidate."""


def point_name(rate: float) -> str:
    """Return the name of the operating point with a rate of false candidates.

    Parameters
    ----------
    rate
        False candidates per detector.
    """
    return f"{rate:g} false per detector"


class MetricRows:
    """Rows from which a table of metrics is made."""

    def __init__(self) -> None:
        self._rows: list[tuple[object, ...]] = []

    def add(
        self,
        section: str,
        metric: str,
        value: float,
        interval: Iterable[npt.ArrayLike] = (np.nan, np.nan),
        **others: str | float | int,
    ) -> None:
        """Add a number.

        Parameters
        ----------
        section, metric, value
            See `METRIC_COLUMNS`.
        interval
            Ends of its interval.
        **others
            Other columns.
        """
        row: dict[str, object] = {name: default for name, (_, default, _) in METRIC_COLUMNS.items()}
        low, high = (float(np.asarray(end)) for end in interval)
        row |= others
        row |= {"section": section, "metric": metric, "value": float(value)}
        row |= {"valueLow": low, "valueHigh": high}
        self._rows.append(tuple(row[name] for name in METRIC_COLUMNS))

    def table(self) -> astropy.table.Table:
        """Return the table."""
        columns = list(zip(*self._rows, strict=True)) or [()] * len(METRIC_COLUMNS)
        table = astropy.table.Table()
        for values, (name, (dtype, _, description)) in zip(columns, METRIC_COLUMNS.items(), strict=True):
            table[name] = astropy.table.Column(np.array(values, dtype=dtype), description=description)
        return table


def select(metrics: astropy.table.Table, **equal: str | float) -> astropy.table.Table:
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


def names_in(rows: astropy.table.Table, column: str) -> list[str]:
    """Return the distinct values of a column of text, in order."""
    return list(dict.fromkeys(str(name) for name in rows[column]))
