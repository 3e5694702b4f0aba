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

"""Exposure time, date and visit number from FITS headers."""

from __future__ import annotations

__all__ = ("NOMINAL_DATE", "NOMINAL_EXPOSURE_TIME", "Timing", "find_timing", "find_visit")

import dataclasses
import warnings

from astropy.io.fits import Header
from astropy.time import Time, TimeDelta

from .cards import card_text, get_integer, parse_number
from .exposure_time import LONGEST_EXPOSURE, find_exposure_time
from .instants import Instant, clock_time, find_instants

NOMINAL_EXPOSURE_TIME = 30.0
"""Default exposure time, seconds."""

NOMINAL_DATE = "2000-01-01T12:00:00"
"""Default start of an exposure, UTC."""

_PARTS = {"begin": 0.0, "middle": 0.5, "end": 1.0}
"""Fraction of the exposure before a part of it, in the order of time."""

_LARGEST_DIFFERENCE = 120.0
"""Largest difference of times of the same moment, seconds.

Time scales differ by up to 70 s.
"""

_LARGEST_GAP = 3600.0
"""Largest part of an exposure of several reads in which the shutter is closed, seconds."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """Time of an exposure."""

    begin: Time
    """Start of the exposure, TAI."""

    end: Time
    """End of the exposure, TAI."""

    exposure_time: float
    """Seconds."""

    time_problem: str = ""
    """Reason why the time is a guess, empty if it is not."""

    exposure_time_assumed: bool = False
    """Whether the exposure time is only a default."""

    @property
    def day_obs(self) -> int:
        """The night as YYYYMMDD, the date of TAI minus 12 hours."""
        return int(self._in_night.strftime("%Y%m%d"))

    @property
    def second(self) -> int:
        """Second of the night at the start of the exposure."""
        shifted = self._in_night.to_datetime()
        return int(shifted.hour * 3600 + shifted.minute * 60 + shifted.second)

    @property
    def _in_night(self) -> Time:
        return self.begin.tai - TimeDelta(0.5, format="jd")


def find_timing(header: Header, *, date: str | None = None, exposure_time: float | None = None) -> Timing:
    """Find the time of an exposure.

    Parameters
    ----------
    header
        Header of the image.
    date
        UTC of the start of the exposure, in ISO format or as a Modified Julian Date, which replaces the
        header's.
    exposure_time
        Seconds, which replace the header's.

    Returns
    -------
    timing
        From the middle of the exposure (``DATE-AVG`` and the like), else its start (``DATE-BEG``,
        ``DATE-OBS``, ``MJD-OBS`` and the like), else its end, and its duration. ``TIMESYS`` is the time scale
        of all of them. Missing values get defaults and are marked, as are a date without a time of day and
        times that contradict each other.

    Raises
    ------
    ValueError
        Raised if ``date`` cannot be parsed, or the exposure takes longer than from its start to its end.
    """
    instants = find_instants(header)
    elapsed, source, error = _elapsed(instants)
    duration = exposure_time if exposure_time is not None else find_exposure_time(header)
    if exposure_time is None and duration is not None and elapsed and duration > 1.1 * elapsed + 2.0 + error:
        raise ValueError(
            f"the exposure time in the header is {duration:g} s, but from {source} it is {elapsed:g} s; pass "
            "the right one with --exposure-time"
        )
    duration = duration or elapsed
    duration_assumed = duration is None or not 0.0 < duration < LONGEST_EXPOSURE
    if duration is None or duration_assumed:
        duration = NOMINAL_EXPOSURE_TIME
    length = TimeDelta(duration, format="sec", scale="tai")

    def starting(begin: Time, problem: str = "") -> Timing:
        return Timing(begin.tai, begin.tai + length, duration, problem, duration_assumed)

    if date is not None:
        return starting(_parse_option(date))
    for part in ("middle", "begin", "end"):
        for instant in instants:
            if instant.part == part and not instant.problem:
                return starting(
                    instant.time.tai - _PARTS[part] * length, _contradiction(instant, instants, duration)
                )
    if instants:
        return starting(instants[0].time.tai, instants[0].problem)
    return starting(Time(NOMINAL_DATE, scale="utc"), _no_date(header))


def find_visit(header: Header, timing: Timing, digest: int) -> int:
    """Find the visit number.

    Parameters
    ----------
    header
        Header of the image.
    timing
        Time of the exposure.
    digest
        A number from the contents of the file.

    Returns
    -------
    visit
        ``VISIT`` or ``EXPNUM`` of the header; else the night as YYYYMMDD and five digits with the second of
        the night, which the detectors of an exposure share; else up to nine digits from the contents of the
        file.
    """
    if (number := get_integer(header, ("VISIT", "EXPNUM"), 1)) is not None:
        return number
    if timing.time_problem:
        return 1 + digest % 999_999_999
    return timing.day_obs * 100_000 + timing.second


def _parse_option(date: str) -> Time:
    with warnings.catch_warnings():
        # astropy warns about future leap seconds.
        warnings.simplefilter("ignore")
        number = parse_number(date)
        if number is not None and 40587.0 <= number.value < 88000.0:
            return Time(number.value, format="mjd", scale="utc")
        time = clock_time(date, "utc")
    if time is None:
        raise ValueError(
            f"the date {date!r} cannot be parsed; write UTC with the time of day, as 2024-11-09T05:12:13.2, "
            "or as an MJD"
        )
    return time


def _elapsed(instants: list[Instant]) -> tuple[float | None, str, float]:
    """Return the seconds from the start to the end of an exposure, the cards, and the error."""
    ends = {i.part: i for i in reversed(instants) if not i.problem}
    if "begin" not in ends or "end" not in ends:
        return None, "", 0.0
    begin, end = ends["begin"], ends["end"]
    seconds = float((end.time - begin.time).sec)
    source = f"{begin.source} to {end.source}"
    return (seconds if seconds > 0.0 else None), source, begin.error + end.error


def _contradiction(chosen: Instant, instants: list[Instant], duration: float) -> str:
    """Return which other card has another time, empty if none.

    Starts, middles and ends may be farther apart than the exposure time, in this order.
    """
    order = list(_PARTS)
    for other in instants:
        if other.problem:
            continue
        later, earlier = sorted((other, chosen), key=lambda instant: -order.index(instant.part))
        difference = float((later.time - earlier.time).sec)
        same = other.part == chosen.part
        most = 0.0 if same else _LARGEST_GAP + 2.0 * duration
        tolerance = _LARGEST_DIFFERENCE + other.error + chosen.error
        if difference > most + tolerance or difference < -tolerance:
            return f"{chosen.source} and {other.source} differ by {abs(difference):.0f} s"
    return ""


def _no_date(header: Header) -> str:
    text = card_text(header, "DATE-OBS")
    return f"DATE-OBS = {text!r} is not understood" if text else "the header has no date"
