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

from lsst.meas.trails.ingest.cards import card_text, get_integer, get_number, parse_number, read_number


@pytest.mark.parametrize(
    ("value", "number", "unit"),
    [
        (30, 30.0, ""),
        (1.5, 1.5, ""),
        ("30", 30.0, ""),
        (" -1.5D+02 ", -150.0, ""),
        ("1.5d-3", 0.0015, ""),
        (".5E1", 5.0, ""),
        ("30.0 s", 30.0, "s"),
        ("30.0s", 30.0, "s"),
        ("150.0 deg", 150.0, "deg"),
        ("1.5 e-/ADU", 1.5, "e-/ADU"),
        ("30. / seconds", 30.0, "seconds"),
        ("0.5 [min]", 0.5, "min"),
    ],
)
def test_numbers(value: object, number: float, unit: str) -> None:
    parsed = parse_number(value)
    assert parsed is not None
    assert parsed.value == pytest.approx(number, rel=1e-15)
    assert parsed.unit == unit


@pytest.mark.parametrize(
    "value",
    [
        "10:00:00",
        "2024-03-10",
        "1,5",
        "10 12 13",
        "5h12m13s",
        "5 h 12",
        "nan",
        "1e999",
        "",
        "n/a",
        True,
        None,
    ],
)
def test_no_numbers(value: object) -> None:
    assert parse_number(value) is None


def test_unit_of_the_comment() -> None:
    header = Header([("A", 2.0, "[d] duration"), ("B", "3 min", "[s]"), ("C", 4.0, "duration [s]")])
    assert read_number(header, "A") == (2.0, "d")
    assert read_number(header, "B") == (3.0, "min")
    assert read_number(header, "C") == (4.0, "")
    assert read_number(header, "X") is None


def test_first_of_several() -> None:
    header = Header({"A": "x", "B": 0, "C": "7", "D": 8.5})
    assert get_integer(header, ("A", "B", "D", "C"), 1) == 7
    assert get_integer(header, ("A", "D"), 0) is None
    assert get_number(header, "D") == 8.5


def test_text() -> None:
    header = Header({"A": " r ", "B": 3, "C": True})
    assert [card_text(header, name) for name in "ABCD"] == ["r", "3", "", ""]
