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

"""Filters and their bands from FITS headers."""

from __future__ import annotations

__all__ = ("MAX_BAND", "UNKNOWN_BAND", "Filter", "find_band", "find_filter")

import re
from typing import NamedTuple

from astropy.io.fits import Header

from .cards import card_text, parse_number

UNKNOWN_BAND = "unknown"
"""Name of the band of unknown filters."""

MAX_BAND = 32
"""Largest number of characters of a band in a repository."""

_KEYWORDS = (
    "FILTER",
    "FILTNAM",
    "FILTNAME",
    "FILTERID",
    "INSFILTE",
    *(f"FILTER{n}" for n in "123456"),
    "BAND",
)

_OPEN = re.compile(
    r"(?:OPEN|CLEAR|NONE|NO|AIR|EMPTY|BLANK|UNKNOWN|N[/_]?A|NULL|NOFILTER|NO FILTER|FREE|HOLE|OUT|CLR)"
    r"|(?:SLOT|POS|POSITION|FILTER|WHEEL)?[ _#\-]*\d+",
    re.IGNORECASE,
)
"""Names of empty places of a filter wheel, and numbers of places."""

_JOHNSON = r"(?:JOHNSON|BESSELL?|COUSINS|HARRIS|KRON|KC|LANDOLT)"
_SURVEY = (
    r"(?:SDSS|SLOAN|PS1?|PAN-?STARRS|HSC|DECAM|DES|LSST(?:CAM)?|ZTF|SM|SKYMAPPER|MEGACAM|MEGAPRIME|CFHT|VST"
    r"|OMEGACAM)"
)
_GAP = r"[ _.\-]*"
_REST = r"(?!\d{3})(?:[^A-Za-z+&,][^+&,]*)?"

# The first pattern that matches decides. The letter keeps its case where its
# system is not named: R is not r, nor is G, the green of a color camera, g.
_BANDS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Johnson and Cousins: "R_Cousins", "Bessell B", "Rc", "Vj".
    (re.compile(rf"{_JOHNSON}{_GAP}([UBVRI])(?:\W.*)?", re.IGNORECASE), "upper"),
    (re.compile(rf"([UBVRI]){_GAP}{_JOHNSON}.*", re.IGNORECASE), "upper"),
    (re.compile(r"([RI])[cC]|([UBVRI])[jJ]"), "upper"),
    # Surveys: "SDSS-Z", "HSC-I2", "g DECam SDSS c0001 4720.0 1520.0", "SDSS-r+".
    (re.compile(rf"{_SURVEY}{_GAP}([UGRIZYW])(?:'|\+|p|s|_?prime)?\d?", re.IGNORECASE), "lower"),
    (re.compile(rf"([UGRIZYW])(?:'|p|s)?{_GAP}{_SURVEY}\b.*", re.IGNORECASE), "lower"),
    # Small letters, also with a prime: "i_sim", "r.MP9601", "r'", "rp", "zs".
    (re.compile(r"([ugrizy])(?:p|_?prime)"), "lower"),
    (re.compile(r"(z)_?s"), "lower"),
    # Not "g'+r'", two filters, nor "u360", a narrow band.
    (re.compile(rf"([ugrizyw]){_REST}"), "lower"),
    # Capital letters; "H" and more is a line of hydrogen.
    (re.compile(rf"([UBVRIGZYJK]){_REST}|(H)"), "upper"),
)


_OTHER = re.compile(r"str(?:o|oe|\W)?m", re.IGNORECASE)
"""Systems with letters of their own: Stromgren's u and y are neither Sloan's nor LSST's."""


class Filter(NamedTuple):
    """A filter and its band."""

    name: str
    band: str


def find_filter(header: Header, band: str | None = None) -> Filter:
    """Find the filter of an image.

    Parameters
    ----------
    header
        Header of the image.
    band
        Band of the filter; by default from the name of the filter.

    Returns
    -------
    filter
        The first filter of the header that is not an empty place of a wheel, and its band; see `find_band`.
    """
    names = []
    for keyword in _KEYWORDS:
        text = (
            re.sub(r"[^\x21-\x7e]+", " ", card_text(header, keyword)).replace("/", "_").strip()[:32].strip()
        )
        if text:
            names.append(text)
    used = [name for name in names if not _OPEN.fullmatch(name) and parse_number(name) is None]
    name = next(iter([*used, *names]), "")
    if band is not None:
        return Filter(name or band, band)
    return Filter(name or UNKNOWN_BAND, find_band(used[0]) if used else UNKNOWN_BAND)


def find_band(name: str) -> str:
    """Find the band of a filter.

    Parameters
    ----------
    name
        Name of the filter.

    Returns
    -------
    band
        A small letter for Sloan's, LSST's and similar filters, with or without a prime; a capital letter for
        Johnson's and Cousins' and for all other filters that are called by a capital letter; `UNKNOWN_BAND`
        for others.
    """
    if _OTHER.search(name):
        return UNKNOWN_BAND
    for pattern, case in _BANDS:
        if match := pattern.fullmatch(name.strip()):
            letter = next(group for group in match.groups() if group)
            return letter.upper() if case == "upper" else letter.lower()
    return UNKNOWN_BAND
