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

import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from lsst.meas.trails.core.progress import make_progress, track

_ROOT = Path(__file__).parents[2]


def waited_for() -> set[threading.Thread]:
    """Return the threads that the interpreter waits for at its end."""
    return {thread for thread in threading.enumerate() if not thread.daemon}


def test_counts() -> None:
    console = Console(file=io.StringIO())
    with make_progress(console) as progress:
        for number in track(progress, [0, 1, 2], "Counting"):
            (task,) = progress.tasks
            assert (task.description, task.total, task.completed) == ("Counting", 3, number)
        assert not progress.tasks


def test_unknown_total() -> None:
    with make_progress(Console(file=io.StringIO())) as progress:
        items = track(progress, iter("ab"), "Counting", 2)
        assert next(items) == "a"
        assert progress.tasks[0].total == 2


def test_no_thread_is_left_after_an_error() -> None:
    """The error refers to the frames of the iteration, which is therefore not closed."""

    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second item")

    before = waited_for()
    with make_progress(Console(file=io.StringIO())) as progress:
        numbers = track(progress, items(), "Counting", 2)
        with pytest.raises(ValueError, match="the second item"):
            list(numbers)
    assert waited_for() == before


@pytest.mark.parametrize("folder", ["python", "benchmarks"])
def test_nothing_uses_the_progress_of_rich_that_hangs(folder: str) -> None:
    pattern = re.compile(r"rich\.progress import .*\btrack\b|progress\.track\(")
    found = [path for path in (_ROOT / folder).rglob("*.py") if pattern.search(path.read_text())]
    allowed = {"core/progress.py", "training/log.py"}
    assert [path for path in found if not str(path).endswith(tuple(allowed))] == []
