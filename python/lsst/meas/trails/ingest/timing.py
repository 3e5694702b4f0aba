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

"""When FITS images were exposed, and the visit that each belongs to."""

from __future__ import annotations

__all__ = ("NOMINAL_DATE", "NOMINAL_EXPOSURE_TIME", "Timing", "find_timing", "find_visit")

import dataclasses
import warnings
from typing import Any

from astropy.io.fits import Header
from astropy.time import Time, TimeDelta

from .header import find_exposure_time, get_number

NOMINAL_EXPOSURE_TIME = 30.0
"""Seconds that are assumed where nothing is known."""

NOMINAL_DATE = "2000-01-01T12:00:00"
"""UTC that is assumed where nothing is known."""

_VISIT_KEYWORDS = ("VISIT", "EXPNUM")


@dataclasses.dataclass(frozen=True)
class Timing:
    """When an image was exposed.

    Parameters
    ----------
    begin, end
        Start and end of the exposure, TAI.
    exposure_time
        Seconds.
    date_assumed, exposure_time_assumed
        Whether they are only a guess.
    """

    begin: Time
    end: Time
    exposure_time: float
    date_assumed: bool = False
    exposure_time_assumed: bool = False

    @property
    def day_obs(self) -> int:
        """The night, YYYYMMDD: the day that it begins on in the middle of
        the Pacific (`int`).
        """
        return int((self.begin.tai - TimeDelta(0.5, format="jd")).strftime("%Y%m%d"))

    @property
    def second(self) -> int:
        """Second of the night at which the exposure starts (`int`)."""
        shifted = (self.begin.tai - TimeDelta(0.5, format="jd")).to_datetime()
        return int(shifted.hour * 3600 + shifted.minute * 60 + shifted.second)


def find_timing(header: Header, *, date: str | None = None, exposure_time: float | None = None) -> Timing:
    """Find when an image was exposed.

    Parameters
    ----------
    header
        Header of the image.
    date
        UTC of the start of the exposure, in ISO format or as a Modified Julian
        Date, instead of what the header says.
    exposure_time
        Seconds, instead of what the header says.

    Returns
    -------
    timing
        From the middle of the exposure (``DATE-AVG``, ``MJD-AVG``), else its
        start (``DATE-BEG``, ``MJD-BEG``, ``MJD-OBS``, ``DATE-OBS`` with
        ``TIME-OBS`` or ``UT``), and its duration.  What is missing is
        assumed.

    Raises
    ------
    ValueError
        Raised if ``date`` is no date.
    """
    duration = exposure_time if exposure_time is not None else find_exposure_time(header)
    duration_assumed = duration is None or not 0.0 < duration < 1e6
    if duration is None or duration_assumed:
        duration = NOMINAL_EXPOSURE_TIME
    length = TimeDelta(duration, format="sec", scale="tai")

    def starting(begin: Time, date_assumed: bool = False) -> Timing:
        return Timing(begin.tai, begin.tai + length, duration, date_assumed, duration_assumed)

    if date is not None:
        begin = _parse_time(date, "utc")
        if begin is None:
            raise ValueError(
                f"{date!r} is no date: write 2024-11-09T05:12:13.2 or a Modified Julian Date, UTC."
            )
        return starting(begin)
    scale = str(header.get("TIMESYS", "UTC")).strip().lower()
    scale = scale if scale in ("utc", "tai", "tt", "tdb") else "utc"
    for keyword in ("DATE-AVG", "MJD-AVG"):
        if (middle := _parse_time(header.get(keyword), scale)) is not None:
            return starting(middle.tai - 0.5 * length)
    for keyword in ("DATE-BEG", "MJD-BEG"):
        if (begin := _parse_time(header.get(keyword), scale)) is not None:
            return starting(begin)
    # These are older than TIMESYS, and UTC also in files where a program has
    # added TIMESYS with its own times, as the stack does.
    for value in (header.get("MJD-OBS"), _date_obs(header)):
        if (begin := _parse_time(value, "utc")) is not None:
            return starting(begin)
    return starting(Time(NOMINAL_DATE, scale="utc"), date_assumed=True)


def find_visit(header: Header, timing: Timing, digest: int) -> int:
    """Find a number for the visit.

    Parameters
    ----------
    header
        Header of the image.
    timing
        When it was exposed.
    digest
        A number that depends on the contents of the file, for images of
        which nothing else is known.

    Returns
    -------
    visit
        ``VISIT`` or ``EXPNUM`` of the header; else the night as YYYYMMDD and
        five digits with the second of the night, so that the detectors of an
        exposure belong to one visit; else a number of up to nine digits that
        depends on the contents of the file.
    """
    for keyword in _VISIT_KEYWORDS:
        value = get_number(header, keyword)
        if value is not None and value == int(value) and value > 0:
            return int(value)
    if timing.date_assumed:
        return 1 + digest % 999_999_999
    return timing.day_obs * 100_000 + timing.second


def _date_obs(header: Header) -> str | None:
    """Return DATE-OBS, with the time from another card where it has none."""
    date = str(header.get("DATE-OBS", "")).strip()
    if not date or "T" in date:
        return date or None
    for keyword in ("TIME-OBS", "UTSTART", "UTC-OBS", "UT", "UTC"):
        time = str(header.get(keyword, "")).strip()
        if ":" in time:
            return f"{date}T{time}"
    return date


def _parse_time(value: Any, scale: str) -> Time | None:
    """Return a time in ISO format or a Modified Julian Date, if it is one."""
    if value is None or isinstance(value, bool):
        return None
    text = str(value).strip()
    try:
        with warnings.catch_warnings():
            # About leap seconds that are yet to be announced.
            warnings.simplefilter("ignore")
            try:
                time = Time(float(text), format="mjd", scale=scale)
            except ValueError:
                time = Time(text.removesuffix("Z"), scale=scale)
            # The Butler's time begins in 1970 and ends in 2100.
            return time if 1970.0 < time.decimalyear < 2099.0 else None
    except (ValueError, TypeError):
        return None
