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

"""Codes of the Minor Planet Center: bands, notes and designations.

The lists are those of its field values for the Astrometry Data Exchange Standard
(https://www.minorplanetcenter.net/iau/info/ADESFieldValues.html) and of its notes on observations
(https://www.minorplanetcenter.net/iau/info/ObsNote.html).
"""

from __future__ import annotations

__all__ = (
    "MPC_BANDS",
    "RUBIN_INSTRUMENTS",
    "designation_fields",
    "mpc_band",
    "observation_notes",
)

import re
import string
from collections.abc import Mapping

RUBIN_INSTRUMENTS = ("LSSTCam", "LSSTComCam")
"""Butler names of the instruments of the Simonyi Survey Telescope, station X05."""

MPC_BANDS = frozenset(
    [
        *(f"L{band}" for band in "ugrizy"),
        *(f"S{band}" for band in "ugriz"),
        *(f"P{band}" for band in "grizyw"),
        *("U", "B", "V", "R", "I", "Uj", "Bj", "Vj", "Rj", "Rc", "Ic", "VR"),
        *("u", "g", "r", "i", "z", "y", "w", "Y", "J", "H", "K"),
        *("G", "Gb", "Gr", "C", "W", "L", "Ac", "Ao"),
    ]
)
"""Bands of the Minor Planet Center."""

_LSST_FILTERS = (*RUBIN_INSTRUMENTS, "TrailSimCam")
"""Butler names of the instruments whose bands ``u`` to ``y`` are the LSST's."""

_SLOAN = re.compile(
    r"sdss|sloan|[ugriz]'|(?<![a-z])[ugriz]_?(?:p|prime)(?![a-z0-9])|(?<![a-z])zs(?![a-z])", re.I
)
_PAN_STARRS = re.compile(r"pan-?_?starrs|(?<![a-z])ps1?(?![a-z])|(?<![a-z])[grizyw]p1(?![a-z0-9])", re.I)
_GAIA = re.compile(r"gaia", re.I)
_CLEAR = re.compile(r"clear|lum(?:inance)?|open|white|no filter|unfiltered|(?-i:C)", re.I)

_NUMBERED = re.compile(r"\(?(\d+)\)?(?: [A-Z][a-z].*| \(\d{4} [^)]+\))?")
_PERMANENT_COMET = re.compile(r"0*(\d+[IPD](?:-[A-Z]{1,2})?)(?:/.*)?")
_PROVISIONAL = re.compile(
    r"\d{4} [A-HJ-Y][A-HJ-Z]\d*|\d{4} (?:P-L|T-[123])|[ADCPX]/\d{4} [A-Z]{1,2}\d*(?:-[A-Z])?"
)
_COMET_NAME = re.compile(r" \(.+\)$")
_PACKED = re.compile(r"([IJK])(\d\d)([A-HJ-Y])([0-9A-Za-z])(\d)([A-HJ-Z])")
_PACKED_NUMBER = re.compile(r"([0-9A-Za-z])(\d{4})")
_BASE_62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def mpc_band(band: str, physical_filter: str = "", instrument: str = "") -> str:
    """Return the Minor Planet Center's code of a band.

    A letter alone does not tell which of several photometric systems it belongs to: lower-case bands need the
    name of a survey, or a prime, in the name of the filter.

    Parameters
    ----------
    band
        Band in a catalog, such as ``r``, or ``R`` of Johnson and Cousins.
    physical_filter
        Name of the filter, such as ``SDSS r``.
    instrument
        Butler name of the instrument.

    Returns
    -------
    code
        One of `MPC_BANDS`; empty if the band is unknown or not on the list.
    """
    if instrument in _LSST_FILTERS:
        return f"L{band}" if f"L{band}" in MPC_BANDS else ""
    name = physical_filter.strip()
    if _CLEAR.fullmatch(name):
        return "C"
    if _GAIA.search(name):
        return "G" if band == "G" or re.search(r"(?<![a-z])g(?![a-z])", name, re.I) else ""
    if band in ("U", "B", "V", "R", "I", "J", "H", "K"):
        return band
    for prefix, pattern in (("P", _PAN_STARRS), ("S", _SLOAN)):
        if pattern.search(name):
            # A band that is unknown, as of several filters in series, is not guessed from a letter.
            return f"{prefix}{band}" if f"{prefix}{band}" in MPC_BANDS else ""
    return ""


def observation_notes(row: Mapping[str, object], *, direction_known: bool) -> str:
    """Return the Minor Planet Center's notes on the observation of a trail.

    Parameters
    ----------
    row
        Row of a catalog of candidates.
    direction_known
        Whether it is known which end of the trail came first.

    Returns
    -------
    notes
        At most six codes: ``a`` sense of motion ambiguous, ``t`` trailed image, ``N`` the trail reaches the
        edge, so that its end is uncertain, or ``E`` near the edge, ``I`` involved with a star (saturated
        pixels), ``P`` position uncertain (the fit failed), ``F`` faint (SNR below 10) or ``V`` very faint
        (below 5).
    """
    snr = float(row["snr"])  # type: ignore[arg-type]
    codes = {
        "a": not direction_known,
        "t": True,
        "N": bool(row["trail_flag_edge"]),
        "E": bool(row["pixelFlags_edge"]) and not row["trail_flag_edge"],
        "I": bool(row["pixelFlags_saturated"]),
        "P": bool(row["trail_flag"]),
        "V": snr < 5.0,
        "F": 5.0 <= snr < 10.0,
    }
    return "".join(code for code, holds in codes.items() if holds)[:6]


def designation_fields(designation: str) -> dict[str, str]:
    """Return the field of a report for a designation.

    Parameters
    ----------
    designation
        Designation of a known object: a number, with or without parentheses and name; a provisional
        designation, such as ``2024 AB12`` or ``C/2023 A3``; a comet's number, such as ``2P``; or a packed
        designation, such as ``K24A12B``.

    Returns
    -------
    fields
        ``permID`` or ``provID``; empty if the designation has none of these forms.
    """
    text = designation.strip()
    # JPL Horizons writes the designation of an object without number in parentheses.
    if bracketed := re.fullmatch(r"\((\d{4} [^()]+)\)", text):
        text = bracketed[1]
    if packed := _PACKED.fullmatch(text):
        century, year, half_month, tens, ones, letter = packed.groups()
        cycle = 10 * _BASE_62.index(tens) + int(ones)
        return {"provID": f"{'IJK'.index(century) + 18}{year} {half_month}{letter}{cycle or ''}"}
    if found := _PERMANENT_COMET.fullmatch(text):
        return {"permID": found[1]}
    provisional = _COMET_NAME.sub("", text)
    if _PROVISIONAL.fullmatch(provisional):
        return {"provID": provisional}
    if (packed := _PACKED_NUMBER.fullmatch(text)) and not text.isdigit():
        return {"permID": str(10_000 * _BASE_62.index(packed[1]) + int(packed[2]))}
    if (found := _NUMBERED.fullmatch(text)) and int(found[1]) > 0:
        return {"permID": str(int(found[1]))}
    return {}
