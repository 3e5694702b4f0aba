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

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from lsst.meas.trails import __version__
from lsst.meas.trails.cli import main

HEAVY = ("torch", "numpy", "astropy", "galsim", "lsst.daf.butler", "lsst.images", "lsst.pipe.base")


def test_help_names_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for name in main.list_commands(click.Context(main)):
        assert f"  {name} " in result.output


@pytest.mark.parametrize("name", main.list_commands(click.Context(main)))
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert f"main {name}" in result.output
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.get_short_help_str()


@pytest.mark.process
def test_help_imports_nothing_heavy() -> None:
    """Help must be fast."""
    program = (
        "import sys\n"
        "from lsst.meas.trails.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stderr.strip() == "[]"


@pytest.mark.parametrize(("name", "expected"), [("torch", "lsst-meas-trails[train]"), ("tulip", None)])
def test_missing_package(name: str, expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch is optional; every other package is a fault of the installation."""

    @click.command()
    def train() -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(main, "get_command", lambda context, command: train)
    result = CliRunner().invoke(main, ["train"])
    assert result.exit_code == 1
    if expected is None:
        assert isinstance(result.exception, ModuleNotFoundError)
    else:
        assert expected in result.output


def test_version() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert result.output.strip() == f"meas-trails, version {__version__}"


def test_unknown_command() -> None:
    result = CliRunner().invoke(main, ["simulte"])
    assert result.exit_code == 2
    assert "did you mean 'simulate'?" in result.output
    result = CliRunner().invoke(main, ["xyzzy"])
    assert result.exit_code == 2
    assert "No command 'xyzzy'" in result.output
    assert "simulate" in result.output


def test_unknown_option() -> None:
    result = CliRunner().invoke(main, ["--loud", "simulate"])
    assert result.exit_code == 2
    assert "No such option" in result.output
