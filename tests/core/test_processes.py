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

from lsst.meas.trails.core.processes import run_all


def test_one_process_stops_at_the_first_error(tmp_path: Path) -> None:
    tasks = [(os.mkdir, (tmp_path / name,)) for name in ("a", "a", "b")]
    results = run_all(tasks, 1)
    assert next(results) is None
    with pytest.raises(FileExistsError):
        next(results)
    assert not (tmp_path / "b").exists()


@pytest.mark.process
def test_several_processes(tmp_path: Path) -> None:
    tasks = [(os.mkdir, (tmp_path / name,)) for name in "abc"]
    assert len(list(run_all(tasks, 2))) == 3
    assert all((tmp_path / name).is_dir() for name in "abc")
    with pytest.raises(FileExistsError):
        list(run_all(tasks, 2))


def test_nothing_to_do_needs_no_processes() -> None:
    assert list(run_all([], 2)) == []
