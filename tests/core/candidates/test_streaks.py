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
import pytest

from lsst.meas.trails.core.candidates.streaks import crosses_image, on_streak
from lsst.meas.trails.core.fit.pixels import MAX_FITTED_LENGTH
from lsst.meas.trails.core.geometry import Trail

SHAPE = (300, 500)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (Trail.from_ends(0.0, 20.0, 499.0, 250.0), True),
        (Trail.from_ends(5.0, 20.0, 5.0, 290.0), True),
        (Trail.from_ends(5.0, 20.0, 300.0, 150.0), False),
        (Trail.from_ends(0.0, 20.0, 150.0, 20.0), False),
        (Trail(x=250.0, y=150.0, length=MAX_FITTED_LENGTH + 1.0, angle=10.0), True),
    ],
)
def test_crosses_image(line: Trail, expected: bool) -> None:
    assert crosses_image(line, SHAPE) is expected


def test_on_streak() -> None:
    # A streak along y = 100, a fragment of it, a parallel trail, and one that crosses it.
    table = astropy.table.Table(
        {
            "x": [250.0, 400.0, 400.0, 250.0],
            "y": [100.0, 105.0, 130.0, 100.0],
            "trailLengthPix": [499.0, 50.0, 50.0, 50.0],
            "trailAnglePix": [0.0, 178.0, 0.0, 60.0],
            "flux": [1.0, 1.0, 1.0, 1.0],
            "streakFlag": [True, False, False, False],
        }
    )
    assert on_streak(table).tolist() == [True, True, False, False]
