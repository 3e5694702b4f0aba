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

"""Tests of the scale benchmark."""

from __future__ import annotations

import pytest
import scale
from processes import Usage


def test_straight_line_has_start_and_slope() -> None:
    assert scale.straight_line([1, 4, 16], [5.5, 7.0, 13.0]) == pytest.approx((5.0, 0.5))


def test_quanta_are_split_by_command_and_step() -> None:
    measured = {
        images: {
            "qgraph": Usage(6.0, 6.0, 1),
            "run-qbb": Usage(
                10.0 + images, 20.0, 1, steps={"start": (10.0, 10.0), "read": (1.0 * images, 0.0)}
            ),
        }
        for images in (1, 4)
    }
    rows = {name: cells for name, *cells in scale.quanta_rows(measured)}
    assert rows["qgraph"] == ["6.00", "0.000"]
    assert rows["run-qbb"] == ["10.00", "1.000"]
    assert rows["run-qbb: start"] == ["10.00", "0.000"]
    assert rows["run-qbb: read"] == ["0.00", "1.000"]


def test_cost_of_a_night() -> None:
    # 189 000 detectors at a core-second each are 52.5 core-hours.
    assert scale.night_cells([10.0], 189_000) == ("10.0", "525")
    assert scale.night_cells([10.0, 20.0, 30.0], 3600) == ("20.0 (10.0-30.0)", "20 (10-30)")
