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

"""Processes whose time and memory the benchmarks measure, and tables of them.

A `Batch` searches images as a batch system does: a graph of quanta (``pipetask
qgraph``), its preparation (``pre-exec-init-qbb``), and jobs that run all or
some quanta (``run-qbb``), each in a process of its own.  `quantum_steps` splits
the time of a job into steps.

Large libraries are imported in these processes only: Linux includes the memory
of the parent in the peak memory of a process.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import rich.console
import rich.table

TASKS = ("trailSegmentation", "trailCandidate")
"""Tasks of the quanta that search an image, in ``DetectTrails.yaml``."""

STEPS = (
    "start",
    "read",
    "background",
    "network",
    "components",
    "fits",
    "score",
    "write",
    "other",
    "middleware",
)
"""Steps of a job; `quantum_steps` defines them."""

ADCNN = "UNetResSEASPP, float32"
"""Name of the network of Asteroid_detection_CNN in tables."""

NOW, BEFORE = "now", "before"
"""Labels of this checkout and of the one that it is compared with."""

_PACKAGE = "python/lsst/meas/trails"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclasses.dataclass(frozen=True)
class Usage:
    """Resources used by a process, or by several in turn."""

    cpu: float
    """Processor time of the process and its children, user and system, seconds."""

    wall: float
    """Wall time, seconds."""

    peak: int
    """Peak resident memory, bytes."""

    output: str = ""
    """Standard output."""

    steps: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    """Processor and wall time of the steps, if they were measured."""

    def __add__(self, other: Usage) -> Usage:
        """Return the resources of both, one after the other."""
        steps = {
            name: (self.step(name).cpu + other.step(name).cpu, self.step(name).wall + other.step(name).wall)
            for name in {**self.steps, **other.steps}
        }
        return Usage(self.cpu + other.cpu, self.wall + other.wall, max(self.peak, other.peak), steps=steps)

    def step(self, name: str) -> Usage:
        """Return the time of a step, with the peak memory of the process."""
        return Usage(*self.steps.get(name, (0.0, 0.0)), self.peak)


@dataclasses.dataclass(frozen=True)
class Checkout:
    """Checkout of the package, whose processes use the environment of this one."""

    root: Path

    def environment(self, threads: int = 1) -> dict[str, str]:
        """Return environment variables that select this code and a number of threads."""
        before = {
            "PATH": Path(sys.executable).parent,
            "PYTHONPATH": self.root / "python",
            "DAF_BUTLER_CONFIG_PATH": self.root / _PACKAGE / "resources/butler",
        }
        paths = {
            name: os.pathsep.join(filter(None, (str(path), os.environ.get(name))))
            for name, path in before.items()
        }
        fixed = {"MEAS_TRAILS_DIR": str(self.root), "MPLBACKEND": "Agg"}
        return {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads)), **paths, **fixed}

    def run(self, *command: object, threads: int = 1) -> Usage:
        """Run a command, and return what it used."""
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as messages:
            start = time.perf_counter()
            process = subprocess.Popen(
                [str(part) for part in command], stdout=output, stderr=messages,
                env=self.environment(threads),
            )  # fmt: skip
            # Unlike `wait`, this returns the resources of the one process.
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                messages.seek(0)
                name = " ".join(map(str, command[:4]))
                raise click.ClickException(f"{name} failed in {self.root}:\n{messages.read()[-3000:]}")
            output.seek(0)
            unit = 1 if sys.platform == "darwin" else 1024
            return Usage(used.ru_utime + used.ru_stime, wall, unit * used.ru_maxrss, output.read())

    def run_in_steps(self, *arguments: object, threads: int = 1) -> Usage:
        """Run a ``pipetask`` command, with its time in steps."""
        script = Path(__file__).with_name("quantum_steps.py")
        with tempfile.TemporaryDirectory(prefix="trails_steps_") as folder:
            result = Path(folder) / "steps.json"
            used = self.run(sys.executable, script, result, time.time(), *arguments, threads=threads)
            steps = {name: (cpu, wall) for name, (cpu, wall) in json.loads(result.read_text()).items()}
        # The interpreter ends after the last step.
        rest = Usage(used.cpu, used.wall, 0)
        for cpu, wall in steps.values():
            rest += Usage(-cpu, -wall, 0)
        cpu, wall = steps["middleware"]
        steps["middleware"] = (cpu + rest.cpu, wall + rest.wall)
        return dataclasses.replace(used, steps=steps)

    def call(self, function: str, threads: int = 1, **arguments: object) -> Any:
        """Return the result of a function of `single_calls` in a process of its own.

        It gets the number of threads as an argument, too.
        """
        script = Path(__file__).with_name("single_calls.py")
        text = json.dumps({"threads": threads, **arguments})
        done = self.run(sys.executable, script, function, text, threads=threads)
        return json.loads(done.output.splitlines()[-1])


HERE = Checkout(Path(__file__).resolve().parents[1])
"""This checkout."""


def checkouts_by_label(compare: Path | None) -> dict[str, Checkout]:
    """Return the checkouts in the order of measurements: the one to compare with, if any, and this one."""
    before = {} if compare is None else {BEFORE: Checkout(compare.resolve())}
    return {**before, NOW: HERE}


def simulate(repo: Path, detectors: int, size: tuple[int, int], trails: int, seed: int) -> None:
    """Simulate a repository of images, in the collection ``input``."""
    HERE.run(
        "meas-trails", "simulate", repo, "--detectors", detectors, "--size", *size,
        "--trails", trails, "--seed", seed,
    )  # fmt: skip


def adcnn_usage(size: tuple[int, int], side: int = 1024, threads: int = 1) -> Usage:
    """Return the resources of the network UNetResSEASPP in float32 for an image.

    Parameters
    ----------
    size
        Rows and columns of the image.
    side
        Side of the part of the image that is measured, pixels. Every tile takes the same time.
    threads
        Number of threads.
    """
    side = min(side, *size)
    measured = HERE.call("adcnn", threads, side=side)
    factor = tile_count(size, measured["tile"]) / tile_count((side, side), measured["tile"])
    return Usage(measured["cpu"] * factor, measured["wall"] * factor, measured["peak"])


def tile_count(size: tuple[int, int], tile: int) -> int:
    """Return the number of tiles that cover an image."""
    return -(-size[0] // tile) * -(-size[1] // tile)


class Batch:
    """Graph of the search of images, ready for jobs.

    Parameters
    ----------
    repo
        Repository with images in the collection ``input``.
    images
        Number of images.
    checkout
        The code.
    options
        Further options of ``pipetask qgraph``.
    """

    def __init__(
        self, repo: Path, images: int = 1, *, checkout: Checkout = HERE, options: Sequence[str] = ()
    ) -> None:
        self.checkout, self.images, self._repo = checkout, images, repo
        self._graph = repo.parent / f"{repo.name}_{images}.qg"
        name = f"batch/{images}"
        self._run = repo / name / "run"
        pipeline = f"{checkout.root / 'pipelines' / 'DetectTrails.yaml'}#{','.join(TASKS)}"
        self.prepared = {
            "qgraph": checkout.run(
                "pipetask", "qgraph", "-b", repo, "-p", pipeline, *options, "-i", "input", "-o", name,
                "--output-run", f"{name}/run", "-d", f"instrument = 'TrailSimCam' AND detector < {images}",
                "--save-qgraph", self._graph, "--qgraph-datastore-records",
            ),
            "pre-exec-init-qbb": checkout.run("pipetask", "pre-exec-init-qbb", repo, self._graph),
        }  # fmt: skip
        self._kept = set(self._run.rglob("*"))

    def run(self, threads: int = 1) -> Usage:
        """Run all quanta in one job."""
        return self._job((), threads)

    def run_apart(self, threads: int = 1) -> dict[str, Usage]:
        """Run the quanta of each task in a job of its own."""
        quanta = self.checkout.call("quanta", graph=str(self._graph))
        return {task: self._job(("--qgraph-node-id", ",".join(quanta[task])), threads) for task in TASKS}

    def candidates(self) -> int:
        """Return the number of candidates that the last jobs found."""
        files = (self._run / "trailCandidate_metadata").rglob("*.json")
        return sum(int(n) for file in files for n in re.findall(r'"nCandidates":\s*(\d+)', file.read_text()))

    def clear(self) -> None:
        """Delete the outputs of the quanta, so that they can run again."""
        for path in self._run.rglob("*"):
            if path.is_file() and path not in self._kept:
                path.unlink()

    def _job(self, quanta: tuple[str, ...], threads: int) -> Usage:
        job = ("run-qbb", self._repo, self._graph, *quanta, "-j", 1, "-n", threads)
        return self.checkout.run_in_steps(*job, threads=threads)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def median_and_range(values: Sequence[float], digits: int = 1) -> str:
    """Return the median of some values, with their range; a dash if there are none."""
    if not values:
        return "-"
    text = f"{statistics.median(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def ratio(before: Sequence[float], now: Sequence[float]) -> str:
    """Return the ratio of two medians; a dash if there is none."""
    medians = [statistics.median(values) if values else 0.0 for values in (before, now)]
    return f"{medians[1] / medians[0]:.2f}" if min(medians) > 0.0 else "-"


def gibibytes(values: Sequence[float]) -> str:
    """Return the median of memory in bytes, with the range, in GiB."""
    return median_and_range([value / 2**30 for value in values], 2)


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, markdown: bool = False
) -> None:
    """Print a table; the first column has the names of the rows."""
    if markdown:
        print(f"{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for row in rows:
            print(f"| {' | '.join(row)} |")
        print()
        return
    table = rich.table.Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    rich.console.Console(width=160).print(table)


compare_option = click.option(
    "--compare",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Other checkout that is measured in turn.",
)
markdown_option = click.option("--markdown", is_flag=True, help="Print the tables in Markdown.")
runs_option = click.option(
    "--runs", type=click.IntRange(min=1), default=3, show_default=True, help="Number of runs."
)
seed_option = click.option("--seed", default=1, show_default=True, help="Seed of the simulation.")
