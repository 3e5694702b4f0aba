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

"""Public names of the package."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import pytest

import lsst.meas.trails as package


@pytest.mark.process
def test_importing_the_package_imports_no_torch() -> None:
    code = (
        "import sys, lsst.meas.trails as package; package.find_candidates; package.Trail;"
        "print(*(name for name in ('torch', 'lsst.pipe.base', 'lsst.daf.butler') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", package.__all__)
def test_public_names_resolve(name: str) -> None:
    value = getattr(package, name)
    assert getattr(value, "__name__", name) == name
    assert name in dir(package)


def test_names_of_the_type_checker_are_those_of_the_lazy_import() -> None:
    tree = ast.parse(inspect.getsource(package))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    found = {
        alias.name: f"lsst.meas.trails.{node.module}"
        for block in blocks
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert found == package._HOMES
    assert sorted({*found, "__version__"}) == sorted(package.__all__)


def test_unknown_names_raise() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name
