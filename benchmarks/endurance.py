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
"""Measure memory and open files of a process over hundreds of quanta.

    python benchmarks/endurance.py [--quanta 300] [--size 256x256]

One process, ``pipetask run -j 1``, runs ``DetectTrails.yaml#perDetector`` on
small simulated images, with two quanta per image. Its resident memory and open
files are read from /proc at regular intervals, which requires Linux.

The growth per quantum is the slope of a straight line through the second half
of the measurements, after libraries are loaded and caches are full.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

_PIPELINE = Path(__file__).resolve().parents[1] / "pipelines" / "DetectTrails.yaml"
_DETECTORS = 10
"""Largest number of detectors of a visit."""

_DONE = re.compile(r"Executed (\d+) quanta successfully, (\d+) failed")


@dataclasses.dataclass(frozen=True)
class Sample:
    """The state of the process after some quanta."""

    quanta: int
    """Number of finished quanta."""

    seconds: float
    """Time since the start of the process."""

    memory: int
    """Resident memory, bytes."""

    files: int
    """Number of open files."""


def sample(pid: int, quanta: int, seconds: float) -> Sample:
    """Measure memory and open files of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(quanta, seconds, pages * os.sysconf("SC_PAGE_SIZE"), files)


def command(name: str) -> str:
    """Return the path of a command of this environment."""
    return str(Path(sys.executable).parent / name)


def run(repo: Path, log: Path, every: int) -> list[Sample]:
    """Run the pipeline and sample its process after every ``every`` quanta."""
    arguments = [
        command("pipetask"), "run", "-j", "1", "-b", repo, "-p", f"{_PIPELINE}#perDetector",
        "-i", "input", "-o", "endurance",
    ]  # fmt: skip
    samples: list[Sample] = []
    started = time.monotonic()
    with (
        log.open("w") as file,
        subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            file.write(line)
            if found := _DONE.search(line):
                done, failed = map(int, found.groups())
                if failed:
                    raise click.ClickException(f"A quantum failed; see {log}.")
                if done % every == 0 and (not samples or samples[-1].quanta < done):
                    samples.append(sample(process.pid, done, time.monotonic() - started))
    if process.returncode != 0:
        raise click.ClickException(f"pipetask exited with status {process.returncode}; see {log}.")
    return samples


def growth(samples: list[Sample]) -> float:
    """Return the growth of memory per quantum, bytes."""
    late = samples[len(samples) // 2 :]
    slope, _ = np.polyfit([each.quanta for each in late], [each.memory for each in late], 1)
    return float(slope)


@click.command()
@click.option(
    "--quanta", type=click.IntRange(min=8), default=300, show_default=True, help="Number of quanta."
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Quanta between two measurements.",
)
@click.option("--size", default="256x256", show_default=True, help="Rows x columns of the images.")
@click.option("--seed", default=990_000, show_default=True, help="Seed of the images.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON file of the figures.")
def main(quanta: int, every: int, size: str, seed: int, output: Path | None) -> None:
    """Measure memory and open files of one process over many quanta."""
    if quanta // every < 4:
        raise click.BadParameter("at least four measurements are required", param_hint="--every")
    console = Console()
    images = -(-quanta // 2)
    detectors = min(images, _DETECTORS)
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder) / "repo"
        subprocess.run(
            [
                command("meas-trails"), "simulate", repo, "--visits", str(-(-images // detectors)),
                "--detectors", str(detectors), "--size", *size.split("x"), "--seed", str(seed),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        samples = run(repo, Path(folder) / "pipetask.log", every)
    table = Table("quanta", "seconds", "memory (MiB)", "open files")
    for column in table.columns:
        column.justify = "right"
    for each in samples:
        table.add_row(str(each.quanta), f"{each.seconds:.0f}", f"{each.memory / 2**20:.1f}", str(each.files))
    console.print(table)
    slope = growth(samples)
    console.print(
        f"{samples[-1].quanta} quanta in one process: {slope / 1024:.1f} KiB per quantum in the second half, "
        f"{samples[-1].files - samples[0].files:+d} open files."
    )
    if output is not None:
        figures = {"samples": [dataclasses.asdict(each) for each in samples], "bytes_per_quantum": slope}
        output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
