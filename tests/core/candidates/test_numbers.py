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

from lsst.meas.trails.core.candidates.numbers import CANDIDATE_NUMBERS, candidate_numbers

from support.searched import make_table


def number_of(name: str, **changes: float) -> float:
    """Return a number of the first of some candidates."""
    table = make_table(np.random.default_rng(1), np.array([True, False]))
    for column in ("area", "xErr", "yErr", "trailLengthPixErr", "trailAnglePixErr", "flux", "fluxErr"):
        table[column] = 1.0
    table["meanProbability"] = 0.5
    for column in ("background", "xyCovariance", "trailAnglePix", "trail_flag_edge", "badFlag"):
        table[column] = 0.0
    for column, value in changes.items():
        table[column] = value
    return float(candidate_numbers(table)[0, CANDIDATE_NUMBERS.index(name)])


def test_all_numbers_are_finite_for_failed_fits() -> None:
    unknown = dict.fromkeys(("xErr", "yErr", "xyCovariance", "trailLengthPixErr", "trailAnglePixErr"), np.nan)
    unknown |= dict.fromkeys(("flux", "background", "snr", "trailChi2", "deltaChi2"), np.nan)
    for name in CANDIDATE_NUMBERS:
        assert np.isfinite(number_of(name, **unknown)), name


def test_no_candidates() -> None:
    table = make_table(np.random.default_rng(1), np.zeros(0, dtype=bool))
    for column in ("area", "xErr", "yErr", "trailLengthPixErr", "trailAnglePixErr", "flux", "fluxErr"):
        table[column] = np.zeros(0)
    for column in ("meanProbability", "background", "xyCovariance", "trailAnglePix"):
        table[column] = np.zeros(0)
    table["trail_flag_edge"] = table["badFlag"] = np.zeros(0, dtype=bool)
    assert candidate_numbers(table).shape == (0, len(CANDIDATE_NUMBERS))


def test_errors_across_the_trail() -> None:
    # Along x, only the error of y counts.
    level = number_of("log_across_error", trailAnglePix=0.0, xErr=3.0, yErr=0.4)
    assert level == pytest.approx(np.log(0.1))
    upright = number_of("log_across_error", trailAnglePix=90.0, xErr=0.4, yErr=3.0)
    assert upright == pytest.approx(np.log(0.1))
    # Errors that run along a trail do not matter.
    along = number_of("log_across_error", trailAnglePix=45.0, xErr=1.0, yErr=1.0, xyCovariance=0.99)
    assert along == pytest.approx(np.log(0.1 / 4.0))


def test_scale_with_the_seeing() -> None:
    assert number_of("log_fwhm", psfFwhm=8.0) == pytest.approx(np.log(8.0))
    errors = [number_of("log_length_error", psfFwhm=w, trailLengthPixErr=0.5 * w) for w in (4.0, 8.0)]
    assert errors[0] == pytest.approx(errors[1]) == pytest.approx(np.log(0.5))
    assert number_of("log_scale", psfFwhm=4.0, trailLengthPix=20.0) == 0.0
    assert number_of("log_scale", psfFwhm=4.0, trailLengthPix=139.0) > 0.5
