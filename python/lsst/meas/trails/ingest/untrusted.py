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

__all__ = ("check_headers", "check_primary_header")

import os
import re
import zipfile
from typing import IO

import astropy.io.fits
import astropy.utils.data

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


def check_primary_header(path: str | os.PathLike[str]) -> None:
    """Check the first header of a file before astropy opens it.

    Parameters
    ----------
    path
        The file, optionally compressed as a whole.

    Raises
    ------
    ValueError
        Raised if a value exceeds its limits.
    OSError
        Raised if the file cannot be read.
    """
    if zipfile.is_zipfile(path):
        raise ValueError("the file is a ZIP archive: unpack it first")
    with astropy.utils.data.get_readable_fileobj(path, encoding="binary") as stream:
        _check(stream)


def check_headers(hdus: astropy.io.fits.HDUList) -> None:
    """Load the headers of an open file after checking each of them.

    Parameters
    ----------
    hdus
        The file, with a checked first header.

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
        stream = place["file"]
        stream.seek(place["datLoc"] + place["datSpan"])
        _check(stream)
    raise ValueError(f"the file has more than {_MAX_HDUS} HDUs")


def _check(stream: IO[bytes]) -> None:
    """Check the header at the position of a stream."""
    blocks: list[bytes] = []
    while not blocks or not _is_last(blocks[-1]):
        block = stream.read(_BLOCK)
        if len(blocks) == 0 and block[:8] not in (b"SIMPLE  ", b"XTENSION"):
            # astropy handles content that is not a header.
            return
        if not block:
            break
        blocks.append(block)
        if len(blocks) > _MAX_BLOCKS:
            raise ValueError(f"a header has more than {_MAX_BLOCKS * _BLOCK // _CARD} cards")
    header = astropy.io.fits.Header.fromstring(b"".join(blocks))
    for keyword in dict.fromkeys(header):
        for pattern, limit in _LIMITS:
            if pattern.fullmatch(keyword):
                value = header[keyword]
                if isinstance(value, (int, float)) and not 0 <= value <= limit:
                    raise ValueError(f"{keyword} is {value}")


def _is_last(block: bytes) -> bool:
    """Return whether a block of a header has the END card."""
    return any(block[i : i + 8].rstrip() == b"END" for i in range(0, len(block), _CARD))
