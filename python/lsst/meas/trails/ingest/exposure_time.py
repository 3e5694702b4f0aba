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

"""Exposure times of FITS headers."""

from __future__ import annotations

__all__ = ("LONGEST_EXPOSURE", "find_exposure_time")

import re

from astropy.io.fits import Header

from .cards import parse_number

_KEYWORDS = ("EXPTIME", "EXPOSURE", "TEXPTIME", "EXP_TIME", "ITIME", "XPOSURE", "TELAPSE", "EXPMS", "EXP_MS")

_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millisec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
"""Seconds in a unit."""

_AMBIGUOUS = ("s", "m", "min", "mins", "h", "d")
"""Units that are other words as well, unless they stand in brackets."""

LONGEST_EXPOSURE = 1e6
"""Limit of plausible exposure times, seconds."""


def find_exposure_time(header: Header) -> float | None:
    """Find the exposure time of an image.

    Parameters
    ----------
    header
        Header of the image.

    Returns
    -------
    exposure_time
        Seconds, `None` if unknown. The unit is in the value, as in ``30 ms``, in the comment of the card or
        in its name (``EXPMS``), and otherwise a second.
    """
    for keyword in _KEYWORDS:
        number = parse_number(header.get(keyword))
        if number is None:
            continue
        if number.unit and number.unit.lower().strip(". ") not in _SECONDS:
            # In "30 frames" the number alone would be wrong.
            continue
        seconds = number.value * _unit(number.unit, header.comments[keyword], keyword)
        if 0.0 < seconds < LONGEST_EXPOSURE:
            return seconds
    return None


def _unit(text: str, comment: str, keyword: str) -> float:
    """Return the unit of a card in seconds."""
    if text.lower().strip(". ") in _SECONDS:
        return _SECONDS[text.lower().strip(". ")]
    comment = comment.lower()
    for bracket in re.findall(r"[\[(]\s*([a-z]+)\.?\s*[\])]", comment):
        if bracket in _SECONDS:
            return _SECONDS[bracket]
    for word in re.findall(r"[a-z]+", comment):
        if word in _SECONDS and word not in _AMBIGUOUS:
            return _SECONDS[word]
    return 1e-3 if keyword.endswith("MS") else 1.0
