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

"""Tests of the benchmark of linking."""

from __future__ import annotations

import linking
import pytest
from click.testing import CliRunner


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        (
            ["night", "--rows", "2000"],
            ["objects found twice", "false tracklets expected", "peak memory, MiB"],
        ),
        (["catalogs", "--seeds", "1", "--false", "3"], ["uniform", "stationary"]),
    ],
)
def test_tables_are_printed(options: list[str], rows: list[str]) -> None:
    result = CliRunner().invoke(linking.main, options)
    assert result.exit_code == 0, result.output
    assert all(row in result.output for row in rows)
