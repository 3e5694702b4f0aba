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

"""Files that appear complete or not at all."""

from __future__ import annotations

__all__ = ("write_whole",)

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import click


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
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            partial = Path(folder) / f"partial{path.suffix}"
            write(partial)
            os.replace(partial, path)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{path} cannot be written: {error}") from error
