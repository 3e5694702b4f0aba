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

"""Units of the pixels of FITS images."""

from __future__ import annotations

__all__ = ("unit_flux",)

import warnings

import astropy.units as u
from astropy.io.fits import Header

from ..core.photometry import AB_ZEROPOINT_NJY


def unit_flux(header: Header) -> float | None:
    """Return the unit of the pixels in nJy if it is a flux density, `None` otherwise."""
    text = str(header.get("BUNIT", "")).strip()
    if not text:
        return None
    if text.lower() in ("nanomaggy", "nanomaggies", "nmgy"):
        return 10.0 ** (0.4 * (AB_ZEROPOINT_NJY - 22.5))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", u.UnitsWarning)
            return float(u.Unit(text).to(u.nJy))
    except (ValueError, TypeError, u.UnitConversionError):
        return None
