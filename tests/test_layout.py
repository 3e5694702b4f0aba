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


"""The layout of the tests: each test file is named after the module that it tests."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
SOURCE = TESTS.parent / "python" / "lsst" / "meas" / "trails"
BENCHMARKS = TESTS.parent / "benchmarks"

WITHOUT_ROOM = {
    ".": "the package, its pipelines and its product as a whole",
    "bps": "batch submission of the pipelines",
    "documentation": "the pages, their examples and the extensions in doc/_ext",
    "faults": "killed processes, damaged files and missing resources in any room",
    "fuzz": "arbitrary content for every reader of files",
    "support": "code that tests share",
}
"""Folders of tests that do not mirror a room, with their subject."""

EXCEPTIONS = {
    "cli/test_main.py": "the group of commands, defined in cli/__init__.py",
    "cli/test_report_in_browser.py": "pages of several commands, opened in a browser",
    "cli/test_results.py": "the commands candidates, compare and show on one repository",
    "cli/test_vet_in_browser.py": "the page of vet, used in a browser",
    "tasks/test_injection_catalogs.py": "InjectTrailsTask with injection catalogs in a Butler",
    "tasks/test_quanta.py": "match_trails and summarize_trails as quanta in a Butler",
}
"""Test files that are not named after a module of their room, with the reason."""


def files_of_rooms() -> list[Path]:
    """Return the test files in folders that mirror a room, relative to ``tests``."""
    found = [path.relative_to(TESTS) for path in sorted(TESTS.rglob("test_*.py"))]
    return [path for path in found if str(path.parent).split("/")[0] not in WITHOUT_ROOM]


def modules_of(folder: Path) -> set[str]:
    """Return the modules in the folder of the package, or of benchmarks, that a folder mirrors."""
    mirrored = BENCHMARKS if folder == Path("benchmarks") else SOURCE / folder
    return {path.stem.lstrip("_") for path in mirrored.glob("*.py") if path.stem != "__init__"}


@pytest.mark.parametrize("folder", sorted({str(path.parent) for path in files_of_rooms()}))
def test_folders_mirror_rooms(folder: str) -> None:
    assert modules_of(Path(folder)), f"the package has no folder {folder}"


def test_files_are_named_after_modules() -> None:
    strays = {
        str(path)
        for path in files_of_rooms()
        if path.stem.removeprefix("test_") not in modules_of(path.parent)
    }
    assert strays == set(EXCEPTIONS)


def test_folders_without_room_exist() -> None:
    assert all((TESTS / folder).is_dir() for folder in WITHOUT_ROOM)
    assert all(EXCEPTIONS.values())
