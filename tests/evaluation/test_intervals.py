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
import numpy.typing as npt
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from lsst.meas.trails.evaluation.intervals import binomial_interval, bootstrap_interval


def test_wilson_by_hand() -> None:
    """Wilson's formula for 8 of 10 with z = 1.96: 0.490 to 0.943."""
    low, high = binomial_interval(8, 10)
    assert (float(low), float(high)) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_nothing_found_begins_at_zero() -> None:
    low, high = binomial_interval([0, 0], [15, 0])
    assert low[0] == 0.0
    assert 0.2 < high[0] < 0.21
    assert np.isnan(low[1])


def test_no_trials_have_no_interval() -> None:
    low, high = binomial_interval([0, 0, 5], [0, 5, 5])
    assert np.isnan([low[0], high[0]]).all()
    # None and all of five.
    assert (low[1], high[2]) == pytest.approx((0.0, 1.0))
    assert high[1] == pytest.approx(1.0 - low[2]) == pytest.approx(0.434, abs=1e-3)


@given(total=st.integers(1, 500), data=st.data())
def test_an_interval_holds_its_fraction(total: int, data: st.DataObject) -> None:
    found = data.draw(st.integers(0, total))
    low, high = binomial_interval(found, total)
    assert -1e-12 <= low <= found / total + 1e-12
    assert found / total - 1e-12 <= high <= 1.0 + 1e-12


@pytest.mark.parametrize(("found", "total"), [(3, 2), (-1, 4)])
def test_impossible_counts(found: int, total: int) -> None:
    with pytest.raises(ValueError, match="found <= total"):
        binomial_interval(found, total)


def test_bootstrap_of_a_mean() -> None:
    """The interval of the mean of normal numbers is known."""
    values = np.random.default_rng(1).standard_normal(400)
    low, high = bootstrap_interval(lambda i: np.mean(values[i]), 400, confidence=0.6827, resamples=500)
    half = np.std(values) / 20.0
    # Ends of 500 samples are good to about 6% of a standard error.
    assert float(low) == pytest.approx(np.mean(values) - half, abs=0.2 * half)
    assert float(high) == pytest.approx(np.mean(values) + half, abs=0.2 * half)


def test_bootstrap_covers() -> None:
    """The truth is in 160 of 200 intervals of 80%, give or take 6."""
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        values = rng.standard_normal(40)

        def mean(i: npt.NDArray[np.int64], values: npt.NDArray[np.float64] = values) -> float:
            return float(np.mean(values[i]))

        low, high = bootstrap_interval(mean, 40, confidence=0.8, resamples=100)
        held += bool(low <= 0.0 <= high)
    assert scipy.stats.binom.sf(held - 1, 200, 0.8) > 1e-3
    assert scipy.stats.binom.cdf(held, 200, 0.76) > 1e-3


def test_bootstrap_of_undefined_statistics() -> None:
    def statistic(i: npt.NDArray[np.int64]) -> list[float]:
        return [float(np.mean(i)), np.nan]

    low, high = bootstrap_interval(statistic, 10)
    assert np.isfinite([low[0], high[0]]).all()
    assert np.isnan([low[1], high[1]]).all()
    # A single group has no scatter between groups.
    assert np.isnan(bootstrap_interval(statistic, 1)).all()
