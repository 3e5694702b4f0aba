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

"""The EUPS product: its table compared with the imports, and `scons`."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def table(kind: str) -> set[str]:
    """Return the products that the table names, required or optional."""
    text = (ROOT / "ups" / "meas_trails.table").read_text()
    return set(re.findall(rf"^setup{kind}\((\w+)\)", text, flags=re.MULTILINE))


def products(path: Path) -> set[str]:
    """Return the EUPS products that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
        for name in names:
            parts = name.split(".")
            if parts[0] == "astro_metadata_translator":
                found.add(parts[0])
            elif parts[0] == "lsst" and parts[:3] != ["lsst", "meas", "trails"]:
                two = parts[1] in ("ctrl", "daf", "ip", "meas", "pex", "pipe", "source")
                found.add("_".join(parts[1:3] if two else parts[1:2]))
    return found


def test_table_names_every_package_that_is_imported() -> None:
    imported = set().union(*map(products, (ROOT / "python").rglob("*.py")))
    optional = table("Optional")
    assert imported <= table("Required") | optional
    # pipetask is run rather than imported; base is the environment.
    assert table("Required") == imported - optional | {"base", "ctrl_mpexec"}
    assert {"ctrl_bps", "ctrl_bps_parsl", "source_injection"} <= optional
    # The conversion of an ExposureF imports these.
    assert {"afw", "cell_coadds", "meas_extensions_piff", "meas_extensions_psfex", "obs_base"} <= optional


TESTS = ("tests/core/tiles/test_cut.py", "tests/core/test_psf.py")
"""Tests that take a few seconds; `scons` runs only these."""

SUPPORT = (
    "tests/conftest.py",
    "tests/core/conftest.py",
    "tests/support/afw.py",
    "tests/support/process_guard.py",
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkout with some of the tests and without build products."""
    copy = tmp_path_factory.mktemp("scons") / "meas_trails"
    built = shutil.ignore_patterns("*.egg-info", "*.dist-info", "__pycache__", "version.py", "meas-trails")
    for folder in ("python", "bin", "ups"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=built)
    for name in ("SConstruct", "pyproject.toml", "tests/SConscript", *SUPPORT, *TESTS):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    return copy


def scons(checkout: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run `scons` with some tests."""
    folder = Path(sys.executable).parent
    # `setup` puts the product before installed packages.
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
        "PYTHONPATH": str(checkout / "python"),
        "MEAS_TRAILS_DIR": str(checkout),
        # A few of the package's tests, without a coverage report.
        "PYTEST_ADDOPTS": " ".join(["--no-cov", *tests]),
    }
    return subprocess.run(
        [str(folder / "scons")],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment,
    )


@pytest.mark.process
def test_scons_builds_and_tests(checkout: Path) -> None:
    done = scons(checkout, *TESTS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Global pytest run completed successfully" in done.stdout
    assert (checkout / "python" / "lsst" / "meas" / "trails" / "version.py").exists()
    command = checkout / "bin" / "meas-trails"
    assert os.access(command, os.X_OK)
    results = xml.etree.ElementTree.parse(checkout / "tests" / ".tests" / "pytest-meas_trails.xml")
    names = {case.get("classname", "").rpartition(".")[2] for case in results.iter("testcase")}
    assert names == {"test_cut", "test_psf"}


@pytest.mark.process
def test_scons_fails_where_a_test_does(checkout: Path) -> None:
    (checkout / "tests" / "test_wrong.py").write_text("def test_wrong():\n    assert 1 == 2\n")
    done = scons(checkout, "tests/test_wrong.py")
    assert done.returncode != 0
    assert "1 == 2" in done.stdout + done.stderr
