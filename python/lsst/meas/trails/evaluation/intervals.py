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

"""Confidence intervals: of fractions, and of any statistic by bootstrap."""

from __future__ import annotations

__all__ = ("CONFIDENCE", "binomial_interval", "bootstrap_interval")

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from astropy.stats import binom_conf_interval

CONFIDENCE = 0.95
"""Probability that an interval contains the true value."""


def binomial_interval(
    found: npt.ArrayLike, total: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return Wilson's interval of fractions.

    Parameters
    ----------
    found, total
        Successes and trials, of one shape.

    Returns
    -------
    low, high
        Ends of the interval, same shape; NaN without trials.

    Raises
    ------
    ValueError
        Raised if there are more successes than trials, or negative ones.

    Notes
    -----
    Wilson (1927), JASA 22, 209: unlike the normal approximation it stays within [0, 1], and has a width for
    fractions of 0 and 1.
    """
    found, total = np.broadcast_arrays(np.asarray(found), np.asarray(total))
    if np.any(found < 0) or np.any(found > total):
        raise ValueError("A fraction needs 0 <= found <= total.")
    some = total > 0
    interval = np.asarray(
        binom_conf_interval(
            np.where(some, found, 0), np.where(some, total, 1), confidence_level=CONFIDENCE, interval="wilson"
        )
    )
    low, high = np.where(some, interval, np.nan)
    # Rounding leaves 1e-17 of a 0.
    return np.where(found == 0, np.where(some, 0.0, np.nan), low), high


def bootstrap_interval(
    statistic: Callable[[npt.NDArray[np.int64]], npt.ArrayLike],
    n_groups: int,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = 200,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the percentile interval of statistics by bootstrap of groups.

    Parameters
    ----------
    statistic
        Function of the numbers of the groups of a sample, shape (n_groups,), with repetitions; returns one or
        more numbers, always of the same shape, NaN for undefined ones.
    n_groups
        Number of groups, such as scenes or detectors. Each is resampled as a whole, because the trails on an
        image share its seeing, stars and false detections.
    confidence
        Probability of the interval.
    resamples
        Number of samples. Their random numbers are always the same, so that compared methods share the
        samples.

    Returns
    -------
    low, high
        Ends of the interval, each of the statistic's shape; NaN if fewer than nine tenths of the samples
        define the statistic, or there are fewer than two groups.

    Notes
    -----
    Efron (1979), Ann. Statist. 7, 1.
    """
    if n_groups < 2:
        undefined = np.full(np.shape(statistic(np.arange(n_groups))), np.nan)
        return undefined, undefined.copy()
    samples = np.random.default_rng(0).integers(0, n_groups, size=(resamples, n_groups))
    values = np.array([np.asarray(statistic(sample), dtype=np.float64) for sample in samples])
    defined = np.mean(np.isfinite(values), axis=0) >= 0.9
    tails = [50.0 * (1.0 - confidence), 50.0 * (1.0 + confidence)]
    # Zeros avoid percentiles of nothing but NaN.
    low, high = np.nanpercentile(np.where(defined, values, 0.0), tails, axis=0)
    return np.where(defined, low, np.nan), np.where(defined, high, np.nan)
