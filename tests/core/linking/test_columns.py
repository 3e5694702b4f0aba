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

"""Tests of the columns of tracklets."""

from __future__ import annotations

import pytest

from lsst.meas.trails.core.linking.columns import (
    TRACKLET_COLUMNS,
    TRACKLET_MEMBER_COLUMNS,
    empty_members,
    empty_tracklets,
)


@pytest.mark.parametrize(
    ("table", "layout"),
    [(empty_tracklets(), TRACKLET_COLUMNS), (empty_members(), TRACKLET_MEMBER_COLUMNS)],
)
def test_empty_tables_have_the_layout(table, layout) -> None:
    assert len(table) == 0
    assert table.colnames == list(layout)
    for name, (dtype, unit, description) in layout.items():
        column = table[name]
        assert issubclass(column.dtype.type, dtype)
        assert column.unit == unit
        assert column.description == description
