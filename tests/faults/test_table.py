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
"""The tables of doc/faults.md name tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def test_named_tests_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (_ROOT / "doc" / "faults.md").read_text())
    assert len(named) > 20
    for path, name in named:
        tree = ast.parse((_ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (path, name)


def test_each_fault_and_target_is_named() -> None:
    text = (_ROOT / "doc" / "faults.md").read_text()
    for folder in ("faults", "fuzz"):
        for path in (_ROOT / "tests" / folder).glob("test_*.py"):
            if path.samefile(__file__):
                continue
            assert f"`tests/{folder}/{path.name}::" in text, path
    source = (_ROOT / "tests" / "fuzz" / "test_readers.py").read_text()
    for name in re.findall(r"^def (test_fuzz_\w+)", source, re.MULTILINE):
        assert f"::{name}`" in text, name
