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

import datetime

import pytest

from lsst.meas.trails.ingest.dates import parse_clock, parse_date, parse_scale


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-10",
        "2024/3/10",
        "2024.03.10",
        "20240310",
        "2024-070",
        "10.03.2024",
        "10-Mar-2024",
        "10 March 2024",
        "2024-MAR-10",
        "Mar 10, 2024",
    ],
)
def test_dates(text: str) -> None:
    date = parse_date(text)
    assert date is not None
    assert (date.day, date.clock, date.ambiguous) == (datetime.date(2024, 3, 10), "", False)


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("2024-03-10T05:12:13.5", "05:12:13.5"),
        ("2024-03-10 05:12:13", "05:12:13"),
        ("20240310T051213", "051213"),
        ("2024:070:05:12:13", "05:12:13"),
        ("Sun Mar 10 05:12:13 2024", "05:12:13"),
        ("10/03/24 05:12", "05:12"),
    ],
)
def test_dates_with_a_time(text: str, clock: str) -> None:
    date = parse_date(text)
    assert date is not None
    assert (date.day, date.clock) == (datetime.date(2024, 3, 10), clock)


@pytest.mark.parametrize(
    ("text", "day", "ambiguous"),
    [
        # The form of the FITS standard before 2000.
        ("10/03/98", datetime.date(1998, 3, 10), False),
        ("25/03/2024", datetime.date(2024, 3, 25), False),
        ("03/25/2024", datetime.date(2024, 3, 25), False),
        ("10/03/2024", datetime.date(2024, 3, 10), True),
        ("10/03/1998", datetime.date(1998, 3, 10), True),
        # Day, month or year may be first.
        ("10/03/24", datetime.date(2024, 3, 10), True),
        ("24.03.10", datetime.date(2010, 3, 24), True),
        ("12/25/99", datetime.date(1999, 12, 25), False),
        ("03/03/2024", datetime.date(2024, 3, 3), False),
    ],
)
def test_day_and_month(text: str, day: datetime.date, ambiguous: bool) -> None:
    date = parse_date(text)
    assert date is not None
    assert (date.day, date.ambiguous) == (day, ambiguous)


@pytest.mark.parametrize(
    "text", ["", "2024-02-31", "1899-01-01", "1970-01-01T00:00:00", "2024-13-01", "60379.2", "1-Foo-2024"]
)
def test_no_dates(text: str) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("text", "seconds", "scale"),
    [
        ("05:12:13.5", 18733.5, None),
        ("05 12 13.5", 18733.5, None),
        ("5h12m13.5s", 18733.5, None),
        ("051213.5", 18733.5, None),
        ("05:12", 18720.0, None),
        ("05:12:60.0", 18780.0, None),
        ("05:12:13Z", 18733.0, "utc"),
        ("05:12:13 UTC", 18733.0, "utc"),
        ("05:12:13 TAI", 18733.0, "tai"),
        ("07:12:13+02:00", 18733.0, "utc"),
        ("07:12:13+02", 18733.0, "utc"),
        ("07:12:13 UTC+2", 18733.0, "utc"),
        ("05:12:13,5", 18733.5, None),
        ("23:12:13-0600", 83533.0 + 21600.0, "utc"),
    ],
)
def test_clock(text: str, seconds: float, scale: str | None) -> None:
    assert parse_clock(text) == (pytest.approx(seconds), scale)


@pytest.mark.parametrize(
    "text", ["", "5.2036", "25:00:00", "05:61:00", "05:12:13 LST", "noon", "05:12:13 PM", "05:12:13+15"]
)
def test_no_clock(text: str) -> None:
    assert parse_clock(text) is None


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        ("UTC", "utc"),
        ("UTC approximate", "utc"),
        ("TT(TAI)", "tt"),
        ("tai", "tai"),
        ("GPS", "gps"),
        ("LOCAL", None),
    ],
)
def test_scale(text: str, scale: str | None) -> None:
    assert parse_scale(text) == scale
