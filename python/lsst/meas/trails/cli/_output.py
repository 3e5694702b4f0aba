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

"""Atomic writing with errors for the command line."""

from __future__ import annotations

__all__ = ("write_whole",)

from collections.abc import Callable
from pathlib import Path

import click

from ..core.atomic import atomic_path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name first, and move it when it is complete.

    Parameters
    ----------
    path
        The file, which is replaced if it is there.
    write
        Writes the file that it is given, whose ending is that of ``path``.

    Raises
    ------
    click.ClickException
        Raised if it cannot be written.  What was there stays as it was.
    """
    try:
        with atomic_path(path, keep_suffix=True) as partial:
            write(partial)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{path} cannot be written: {error}") from error
