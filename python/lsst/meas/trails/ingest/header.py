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

"""Zero point, saturation and detector from FITS headers of any telescope."""

from __future__ import annotations

__all__ = (
    "NOMINAL_ZEROPOINT",
    "ZeroPoint",
    "find_color_pattern",
    "find_detector",
    "find_saturation",
    "find_zeropoint",
)

import dataclasses
import re

import numpy as np
from astropy.io.fits import Header

from ..core.photometry import AB_ZEROPOINT_NJY
from .cards import card_text, get_integer, get_number
from .exposure_time import find_exposure_time
from .units import unit_flux

NOMINAL_ZEROPOINT = 27.0
"""Default AB magnitude of one count.

Magnitudes depend on it, detection does not.
"""

_ZEROPOINT_KEYWORDS = ("MAGZERO", "MAGZPT", "MAGZP", "PHOTZP")
_SATURATION_KEYWORDS = (("SATURATE",), ("SATLEVEL",), ("SATURATA", "SATURATB"))
_COLOR_KEYWORDS = (
    *("BAYERPAT", "BAYRPAT", "BAYERPATTERN", "BAYER", "COLORTYP", "COLORTYPE"),
    *("CFA", "CFAPAT", "CFATYPE", "CFAPATTERN"),
)
_DETECTOR_KEYWORDS = ("CCDNUM", "DETECTOR", "CHIPID", "CCDID", "CCD_ID", "IMAGEID")


@dataclasses.dataclass(frozen=True)
class ZeroPoint:
    """A photometric zero point."""

    magnitude: float
    """AB magnitude of one unit of the pixels."""

    source: str
    """Origin of the value."""

    assumed: bool = False
    """Whether the value is only a default."""

    @property
    def njy_per_count(self) -> float:
        """Flux of one unit of the pixels, nJy."""
        return float(10.0 ** (-0.4 * (self.magnitude - AB_ZEROPOINT_NJY)))


def find_zeropoint(header: Header, flux_per_count: float | None = None) -> ZeroPoint:
    """Find the photometric zero point of an image.

    Parameters
    ----------
    header
        Header of the image.
    flux_per_count
        Calibration of the stack, nJy per count.

    Returns
    -------
    zeropoint
        By priority: units of flux density (``BUNIT``); the calibration of the stack; ``FLUXMAG0``;
        ``MAGZERO``, ``MAGZPT``, ``MAGZP`` or ``PHOTZP``; `NOMINAL_ZEROPOINT`.
    """
    if (flux := unit_flux(header)) is not None:
        return _from_flux(flux, f"units of {header['BUNIT']}")
    if flux_per_count is not None:
        return _from_flux(flux_per_count, "the stack's PhotoCalib")
    zero_flux = get_number(header, "FLUXMAG0")
    if zero_flux is not None and zero_flux > 0.0:
        return ZeroPoint(2.5 * float(np.log10(zero_flux)), "FLUXMAG0")
    for keyword in _ZEROPOINT_KEYWORDS:
        value = get_number(header, keyword)
        if value is not None and 10.0 < value < 45.0:
            exposure_time = find_exposure_time(header)
            # The stack writes the zero point of counts per second into images
            # that are not divided by the exposure time.
            if keyword == "MAGZERO" and "MAGZERO_NOBJ" in header and exposure_time:
                return ZeroPoint(
                    value + 2.5 * float(np.log10(exposure_time)), "MAGZERO of the stack and EXPTIME"
                )
            return ZeroPoint(value, keyword)
    return ZeroPoint(NOMINAL_ZEROPOINT, "assumed", assumed=True)


def find_saturation(header: Header) -> float | None:
    """Find the saturation level of an image in units of the pixels.

    It is `None` if unknown or if the pixels are in units of flux density.
    """
    if unit_flux(header) is not None:
        return None
    level = _mean_number(header, _SATURATION_KEYWORDS)
    return level if level is not None and level > 0.0 else None


def find_color_pattern(header: Header) -> str | None:
    """Find the card of a raw frame of a color camera, such as ``BAYERPAT = 'RGGB'``."""
    for keyword in _COLOR_KEYWORDS:
        if header.get(keyword) is True:
            return f"{keyword} = T"
        if re.fullmatch(r"[RGBCMYW]{4,36}|TRUE", (text := card_text(header, keyword)).upper()):
            return f"{keyword} = {text!r}"
    return None


def find_detector(header: Header) -> int:
    """Find the detector number, 0 by default."""
    return get_integer(header, _DETECTOR_KEYWORDS, 0) or 0


def _mean_number(header: Header, alternatives: tuple[tuple[str, ...], ...]) -> float | None:
    """Return the mean over the first group of keywords with a number."""
    for keywords in alternatives:
        numbers = [number for keyword in keywords if (number := get_number(header, keyword)) is not None]
        if numbers:
            return float(np.mean(numbers))
    return None


def _from_flux(flux: float, source: str) -> ZeroPoint:
    return ZeroPoint(AB_ZEROPOINT_NJY - 2.5 * float(np.log10(flux)), source)
