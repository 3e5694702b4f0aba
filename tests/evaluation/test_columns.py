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

"""Tests of the columns of match and search tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lsst.meas.trails.core.injection.truth import TRUTH_COLUMNS
from lsst.meas.trails.evaluation.columns import (
    FROM_TRUTH,
    MATCH_COLUMNS,
    METHODS,
    SEARCH_COLUMNS,
    TRUTH_NEEDED,
    UNKNOWN,
    blank_table,
)


@pytest.mark.parametrize("layout", [MATCH_COLUMNS, SEARCH_COLUMNS])
def test_blank_tables_are_unknown(layout: dict[str, Any]) -> None:
    table = blank_table(layout, 2)
    assert table.colnames == list(layout)
    for name, (dtype, unit, description) in layout.items():
        assert table[name].description == description
        assert table[name].unit == unit
        unknown = UNKNOWN[dtype]
        np.testing.assert_array_equal(table[name], [unknown, unknown])


def test_columns_of_the_truth_exist() -> None:
    assert set(TRUTH_NEEDED) <= set(TRUTH_COLUMNS)
    assert set(FROM_TRUTH) <= set(MATCH_COLUMNS)


def test_every_method_has_columns() -> None:
    for key in METHODS:
        assert f"foundBy{key}" in MATCH_COLUMNS
        assert {f"n{key}", f"chance{key}"} <= set(SEARCH_COLUMNS)
