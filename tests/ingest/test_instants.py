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

from lsst.meas.trails.ingest.instants import clock_time, find_instants, time_scale

UTC = Time("2024-03-10T05:12:13.5", scale="utc")


def first(*cards: tuple[object, ...]) -> tuple[float, str, str]:
    """Return seconds after `UTC`, the part of the exposure and the problem of the first time."""
    instant = find_instants(Header(list(cards)))[0]
    return float((instant.time - UTC).sec), instant.part, instant.problem


@pytest.mark.parametrize(
    "cards",
    [
        [("DATE-OBS", "2024-03-10T05:12:13.5")],
        [("DATE-OBS", "2024-03-10T05:12:13.5Z"), ("TIMESYS", "TAI")],
        [("DATE-OBS", "2024-03-10T06:12:13.5+01:00")],
        [("DATE-OBS", "10/03/24"), ("MJD-OBS", 60379.21682291667)],
        [("DATE-OBS", "2024-03-10"), ("TIME-OBS", "05:12:13.5")],
        [("DATE-OBS", "2024-03-10T00:00:00"), ("UTSTART", "05:12:13.5")],
        [("DATE-OBS", "2024-03-10"), ("UTIME", "05:12:13.5")],
        [("DATE-OBS", "2024-03-10"), ("UTC", "05:12:13.5")],
        [("DATE-OBS", "2024-03-10"), ("UT", "2024-03-10T05:12:13.5")],
        [("DATE-OBS", "2024-03-10"), ("UTC", 18733.5, "[s] 05:12:13.500 UTC")],
        [("DATE-OBS", "2024-03-10"), ("UT", 5.20375, "hours")],
        [("DATE-OBS", "2024-03-10"), ("TAIHMS", "05:12:50.5"), ("TIMESYS", "TAI")],
        [("DATE-OBS", "2024-03-10T05:12:50.5"), ("TIMESYS", "TAI")],
        [("DATE-OBS", "2024-03-10T05:12:50.5", "TAI date")],
        [("DATE-OBS", "2024-03-10T05:13:22.684"), ("TIMESYS", "TT")],
        [("DATE-OBS", "2024-03-10T05:12:31.5"), ("TIMESYS", "GPS")],
        [("MJD-OBS", 60379.21682291667)],
        [("MJD-OBS", "60379.21682291667")],
        [("MJD-OBS", 60379.21682291667 + 37.0 / 86400.0), ("TIMESYS", "TAI")],
        [("JD", 2460379.71682291667, "Julian Date at start of exposure")],
        [("DATE-OBS", "2024-03-10"), ("MJD", 60379.21682291667)],
        [("TAI", 60379.21682291667 * 86400.0 + 37.0)],
    ],
)
def test_start(cards: list[tuple[object, ...]]) -> None:
    seconds, part, problem = first(*cards)
    # A Julian Date of 16 digits has an error of 40 microseconds.
    assert seconds == pytest.approx(0.0, abs=2e-3)
    assert (part, problem) == ("begin", "")


@pytest.mark.parametrize(
    ("card", "part"),
    [
        (("DATE-AVG", "2024-03-10T05:12:13.5"), "middle"),
        (("MJD-AVG", 60379.21682291667), "middle"),
        (("MJD-OBS", 60379.21682291667, "MJD of the midpoint"), "middle"),
        (("MJD-OBS", 60379.21682291667, "[d] at mid-exposure"), "middle"),
        (("DATE-OBS", "2024-03-10T05:12:13.5", "center of exposure"), "middle"),
        (("DATE-OBS", "2024-03-10T05:12:13.5", "end of exposure"), "end"),
        (("DATE-OBS", "2024-03-10T05:12:13.5", "start, not end, of exposure"), "begin"),
        (("DATE-END", "2024-03-10T05:12:13.5"), "end"),
    ],
)
def test_part(card: tuple[object, ...], part: str) -> None:
    assert first(card) == (pytest.approx(0.0, abs=2e-3), part, "")


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ([("DATE-OBS", "2024-03-10")], "DATE-OBS.*no time of day"),
        ([("DATE-OBS", "2024-03-10"), ("UT", 5.2)], "no time of day"),
        ([("DATE-OBS", "2024-03-10"), ("LT", "05:12:13")], "no time of day"),
        ([("DATE-OBS", "2024-03-10T05:12:13 PM")], "no time of day that can be read"),
        ([("DATE-OBS", "2024-03-10T05:12:13", "local time at start")], "in local time"),
        ([("DATE-OBS", "2024-03-10"), ("TIME-OBS", "05:12:13", "local time")], "no time of day"),
        ([("DATE-OBS", "2000-01-01T00:00:00")], "zero of a clock"),
        ([("MJD-OBS", 60379.2168, "local time")], "in local time"),
        ([("MJD-OBS", 60379)], "MJD-OBS = 60379.*no time of day"),
        ([("JD", 2460380)], "JD = 2460380.*no time of day"),
        ([("MJD-OBS", 60379.2)], "rounded to 8640 s"),
        # Single precision: 2**-8 days.
        ([("MJD-OBS", 60379.21875)], "rounded to 338 s"),
        ([("DATE-OBS", "10/03/2024"), ("UT", "05:12:13.5")], "day, month and year"),
        ([("DATE-OBS", "2024-03-10T05:12:13"), ("TIMESYS", "LOCAL")], "TIMESYS = 'LOCAL'"),
    ],
)
def test_problems(cards: list[tuple[object, ...]], message: str) -> None:
    assert re.search(message, first(*cards)[2])


@pytest.mark.parametrize(
    "cards",
    [
        {},
        {"DATE": "2024-03-10T05:12:13"},
        {"HJD": 2460379.7},
        {"JD": 60379.7},
        {"MJD-OBS": -5.0},
        {"DATE-OBS": "?"},
    ],
)
def test_no_time(cards: dict[str, object]) -> None:
    """The date of the file, and heliocentric times, are not times of observation."""
    assert find_instants(Header(cards)) == []


def test_leap_second() -> None:
    """A time of day counts seconds, also on a day of 86401."""
    instant = find_instants(Header({"DATE-OBS": "2016-12-31", "UT": "23:59:60"}))[0]
    assert (Time("2017-01-01T00:00:00", scale="utc") - instant.time).sec == pytest.approx(1.0)


def test_scale() -> None:
    assert time_scale(Header()) == "utc"
    assert time_scale(Header({"TIMESYS": "TAI"})) == "tai"
    # The comment of a card is nearer.
    assert time_scale(Header({"TIMESYS": "TAI"}), "UTC epoch") == "utc"
    assert time_scale(Header(), "TAI-UT is 37 s") == "utc"


def test_clock_time() -> None:
    time = clock_time("2024-03-10T05:12:13.5", "utc")
    assert time is not None
    assert abs((time - UTC).sec) < 1e-6
    assert clock_time("2024-03-10", "utc") is None
