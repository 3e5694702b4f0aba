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

import os
from pathlib import Path

import pytest

from lsst.meas.trails.core.atomic import FOLDER_MARK, atomic_folder, atomic_path


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new.txt"
    with atomic_path(path) as partial:
        partial.write_text("content")
        assert os.listdir(tmp_path) == [partial.name]
        assert partial.name.startswith(".")
    assert os.listdir(tmp_path) == ["new.txt"]
    assert path.read_text() == "content"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_file_stays(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "old.txt"
    path.write_text("before")

    def write() -> None:
        with atomic_path(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert os.listdir(tmp_path) == ["old.txt"]
    assert path.read_text() == "before"


def test_names_are_unique_and_keep_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    with atomic_path(path, keep_suffix=True) as one, atomic_path(path) as other:
        one.touch()
        other.touch()
        assert one != other
        assert (one.suffix, other.suffix) == (".png", ".partial")


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with atomic_path(tmp_path / "atomic") as partial:
        partial.touch()
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "none" / "new.txt"
    with pytest.raises(FileNotFoundError) as raised, atomic_path(path) as partial:
        partial.write_text("content")
    assert raised.value.filename == os.fspath(path)
    # A block that writes nothing is an error too.
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "new.txt"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_folder_is_replaced_when_it_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "parent" / "pages"
    for content in ("first", "second"):
        with atomic_folder(folder) as made:
            (made / content).touch()
            assert content not in (os.listdir(folder) if folder.exists() else [])
        assert sorted(os.listdir(folder)) == sorted([FOLDER_MARK, content])
    with pytest.raises(ValueError, match="half"), atomic_folder(folder) as made:
        raise ValueError("half")
    assert "second" in os.listdir(folder)
    assert os.listdir(folder.parent) == ["pages"]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(FileExistsError, match=str(path)), atomic_folder(path):
            pass
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_folder_that_cannot_be_put_in_place_brings_the_earlier_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pages"
    with atomic_folder(folder) as made:
        (made / "first").touch()
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        if Path(source).name == "made":
            raise OSError("no room")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="no room"), atomic_folder(folder):
        pass
    assert "first" in os.listdir(folder)
