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

"""Time and memory of a summary of many detectors.

    python benchmarks/evaluation.py [--detectors 100] [--trails 30] [--false 300]

Random catalogs of matches, as in the tests (``tests/evaluation/conftest.py``),
are put into a Butler repository in a temporary folder; no images are needed.  Two
commands are timed, each in its own process: `SummarizeTrailsTask` by
``pipetask run -p pipelines/EvaluateTrails.yaml#summarizeTrails``, with its graph,
reads, metrics, bootstrap and figures; and ``meas-trails evaluate`` on its output,
which prints the summary.  Peak memory is that of the process.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from lsst.meas.trails.core.progress import make_progress, track
from lsst.meas.trails.repository.butler import (
    Dataset,
    open_or_create,
    put_datasets,
    register_instrument,
    register_visit,
)
from lsst.meas.trails.sim.instrument import TrailSimCam
from lsst.meas.trails.sim.simulation import Simulation

_ROOT = Path(__file__).resolve().parents[1]
_MATCHES, _SEARCHES = "matched_injected_trail_detector", "trail_search_detector"


def drawn_catalogs() -> Any:
    """Return the test module that makes random catalogs."""
    path = _ROOT / "tests" / "evaluation" / "conftest.py"
    spec = importlib.util.spec_from_file_location("drawn_catalogs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fill(repo: Path, detectors: int, trails: int, false: int) -> None:
    """Put the catalogs of many visits of one detector into a repository."""
    simulation = Simulation(seed=30_000, visits=detectors, shape=(256, 256))
    butler = open_or_create(repo)
    instrument = TrailSimCam()
    register_instrument(butler, instrument)
    draw = drawn_catalogs().make_detector
    with make_progress() as progress:
        for number in track(progress, range(detectors), "Drawing catalogs"):
            record = simulation.record(number)
            register_visit(butler, record)
            matches, search = draw(number, trails=trails, false=false)
            data_id = {"instrument": instrument.getName(), "visit": record.visit, "detector": 0}
            put_datasets(
                butler,
                "matched",
                data_id,
                [Dataset(_MATCHES, "ArrowAstropy", matches), Dataset(_SEARCHES, "ArrowAstropy", search)],
            )


def timed(*command: str) -> tuple[float, float, float]:
    """Run a command; return its wall and CPU times in s, and peak memory in GiB."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stderr is not None
    messages = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise click.ClickException(f"{' '.join(command)} failed:\n{messages[-3000:]}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


@click.command()
@click.option("--detectors", default=100, show_default=True, help="Number of detectors.")
@click.option("--trails", default=30, show_default=True, help="Trails on each detector.")
@click.option("--false", "false", default=300, show_default=True, help="False candidates on each detector.")
def main(detectors: int, trails: int, false: int) -> None:
    """Measure time and memory of the evaluation of many detectors."""
    binaries = Path(sys.executable).parent
    table = Table(title=f"{detectors} detectors of {trails} trails and {false} others", title_justify="left")
    for name in ("what", "seconds", "CPU seconds", "peak GiB"):
        table.add_column(name, justify="left" if name == "what" else "right")
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder) / "repo"
        fill(repo, detectors, trails, false)
        pipeline = f"{_ROOT / 'pipelines' / 'EvaluateTrails.yaml'}#summarizeTrails"
        commands = {
            "pipetask run": (
                str(binaries / "pipetask"),
                *("run", "-b", str(repo), "-p", pipeline, "-i", "matched", "-o", "summary"),
                "--register-dataset-types",
            ),
            "meas-trails evaluate": (str(binaries / "meas-trails"), "evaluate", str(repo), "summary"),
        }
        for label, command in commands.items():
            seconds, cpu, memory = timed(*command)
            table.add_row(label, f"{seconds:.1f}", f"{cpu:.1f}", f"{memory:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
