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

"""Atomic writing: a file appears under its name only when it is complete."""

from __future__ import annotations

__all__ = ("atomic_path",)

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


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
