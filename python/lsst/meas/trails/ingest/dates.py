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

"""Dates and times of day as texts of FITS headers."""

from __future__ import annotations

__all__ = ("MOST_SECONDS", "Date", "parse_clock", "parse_date", "parse_scale")

import datetime
import re
from typing import NamedTuple

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_TIME = r"(?:[T _:]\s*(?P<clock>\S.*))?"
_DATES = tuple(
    re.compile(pattern + _TIME)
    for pattern in (
        r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})",
        r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})",
        r"(?P<year>\d{4})[-:](?P<number>\d{3})",
        # DD/MM/YY is the form of the FITS standard before the year 2000.
        r"(?P<day>\d{1,2})[-/.](?P<month>\d{1,2})[-/.](?P<year>\d{4}|\d{2})",
        r"(?P<day>\d{1,2})[-/ ](?P<name>[A-Za-z]{3,9})[-/, ]+(?P<year>\d{4}|\d{2})",
        r"(?P<year>\d{4})[-/ ](?P<name>[A-Za-z]{3,9})[-/ ](?P<day>\d{1,2})",
        r"(?:[A-Za-z]{3},? )?(?P<name>[A-Za-z]{3,9})[- ](?P<day>\d{1,2}),? (?P<year>\d{4})",
    )
)
_CTIME = re.compile(
    r"(?:[A-Za-z]{3} )?(?P<name>[A-Za-z]{3}) +(?P<day>\d{1,2}) (?P<clock>[\d:.]+) (?P<year>\d{4})"
)

_CLOCK = re.compile(
    r"(?P<hour>\d{1,2})\s*[:h ]\s*(?P<minute>\d{1,2})(?:\s*[:m ]\s*(?P<second>\d{1,2}(?:[.,]\d*)?)s?)?"
    r"|(?P<hour2>\d{2})(?P<minute2>\d{2})(?P<second2>\d{2}(?:[.,]\d*)?)"
)
_OFFSET = re.compile(r"(.*?\d)\s*(?:UTC?|GMT)?\s*([+-])(\d{2}|(?<=[CTct][+-])\d):?(\d{2})?", re.IGNORECASE)
_LARGEST_OFFSET = 14
"""Largest offset of a time zone, hours."""

_SUFFIX = re.compile(r"(.*?\d)s?\s*\(?([A-Za-z]{1,3}\d?)\)?")

_SCALES = {
    **dict.fromkeys(("Z", "UT", "UTC", "UT1", "GMT", "ZULU"), "utc"),
    **dict.fromkeys(("TAI", "IAT"), "tai"),
    **dict.fromkeys(("TT", "TDT", "ET"), "tt"),
    "TDB": "tdb",
    "GPS": "gps",
}

MOST_SECONDS = 86401.0
"""Seconds of the longest day."""


class Date(NamedTuple):
    """A date, and the time of day that follows it."""

    day: datetime.date
    """The date."""

    clock: str
    """Text of the time of day, empty if there is none."""

    ambiguous: bool
    """Whether day, month and year may be in another order."""


def parse_date(text: str) -> Date | None:
    """Parse a date in any of the forms of FITS headers.

    Parameters
    ----------
    text
        Such as ``2024-03-10T05:12:13``, ``10/03/98``, ``20240310``, ``10-Mar-2024`` or ``2024-070``.

    Returns
    -------
    date
        `None` if the text is not a date after 1970-01-01 and before 2099.
    """
    text = " ".join(text.split())
    matches = (pattern.fullmatch(text) for pattern in (_CTIME, *_DATES))
    match = next((match for match in matches if match), None)
    if match is None:
        return None
    part = match.groupdict()
    year = int(part["year"])
    if len(part["year"]) == 2:
        year += 1900 if year >= 70 else 2000
    ambiguous = False
    try:
        if part.get("number"):
            date = datetime.date(year, 1, 1) + datetime.timedelta(days=int(part["number"]) - 1)
        else:
            day = int(part["day"])
            month = _month(part["name"]) if part.get("name") else int(part["month"])
            if match.re.pattern.startswith("(?P<day>") and part.get("month"):
                # Americans write the month first, but not with dots. The form of the FITS standard with
                # two digits ended with the year 1999; later, the year may come first, too.
                swappable = "." not in text.split()[0] and max(day, month) <= 12 and month != day
                ambiguous = swappable if len(part["year"]) == 4 else year >= 2000
                if month > 12:
                    day, month = month, day
            date = datetime.date(year, month, day)
    except (ValueError, OverflowError):
        return None
    # The first day of 1970 is zero in the clock of a computer.
    if not datetime.date(1970, 1, 1) < date < datetime.date(2099, 1, 1):
        return None
    return Date(date, (part.get("clock") or "").strip(), ambiguous)


def parse_clock(text: str) -> tuple[float, str | None] | None:
    """Parse a time of day.

    Parameters
    ----------
    text
        Such as ``05:12:13.5``, ``05 12 13``, ``5h12m13s``, ``051213`` or ``07:12:13+02:00``.

    Returns
    -------
    seconds, scale
        Seconds since midnight, and the time scale that the text names: ``utc``, ``tai``, ``tt``, ``tdb``,
        ``gps`` or `None`. `None` instead of both if the text is not a time of day.
    """
    text = text.strip()
    offset, scale = 0.0, None
    if match := _OFFSET.fullmatch(text):
        text, scale = match.group(1), "utc"
        hours, minutes = int(match.group(3)), int(match.group(4) or 0)
        if hours > _LARGEST_OFFSET:
            return None
        offset = float(f"{match.group(2)}1") * (3600.0 * hours + 60.0 * minutes)
    elif not _CLOCK.fullmatch(text) and (match := _SUFFIX.fullmatch(text)):
        scale = _SCALES.get(match.group(2).upper())
        if scale is None:
            return None
        text = match.group(1)
    clock = _CLOCK.fullmatch(text.strip())
    if clock is None:
        return None
    hour, minute, second = (
        float((clock[name] or clock[f"{name}2"] or "0").replace(",", "."))
        for name in ("hour", "minute", "second")
    )
    seconds = 3600.0 * hour + 60.0 * minute + second
    if minute >= 60.0 or second >= 61.0 or seconds > MOST_SECONDS:
        return None
    return seconds - offset, scale


def parse_scale(text: str) -> str | None:
    """Return the time scale of a text such as ``UTC``, ``TT(TAI)`` or ``UTC approximate``."""
    match = re.match(r"\s*([A-Za-z]+\d?)", text)
    return None if match is None else _SCALES.get(match.group(1).upper())


def _month(name: str) -> int:
    return _MONTHS.index(name[:3].lower()) + 1
