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

from .cards import get_integer
from .header import find_exposure_time

NOMINAL_EXPOSURE_TIME = 30.0
"""Default exposure time, seconds."""

NOMINAL_DATE = "2000-01-01T12:00:00"
"""Default start of an exposure, UTC."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """Time of an exposure."""

    begin: Time
    """Start of the exposure, TAI."""

    end: Time
    """End of the exposure, TAI."""

    exposure_time: float
    """Seconds."""

    date_assumed: bool = False
    """Whether the date is only a default."""

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
        From the middle of the exposure (``DATE-AVG``, ``MJD-AVG``), else its start (``DATE-BEG``,
        ``MJD-BEG``, ``MJD-OBS``, ``DATE-OBS`` with ``TIME-OBS`` or ``UT``), and its duration. Missing values
        get defaults.

    Raises
    ------
    ValueError
        Raised if ``date`` cannot be parsed.
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
                f"Cannot parse the date {date!r}; write UTC as 2024-11-09T05:12:13.2 or as an MJD."
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
    # These keywords are older than TIMESYS, which the stack adds together with its own times: they are UTC.
    for value in (header.get("MJD-OBS"), _date_obs(header)):
        if (begin := _parse_time(value, "utc")) is not None:
            return starting(begin)
    return starting(Time(NOMINAL_DATE, scale="utc"), date_assumed=True)


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
    if timing.date_assumed:
        return 1 + digest % 999_999_999
    return timing.day_obs * 100_000 + timing.second


def _date_obs(header: Header) -> str | None:
    """Return DATE-OBS, with the time from another card if necessary."""
    date = str(header.get("DATE-OBS", "")).strip()
    if not date or "T" in date:
        return date or None
    for keyword in ("TIME-OBS", "UTSTART", "UTC-OBS", "UT", "UTC"):
        time = str(header.get(keyword, "")).strip()
        if ":" in time:
            return f"{date}T{time}"
    return date


def _parse_time(value: object, scale: str) -> Time | None:
    """Parse a time in ISO format or a Modified Julian Date."""
    if value is None or isinstance(value, bool):
        return None
    text = str(value).strip()
    try:
        with warnings.catch_warnings():
            # astropy warns about future leap seconds.
            warnings.simplefilter("ignore")
            try:
                time = Time(float(text), format="mjd", scale=scale)
            except ValueError:
                time = Time(text.removesuffix("Z"), scale=scale)
            # Butler times range from 1970 to 2100.
            return time if 1970.0 < time.decimalyear < 2099.0 else None
    except (ValueError, TypeError):
        return None
