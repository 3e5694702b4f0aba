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

"""Names of files as text that can be printed and stored."""

from __future__ import annotations

__all__ = ("printable",)

import os


def printable(path: str | os.PathLike[str]) -> str:
    """Return a path with escape sequences for bytes that are not UTF-8, such as names in Latin-1."""
    return os.fsencode(path).decode(errors="backslashreplace")
