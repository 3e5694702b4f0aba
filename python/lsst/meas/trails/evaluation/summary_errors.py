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

"""Errors of fitted values in a collection, and their pulls."""

from __future__ import annotations

__all__ = ("add_errors",)

import functools

import numpy as np
import numpy.typing as npt

from .collection_sample import CollectionSample
from .intervals import binomial_interval, bootstrap_interval
from .metrics_table import ALL_CANDIDATES, MetricRows
from .quantities import ERRORS, PULLS

type _Floats = npt.NDArray[np.float64]
type _Ints = npt.NDArray[np.int64]

_ERROR_EDGES = (3.0, 6.0, 8.0, 10.0, 14.0, 20.0, 30.0, 60.0)
"""Bins of SNR for errors of fitted values."""

_PULL_EDGES = np.arange(-5.0, 5.01, 0.5)


def add_errors(rows: MetricRows, sample: CollectionSample) -> None:
    """Add errors of fitted values, and their pulls.

    Parameters
    ----------
    rows
        Rows to add to.
    sample
        The collection.
    """
    found = sample.counted[np.isfinite(sample.trail_score)]
    snr = sample.numbers("snrOptimal")[found]
    _add_binned_errors(rows, sample, found, snr)
    _add_pulls(rows, sample, found, snr)


def _add_binned_errors(rows: MetricRows, sample: CollectionSample, found: _Ints, snr: _Floats) -> None:
    """Add errors in bins of SNR."""
    for name, unit in ERRORS.items():
        values = sample.numbers(name)[found]
        for low, high in ((10.0, np.inf), *zip(_ERROR_EDGES[:-1], _ERROR_EDGES[1:], strict=True)):
            chosen = values[(snr >= low) & (snr < high) & np.isfinite(values)]
            if len(chosen) == 0:
                continue
            add = functools.partial(
                rows.add, "error", operatingPoint=ALL_CANDIDATES, by="snr", low=low, high=high,
                count=len(chosen), unit=unit,
            )  # fmt: skip
            add(f"{name}_median", *_median(chosen))
            add(f"{name}_median_absolute", *_median(np.abs(chosen)))
            tails = np.percentile(chosen, [15.865, 84.135])
            add(
                f"{name}_scatter", 0.5 * (tails[1] - tails[0]), tails,
                description="half of the central 68% range of the errors; the interval is this range",
            )  # fmt: skip


def _add_pulls(rows: MetricRows, sample: CollectionSample, found: _Ints, snr: _Floats) -> None:
    """Add the distributions of errors divided by their estimates."""
    for name in PULLS:
        values = sample.numbers(name)[found]
        chosen = values[np.isfinite(values) & (snr > 10.0)]
        if len(chosen) == 0:
            continue
        add = functools.partial(rows.add, "pull", operatingPoint=ALL_CANDIDATES, count=len(chosen))
        median, ends = _median(chosen)
        add(f"{name}_median", median, ends)
        add(f"{name}_spread", *_spread(chosen))
        numbers = np.histogram(np.clip(chosen, -4.99, 4.99), _PULL_EDGES)[0]
        for low, high, number in zip(_PULL_EDGES[:-1], _PULL_EDGES[1:], numbers, strict=True):
            interval = binomial_interval(number, len(chosen))
            add("fraction", number / len(chosen), interval, by=name, low=float(low), high=float(high))


def _median(values: _Floats) -> tuple[float, tuple[float, float]]:
    """Return a median and its distribution-free interval of 95%.

    The ends are the order statistics of ranks n/2 -+ 0.98 sqrt(n).
    """
    ordered, n = np.sort(values), len(values)
    reach = 0.98 * np.sqrt(n)
    low, high = int(np.floor(0.5 * n - reach)), int(np.ceil(0.5 * n + reach))
    ends = (ordered[low], ordered[high - 1]) if low >= 0 and high <= n else (np.nan, np.nan)
    return float(np.median(ordered)), (float(ends[0]), float(ends[1]))


def _spread(values: _Floats) -> tuple[float, tuple[_Floats, _Floats]]:
    """Return the robust spread, and its bootstrap interval over the values."""

    def spread(index: _Ints | slice) -> float:
        chosen = values[index]
        return float(1.4826 * np.median(np.abs(chosen - np.median(chosen))))

    return spread(slice(None)), bootstrap_interval(spread, len(values), resamples=200)
