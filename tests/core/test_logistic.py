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

from __future__ import annotations

import numpy as np
import pytest

from lsst.meas.trails.core.logistic import fit_logistic


def test_known_coefficients_are_recovered() -> None:
    rng = np.random.default_rng(1)
    features = rng.standard_normal((20_000, 2))
    probability = 1.0 / (1.0 + np.exp(0.5 - features @ [1.0, -2.0]))
    coefficients, intercept = fit_logistic(features, rng.random(len(features)) < probability)
    # Standard errors are about 1 / sqrt(20 000 p (1 - p)) = 0.02: four of them.
    assert [*coefficients, intercept] == pytest.approx([1.0, -2.0, -0.5], abs=0.1)


def test_penalty_and_bounds_limit_separable_classes() -> None:
    x = np.linspace(-1.0, 1.0, 20)[:, None]
    (penalized,), _ = fit_logistic(x, x[:, 0] > 0.0, penalty=1.0)
    (stronger,), _ = fit_logistic(x, x[:, 0] > 0.0, penalty=10.0)
    assert 0.0 < stronger < penalized < 10.0
    (bounded,), intercept = fit_logistic(
        x, x[:, 0] > 0.0, start=(1.0, 0.0), bounds=((0.5, 7.0), (None, None))
    )
    assert (bounded, intercept) == pytest.approx((7.0, 0.0), abs=1e-3)


def test_intercept_is_not_penalized() -> None:
    features = np.random.default_rng(1).standard_normal((2000, 5))
    slopes, intercept = fit_logistic(features, np.arange(2000) % 10 == 0, penalty=1e6)
    np.testing.assert_allclose(slopes, 0.0, atol=1e-3)
    # Without any signal the probability is the fraction of positives.
    assert intercept == pytest.approx(-np.log(9.0), abs=1e-3)
