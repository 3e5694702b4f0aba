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

import numpy as np
import pytest

from lsst.meas.trails.core.injection.streaks import StreakPattern, draw_pattern

T = np.arange(-300.0, 301.0)


def test_constant_by_default() -> None:
    np.testing.assert_allclose(StreakPattern().brightness(T, 2.0), 1.0)


def test_ends_are_blurred_by_the_psf() -> None:
    value = StreakPattern(start=-50.0, stop=80.0).brightness(T, 2.0)
    assert value.sum() == pytest.approx(130.0, abs=1.0)
    assert value[T == -50.0] == pytest.approx(0.5, abs=0.1)
    assert np.all(value[np.abs(T - 15.0) < 50.0] > 0.999)
    assert np.all(value[(T < -60.0) | (T > 90.0)] < 1e-3)


def test_tumbling_has_period_and_depth() -> None:
    value = StreakPattern(tumbling=0.8, period=100.0, phase=0.25).brightness(T, 1.0)
    assert value.max() == pytest.approx(1.0, abs=0.01)
    assert value.min() == pytest.approx(0.2, abs=0.01)
    np.testing.assert_array_equal(T[value > 0.999 * value.max()] % 100.0 // 10, 2)


def test_dashes_have_their_duty() -> None:
    value = StreakPattern(dash=0.3, period=60.0).brightness(np.arange(0.0, 600.0), 1.0)
    assert value.mean() == pytest.approx(0.3, abs=0.02)
    on = value > 0.5
    assert np.count_nonzero(on[1:] & ~on[:-1]) in (9, 10)


def test_flare() -> None:
    value = StreakPattern(flare_width=20.0, flare_at=40.0, flare_base=0.01).brightness(T, 3.0)
    assert T[np.argmax(value)] == 40.0
    assert value[0] == pytest.approx(0.01, rel=1e-3)
    assert value.max() == pytest.approx(1.0, abs=0.02)


def test_shares_of_patterns() -> None:
    rng = np.random.default_rng(1)
    drawn = [draw_pattern(1000.0, rng, patterned=0.6, ended=0.3) for _ in range(1500)]
    kinds = (
        [np.isfinite(p.flare_width) for p in drawn],
        [p.tumbling > 0.0 for p in drawn],
        [p.dash < 1.0 for p in drawn],
        [np.isfinite(p.start) for p in drawn],
    )
    # Four sigma of 1500 draws.
    np.testing.assert_allclose(np.mean(kinds, axis=1), [0.2, 0.2, 0.2, 0.3], atol=0.045)
    assert all(p.start < 0.0 < p.stop for p in drawn)
