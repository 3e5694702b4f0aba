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

"""Times of observation in FITS headers."""

from __future__ import annotations

__all__ = ("Instant", "clock_time", "find_instants", "time_scale")

import re
import warnings
from typing import NamedTuple

import numpy as np
from astropy.io.fits import Header
from astropy.time import Time, TimeDelta

from .cards import card_text, get_number, parse_number
from .dates import MOST_SECONDS, parse_clock, parse_date, parse_scale

_MODIFIED = 2400000.5
_GPS_OFFSET = 19.0
"""TAI minus the time of GPS, seconds."""

_DATES = {
    "DATE-AVG": "middle",
    "DATE-MID": "middle",
    "DATE-BEG": "begin",
    "DATE-OBS": "begin",
    "DATE_OBS": "begin",
    "DATEOBS": "begin",
    "OBS-DATE": "begin",
    "UTC-DATE": "begin",
    "UTDATE": "begin",
    "UT-DATE": "begin",
    "DATE-END": "end",
}
"""Cards with dates, by the part of the exposure, the preferred first."""

_NUMBERS = {
    "MJD-AVG": "middle",
    "MJD-MID": "middle",
    "MJDMID": "middle",
    "JD-MID": "middle",
    "MJD-BEG": "begin",
    "MJD-OBS": "begin",
    "MJD_OBS": "begin",
    "MJDOBS": "begin",
    "OBSMJD": "begin",
    "MJD-STR": "begin",
    "MJDSTART": "begin",
    "EXPSTART": "begin",
    "MJD": "begin",
    "JD-OBS": "begin",
    "JD_OBS": "begin",
    "OBSJD": "begin",
    "JD": "begin",
    "JULDATE": "begin",
    "JUL-DATE": "begin",
    "MJD-END": "end",
    "EXPEND": "end",
}
"""Cards with Julian Dates, modified or not, by the part of the exposure."""

_CLOCKS = {
    "TIME-OBS": "begin",
    "TIME_OBS": "begin",
    "TIMEOBS": "begin",
    "UTC-OBS": "begin",
    "UT-OBS": "begin",
    "UTSTART": "begin",
    "UTCSTART": "begin",
    "UT-START": "begin",
    "UTC-STRT": "begin",
    "UT-STR": "begin",
    "TIME-BEG": "begin",
    "UTIME": "begin",
    "UT-TIME": "begin",
    "UTC-TIME": "begin",
    "UTC": "begin",
    "UT": "begin",
    "TAIHMS": "begin",
    "UTMIDDLE": "middle",
    "UT-MID": "middle",
    "UT-END": "end",
    "UTCEND": "end",
}
"""Cards with a time of day, by the part of the exposure; none of local or sidereal time."""

_CLOCK_UNITS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
}
"""Seconds in the units of a time of day."""

_PARTS = (
    ("middle", re.compile(r"\bmid(?:dle|[- ]?point|[- ]?exp\w*|[- ]?time)?\b|\bcent(?:er|re) of\b")),
    ("end", re.compile(r"\b(?:end|stop)\b")),
    ("begin", re.compile(r"\b(?:start|begin\w*)\b")),
)
"""Words of a comment for the part of the exposure."""


_CLOCK_ZEROS = (1980, 2000)
"""Years at whose beginning the clocks of cameras and receivers start."""

_LOCAL = re.compile(r"\blocal\b|\bsidereal\b|\blst\b")
"""Words of a comment for a time that is not universal."""

_LARGEST_ERROR = 60.0
"""Largest error of a time that counts as known, seconds."""


class Instant(NamedTuple):
    """A time of an exposure in a header."""

    source: str
    """Card, or cards, of the time, with their values."""

    part: str
    """Part of the exposure: ``begin``, ``middle`` or ``end``."""

    time: Time
    """The time."""

    error: float
    """Largest error by the number of digits, seconds."""

    problem: str = ""
    """Reason why the time may be wrong by up to a day, empty if it is not."""


def find_instants(header: Header) -> list[Instant]:
    """Find all times of observation in a header.

    Parameters
    ----------
    header
        Header of an image.

    Returns
    -------
    instants
        Times with a time of day first, dates before Julian Dates. A date without a time of day takes it from
        another card.
    """
    found = [
        *(_from_date(header, keyword, part) for keyword, part in _DATES.items()),
        *(_from_number(header, keyword, part) for keyword, part in _NUMBERS.items()),
        _from_tai_seconds(header),
    ]
    known = [instant for instant in found if instant is not None]
    return sorted(known, key=lambda instant: bool(instant.problem))


def time_scale(header: Header, comment: str = "") -> str | None:
    """Return the time scale of a header: ``utc``, ``tai``, ``tt``, ``tdb`` or ``gps``.

    It is the scale that the comment of a card names, else TIMESYS, else ``utc``; `None` if TIMESYS names an
    unknown one.
    """
    named = {parse_scale(word) for word in re.findall(r"\b(?:UTC?|TAI|TT|TDB|GPS)\b", comment)}
    if len(named) == 1:
        return named.pop()
    system = card_text(header, "TIMESYS")
    return parse_scale(system) if system else "utc"


def clock_time(text: str, scale: str | None) -> Time | None:
    """Return the time of a date with a time of day, `None` if the text is not one."""
    date = parse_date(text)
    clock = parse_clock(date.clock) if date is not None else None
    if date is None or clock is None:
        return None
    return _time(date.day.isoformat(), clock[0], clock[1] or scale)


def _from_date(header: Header, keyword: str, part: str) -> Instant | None:
    text = card_text(header, keyword)
    date = parse_date(text)
    if date is None:
        return _from_number(header, keyword, part) if parse_number(text) else None
    comment = header.comments[keyword]
    part = _part(comment, part)
    scale = time_scale(header, comment)
    source = f"{keyword} = {text!r}"
    problem = f"the order of day, month and year in {source} is unknown" if date.ambiguous else ""
    if _is_local(comment):
        problem = f"{source} is in local time by its comment"
    clock = parse_clock(date.clock) if date.clock else None
    if clock is None or clock[0] == 0.0:
        # Some programs write midnight where the time of day is in another card.
        for name, clock_part in _CLOCKS.items():
            other = _clock(header, name)
            if other is not None and (clock is None or clock_part == part):
                clock, part = (other[0], other[1]), other[2]
                source += f" and {name} = {card_text(header, name)!r}"
                break
    if clock is None:
        unread = " that can be read" if date.clock else ""
        clock, problem = (0.0, None), f"{source} has no time of day{unread}"
    if clock[0] == 0.0 and (date.day.month, date.day.day) == (1, 1) and date.day.year in _CLOCK_ZEROS:
        problem = problem or f"{source} is the zero of a clock that was not set"
    scale = clock[1] or scale
    if scale is None:
        problem = problem or f"TIMESYS = {card_text(header, 'TIMESYS')!r} is unknown"
    return Instant(source, part, _time(date.day.isoformat(), clock[0], scale), 1.0, problem)


def _clock(header: Header, keyword: str) -> tuple[float, str | None, str] | None:
    """Return the seconds, the scale and the part of the exposure of a card with a time of day."""
    text = card_text(header, keyword)
    if not text:
        return None
    comment = header.comments[keyword]
    if _is_local(comment):
        return None
    part = _part(comment, _CLOCKS[keyword])
    named = "tai" if keyword.startswith("TAI") else "utc" if keyword.startswith("UT") else None
    date = parse_date(text)
    clock = parse_clock(date.clock if date is not None else text)
    if clock is not None:
        return clock[0], clock[1] or named, part
    number = parse_number(header[keyword])
    if number is None:
        return None
    words = re.findall(r"[a-z]+", f"{number.unit} {comment}".lower())
    unit = next((_CLOCK_UNITS[word] for word in words if word in _CLOCK_UNITS), None)
    if unit is None or not 0.0 <= number.value * unit < MOST_SECONDS:
        return None
    return number.value * unit, named, part


def _from_number(header: Header, keyword: str, part: str) -> Instant | None:
    value = get_number(header, keyword)
    if value is None:
        return None
    day = value - _MODIFIED if value > 2.4e6 else value
    # The years 1970 to 2099.
    if not 40587.0 <= day < 88000.0 or (value < 2.4e6 and "JD" in keyword and "MJD" not in keyword):
        return None
    comment = header.comments[keyword]
    scale = time_scale(header, comment)
    source = f"{keyword} = {card_text(header, keyword)}"
    error = _rounding(value)
    problem = "" if scale else f"TIMESYS = {card_text(header, 'TIMESYS')!r} is unknown"
    if day == int(day) or value == int(value):
        problem = f"{source} has no time of day"
    elif _is_local(comment):
        problem = f"{source} is in local time by its comment"
    elif error > _LARGEST_ERROR:
        problem = f"{source} is rounded to {error:.0f} s"
    whole = float(int(value))
    form = "jd" if value > 2.4e6 else "mjd"
    time = Time(whole, value - whole, format=form, scale=_astropy_scale(scale))
    return Instant(source, _part(comment, part), _shifted(time, scale), error, problem)


def _rounding(days: float) -> float:
    """Return the unit in seconds to which a Julian Date is rounded, by its digits or as single precision."""
    digits = 86400.0 * 10.0 ** -len(repr(days).partition(".")[2])
    single = np.float32(days)
    return max(digits, 86400.0 * float(np.spacing(single)) if float(single) == days else 0.0)


def _is_local(comment: str) -> bool:
    """Return whether the comment of a time calls it local and names no universal scale."""
    words = comment.lower()
    return _LOCAL.search(words) is not None and not re.search(r"\b(?:utc?|tai|tt)\b", words)


def _from_tai_seconds(header: Header) -> Instant | None:
    """Return the time of the card TAI of SDSS, seconds since MJD 0."""
    value = get_number(header, "TAI")
    if value is None or not 40587.0 <= value / 86400.0 < 88000.0:
        return None
    time = Time(value / 86400.0, format="mjd", scale="tai")
    return Instant(f"TAI = {value}", _part(header.comments["TAI"], "begin"), time, 1.0)


def _part(comment: str, default: str) -> str:
    """Return the part of the exposure that a comment names."""
    found = [part for part, words in _PARTS if words.search(comment.lower())]
    return found[0] if len(found) == 1 else default


def _time(date: str, seconds: float, scale: str | None) -> Time:
    with warnings.catch_warnings():
        # astropy warns about future leap seconds.
        warnings.simplefilter("ignore")
        time = Time(date, scale=_astropy_scale(scale)).tai + TimeDelta(seconds, format="sec")
    return _shifted(time, scale)


def _astropy_scale(scale: str | None) -> str:
    return {"gps": "tai", None: "utc"}.get(scale, scale or "utc")


def _shifted(time: Time, scale: str | None) -> Time:
    return time + TimeDelta(_GPS_OFFSET, format="sec") if scale == "gps" else time
