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

"""Designations of minor planets, and their identifiers in the Rubin catalogs."""

from __future__ import annotations

__all__ = ("pack_designation", "plain_text", "ss_object_id", "unpack_designation")

import re

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PROVISIONAL = re.compile(r"(\d\d)(\d\d) ([A-HJ-Y])([A-HJ-Z])(\d{0,3})")
_PACKED = re.compile(r"([A-L])(\d\d)([A-HJ-Y])([0-9A-Za-z])(\d)([A-HJ-Z])")

_ID_LENGTHS = (7, 8)
"""Characters of a packed designation that has an identifier."""


def pack_designation(designation: str) -> str:
    """Return the packed form of a provisional designation.

    The form is described at https://www.minorplanetcenter.net/iau/info/PackedDes.html.

    Parameters
    ----------
    designation
        A designation such as ``2007 TA418``.

    Raises
    ------
    ValueError
        Raised if the designation is not provisional, or has a cycle of 620 or more.
    """
    found = _PROVISIONAL.fullmatch(designation.strip())
    if found is None:
        raise ValueError(f"{designation!r} is not a provisional designation such as '2007 TA418'.")
    century, year, half_month, order, cycle = found.groups()
    tens, units = divmod(int(cycle or 0), 10)
    if tens >= len(_DIGITS):
        raise ValueError(f"{designation!r} has a cycle of 620 or more and no packed form of 7 characters.")
    return f"{_DIGITS[int(century)]}{year}{half_month}{_DIGITS[tens]}{units}{order}"


def unpack_designation(packed: str) -> str:
    """Return the provisional designation of a packed form; other texts are returned unchanged."""
    found = _PACKED.fullmatch(packed.strip())
    if found is None:
        return packed.strip()
    century, year, half_month, tens, units, order = found.groups()
    cycle = 10 * _DIGITS.index(tens) + int(units)
    return f"{_DIGITS.index(century)}{year} {half_month}{order}{cycle or ''}"


def ss_object_id(designation: str) -> int:
    """Return the ``ssObjectId`` of a designation, 0 if it has none.

    Parameters
    ----------
    designation
        Provisional designation, packed or not.

    Notes
    -----
    In Rubin catalogs the identifier is the packed designation, with the codes of its 7 or 8 characters as the
    bytes of an integer.
    """
    text = designation.strip()
    if " " in text:
        try:
            text = pack_designation(text)
        except ValueError:
            return 0
    if len(text) not in _ID_LENGTHS or not text.isascii():
        return 0
    number = int.from_bytes(text.encode("ascii"), "big")
    return number if number < 1 << 63 else 0


def plain_text(value: object) -> str:
    """Return an element of a column as text without surrounding blanks; empty if it is missing.

    Columns of numbers with missing values become floating point on their way: 433.0 is 433, NaN is missing.
    """
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
