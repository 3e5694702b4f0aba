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

"""Atomic writing: a file or folder appears under its name only when it is complete."""

from __future__ import annotations

__all__ = ("FOLDER_MARK", "atomic_folder", "atomic_path")

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

FOLDER_MARK = "made_by_meas_trails"
"""Name of the file that marks a folder that may be replaced."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, keep_suffix: bool = False) -> Iterator[Path]:
    """Replace a file atomically by one that is written under another name.

    Parameters
    ----------
    path
        File to create or replace.
    keep_suffix
        Whether the temporary name ends like ``path``, for writers that choose the format by it.

    Yields
    ------
    partial
        Unique hidden name in the same folder. When the block ends, this file is renamed to ``path``; after
        any exception it is removed, and an earlier ``path`` stays. Errors of the system that name ``partial``
        name ``path`` instead.
    """
    path = Path(path)
    suffix = path.suffix if keep_suffix else ""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial{suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if error.filename is not None and os.fspath(error.filename) == os.fspath(partial):
            error.filename = os.fspath(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Replace a folder atomically by one that is written under another name.

    Parameters
    ----------
    folder
        Folder to create or replace; missing parents are created. An existing folder is replaced only if it is
        empty or has the file `FOLDER_MARK`.

    Yields
    ------
    made
        New folder. When the block ends, this folder is renamed to ``folder``; after any exception it is
        removed, and an earlier ``folder`` stays.

    Raises
    ------
    FileExistsError
        Raised if the folder has other content.
    """
    folder = Path(folder)
    if folder.exists() and not _is_replaceable(folder):
        raise FileExistsError(f"{folder} exists and has other files; choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        made = Path(scratch) / "made"
        made.mkdir(mode=0o777)
        (made / FOLDER_MARK).write_text("The commands of meas_trails may replace this folder.\n")
        yield made
        earlier = Path(scratch) / "earlier"
        replaced = folder.exists()
        if replaced:
            os.rename(folder, earlier)
        try:
            os.rename(made, folder)
        except OSError:
            if replaced:
                os.rename(earlier, folder)
            raise


def _is_replaceable(folder: Path) -> bool:
    return folder.is_dir() and ((folder / FOLDER_MARK).is_file() or not any(folder.iterdir()))
