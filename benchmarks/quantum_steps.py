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

"""Time of the steps of a ``pipetask`` job.

    python benchmarks/quantum_steps.py RESULT BEGAN run-qbb ...

runs ``pipetask run-qbb ...`` and writes processor and wall time of each step to
a JSON file.  ``BEGAN`` is the time at which the process was started, seconds.
The functions of `FUNCTIONS` are timed from outside, as modules are imported; a
name that a version of the package lacks is ignored, and the time counts for the
function that calls it.  Each moment counts for one step: that of the innermost
function, or ``start`` during an import.

start
    Until the first quantum begins, all imports, and loading and compiling the
    model.
read, write
    Reads from and writes to the repository, with the conversion to arrays and
    from arrays.
background, network, components, fits, score
    Steps of the two tasks.  Features, flags and the table of candidates count
    for the fits.
other
    The rest of the quanta: rounding, sky coordinates, the catalog.
middleware
    The rest of the job.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

_TASKS = "lsst.meas.trails.tasks"
_CORE = "lsst.meas.trails.core"
_NN = "lsst.meas.trails.nn"

FUNCTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "other": {f"{_TASKS}._quantum_task": ("QuantumTask.runQuantum",)},
    "start": {
        f"{_TASKS}._models": ("named_model", "butler_model"),
        f"{_NN}.model_file": ("load_model",),
        f"{_NN}.engines": ("create_engine",),
        f"{_NN}.networks.registry": ("NetworkPlan.create_graph",),
        "openvino._ov_api": ("Core.compile_model",),
    },
    "read": {
        "lsst.pipe.base._quantumContext": ("QuantumContext.get",),
        f"{_TASKS}._input_image": ("read_input_image", "read_template", "check_covers"),
        f"{_TASKS}._trail_images": ("model_summary",),
    },
    "write": {
        "lsst.pipe.base._quantumContext": ("QuantumContext.put",),
        f"{_TASKS}._trail_images": ("make_probability_image", "make_trail_mask"),
    },
    "background": {f"{_CORE}.background": ("fit_background", "SkySubtracted.from_planes")},
    "network": {f"{_NN}.predict": ("predict_probability",)},
    "components": {f"{_CORE}.candidates.components": ("find_components",)},
    "fits": {f"{_CORE}.candidates.find": ("find_candidates",)},
    "score": {
        f"{_CORE}.candidates.score": ("candidate_features", "ScoreModel.__call__"),
        f"{_CORE}.candidates.spikes": ("find_bright_stars", "spike_likeness"),
        f"{_CORE}.candidates.streaks": ("on_streak",),
        f"{_CORE}.fit.confusion_noise": ("confusion_excess", "inflate_errors"),
    },
}
"""Timed functions and methods by step and module."""

QUANTUM = "other"
"""Step of the function that runs a quantum: the start ends where it begins."""


class StepClock:
    """Clock that adds the time since its last reading to the current step.

    Parameters
    ----------
    read
        Function that returns processor and wall time, seconds.
    began
        Both at the start of the process.
    """

    def __init__(
        self, read: Callable[[], tuple[float, float]], began: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        self.totals: dict[str, list[float]] = {"start": [0.0, 0.0], "middleware": [0.0, 0.0]}
        self._read, self._last = read, began
        self._steps = ["start"]
        self._thread = threading.get_ident()

    def stop(self) -> None:
        """Add the time since the last reading to the current step."""
        now = self._read()
        total = self.totals.setdefault(self._steps[-1], [0.0, 0.0])
        for i in (0, 1):
            total[i] += now[i] - self._last[i]
        self._last = now

    def enter(self, step: str) -> bool:
        """Begin a step, and return whether it has to be left."""
        # Other threads run during steps of the main thread.
        if step == self._steps[-1] or threading.get_ident() != self._thread:
            return False
        self.stop()
        if step == QUANTUM:
            self._steps[0] = "middleware"
        self._steps.append(step)
        return True

    def leave(self) -> None:
        """Go back to the step before."""
        self.stop()
        self._steps.pop()

    def timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose time counts for a step."""

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            entered = self.enter(step)
            try:
                return function(*args, **kwargs)
            finally:
                if entered:
                    self.leave()

        return run


class ImportHook:
    """Import that counts for the start, and makes the functions of a module timed.

    Parameters
    ----------
    clock
        The clock.
    functions
        Functions as in `FUNCTIONS`.
    """

    def __init__(
        self, clock: StepClock, functions: dict[str, dict[str, tuple[str, ...]]] = FUNCTIONS
    ) -> None:
        self._clock = clock
        self._waiting: dict[str, list[tuple[str, str]]] = {}
        for step, modules in functions.items():
            for module, names in modules.items():
                self._waiting.setdefault(module, []).extend((step, name) for name in names)

    def install(self) -> None:
        """Replace the import of the interpreter."""
        for owner, name in ((builtins, "__import__"), (importlib, "import_module")):
            setattr(owner, name, self._hooked(getattr(owner, name)))

    def _hooked(self, load: Callable[..., ModuleType]) -> Callable[..., ModuleType]:
        timed = self._clock.timed("start", load)

        @functools.wraps(load)
        def run(*args: Any, **kwargs: Any) -> ModuleType:
            module = timed(*args, **kwargs)
            # Before the caller takes names from the module.
            self._replace()
            return module

        return run

    def _replace(self) -> None:
        """Make the functions of newly imported modules timed."""
        for name in self._waiting.keys() & sys.modules.keys():
            module = sys.modules[name]
            if not getattr(module.__spec__, "_initializing", False):
                for step, path in self._waiting.pop(name):
                    replace(self._clock, step, module, path)


def replace(clock: StepClock, step: str, module: ModuleType, path: str) -> None:
    """Make a function or method timed, if a module has it."""
    owner: Any = module
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent, None)
    attribute = vars(owner).get(name) if owner is not None else None
    if isinstance(attribute, (classmethod, staticmethod)):
        setattr(owner, name, type(attribute)(clock.timed(step, attribute.__func__)))
    elif callable(attribute):
        setattr(owner, name, clock.timed(step, attribute))


def main() -> None:
    """Run a ``pipetask`` command and write the time of its steps."""
    result, began = Path(sys.argv[1]), float(sys.argv[2])
    sys.argv[:] = ["pipetask", *sys.argv[3:]]
    # The processor time counts from the start of the process.
    clock = StepClock(lambda: (time.process_time(), time.time()), (0.0, began))
    ImportHook(clock).install()
    from lsst.ctrl.mpexec.cli.pipetask import main as run_pipetask

    try:
        run_pipetask()
    finally:
        clock.stop()
        result.write_text(json.dumps(clock.totals))


if __name__ == "__main__":
    main()
