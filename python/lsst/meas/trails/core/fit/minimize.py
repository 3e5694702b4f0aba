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

__all__ = ("Evaluate", "Minimum", "gram", "minimize_huber")

import dataclasses
from collections.abc import Callable
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.linalg.blas
import scipy.linalg.lapack

type _Floats = npt.NDArray[np.float64]
type Evaluate = Callable[[_Floats], tuple[_Floats, _Floats, _Floats]]
"""Function of the parameters, shape (p,), that returns residuals in units of their errors, shape (n,), and
their derivatives: a basis, shape (p, n), and a factor for each of its rows, shape (p,).
"""

_DECREMENT = 1e-3
"""Largest decrease of half the chi-square by the last step, 4.5% of the errors. The step is not evaluated: it
leaves 1.5% of the errors if steps shrink by a factor of three, as they do near a minimum.
"""

_GROWTH = 4.0
"""Growth of the damping after a step that fails; it doubles with each further one."""

_DAMPING = 0.01
"""Damping of the first step, and largest damping of the last one."""

_MAX_DAMPING = 1e12
"""Damping beyond which no step decreases the loss."""


@dataclasses.dataclass(frozen=True, eq=False)
class Minimum:
    """Minimum of a loss, or the best point of a search that has not found it.

    Parameters
    ----------
    converged
        Whether the last step was small against the errors of the parameters.
    parameters
        Parameters of the smallest loss, shape (p,).
    residual
        Residuals there, shape (n,).
    basis, factors
        Derivatives of the residuals; see `Evaluate`.
    """

    converged: bool
    parameters: _Floats
    residual: _Floats
    basis: _Floats
    factors: _Floats


def minimize_huber(
    evaluate: Evaluate, start: _Floats, scales: _Floats, *, threshold: float, max_evaluations: int
) -> Minimum:
    """Minimize the Huber loss of residuals.

    Parameters
    ----------
    evaluate
        Function that returns residuals and their derivatives.
    start
        Parameters to start from, shape (p,).
    scales
        Typical steps of the parameters, shape (p,).
    threshold
        Residual beyond which the loss is linear.
    max_evaluations
        Most evaluations.

    Returns
    -------
    minimum
        The minimum, with residuals that are extrapolated over the last small step.

    Notes
    -----
    Levenberg-Marquardt steps solve the normal equations of shape (p, p), which for a handful of parameters is
    far cheaper than a decomposition of the derivatives. Residuals beyond the threshold enter the gradient
    with the constant slope of their loss and have no curvature (Huber 1964, Ann. Math. Statist. 35, 73),
    except if they are the majority. The part of the curvature that the normal equations lack, which slows the
    fits of short and faint trails, is learned from the changes of the derivatives (Dennis, Gay and Welsch
    1981, ACM Trans. Math. Softw. 7, 348).
    The damping follows Nielsen (1999, IMM-REP-1999-05, Technical University of Denmark).
    """
    here = _Point.at(evaluate, np.array(start, dtype=np.float64), scales, threshold)
    damping, growth = _DAMPING, _GROWTH
    second = np.zeros_like(here.curvature)
    for _ in range(max_evaluations - 1):
        if not here.finite:
            return here.minimum(False)
        curvature = _positive(here.curvature, second)
        step = _step(curvature, here.gradient, damping)
        if step is None:
            return here.minimum(False)
        if damping <= _DAMPING and -0.5 * float(step @ here.gradient) < _DECREMENT:
            there = _ahead(evaluate, here, damping, threshold) if curvature is not here.curvature else None
            if there is None:
                return here.minimum(True, step)
            second, here = np.zeros_like(second), there
            continue
        there = _Point.at(evaluate, here.parameters + scales * step, scales, threshold)
        predicted = -float(step @ here.gradient + 0.5 * step @ curvature @ step)
        if there.finite and there.loss < here.loss:
            gain = (here.loss - there.loss) / predicted if predicted > 0.0 else 0.0
            second = _learn(second, here, there, step)
            here = there
            damping = max(damping * max(1.0 / 3.0, 1.0 - (2.0 * gain - 1.0) ** 3), 1e-9)
            growth = _GROWTH
        else:
            second *= 0.5
            damping *= growth
            growth *= 2.0
            if damping > _MAX_DAMPING:
                # Rounding hides any further decrease.
                return here.minimum(True)
    return here.minimum(False)


@dataclasses.dataclass(frozen=True, eq=False)
class _Point:
    """Loss of a point, and its derivatives by the scaled parameters.

    Parameters
    ----------
    parameters, scales
        Parameters, and the units of the steps, shape (p,).
    residual
        Residuals, shape (n,).
    basis, factors
        Their derivatives; see `Evaluate`.
    loss
        Huber loss, which for small residuals is half the chi-square.
    pull
        Residuals, limited to the threshold, shape (n,).
    gradient, curvature
        Gradient, shape (p,), and curvature of the normal equations, shape (p, p), in scaled parameters.
    """

    parameters: _Floats
    scales: _Floats
    residual: _Floats
    basis: _Floats
    factors: _Floats
    loss: float
    pull: _Floats
    gradient: _Floats
    curvature: _Floats

    @classmethod
    def at(cls, evaluate: Evaluate, parameters: _Floats, scales: _Floats, threshold: float) -> Self:
        """Evaluate a point."""
        residual, basis, factors = evaluate(parameters)
        scaled = factors * scales
        pull = np.clip(residual, -threshold, threshold)
        outer = np.flatnonzero(pull != residual)
        if 2 * outer.size > pull.size:
            # Far from a bright trail, the few other pixels do not determine a step: weights take the place of
            # the curvature (Holland and Welsch 1977, Commun. Statist. A6, 813).
            products = gram(basis * np.sqrt(threshold / np.maximum(np.abs(residual), threshold)))
        else:
            products = gram(basis)
            if outer.size:
                products -= gram(basis.take(outer, axis=1))
        return cls(
            parameters=parameters,
            scales=scales,
            residual=residual,
            basis=basis,
            factors=factors,
            loss=float(pull @ residual - 0.5 * pull @ pull),
            pull=pull,
            gradient=scaled * (basis @ pull),
            curvature=products * (scaled[:, None] * scaled),
        )

    @property
    def finite(self) -> bool:
        """Whether loss and derivatives are finite."""
        return bool(np.isfinite(self.loss) and np.isfinite(self.curvature).all())

    def pulled(self, pull: _Floats) -> _Floats:
        """Return the gradient for other residuals, shape (p,)."""
        return np.asarray(self.factors * self.scales * (self.basis @ pull))

    def minimum(self, converged: bool, step: _Floats | None = None) -> Minimum:
        """Return the point, or the point after a small step, as the result of a search."""
        parameters, residual = self.parameters, self.residual
        if step is not None:
            shift = self.scales * step
            parameters, residual = parameters + shift, residual + (self.factors * shift) @ self.basis
        return Minimum(converged, parameters, residual, self.basis, self.factors)


def gram(rows: _Floats) -> _Floats:
    """Return the scalar products of rows, shape (p, n), with each other, shape (p, p).

    Numpy calls a routine for symmetric results, which takes several times longer for few rows.
    """
    columns = np.ascontiguousarray(rows).T
    return np.asarray(scipy.linalg.blas.dgemm(1.0, columns, columns, trans_a=1))


def _ahead(evaluate: Evaluate, here: _Point, damping: float, threshold: float) -> _Point | None:
    """Return a better point a step of Gauss and Newton away, or `None` if there is none.

    Where the loss is nearly flat, a curvature that was learned elsewhere would take a slope for a minimum.
    """
    step = _step(here.curvature, here.gradient, damping)
    if step is None or -0.5 * float(step @ here.gradient) < _DECREMENT:
        return None
    there = _Point.at(evaluate, here.parameters + here.scales * step, here.scales, threshold)
    return there if there.finite and there.loss < here.loss - _DECREMENT else None


def _learn(second: _Floats, old: _Point, new: _Point, step: _Floats) -> _Floats:
    """Update the curvature that the normal equations lack, from the change of the derivatives."""
    bend = new.gradient - old.gradient
    along = float(bend @ step)
    if along <= 1e-12:
        return second
    change = new.gradient - old.pulled(new.pull)
    held = float(step @ second @ step)
    sized = second * min(1.0, abs(float(step @ change)) / abs(held)) if held != 0.0 else second
    miss = change - sized @ step
    cross = miss[:, None] * (bend / along)
    return np.asarray(sized + cross + cross.T - (float(miss @ step) / along**2) * (bend[:, None] * bend))


def _positive(curvature: _Floats, second: _Floats) -> _Floats:
    """Return the sum of both curvatures if it is positive definite, else the first."""
    total = curvature + second
    return curvature if scipy.linalg.lapack.dpotrf(total)[1] else total


def _step(curvature: _Floats, gradient: _Floats, damping: float) -> _Floats | None:
    """Return the damped step of the scaled parameters, or `None` if there is none."""
    diagonal = curvature.diagonal()
    # A parameter without influence does not move.
    damped = curvature + np.diag(damping * np.maximum(diagonal, 1e-12 * max(diagonal.max(), 1e-300)))
    _, step, failed = scipy.linalg.lapack.dposv(damped, gradient)
    return None if failed or not np.isfinite(step).all() else np.asarray(-step)
