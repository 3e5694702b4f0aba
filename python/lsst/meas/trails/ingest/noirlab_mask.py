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

"""Data-quality masks of NOIRLab's Community Pipeline (DECam, Mosaic, NEWFIRM)."""

from __future__ import annotations

__all__ = ("NoirlabMask",)

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io.fits import Header

_CODES: Mapping[int, str] = {
    1: "BAD",
    2: "NO_DATA",
    3: "SATURATED",
    4: "SATURATED",
    5: "COSMIC_RAY",
    6: "SUSPECT",
    7: "TRANSIENT",
    8: "STREAK",
}
"""Planes of the values of a mask since version 3.5 of the pipeline, of which a pixel has one."""

_BITS: Mapping[int, str] = {
    0: "BAD",
    1: "SATURATED",
    2: "INTERPOLATED",
    4: "COSMIC_RAY",
    6: "SATURATED",
    7: "TRANSIENT",
}
"""Planes of the bits of a mask of earlier versions."""

_FIRST_CODES = (3, 5)
"""First version of the pipeline whose masks have values, not bits."""


class NoirlabMask:
    """Meaning of a mask of the Community Pipeline.

    Transients, which differ from other exposures of the field, and long streaks get planes of their own and
    do not make a pixel bad: an asteroid's trail may be one of them.

    Parameters
    ----------
    header
        Header of the mask, with ``PRODTYPE = 'dqmask'`` and the version ``PLVER``.
    """

    def __init__(self, header: Header) -> None:
        version = re.match(r"\s*V?(\d+)[.](\d+)", str(header.get("PLVER", "")), re.IGNORECASE)
        known = version is not None and (int(version[1]), int(version[2])) < _FIRST_CODES
        self._bits = _BITS if known else None

    @staticmethod
    def describes(header: Header) -> bool:
        """Return whether a header belongs to such a mask."""
        return str(header.get("PRODTYPE", "")).strip().lower().startswith("dqmask")

    def planes(self, pixels: npt.NDArray[Any]) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
        """Yield the planes of a mask; unknown values are ``BAD``."""
        if self._bits is not None:
            unknown = pixels & ~sum(1 << bit for bit in self._bits) != 0
            for bit, name in self._bits.items():
                yield name, (pixels >> bit) & 1 != 0
        else:
            unknown = ~np.isin(pixels, [0, *_CODES])
            for code, name in _CODES.items():
                yield name, pixels == code
        yield "BAD", unknown
