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

import re

import pytest
from astropy.io.fits import Header
from astropy.time import Time

from lsst.meas.trails.ingest.timing import NOMINAL_EXPOSURE_TIME, Timing, find_timing, find_visit

TAI = "2020-03-06T00:04:52.410"
"""Start of the exposure that the headers below describe, 37 s after UTC."""


@pytest.mark.parametrize(
    "cards",
    [
        {"DATE-OBS": "2020-03-06T00:04:15.410"},
        {"DATE-OBS": "2020-03-06", "TIME-OBS": "00:04:15.410"},
        {"MJD-OBS": 58914.00295613426},
        # The stack adds DATE-AVG and TIMESYS.
        {"DATE-AVG": "2020-03-06T00:05:52.410", "TIMESYS": "TAI", "DATE-OBS": "2020-03-06T00:04:15.410"},
        {"DATE-BEG": "2020-03-06T00:04:52.410", "TIMESYS": "TAI"},
        {"DATE-AVG": "2020-03-06T00:05:15.410Z"},
    ],
)
def test_header(cards: dict[str, object]) -> None:
    timing = find_timing(Header({**cards, "EXPTIME": 120.0}))
    assert abs((timing.begin - Time(TAI, scale="tai")).sec) < 1e-3
    assert (timing.end - timing.begin).sec == pytest.approx(120.0)
    assert timing.exposure_time == 120.0
    assert not timing.time_problem
    assert not timing.exposure_time_assumed
    assert timing.day_obs == 20200305
    # 12 hours, 4 minutes and 52 seconds after the beginning of the night.
    assert timing.second == 43200 + 292


def test_given() -> None:
    header = Header({"DATE-OBS": "2020-03-06T00:04:15.410", "EXPTIME": 120.0})
    timing = find_timing(header, date="2024-11-09T05:00:00", exposure_time=15.0)
    assert timing.begin.utc.isot == "2024-11-09T05:00:00.000"
    assert timing.exposure_time == 15.0
    assert find_timing(header, date="60000.5").begin.utc.mjd == pytest.approx(60000.5)
    for date in ("yesterday", "2024-11-09"):
        with pytest.raises(ValueError, match=date):
            find_timing(header, date=date)


@pytest.mark.parametrize(
    "cards",
    [
        {},
        {"DATE-OBS": "unknown", "EXPTIME": "n/a"},
        {"MJD-OBS": -5.0, "EXPTIME": 0.0},
        {"DATE-OBS": "1899-01-01"},
    ],
)
def test_missing(cards: dict[str, object]) -> None:
    timing = find_timing(Header(cards))
    assert timing.time_problem
    assert timing.exposure_time_assumed
    assert timing.exposure_time == NOMINAL_EXPOSURE_TIME


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"DATE-OBS": "2020-03-06"}, "no time of day"),
        ({"DATE-OBS": "soon"}, "'soon'"),
        # Local time in one of the two.
        ({"DATE-OBS": "2020-03-06T00:04:15", "MJD-OBS": 58914.10295613426}, "MJD-OBS.*differ by 8640 s"),
        # The middle is not before the start, nor hours later.
        ({"DATE-OBS": "2020-03-06T00:04:15", "DATE-AVG": "2020-03-06T00:00:00"}, "DATE-OBS.*differ by 255 s"),
        (
            {"DATE-AVG": "2020-03-06T10:00:00", "DATE-OBS": "2020-03-06T00:04:15"},
            "DATE-OBS.*differ by 35745 s",
        ),
    ],
)
def test_time_that_is_a_guess(cards: dict[str, object], message: str) -> None:
    timing = find_timing(Header({"EXPTIME": 120.0, **cards}))
    assert re.search(message, timing.time_problem)
    assert not timing.exposure_time_assumed
    # An option settles it.
    assert not find_timing(Header(cards), date="2020-03-06T00:04:15").time_problem


def test_times_that_agree() -> None:
    """Coarse Julian Dates and time scales are no contradiction."""
    cards = {"DATE-OBS": "2020-03-06T00:04:15.410", "MJD-OBS": 58914.003, "JD": 2458914.503, "EXPTIME": 120.0}
    timing = find_timing(Header(cards))
    assert abs((timing.begin - Time(TAI, scale="tai")).sec) < 1e-3
    assert not timing.time_problem


@pytest.mark.parametrize(
    ("cards", "seconds"),
    [
        ({"DATE-AVG": "2020-03-06T00:05:15.410"}, 0.0),
        ({"DATE-OBS": "2020-03-06", "UTMIDDLE": "00:05:15.410"}, 0.0),
        ({"DATE-END": "2020-03-06T00:06:15.410"}, 0.0),
    ],
)
def test_middle_and_end(cards: dict[str, object], seconds: float) -> None:
    timing = find_timing(Header({"EXPTIME": 120.0, **cards}))
    assert (timing.begin - Time(TAI, scale="tai")).sec == pytest.approx(seconds, abs=1e-3)


def test_exposure_time_from_start_to_end() -> None:
    cards = {"DATE-BEG": "2020-03-06T00:04:15", "DATE-END": "2020-03-06T00:04:45"}
    timing = find_timing(Header(cards))
    assert timing.exposure_time == pytest.approx(30.0)
    assert not timing.exposure_time_assumed
    # Milliseconds without a unit.
    with pytest.raises(ValueError, match=r"30000 s.*DATE-BEG.*DATE-END.* 30 s.*--exposure-time"):
        find_timing(Header({**cards, "EXPTIME": 30000.0}))
    assert find_timing(Header({**cards, "EXPTIME": 30000.0}), exposure_time=30.0).exposure_time == 30.0
    assert find_timing(Header({**cards, "EXPTIME": 10.0})).exposure_time == 10.0


def test_visit() -> None:
    begin = Time(TAI, scale="tai")
    timing = Timing(begin, begin, 120.0)
    assert find_visit(Header({"EXPNUM": 941420}), timing, 5) == 941420
    assert find_visit(Header({"EXPNUM": "941420"}), timing, 5) == 941420
    # All detectors of an exposure have the same number.
    assert find_visit(Header(), timing, 5) == find_visit(Header(), timing, 6) == 20200305_43492
    unknown = Timing(begin, begin, 120.0, time_problem="no date")
    assert find_visit(Header(), unknown, 5) != find_visit(Header(), unknown, 6)
    assert 0 < find_visit(Header(), unknown, 10**18) < 10**9
