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

"""WCS of FITS headers, made of parsed cards and verified against them.

wcslib ignores a number that is written as text, reads ``1.5D+02`` as 1.5, and uses its defaults instead.
"""

from __future__ import annotations

__all__ = ("read_wcs",)

import re
import warnings
from collections.abc import Iterable

import astropy.units as u
import astropy.wcs
import numpy as np
import numpy.typing as npt
from astropy.io.fits import Card, HDUList, Header, VerifyError
from astropy.utils.exceptions import AstropyWarning

from .cards import parse_number
from .wcs import ProjectionError

_NUMBERS = re.compile(
    r"(?:CRVAL|CRPIX|CDELT|CROTA)\d|(?:CD|PC|PV)\d+_\d+|[AB]P?_(?:\d+_\d+|ORDER|DMAX)|WCSAXES|LONPOLE|LATPOLE"
)
_EQUINOXES = ("EQUINOX", "EPOCH")
_SYSTEMS = ("RADESYS", "RADECSYS")
_TEXTS = re.compile(r"(?:CTYPE|CUNIT)\d|RADESYS|RADECSYS")
_TNX = re.compile(r"WAT\d_\d{3}")
"""Polynomials of the projections TNX and ZPX, as text."""

_KNOWN_SYSTEMS = ("ICRS", "FK5", "FK4", "FK4-NO-E")
_OTHER_UNIT = re.compile(r"\b(?:hours?|hrs|radians?)\b")
_PIXEL_UNITS = ("pix", "pixel", "pixels")

_RELATIVE_TOLERANCE = 1e-9


def read_wcs(header: Header, hdus: HDUList | None = None) -> astropy.wcs.WCS | None:
    """Make the celestial WCS of a header from its parsed cards.

    Parameters
    ----------
    header
        Header of an image.
    hdus
        The file, for lookup tables of distortions.

    Returns
    -------
    wcs
        WCS of the two celestial axes in their order; `None` if the header has none.

    Raises
    ------
    ProjectionError
        Raised if a card of the WCS cannot be read, is missing or contradicts another, or if wcslib
        understands the header differently; the message names the card.
    """
    parsed = _parsed(header)
    if not any(name.startswith("CTYPE") for name in parsed):
        return None
    try:
        with warnings.catch_warnings():
            # astropy warns about obsolete keywords, which it converts.
            warnings.simplefilter("ignore", AstropyWarning)
            wcs = astropy.wcs.WCS(parsed, fobj=hdus)
    except Exception as error:
        # wcslib raises many exceptions of its own.
        raise ProjectionError(
            f"there is no celestial WCS ({' '.join(str(error).split())}); solve the image, for example with "
            "astrometry.net"
        ) from error
    if not wcs.has_celestial:
        return None
    _check_system(wcs, parsed)
    _compare(wcs, parsed)
    return wcs.celestial


def _parsed(header: Header) -> Header:
    """Return a header whose cards of the WCS are numbers and texts in capital letters."""
    result = Header()
    for card in header.cards:
        keyword = card.keyword
        is_number = _NUMBERS.fullmatch(keyword) is not None or keyword in _EQUINOXES
        is_text = _TEXTS.fullmatch(keyword) is not None
        try:
            value = card.value
        except (VerifyError, ValueError):
            if is_number or is_text:
                raise ProjectionError(f"{keyword} cannot be read; correct this card of the WCS") from None
            continue
        if _TNX.fullmatch(keyword) and isinstance(value, str):
            # A number may continue on the next card.
            result[keyword] = re.sub(r"(?<=[\d.])[dD](?=[+-]?\d|$)", "E", value)
            continue
        if not (is_number or is_text):
            result.append(card)
            continue
        if is_text:
            value = _text(card)
        elif keyword in _EQUINOXES:
            value = _equinox(card)
        else:
            value = _number(card)
        if value is None:
            continue
        if keyword in result and result[keyword] != value:
            raise ProjectionError(
                f"{keyword} is given twice, as {result[keyword]} and {value}; remove the wrong card"
            )
        result[keyword] = value
    return _with_tpv(result)


def _with_tpv(header: Header) -> Header:
    """Return the header with the distortions of SCAMP, which calls them TAN, as TPV.

    By the standard, the axis of the latitude of TAN has no parameters, and that of the longitude has none
    beyond 4 (Calabretta & Greisen 2002, A&A 395, 1077, sections 2.5 and 5.1.3).
    """
    codes = {axis: str(header.get(f"CTYPE{axis}", "")) for axis in (1, 2)}
    if sorted(code[4:] for code in codes.values()) != ["-TAN", "-TAN"]:
        return header
    latitude = next((axis for axis, code in codes.items() if code.startswith("DEC-")), 0)
    numbers = [match.groups() for name in header if (match := re.fullmatch(r"PV([12])_(\d+)", name))]
    if any(int(axis) == latitude or int(number) > 4 for axis, number in numbers):
        for axis, code in codes.items():
            header[f"CTYPE{axis}"] = code.replace("-TAN", "-TPV")
    return header


def _number(card: Card) -> float | int:
    number = parse_number(card.value)
    units = _PIXEL_UNITS if card.keyword.startswith("CRPIX") else ("deg", "degree", "degrees")
    if number is None or (number.unit and number.unit.lower() not in units):
        raise ProjectionError(
            f"{card.keyword} = {card.value!r} is not a number; write it as one, angles in degrees"
        )
    unit = _OTHER_UNIT.search(card.comment.lower()) if card.keyword.startswith("CRVAL") else None
    if unit is not None and abs(number.value) <= 24.0 and "deg" not in card.comment.lower():
        raise ProjectionError(
            f"{card.keyword} = {card.value!r} is in {unit[0]} by its comment; write it in degrees"
        )
    integer = card.keyword == "WCSAXES" or card.keyword.endswith("_ORDER")
    return int(number.value) if integer else number.value


def _equinox(card: Card) -> float | None:
    if str(card.value).strip() in ("", "N/A"):
        return None
    number = parse_number(re.sub(r"^\s*[JB]", "", card.value) if isinstance(card.value, str) else card.value)
    if number is None:
        raise ProjectionError(f"{card.keyword} = {card.value!r} is not a year; write 2000.0")
    return number.value


def _text(card: Card) -> str | None:
    text = str(card.value or "").strip()
    if not card.keyword.startswith("CUNIT"):
        return text.upper() or None
    return "deg" if text.lower() in ("deg", "degree", "degrees") else text or None


def _check_system(wcs: astropy.wcs.WCS, header: Header) -> None:
    """Raise if the reference system of equatorial coordinates is unknown."""
    if not str(wcs.wcs.ctype[wcs.wcs.lng]).startswith("RA"):
        return
    keyword = next((name for name in _SYSTEMS if name in header), None)
    if keyword is not None and header[keyword] not in _KNOWN_SYSTEMS:
        raise ProjectionError(
            f"{keyword} = {header[keyword]!r} is none of {', '.join(_KNOWN_SYSTEMS)}; write the right one, "
            "as ICRS, or FK5 with EQUINOX = 2000.0"
        )


def _compare(wcs: astropy.wcs.WCS, header: Header) -> None:
    """Raise if reference point, scale, rotation or parity are not as in the header."""
    axes = (wcs.wcs.lng, wcs.wcs.lat)
    for axis in axes:
        unit = _degrees(header, axis)
        for keyword, found, factor in (
            (f"CRVAL{axis + 1}", wcs.wcs.crval[axis], unit),
            (f"CRPIX{axis + 1}", wcs.wcs.crpix[axis], 1.0),
        ):
            if keyword not in header:
                raise ProjectionError(f"{keyword} of the WCS is missing; solve the image again")
            if not _equal(found, header[keyword] * factor):
                raise ProjectionError(f"{keyword} is {header[keyword]}, but wcslib reads {found / factor}")
    expected = _matrix(header, axes)
    actual = np.asarray(wcs.pixel_scale_matrix)[np.ix_(axes, axes)]
    if expected is not None and not _equal(actual, expected):
        raise ProjectionError(
            f"scale and rotation are {_numbers(expected)} degrees in the header, but wcslib reads "
            f"{_numbers(actual)}; write them as CD1_1, CD1_2, CD2_1 and CD2_2"
        )


def _matrix(header: Header, axes: tuple[int, int]) -> npt.NDArray[np.float64] | None:
    """Return the derivatives of the intermediate coordinates, degrees per pixel.

    It is `None` if the header has them in more than one way.
    """
    elements = [[(i + 1, j + 1) for j in axes] for i in axes]
    kinds = {kind: any(re.fullmatch(rf"{kind}\d+_\d+", name) for name in header) for kind in ("CD", "PC")}
    rotations = [header[f"CROTA{i + 1}"] for i in axes if header.get(f"CROTA{i + 1}")]
    if kinds["CD"] + kinds["PC"] + bool(rotations) > 1:
        return None
    units = np.array([[_degrees(header, i)] for i in axes])
    if kinds["CD"]:
        matrix = [[header.get(f"CD{i}_{j}", 0.0) for i, j in row] for row in elements]
        return np.array(matrix) * units
    scales = np.array([header.get(f"CDELT{i + 1}", 1.0) for i in axes])
    if kinds["PC"]:
        turn = [[header.get(f"PC{i}_{j}", float(i == j)) for i, j in row] for row in elements]
        return np.array(turn) * scales[:, None] * units
    # The rotation belongs to the latitude (Calabretta & Greisen 2002, A&A 395, 1077, section 6.1).
    other, own = (f"CROTA{i + 1}" for i in axes)
    if header.get(other) and header[other] != header.get(own):
        raise ProjectionError(
            f"{other} is {header[other]}, but the rotation is read from {own}, which is "
            f"{header.get(own, 'missing')}; write {own} only, or CD1_1, CD1_2, CD2_1 and CD2_2"
        )
    angle = np.deg2rad(header.get(own, 0.0))
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]]) * scales * units


def _degrees(header: Header, axis: int) -> float:
    """Return the unit of a celestial axis in degrees."""
    return float(u.Unit(header.get(f"CUNIT{axis + 1}", "deg")).to(u.deg))


def _equal(found: npt.ArrayLike, expected: npt.ArrayLike) -> bool:
    scale = float(np.max(np.abs(expected)))
    return bool(np.allclose(found, expected, rtol=0.0, atol=_RELATIVE_TOLERANCE * scale))


def _numbers(matrix: Iterable[Iterable[float]]) -> str:
    return ", ".join(f"{value:.4g}" for row in matrix for value in row)
