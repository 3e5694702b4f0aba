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

"""Console output of the commands."""

from __future__ import annotations

__all__ = ("make_console",)

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def make_console() -> Console:
    """Return a console for tables, of a fixed width outside of a terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 118)
