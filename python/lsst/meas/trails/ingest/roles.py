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

"""Content of the HDUs of FITS files: image, mask, variance, error, weight."""

from __future__ import annotations

__all__ = ("find_role",)

import re

from astropy.io.fits import Header

_NAMES: tuple[tuple[str, str], ...] = (
    ("mask", "MASK|MSK|BPM|BPMASK|BAD_?PIX(?:ELS?)?(?:_?MASK)?|DQ|DQM|DQMASK|FLAGS?|(?:DATA_?)?QUAL(?:ITY)?"),
    ("inverse", "IVAR|IVM|INV_?VAR|INV(?:ERSE)?_?VARIANCE"),
    ("variance", "VARIANCE|VAR|STAT"),
    ("error", "ERRORS?|ERR|SIGMA|SIG|RMS|UNC|UNCERT|UNCERTAINTY|STD|STDDEV|NOISE"),
    ("weight", "WEIGHTS?|WHT|WGT|WT|CONF|CONFIDENCE"),
)
"""Content by the last word of EXTTYPE (the stack's calexps) or EXTNAME."""

_KIND = r"(?:[_\-. ]?(?:IMAGE|IMG|MAP|ARRAY|PLANE|EXT))?"
_PATTERNS = tuple(
    (role, re.compile(rf"(?:.*[_\-. ])?(?:{names}){_KIND}[_\-. ]?\d*")) for role, names in _NAMES
)
_OTHER = re.compile(
    r"(?:CAT|CATALOG|PSF|PSFIMAGE|BKG|BACK|BACKGROUND|SKY|SKYMODEL|EXP|EXPMAP|EXPOSURE_?MAP|COVERAGE|NEXP|CTX"
    r"|CON|SEGM|SEGMENTATION|MODEL|FLAT|BIAS|DARK|THUMBNAIL|PREVIEW|D2IMARR|WCSDVARR)[_ ]?\d*"
)
"""Names of HDUs that are neither an image to search nor needed with it."""

_UNCERTAINTIES = {
    "STDDEVUNCERTAINTY": "error",
    "STD": "error",
    "VARIANCEUNCERTAINTY": "variance",
    "VAR": "variance",
    "INVERSEVARIANCE": "inverse",
    "IVAR": "inverse",
}
"""Content by UTYPE of `astropy.nddata.CCDData`."""

_ESO_ERRORS = {"MSE": "variance", "RMSE": "error", "INVMSE": "inverse", "INVRMSE": "weight"}
"""Content by HDUCLAS3, where HDUCLAS2 is ERROR (data format of the European Southern Observatory)."""


def find_role(header: Header) -> str:
    """Find the content of an HDU with an image.

    Parameters
    ----------
    header
        Header of the HDU.

    Returns
    -------
    role
        ``image``, ``mask``, ``variance``, ``error`` (standard deviation), ``inverse`` (inverse variance),
        ``weight`` (relative inverse variance) or ``other``.
    """
    uncertainty = _word(header, "UTYPE")
    if uncertainty in _UNCERTAINTIES:
        return _UNCERTAINTIES[uncertainty]
    kind = _word(header, "HDUCLAS2")
    if kind == "ERROR":
        return _ESO_ERRORS.get(_word(header, "HDUCLAS3"), "error")
    if kind == "QUALITY":
        return "mask"
    name = _word(header, "EXTTYPE") or _word(header, "EXTNAME")
    if _OTHER.fullmatch(name):
        return "other"
    role = next((role for role, pattern in _PATTERNS if pattern.fullmatch(name)), "image")
    if role == "image" and any(keyword.startswith("MP_") for keyword in header):
        return "mask"
    return role


def _word(header: Header, keyword: str) -> str:
    return str(header.get(keyword) or "").strip().upper()
