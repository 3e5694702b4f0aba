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

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.catalog.export import CatalogFormatError
from lsst.meas.trails.core.catalog.row_filter import FilterError
from lsst.meas.trails.core.catalog.selection import CandidateSelection

TABLE = astropy.table.Table(
    {
        "score": [0.1, 0.9, 0.5, 0.7],
        "streakFlag": [False, True, False, False],
        "snr": [4.0, 20.0, 9.0, 6.0],
    }
)


def test_conditions() -> None:
    assert CandidateSelection().matching(TABLE)["snr"].tolist() == [4.0, 9.0, 6.0]
    assert CandidateSelection(streaks=True, min_score=0.5).matching(TABLE)["snr"].tolist() == [20.0, 9.0, 6.0]
    assert CandidateSelection(where="snr < 8").matching(TABLE)["snr"].tolist() == [4.0, 6.0]
    with pytest.raises(FilterError, match="Snr"):
        CandidateSelection(where="Snr < 8").matching(TABLE)


def test_order() -> None:
    assert CandidateSelection().ordered(TABLE)["score"].tolist() == [0.9, 0.7, 0.5, 0.1]
    assert CandidateSelection(sort="snr").ordered(TABLE)["snr"].tolist() == [4.0, 6.0, 9.0, 20.0]
    with pytest.raises(CatalogFormatError, match="scores"):
        CandidateSelection(sort="scores").ordered(TABLE)


def test_a_sample_is_random_and_repeatable() -> None:
    table = astropy.table.Table({"score": np.linspace(0.0, 1.0, 1000)})
    one, same, other = (CandidateSelection(sample=200, seed=seed).ordered(table) for seed in (1, 1, 2))
    assert len(set(one["score"])) == 200
    np.testing.assert_array_equal(one["score"], same["score"])
    assert not np.array_equal(one["score"], other["score"])
    # The mean of 200 uniform values, without replacement, has an error of 0.018.
    assert abs(np.mean(one["score"]) - 0.5) < 0.08
    assert len(CandidateSelection(sample=2000).ordered(table)) == 1000
