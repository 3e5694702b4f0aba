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

"""Tests of the steps of a job."""

from __future__ import annotations

import builtins
import functools
import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import quantum_steps
from quantum_steps import ImportHook, StepClock


class Ticks:
    """Clock that a test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> tuple[float, float]:
        return self.now, 2.0 * self.now

    def pass_by(self, seconds: float) -> None:
        """Advance the processor time, and the wall time twice as far."""
        self.now += seconds


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def clock(ticks: Ticks) -> StepClock:
    return StepClock(ticks)


def test_each_moment_counts_for_the_innermost_step(ticks: Ticks, clock: StepClock) -> None:
    background = clock.timed("background", lambda: ticks.pass_by(2.0))

    def predict() -> None:
        ticks.pass_by(1.0)
        background()
        ticks.pass_by(4.0)

    def quantum() -> None:
        ticks.pass_by(0.5)
        clock.timed("network", predict)()

    ticks.pass_by(8.0)
    clock.timed("other", quantum)()
    ticks.pass_by(16.0)
    clock.stop()
    assert {name: cpu for name, (cpu, _) in clock.totals.items()} == {
        "start": 8.0,
        "other": 0.5,
        "network": 5.0,
        "background": 2.0,
        "middleware": 16.0,
    }
    assert all(wall == 2.0 * cpu for cpu, wall in clock.totals.values())


def test_step_ends_with_an_exception(ticks: Ticks, clock: StepClock) -> None:
    def fail() -> None:
        ticks.pass_by(1.0)
        raise KeyError

    with pytest.raises(KeyError):
        clock.timed("read", fail)()
    ticks.pass_by(2.0)
    clock.stop()
    assert clock.totals["read"][0] == 1.0
    assert clock.totals["start"][0] == 2.0


def test_time_of_other_threads_counts_for_the_step_of_the_main_thread(ticks: Ticks, clock: StepClock) -> None:
    def predict() -> None:
        thread = threading.Thread(target=clock.timed("read", lambda: ticks.pass_by(1.0)))
        thread.start()
        thread.join()

    clock.timed("network", predict)()
    assert clock.totals["network"][0] == 1.0
    assert "read" not in clock.totals


@pytest.fixture
def hooked(tmp_path: Path, ticks: Ticks, clock: StepClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Import as in a job, with the modules ``timed_module`` and ``its_caller``."""
    (tmp_path / "timed_module.py").write_text(
        "def fit(seconds):\n    TICKS.pass_by(seconds)\n\n"
        "class Sky:\n"
        "    @classmethod\n    def make(cls):\n        TICKS.pass_by(2.0)\n        return cls()\n"
        "    def __call__(self):\n        TICKS.pass_by(4.0)\n"
    )
    (tmp_path / "its_caller.py").write_text("TICKS.pass_by(1.0)\nfrom timed_module import Sky, fit\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(builtins, "TICKS", ticks, raising=False)
    for owner, name in ((builtins, "__import__"), (importlib, "import_module")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    names = {
        "fits": {"timed_module": ("fit", "lost"), "lost_module": ("lost",)},
        "background": {"timed_module": ("Sky.make", "Sky.lost", "Lost.make")},
        "score": {"timed_module": ("Sky.__call__",)},
    }
    ImportHook(clock, names).install()
    yield
    for name in ("timed_module", "its_caller"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("hooked")
def test_functions_are_timed_and_missing_names_ignored(ticks: Ticks, clock: StepClock) -> None:
    def quantum() -> None:
        caller = importlib.import_module("its_caller")
        caller.fit(seconds=8.0)
        caller.Sky.make()()

    clock.timed("other", quantum)()
    clock.stop()
    assert {name: cpu for name, (cpu, _) in clock.totals.items()} == {
        "start": 1.0,
        "middleware": 0.0,
        "other": 0.0,
        "fits": 8.0,
        "background": 2.0,
        "score": 4.0,
    }


@pytest.mark.parametrize(
    ("module", "path"),
    [
        (module, path)
        for modules in quantum_steps.FUNCTIONS.values()
        for module, paths in modules.items()
        for path in paths
    ],
)
def test_function_exists(module: str, path: str) -> None:
    # Imports openvino without its telemetry.
    importlib.import_module("lsst.meas.trails.nn.networks.openvino_runtime")
    owner = importlib.import_module(module)
    assert callable(functools.reduce(getattr, path.split("."), owner))
