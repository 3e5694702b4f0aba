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

"""Robust least squares: known minima, outliers, hostile functions."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
import scipy.optimize
from hypothesis import strategies as st

from lsst.meas.trails.core.fit.minimize import Evaluate, gram, minimize_huber

type _Floats = npt.NDArray[np.float64]
type _Model = Callable[[_Floats], tuple[_Floats, _Floats]]


def _evaluate(model: _Model) -> Evaluate:
    """Return a model of residuals and derivatives, shape (n, p), with factors other than one."""

    def evaluate(p: _Floats) -> tuple[_Floats, _Floats, _Floats]:
        residual, derivatives = model(p)
        factors = np.arange(1.0, derivatives.shape[1] + 1.0)
        return residual, (derivatives / factors).T, factors

    return evaluate


def _linear(design: _Floats, y: _Floats) -> Evaluate:
    return _evaluate(lambda p: (design @ p - y, design))


def _line(x: _Floats, y: _Floats) -> Evaluate:
    return _linear(np.stack([x, np.ones_like(x)], axis=1), y)


def _counted(model: Evaluate) -> tuple[Evaluate, list[_Floats]]:
    points: list[_Floats] = []

    def evaluate(p: _Floats) -> tuple[_Floats, _Floats, _Floats]:
        points.append(p.copy())
        return model(p)

    return evaluate, points


def test_linear_fit_is_exact() -> None:
    rng = np.random.default_rng(1)
    x = np.linspace(-1.0, 1.0, 50)
    y = 3.0 * x - 2.0 + 0.1 * rng.normal(size=50)
    evaluate = _line(x, y)
    minimum = minimize_huber(evaluate, np.zeros(2), np.ones(2), threshold=np.inf, max_evaluations=30)
    assert minimum.converged
    # The loss that is left is far below 1e-3, and the errors are about 0.2.
    assert minimum.parameters == pytest.approx(np.polyfit(x, y, 1), abs=0.01)
    # The last step is not evaluated, but a linear extrapolation is exact here.
    residual, basis, factors = evaluate(minimum.parameters)
    np.testing.assert_allclose(minimum.residual, residual, atol=1e-12)
    np.testing.assert_array_equal(minimum.basis, basis)
    np.testing.assert_array_equal(minimum.factors, factors)


def test_outliers_pull_with_constant_force() -> None:
    """A constant with one outlier: the outlier moves it by the threshold over the number of points."""
    rng = np.random.default_rng(2)
    y = np.concatenate([rng.normal(size=99), [1e6]])
    design = np.ones((100, 1))
    minimum = minimize_huber(_linear(design, y), np.zeros(1), np.ones(1), threshold=4.0, max_evaluations=40)
    assert minimum.converged
    # An error of the mean is 0.1, and the last step leaves at most 1.5% of it.
    assert minimum.parameters[0] == pytest.approx((y[:99].sum() + 4.0) / 99.0, abs=0.003)


def test_curvature_of_large_residuals_is_learned() -> None:
    """An exponential that fits badly converges in far fewer evaluations than by Gauss-Newton steps."""
    x = np.linspace(0.0, 3.0, 200)
    y = np.exp(-x) + 0.5 * np.sin(7.0 * x)

    def model(p: _Floats) -> tuple[_Floats, _Floats]:
        shape = np.exp(-p[1] * x)
        return 30.0 * (p[0] * shape - y), 30.0 * np.stack([shape, -p[0] * x * shape], axis=1)

    evaluate, points = _counted(_evaluate(model))
    minimum = minimize_huber(evaluate, np.array([0.3, 3.0]), np.ones(2), threshold=np.inf, max_evaluations=60)
    best = scipy.optimize.least_squares(
        lambda p: model(p)[0], np.array([0.3, 3.0]), jac=lambda p: model(p)[1], xtol=1e-12, ftol=1e-12
    )
    assert minimum.converged
    assert len(points) <= 17
    loss = 0.5 * float(np.sum(np.square(model(minimum.parameters)[0])))
    # A tenth of the decrease by the last step, with a margin, as it is an estimate.
    assert loss == pytest.approx(best.cost, abs=2e-4)


def test_same_minimum_as_scipy() -> None:
    """A Gaussian with outliers has the minimum that scipy finds for the Huber loss."""
    rng = np.random.default_rng(3)
    x = np.linspace(-5.0, 5.0, 300)
    truth = np.array([40.0, 0.7, 1.3, 5.0])

    def model(p: _Floats) -> _Floats:
        return np.asarray(p[0] * np.exp(-0.5 * np.square((x - p[1]) / p[2])) + p[3])

    def slopes(p: _Floats) -> _Floats:
        shape = np.exp(-0.5 * np.square((x - p[1]) / p[2]))
        u = (x - p[1]) / p[2]
        return np.stack([shape, p[0] * shape * u / p[2], p[0] * shape * u**2 / p[2], np.ones_like(x)], axis=1)

    y = model(truth) + rng.normal(size=300)
    y[::25] += 30.0
    start = np.array([30.0, 0.0, 1.0, 3.0])
    minimum = minimize_huber(
        _evaluate(lambda p: (model(p) - y, slopes(p))), start, np.ones(4), threshold=4.0, max_evaluations=40
    )
    best = scipy.optimize.least_squares(
        lambda p: model(p) - y,
        start,
        jac=slopes,
        loss="huber",
        f_scale=4.0,
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    )
    errors = np.sqrt(np.diag(np.linalg.inv(slopes(best.x).T @ slopes(best.x))))
    assert minimum.converged
    assert np.all(np.abs(minimum.parameters - best.x) < 0.02 * errors)
    np.testing.assert_allclose(minimum.residual, model(minimum.parameters) - y, atol=0.01)


def test_a_slope_is_no_minimum() -> None:
    """The curvature that narrow Gaussians teach on the way does not end the search where the loss is flat."""
    x = np.linspace(-10.0, 10.0, 200)
    y = np.exp(-0.5 * np.square(x + 0.6))

    def model(p: _Floats) -> tuple[_Floats, _Floats]:
        u = (x - p[0]) / p[1]
        shape = np.exp(-0.5 * np.square(u))
        return shape - y, np.stack([shape * u / p[1], shape * u**2 / p[1]], axis=1)

    minimum = minimize_huber(
        _evaluate(model), np.array([4.1, 2.5]), np.ones(2), threshold=np.inf, max_evaluations=60
    )
    assert minimum.converged
    np.testing.assert_allclose(minimum.parameters, [-0.6, 1.0], atol=0.01)


def test_outliers_that_are_the_majority() -> None:
    """A Gaussian a million times brighter than the noise is found from all sides."""
    rng = np.random.default_rng(5)
    x = np.linspace(-5.0, 5.0, 60)
    truth = np.array([1e6, 0.3, 1.2])

    def model(p: _Floats) -> tuple[_Floats, _Floats]:
        u = (x - p[1]) / p[2]
        shape = np.exp(-0.5 * np.square(u))
        return p[0] * shape, np.stack([shape, p[0] * shape * u / p[2], p[0] * shape * u**2 / p[2]], axis=1)

    y = model(truth)[0] + rng.normal(size=60)

    def residuals(p: _Floats) -> tuple[_Floats, _Floats]:
        values, derivatives = model(p)
        return values - y, derivatives

    scales = np.array([1e5, 1.0, 1.0])
    for start in ([1.5e6, 0.2, 1.0], [5e5, 0.0, 1.7], [8e5, -1.0, 1.25], [2.8e6, 1.6, 1.6]):
        minimum = minimize_huber(
            _evaluate(residuals), np.array(start), scales, threshold=4.0, max_evaluations=40
        )
        assert minimum.converged
        assert minimum.parameters == pytest.approx(truth, rel=1e-5)


@hypothesis.given(
    start=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2),
    values=st.lists(st.sampled_from([0.0, 1.0, -3.0, 1e300, np.inf, np.nan]), min_size=5, max_size=5),
)
@hypothesis.settings(deadline=None)
def test_hostile_residuals_end(start: list[float], values: list[float]) -> None:
    """The search ends in time and never returns worse parameters than the start."""
    x = np.arange(5.0)
    y = np.array(values)
    evaluate, points = _counted(_line(x, y))
    with np.errstate(all="ignore"):
        minimum = minimize_huber(evaluate, np.array(start), np.ones(2), threshold=4.0, max_evaluations=25)
        assert len(points) <= 25
        residuals = evaluate(minimum.parameters)[0], evaluate(np.array(start))[0]
    if np.all(np.isfinite(residuals)):
        small = [np.minimum(np.abs(r), 4.0) for r in residuals]
        after, before = (np.sum(s * (np.abs(r) - s / 2.0)) for s, r in zip(small, residuals, strict=True))
        assert after <= before * (1.0 + 1e-12)
    elif not np.all(np.isfinite(y)):
        assert not minimum.converged


def test_parameter_without_influence_stays() -> None:
    y = np.array([1.0, 2.0, 3.0])
    design = np.array([[1.0, 0.0]] * 3)
    minimum = minimize_huber(
        _linear(design, y), np.array([0.0, 5.0]), np.ones(2), threshold=9.0, max_evaluations=30
    )
    assert minimum.converged
    assert minimum.parameters[0] == pytest.approx(2.0, abs=0.01)
    assert minimum.parameters[1] == 5.0


def test_products_of_rows() -> None:
    rows = np.random.default_rng(4).normal(size=(3, 100))
    for layout in (rows, np.asfortranarray(rows)):
        np.testing.assert_allclose(gram(layout), rows @ rows.T, rtol=1e-12)
