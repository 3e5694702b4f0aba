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

"""Colors, markers and lines of compared detectors."""

from __future__ import annotations

__all__ = ("STYLES",)

STYLES: tuple[tuple[str, str, str], ...] = (
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "-"),
    ("#009E73", "^", "--"),
    ("#CC79A7", "D", "--"),
    ("#000000", "v", ":"),
    ("#E69F00", "P", "-."),
    ("#56B4E9", "X", "-."),
)
"""Color, marker and line of the first, second, ... detector.

The colors of Okabe and Ito (2008), which are distinguishable with color
blindness.
"""
