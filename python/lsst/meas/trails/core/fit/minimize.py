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

"""Robust least squares with few parameters, by the method of Levenberg and Marquardt."""

from __future__ import annotations

__all__ = ("minimize_huber",)

import dataclasses
from collections.abc import Callable
from typing import Self

import numpy as np
import numpy.typing as npt

type _Floats = npt.NDArray[np.float64]

_DECREMENT = 1e-4
"""Decrease of half the chi-square that is left at the end: a step of 1.4% of the errors."""

_GROWTH = 4.0
"""Growth of the damping after a step that fails; it doubles with each further one."""

_MAX_DAMPING = 1e12
"""Damping beyond which no step decreases the loss."""


def minimize_huber(
    evaluate: Callable[[_Floats], tuple[_Floats, _Floats]],
    start: _Floats,
    scales: _Floats,
    *,
    threshold: float,
    max_evaluations: int,
) -> tuple[bool, _Floats]:
    """Minimize the Huber loss of residuals.

    Parameters
    ----------
    evaluate
        Function of the parameters, shape (p,), that returns residuals in units of their errors, shape (n,),
        and their derivatives, shape (n, p).
    start
        Parameters to start from.
    scales
        Typical steps of the parameters, shape (p,).
    threshold
        Residual beyond which the loss is linear.
    max_evaluations
        Most evaluations.

    Returns
    -------
    converged
        Whether the next step would be small against the errors of the parameters.
    parameters
        Parameters of the smallest loss, shape (p,).

    Notes
    -----
    Levenberg-Marquardt steps solve the normal equations of shape (p, p), which for a handful of parameters is
    far cheaper than a decomposition of the derivatives. Residuals beyond the threshold enter the gradient
    with the constant slope of their loss and have no curvature (Huber 1964, Ann. Math. Statist. 35, 73). The
    part of the curvature that the normal equations lack, which slows the fits of short and faint trails, is
    learned from the changes of the derivatives (Dennis, Gay and Welsch 1981, ACM Trans. Math. Softw. 7, 348).
    The damping follows Nielsen (1999, IMM-REP-1999-05, Technical University of Denmark).
    """
    parameters = np.array(start, dtype=np.float64)
    here = _Point.at(evaluate, parameters, scales, threshold)
    damping, growth = 0.1, _GROWTH
    second = np.zeros_like(here.curvature)
    for _ in range(max_evaluations - 1):
        if not here.finite:
            return False, parameters
        curvature = _positive(here.curvature, second)
        step = _step(curvature, here.gradient, damping)
        if step is None:
            return False, parameters
        if damping < 1e-2 and -0.5 * float(step @ here.gradient) < _DECREMENT:
            return True, parameters
        there = _Point.at(evaluate, parameters + scales * step, scales, threshold)
        predicted = -float(step @ here.gradient + 0.5 * step @ curvature @ step)
        if there.finite and there.loss < here.loss:
            gain = (here.loss - there.loss) / predicted if predicted > 0.0 else 0.0
            second = _learn(second, here, there, step)
            parameters, here = parameters + scales * step, there
            damping = max(damping * max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3), 1e-9)
            growth = _GROWTH
        else:
            second *= 0.5
            damping *= growth
            growth *= 2.0
            if damping > _MAX_DAMPING:
                # Rounding hides any further decrease.
                return True, parameters
    return False, parameters


@dataclasses.dataclass(frozen=True, eq=False)
class _Point:
    """Loss of a point, and its derivatives by the scaled parameters.

    Parameters
    ----------
    loss
        Huber loss, which for small residuals is half the chi-square.
    slopes
        Derivatives of the residuals by the scaled parameters, shape (p, n).
    pull
        Residuals, limited to the threshold, shape (n,).
    gradient, curvature
        Gradient, shape (p,), and curvature of the normal equations, shape (p, p).
    """

    loss: float
    slopes: _Floats
    pull: _Floats
    gradient: _Floats
    curvature: _Floats

    @classmethod
    def at(
        cls,
        evaluate: Callable[[_Floats], tuple[_Floats, _Floats]],
        parameters: _Floats,
        scales: _Floats,
        threshold: float,
    ) -> Self:
        """Evaluate a point."""
        residual, jacobian = evaluate(parameters)
        slopes = jacobian.T * scales[:, None]
        pull = np.clip(residual, -threshold, threshold)
        outer = np.flatnonzero(pull != residual)
        curvature = slopes @ slopes.T
        if outer.size:
            curvature -= slopes[:, outer] @ slopes[:, outer].T
        loss = float(pull @ residual - 0.5 * pull @ pull)
        return cls(loss, slopes, pull, slopes @ pull, curvature)

    @property
    def finite(self) -> bool:
        """Whether loss and derivatives are finite."""
        return bool(np.isfinite(self.loss) and np.all(np.isfinite(self.curvature)))


def _learn(second: _Floats, old: _Point, new: _Point, step: _Floats) -> _Floats:
    """Update the curvature that the normal equations lack, from the change of the derivatives."""
    change = (new.slopes - old.slopes) @ new.pull
    bend = new.gradient - old.gradient
    along = float(bend @ step)
    if along <= 1e-12:
        return second
    held = float(step @ second @ step)
    sized = second * min(1.0, abs(float(step @ change)) / abs(held)) if held != 0.0 else second
    miss = change - sized @ step
    return np.asarray(
        sized
        + (np.outer(miss, bend) + np.outer(bend, miss)) / along
        - float(miss @ step) * np.outer(bend, bend) / along**2
    )


def _positive(curvature: _Floats, second: _Floats) -> _Floats:
    """Return the sum of both curvatures if it is positive definite, else the first."""
    total = curvature + second
    try:
        np.linalg.cholesky(total)
    except np.linalg.LinAlgError:
        return curvature
    return total


def _step(curvature: _Floats, gradient: _Floats, damping: float) -> _Floats | None:
    """Return the damped step of the scaled parameters, or `None` if there is none."""
    diagonal = np.diag(curvature)
    # A parameter without influence does not move.
    damped = curvature + np.diag(damping * np.maximum(diagonal, 1e-12 * max(diagonal.max(), 1e-300)))
    try:
        return -np.linalg.solve(damped, gradient)
    except np.linalg.LinAlgError:
        return None
