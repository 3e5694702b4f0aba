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

import pytest
from astropy.io.fits import Header

from lsst.meas.trails.ingest.exposure_time import find_exposure_time


@pytest.mark.parametrize(
    ("card", "seconds"),
    [
        (("EXPTIME", 30.0), 30.0),
        (("EXPTIME", "30.0"), 30.0),
        (("EXPTIME", "3.0D+01"), 30.0),
        (("EXPTIME", "30 s"), 30.0),
        (("EXPTIME", "0.5 min"), 30.0),
        (("EXPTIME", "500 ms"), 0.5),
        (("EXPTIME", 500.0, "[ms] exposure time"), 0.5),
        (("EXPTIME", 500.0, "exposure time in milliseconds"), 0.5),
        (("EXPTIME", 500.0, "Exposure time (msec)"), 0.5),
        (("EXPTIME", 0.5, "[min] exposure"), 30.0),
        (("EXPTIME", 0.5, "Exposure (minutes)"), 30.0),
        (("EXPTIME", 30.0, "min. exposure of the series"), 30.0),
        (("EXPTIME", 30.0, "[s] effective, dead time 12 ms per day"), 30.0),
        (("EXPTIME", 30.0, "Exposure time in seconds"), 30.0),
        (("EXPOSURE", 0.001, "[d] time on source"), 86.4),
        (("TELAPSE", 0.001, "days"), 86.4),
        (("EXPMS", 500), 0.5),
        (("EXPTIME", 0.0), None),
        (("EXPTIME", -1.0), None),
        (("EXPTIME", 30.0, "[d]"), None),
        (("EXPTIME", "n/a"), None),
        (("EXPTIME", "5m"), 300.0),
        (("EXPTIME", "30 frames"), None),
        (("EXPTIME", 30.0, "m is for minutes"), 1800.0),
        (("OBJECT", "x"), None),
    ],
)
def test_exposure_time(card: tuple[object, ...], seconds: float | None) -> None:
    found = find_exposure_time(Header([card]))
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_first_usable_card() -> None:
    assert find_exposure_time(Header({"EXPTIME": 0.0, "EXPOSURE": 15.0})) == 15.0
