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

"""Files that a tile file with virtual datasets points to."""

from __future__ import annotations

__all__ = ("OpenFiles", "Part", "read_parts")

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np

from .layout import TileFileError


@dataclasses.dataclass(frozen=True)
class Part:
    """File with some of the tiles of a file that joins others."""

    path: Path
    """The file."""

    first: int
    """Number of its first tile in the joined file."""

    count: int
    """Number of its tiles."""


def read_parts(image: h5py.Dataset, path: Path) -> list[Part]:
    """Return the files that a dataset points to; none if it has its own pixels.

    Raises
    ------
    TileFileError
        Raised if the files do not have each tile once, or are not in the folder of ``path`` or below: it must
        not open arbitrary files.
    """
    if not image.is_virtual:
        return []
    parts = []
    for source in image.virtual_sources():
        low, high = (int(bound[0]) for bound in source.vspace.get_select_bounds())
        name = Path(source.file_name)
        if name.is_absolute() or ".." in name.parts:
            raise TileFileError(f"{path} points to {name}, which is not in its folder or below.")
        parts.append(Part(path=path.parent / name, first=low, count=high - low + 1))
    parts.sort(key=lambda part: part.first)
    stops = np.cumsum([part.count for part in parts])
    if [part.first for part in parts] != [0, *stops[:-1]] or stops[-1] != len(image):
        raise TileFileError(f"{path} points to files that do not have each of its tiles once.")
    return parts


class _Closable(Protocol):
    def close(self) -> None: ...


class OpenFiles[T: _Closable]:
    """Open files by number; the least recently used ones are closed.

    Parameters
    ----------
    limit
        Largest number of files to keep open.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # In the order of their last use.
        self._files: dict[int, T] = {}

    def get(self, number: int, open_file: Callable[[int], T]) -> T:
        """Return a file, opened by a function if it is not open."""
        file = self._files.pop(number, None)
        if file is None:
            while len(self._files) >= self._limit:
                self._files.pop(next(iter(self._files))).close()
            file = open_file(number)
        self._files[number] = file
        return file

    def close(self) -> None:
        """Close all files."""
        while self._files:
            self._files.popitem()[1].close()
