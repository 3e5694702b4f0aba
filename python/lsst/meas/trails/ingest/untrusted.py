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

"""Limits for header values of untrusted FITS files."""

from __future__ import annotations

__all__ = ("IncompleteFileError", "check_headers", "find_end")

import math
import os
import re
from typing import IO

import astropy.io.fits

_BLOCK = 2880
_CARD = 80

_MAX_BLOCKS = 10_000
"""Largest number of blocks of a header (360 000 cards)."""

_MAX_HDUS = 10_000

_LIMITS: tuple[tuple[re.Pattern[str], int], ...] = tuple(
    (re.compile(pattern), limit)
    for pattern, limit in (
        # Limits of the FITS standard.
        (r"Z?NAXIS|TFIELDS|WCSAXES[A-Z]?", 999),
        # Distortion polynomials are of lower order.
        (r"[AB]P?_ORDER", 20),
        # These locate the next header.
        (r"Z?NAXIS\d+|[PG]COUNT", 2**62),
    )
)
"""Upper limits of values that control loops or the position of the next header.

The lower limit is 0.
"""


class IncompleteFileError(ValueError):
    """Raised if a file is truncated or damaged after its first header."""


def find_end(stream: IO[bytes]) -> int:
    """Check the headers of a file before astropy opens it, and find the end of its last HDU.

    The padding of the last block may be missing, and zeros, blanks or less than a block of anything may
    follow the last HDU.

    Parameters
    ----------
    stream
        The file, unpacked; it is rewound.

    Returns
    -------
    end
        Number of bytes to read; astropy fails on bytes after the last HDU.

    Raises
    ------
    ValueError
        Raised if a value exceeds its limits, or the file has too many HDUs.
    IncompleteFileError
        Raised if the file is truncated, or continues with something that is not an HDU.
    """
    size = stream.seek(0, os.SEEK_END)
    end = number = 0
    stream.seek(0)
    while (header := _check(stream)) is not None:
        if number == _MAX_HDUS:
            raise ValueError(f"the file has more than {_MAX_HDUS} HDUs")
        start = stream.tell()
        length = _data_size(header)
        if length is None:
            # astropy decides what it is.
            end = size
            break
        if size < start + length:
            raise IncompleteFileError(
                f"the file is truncated: HDU {number} ends at byte {start + length}, the file at {size}"
            )
        end = start + -(-length // _BLOCK) * _BLOCK
        stream.seek(end)
        number += 1
    else:
        if number > 0:
            _check_rest(stream, end, number)
    stream.seek(0)
    return end if 0 < end < size else size


def check_headers(hdus: astropy.io.fits.HDUList, stream: IO[bytes]) -> None:
    """Load the headers of an open file after checking each of them where astropy finds it.

    Parameters
    ----------
    hdus
        The file.
    stream
        The stream that astropy reads.

    Raises
    ------
    ValueError
        Raised if a value exceeds its limits or the file has too many HDUs.
    """
    for number in range(_MAX_HDUS):
        try:
            # HDUList.fileinfo changes nonstandard cards.
            place = hdus[number].fileinfo()
        except IndexError:
            return
        stream.seek(place["datLoc"] + place["datSpan"])
        _check(stream)
    raise ValueError(f"the file has more than {_MAX_HDUS} HDUs")


def _check_rest(stream: IO[bytes], end: int, number: int) -> None:
    """Check that nothing of importance follows the last HDU."""
    stream.seek(end)
    while len(rest := stream.read(_BLOCK)) == _BLOCK:
        if rest.strip(b"\0 "):
            raise IncompleteFileError(
                f"the file is damaged: what follows HDU {number - 1} at byte {end} is not an HDU"
            )


def _data_size(header: astropy.io.fits.Header) -> int | None:
    """Return the size of the data of an HDU without padding, bytes."""
    try:
        axes = [int(header[f"NAXIS{axis}"]) for axis in range(1, int(header["NAXIS"]) + 1)]
        # Random groups have an empty first axis.
        groups = bool(axes) and axes[0] == 0 and header.get("GROUPS") is True
        pixels = math.prod(axes[1:] if groups else axes)
        values = int(header.get("GCOUNT", 1)) * (int(header.get("PCOUNT", 0)) + pixels)
        return abs(int(header["BITPIX"])) // 8 * values if axes else 0
    except (KeyError, TypeError, ValueError, astropy.io.fits.VerifyError):
        return None


def _check(stream: IO[bytes]) -> astropy.io.fits.Header | None:
    """Check and return the header at the position of a stream, `None` if there is none."""
    blocks: list[bytes] = []
    while not blocks or not _is_last(blocks[-1]):
        block = stream.read(_BLOCK)
        if len(blocks) == 0 and block[:8] not in (b"SIMPLE  ", b"XTENSION"):
            # astropy handles content that is not a header.
            return None
        if not block:
            raise IncompleteFileError(f"the file is truncated in a header, at byte {stream.tell()}")
        blocks.append(block)
        if len(blocks) > _MAX_BLOCKS:
            raise ValueError(f"a header has more than {_MAX_BLOCKS * _BLOCK // _CARD} cards")
    header = astropy.io.fits.Header.fromstring(b"".join(blocks))
    if header.get("SIMPLE") is False:
        raise ValueError("SIMPLE = F, so the file does not follow the FITS standard")
    for keyword in dict.fromkeys(header):
        for pattern, limit in _LIMITS:
            if pattern.fullmatch(keyword):
                value = header[keyword]
                if isinstance(value, (int, float)) and not 0 <= value <= limit:
                    raise ValueError(f"{keyword} is {value}")
    return header


def _is_last(block: bytes) -> bool:
    """Return whether a block of a header has the END card."""
    return any(block[i : i + 8].rstrip() == b"END" for i in range(0, len(block), _CARD))
