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

"""Numbers in FITS cards, also if they are written as text or with a unit."""

from __future__ import annotations

__all__ = ("Number", "card_text", "get_integer", "get_number", "parse_number", "read_number")

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from astropy.io.fits import Header

_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?)\s*(.*)", re.DOTALL)

# A unit begins with a letter: "10:00:00", "2024-03-10" and "5h12m" are not numbers.
_UNIT = re.compile(r"[\[(/]?\s*(?![hdm]\s?\d)([A-Za-z\u00b5\u03bc%].*)", re.DOTALL)
_COMMENT_UNIT = re.compile(r"^\s*[\[(]\s*([^\])]{1,20})[\])]")


class Number(NamedTuple):
    """A number of a card."""

    value: float
    """The number, finite."""

    unit: str
    """Text after the number, or the unit in brackets that begins the comment; may be empty."""


def parse_number(value: object) -> Number | None:
    """Parse the value of a card.

    Parameters
    ----------
    value
        A number, or its text, such as ``1.5D+02`` or ``30 s``.

    Returns
    -------
    number
        `None` if the value is not a finite number.
    """
    unit = ""
    if value is None or isinstance(value, (bool, np.bool_)):
        return None
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value.strip())
        if match is None:
            return None
        value, rest = match.group(1).upper().replace("D", "E"), match.group(2).strip()
        if rest:
            unit_match = _UNIT.fullmatch(rest)
            if unit_match is None:
                return None
            unit = unit_match.group(1).strip("[]() ")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return Number(number, unit) if np.isfinite(number) else None


def read_number(header: Header, keyword: str) -> Number | None:
    """Return the number of a card with its unit, `None` if the header has none."""
    number = parse_number(header.get(keyword))
    if number is not None and not number.unit and (match := _COMMENT_UNIT.match(header.comments[keyword])):
        return Number(number.value, match.group(1).strip())
    return number


def get_number(header: Header, keyword: str) -> float | None:
    """Return the number of a card, `None` if the header has none."""
    number = parse_number(header.get(keyword))
    return None if number is None else number.value


def get_integer(header: Header, keywords: Iterable[str], minimum: int) -> int | None:
    """Return the first integer of some keywords that reaches a minimum."""
    for keyword in keywords:
        value = get_number(header, keyword)
        if value is not None and value == int(value) and value >= minimum:
            return int(value)
    return None


def card_text(header: Header, keyword: str) -> str:
    """Return the value of a card as text without spaces around it, empty if there is none."""
    value = header.get(keyword)
    return "" if value is None or isinstance(value, bool) else str(value).strip()
