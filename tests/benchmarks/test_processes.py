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

"""Tests of the processes that benchmarks measure."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import processes
import pytest
from processes import HERE, Checkout, Usage


def test_usage_of_processes_in_turn() -> None:
    first = Usage(1.0, 2.0, 100, steps={"read": (0.25, 0.5)})
    second = Usage(3.0, 4.0, 50, steps={"read": (0.5, 1.0), "write": (1.0, 1.0)})
    both = first + second
    assert (both.cpu, both.wall, both.peak) == (4.0, 6.0, 100)
    assert both.steps == {"read": (0.75, 1.5), "write": (1.0, 1.0)}
    assert both.step("fits") == Usage(0.0, 0.0, 100)


def test_environment_selects_the_code_and_keeps_paths(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/of/the/user")
    monkeypatch.delenv("DAF_BUTLER_CONFIG_PATH", raising=False)
    environment = Checkout(tmp_path).environment(threads=3)
    assert environment["PYTHONPATH"].split(os.pathsep) == [str(tmp_path / "python"), "/of/the/user"]
    assert environment["DAF_BUTLER_CONFIG_PATH"] == str(tmp_path / "python/lsst/meas/trails/resources/butler")
    assert environment["MEAS_TRAILS_DIR"] == str(tmp_path)
    assert environment["OMP_NUM_THREADS"] == "3"
    assert Path(HERE.environment()["DAF_BUTLER_CONFIG_PATH"]).is_dir()


@pytest.mark.process
def test_run_measures_the_process_and_its_children() -> None:
    work = "sum(range(10**7))"
    child = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{work}'], check=True); print('x')"
    )
    used = HERE.run(sys.executable, "-c", child)
    assert used.output == "x\n"
    alone = HERE.run(sys.executable, "-c", "pass")
    assert used.cpu > alone.cpu + 0.03
    assert used.wall > 0.0
    assert used.peak > 2**22


@pytest.mark.process
def test_failure_has_the_messages(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="reason of the failure"):
        Checkout(tmp_path).run(sys.executable, "-c", "raise SystemExit('reason of the failure')")


def test_cells() -> None:
    assert processes.median_and_range([3.0, 1.0, 2.0]) == "2.0 (1.0-3.0)"
    assert processes.median_and_range([2.0], 2) == "2.00"
    assert processes.median_and_range([]) == "-"
    assert processes.gibibytes([2.0**30, 2.0**31]) == "1.50 (1.00-2.00)"
    assert processes.ratio([4.0, 2.0, 4.0], [2.0]) == "0.50"
    assert processes.ratio([4.0], []) == processes.ratio([0.0], [1.0]) == "-"


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("network", "1.0"), ("fits", "2.0")]
    processes.print_table("Times", ("", "s"), rows, markdown=True)
    assert capsys.readouterr().out == "Times\n\n|  | s |\n|---|---|\n| network | 1.0 |\n| fits | 2.0 |\n\n"
    processes.print_table("Times", ("", "s"), rows)
    assert "network" in capsys.readouterr().out


def test_tiles_cover_the_image() -> None:
    assert processes.tile_count((256, 128), 128) == 2
    assert processes.tile_count((257, 129), 128) == 6


def test_comparison_comes_first(tmp_path: Path) -> None:
    assert processes.checkouts_by_label(None) == {"now": HERE}
    assert list(processes.checkouts_by_label(tmp_path)) == ["before", "now"]
