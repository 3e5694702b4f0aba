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

"""Tests of the prose checker, ``.ci/check_prose.py``."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def checker() -> dict[str, Any]:
    """Return the names that the checker defines."""
    return runpy.run_path(str(ROOT / ".ci" / "check_prose.py"))


def findings(checker: dict[str, Any], name: str, source: str) -> list[tuple[int, str, str]]:
    """Return line, phrase and category of each finding that fails the check."""
    found = checker["check"](Path(name), source)
    return sorted((f.line, f.phrase, f.category) for f in found if f.category != "headless")


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("a.py", '"""What a tile is."""', [(1, "What", "opening")]),
        ("a.py", 'def f():\n    """Whether it is."""', [(2, "Whether", "opening")]),
        ("a.py", 'class A:\n    @property\n    def f():\n        """Whether it is."""', []),
        ("a.py", 'X = 1\n"""Of the image, pixels."""', [(2, "Of", "opening")]),
        ("a.py", '"""Return a tile.\n\nIt is made\nanew.\n"""', [(4, "anew", "word")]),
        ("a.py", "x = 1\n# It is there whole.", [(2, "there whole", "word")]),
        ("a.py", "# A phrase that goes\n# on in the next line.", [(1, "goes on", "word")]),
        ("a.py", 'raise E(f"{path}: nobody knows of {name}")', [(1, "knows of", "word")]),
        ("tests/a.py", 'match = "nobody knows of it"', []),
        ("a.py", 'x = "beside"', []),
        ("a.py", '"""Return `beside` and ``told``."""', []),
        ("a.md", "# Trails\n\nIts colour.", [(3, "colour", "spelling")]),
        ("a.yaml", "# It goes\n# on\nseed: 1  # shall be", [(1, "goes on", "word"), (3, "shall", "word")]),
        ("a.sh", "printf 'Optimise'\n", [(1, "Optimise", "spelling")]),
        ("a.md", "Otherwise raise precise noise. Besides, normalize it.", []),
    ],
)  # fmt: skip
def test_findings(
    name: str, source: str, expected: list[tuple[int, str, str]], checker: dict[str, Any]
) -> None:
    assert findings(checker, name, source) == expected


def test_headless_pronouns_are_only_counted(checker: dict[str, Any]) -> None:
    found = list(checker["check"](Path("a.md"), "The width is that of the PSF."))
    assert [(f.line, f.phrase, f.category) for f in found] == [(1, "that of", "headless")]
    assert findings(checker, "a.md", "The width is that of the PSF.") == []


def test_files_below_a_folder(checker: dict[str, Any], tmp_path: Path) -> None:
    names = ("a.py", "b.txt", ".git/c.py", ".ci/run", ".ci/d.py", "e/f.md")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = {str(path.relative_to(tmp_path)) for path in checker["files_below"](tmp_path)}
    assert found == {"a.py", ".ci/run", ".ci/d.py", "e/f.md"}
