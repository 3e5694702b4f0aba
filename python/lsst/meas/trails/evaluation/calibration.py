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

"""Calibration of a score: the fraction of true candidates at each score."""

from __future__ import annotations

__all__ = ("calibration_error", "score_bins")

import numpy as np
import numpy.typing as npt


def score_bins(score: npt.NDArray[np.floating], bins: int = 10) -> npt.NDArray[np.int64]:
    """Return the bin of each score, in ``bins`` equal bins over [0, 1]."""
    return np.clip((score * bins).astype(np.int64), 0, bins - 1)


def calibration_error(
    score: npt.NDArray[np.floating],
    is_true: npt.NDArray[np.bool_],
    bins: int = 10,
    weight: npt.NDArray[np.float64] | None = None,
) -> float:
    """Return the expected calibration error (Naeini et al. 2015).

    Parameters
    ----------
    score
        Scores of the candidates, shape (n,).
    is_true
        Candidates that are trails, shape (n,).
    bins
        Number of bins over [0, 1].
    weight
        Weight of each candidate, shape (n,); 1 by default.

    Returns
    -------
    error
        Mean absolute difference of mean score and fraction of trails over the bins, weighted by their
        candidates; NaN without candidates.
    """
    weight = np.ones(len(score)) if weight is None else weight
    index = score_bins(score, bins)
    total, true, mean = (
        np.bincount(index, weights=values, minlength=bins)
        for values in (weight, weight * is_true, weight * score)
    )
    return float(np.sum(np.abs(mean - true)) / total.sum()) if total.sum() else float("nan")
