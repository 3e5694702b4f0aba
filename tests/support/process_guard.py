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


"""Pytest plugin that keeps tests without the marker ``process`` in one process.

A test that starts a process, or the first test whose fixtures do, fails unless
it carries the marker. Workers of `multiprocessing` and of torch's data loaders
count as processes.
"""

from __future__ import annotations

import functools
import multiprocessing.process
import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

MARKER = "process"

EVENTS = {
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "subprocess.Popen",
}
"""Audit events of Python's functions that start a process."""

PROBES = {"ldconfig", "uname"}
"""Commands that `ctypes` and `platform` run on behalf of libraries, once per process."""

_started: list[str] = []
"""Processes that the current phase of a test started."""


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in EVENTS:
        command = os.fsdecode(arguments[0]) if arguments and arguments[0] else event
        if Path(command).name not in PROBES:
            _started.append(command)


def _noted(start: Callable[..., None]) -> Callable[..., None]:
    """Wrap `multiprocessing.Process.start`, which a fork server hides from audit hooks."""

    @functools.wraps(start)
    def wrapped(process: multiprocessing.process.BaseProcess) -> None:
        _started.append(f"multiprocessing: {process.name}")
        start(process)

    return wrapped


# Imported once per test process: audit hooks cannot be removed.
sys.addaudithook(_audit)
multiprocessing.process.BaseProcess.start = _noted(  # type: ignore[method-assign]
    multiprocessing.process.BaseProcess.start
)


def _watch(item: pytest.Item) -> Generator[None, object, object]:
    _started.clear()
    result = yield
    if _started and item.get_closest_marker(MARKER) is None:
        pytest.fail(f"{_started[0]} was started: mark the test with pytest.mark.{MARKER}", pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Watch the fixtures of a test."""
    return (yield from _watch(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Watch a test."""
    return (yield from _watch(item))
