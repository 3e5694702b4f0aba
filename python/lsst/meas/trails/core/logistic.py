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

"""Logistic regression."""

from __future__ import annotations

__all__ = ("fit_logistic",)

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.special


def fit_logistic(
    features: npt.NDArray[np.float64],
    positive: npt.NDArray[np.bool_],
    *,
    penalty: float = 0.0,
    start: Sequence[float] | None = None,
    bounds: Sequence[tuple[float | None, float | None]] | None = None,
) -> tuple[npt.NDArray[np.float64], float]:
    """Fit a logistic regression by penalized maximum likelihood.

    Parameters
    ----------
    features
        Features, of similar scales, shape (n, k).
    positive
        Whether each sample belongs to the positive class, shape (n,).
    penalty
        Strength of the ridge penalty on the coefficients, not the intercept.
    start
        First guess of the coefficients and the intercept; zeros by default.
    bounds
        Least and greatest values of the coefficients and the intercept.

    Returns
    -------
    coefficients, intercept
        Log-odds per unit of each feature, shape (k,), and at zero.
    """
    sign = np.where(positive, 1.0, -1.0)

    def loss(p: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        margin = sign * (features @ p[:-1] + p[-1])
        slope = -sign * scipy.special.expit(-margin)
        gradient = np.append(features.T @ slope + penalty * p[:-1], slope.sum())
        value = np.sum(np.logaddexp(0.0, -margin)) + 0.5 * penalty * np.sum(np.square(p[:-1]))
        return float(value), gradient

    first = np.zeros(features.shape[1] + 1) if start is None else np.asarray(start, dtype=np.float64)
    options = {"maxiter": 2000}
    solution = scipy.optimize.minimize(
        loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    return solution.x[:-1], float(solution.x[-1])
