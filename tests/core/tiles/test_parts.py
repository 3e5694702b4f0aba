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


from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from lsst.meas.trails.core.tiles.layout import TileFileError
from lsst.meas.trails.core.tiles.parts import OpenFiles, Part, read_parts


def write_virtual(path: Path, sources: list[tuple[str, int, int]], count: int) -> None:
    """Write a virtual dataset of tiles from (file, first tile, number of tiles)."""
    layout = h5py.VirtualLayout((count, 4, 4), "f4")
    for name, first, number in sources:
        layout[first : first + number] = h5py.VirtualSource(name, "image", shape=(number, 4, 4))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("image", layout)


def parts_of(path: Path) -> list[Part]:
    with h5py.File(path) as file:
        return read_parts(file["image"], path)


def test_parts_are_sorted(tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    write_virtual(path, [("below/b.h5", 3, 2), ("a.h5", 0, 3)], 5)
    assert parts_of(path) == [Part(tmp_path / "a.h5", 0, 3), Part(tmp_path / "below/b.h5", 3, 2)]


def test_own_pixels_have_no_parts(tmp_path: Path) -> None:
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("image", shape=(2, 4, 4), dtype="f4")
    assert parts_of(path) == []


@pytest.mark.parametrize(
    "sources",
    [
        [("../a.h5", 0, 5)],
        [("/a.h5", 0, 5)],
        [("a.h5", 0, 3)],
        [("a.h5", 1, 4)],
        [("a.h5", 0, 2), ("b.h5", 3, 2)],
        [("a.h5", 0, 3), ("b.h5", 2, 3)],
    ],
)
def test_other_parts_are_refused(tmp_path: Path, sources: list[tuple[str, int, int]]) -> None:
    write_virtual(tmp_path / "set.h5", sources, 5)
    with pytest.raises(TileFileError, match=r"set\.h5 points to"):
        parts_of(tmp_path / "set.h5")


class Opened:
    """File that remembers whether it is open."""

    def __init__(self, number: int) -> None:
        self.number, self.is_open = number, True

    def close(self) -> None:
        self.is_open = False


def test_least_recently_used_files_are_closed() -> None:
    files = OpenFiles[Opened](2)
    first, second = files.get(1, Opened), files.get(2, Opened)
    assert files.get(1, Opened) is first
    third = files.get(3, Opened)
    assert [file.is_open for file in (first, second, third)] == [True, False, True]
    assert files.get(2, Opened) is not second
    files.close()
    assert not first.is_open
    assert not third.is_open
