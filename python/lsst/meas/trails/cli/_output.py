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

"""Atomic writing with an error message for the command line."""

from __future__ import annotations

__all__ = ("write_whole",)

from collections.abc import Callable
from pathlib import Path

import click

from ..core.atomic import atomic_path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file atomically.

    Parameters
    ----------
    path
        The file, which is overwritten.
    write
        Function that writes a temporary file with the ending of ``path``.

    Raises
    ------
    click.ClickException
        Raised if the file cannot be written; an existing file is unchanged.
    """
    try:
        with atomic_path(path, keep_suffix=True) as partial:
            write(partial)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{path} cannot be written: {error}") from error
