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

"""Intervals of confidence: of fractions, and of anything by bootstrap."""

from __future__ import annotations

__all__ = ("CONFIDENCE", "binomial_interval", "bootstrap_interval", "bootstrap_samples")

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from astropy.stats import binom_conf_interval

CONFIDENCE = 0.95
"""Probability that an interval holds the true value."""


def binomial_interval(
    found: npt.ArrayLike, total: npt.ArrayLike, confidence: float = CONFIDENCE
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return Wilson's interval of fractions.

    Parameters
    ----------
    found, total
        Successes and trials, of one shape.
    confidence
        Probability of the interval.

    Returns
    -------
    low, high
        Its ends, same shape; NaN where there were no trials.

    Raises
    ------
    ValueError
        Raised if there are more successes than trials, or negative ones.

    Notes
    -----
    Wilson (1927), JASA 22, 209: unlike that of the normal approximation it
    stays within [0, 1] and is not empty where all or none were found.
    """
    found, total = np.broadcast_arrays(np.asarray(found), np.asarray(total))
    if np.any(found < 0) or np.any(found > total):
        raise ValueError("A fraction needs 0 <= found <= total.")
    some = total > 0
    interval = np.asarray(
        binom_conf_interval(
            np.where(some, found, 0), np.where(some, total, 1), confidence_level=confidence, interval="wilson"
        )
    )
    low, high = np.where(some, interval, np.nan)
    return low, high


def bootstrap_samples(n_groups: int, resamples: int = 200, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return bootstrap samples of groups, shape (resamples, n_groups).

    Parameters
    ----------
    n_groups
        Number of groups, for instance scenes or detectors: what they hold is
        drawn together, as trails on one image share its seeing, its stars
        and its false detections.
    resamples
        Number of samples.
    seed
        Seed of the random numbers; different detectors that are compared on
        the same samples share it.
    """
    return np.random.default_rng(seed).integers(0, n_groups, size=(resamples, n_groups))


def bootstrap_interval(
    statistic: Callable[[npt.NDArray[np.int64]], npt.ArrayLike],
    n_groups: int,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = 200,
    seed: int = 0,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the percentile interval of statistics under bootstrap of groups.

    Parameters
    ----------
    statistic
        Called with the numbers of the groups of a sample, shape (n_groups,),
        some of them more than once; returns one or more numbers, always of
        the same shape, NaN for what the sample does not tell.
    n_groups
        Number of groups.
    confidence
        Probability of the interval.
    resamples, seed
        See `bootstrap_samples`.

    Returns
    -------
    low, high
        Ends of the interval, each of the statistic's shape; NaN where fewer
        than nine tenths of the samples gave a number, or there are fewer
        than two groups.

    Notes
    -----
    Efron (1979), Ann. Statist. 7, 1.
    """
    if n_groups < 2:
        nothing = np.full(np.shape(statistic(np.arange(n_groups))), np.nan)
        return nothing, nothing.copy()
    samples = bootstrap_samples(n_groups, resamples, seed)
    values = np.array([np.asarray(statistic(sample), dtype=np.float64) for sample in samples])
    told = np.mean(np.isfinite(values), axis=0) >= 0.9
    tails = [50.0 * (1.0 - confidence), 50.0 * (1.0 + confidence)]
    # A column of NaN has no percentile, and is none of the result either.
    low, high = np.nanpercentile(np.where(told, values, 0.0), tails, axis=0)
    return np.where(told, low, np.nan), np.where(told, high, np.nan)
