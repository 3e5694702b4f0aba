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

"""Overhead of a search, memory of each task, and cost of a night.

    python benchmarks/scale.py quanta [--images 1 --images 4 --images 16 --images 64 ...]
    python benchmarks/scale.py memory [--size 4000 4072]
    python benchmarks/scale.py night [--visits 1000] [--detectors 189] [--cluster 8] [--compare CHECKOUT]

``quanta`` searches small simulated images as a batch system does: a graph
(``pipetask qgraph``), its preparation (``pre-exec-init-qbb``) and one job for
all quanta (``run-qbb -j 1``), each in its own process.  Each image has two
quanta, one of TrailSegmentationTask and one of TrailCandidateTask.
Straight-line fits to the processor times give the cost of a start and of an
image, for each step of the job (`quantum_steps`).

``memory`` runs every task of this package on an image of the size of a
detector, each in its own process, and reads the peak resident memory of that
process.

``night`` searches images of the size of a detector in jobs of one and of
several detectors, and runs the network UNetResSEASPP of
Asteroid_detection_CNN in float32 on the same machine for comparison, all on one
core.  It computes core-hours from the processor times, which depend less on
other work on the machine than wall times.  ``--compare`` is that of `speed`.
"""

from __future__ import annotations

import functools
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from processes import (
    ADCNN,
    BEFORE,
    HERE,
    NOW,
    STEPS,
    Batch,
    Usage,
    adcnn_usage,
    checkouts_by_label,
    compare_option,
    markdown_option,
    median_and_range,
    print_table,
    runs_option,
    seed_option,
    simulate,
)

MEMORY = (
    ("InjectTrailsTask", "EvaluateTrails", "injectTrails"),
    ("TileToHdf5Task", "MakeTrainingSet", "tileToHdf5"),
    ("TrailSegmentationTask", "EvaluateTrails", "trailSegmentation"),
    ("TrailCandidateTask", "EvaluateTrails", "trailCandidate"),
    ("ConsolidateTrailCandidatesTask", "DetectTrails", "consolidateTrailCandidates"),
    ("MatchTrailsTask", "EvaluateTrails", "matchTrails"),
    ("SummarizeTrailsTask", "EvaluateTrails", "summarizeTrails"),
)
"""Task, pipeline and label, each after the tasks that make its inputs."""


def straight_line(images: list[int], seconds: list[float]) -> tuple[float, float]:
    """Return intercept and slope of a straight-line fit to times."""
    fit = statistics.linear_regression(images, seconds)
    return fit.intercept, fit.slope


def quanta_rows(measured: dict[int, dict[str, Usage]]) -> list[list[str]]:
    """Return the cost of a start and of an image, for each command and each step of the job."""
    parts: dict[str, Callable[[dict[str, Usage]], float]] = {
        name: lambda used, name=name: used[name].cpu for name in next(iter(measured.values()))
    }
    parts |= {f"run-qbb: {step}": lambda used, step=step: used["run-qbb"].step(step).cpu for step in STEPS}
    rows = []
    for name, seconds in parts.items():
        start, image = straight_line(list(measured), [seconds(used) for used in measured.values()])
        rows.append([name, f"{start:.2f}", f"{image:.3f}"])
    return rows


def image_options(size: tuple[int, int], trails: int) -> Callable[[Any], Any]:
    """Return a decorator that adds the options of simulated images, with their defaults."""
    options = (
        markdown_option,
        seed_option,
        click.option(
            "--trails", type=click.IntRange(1), default=trails, show_default=True, help="Trails of an image."
        ),
        click.option(
            "--size",
            nargs=2,
            type=click.IntRange(256),
            default=size,
            show_default=True,
            help="Rows and columns.",
        ),
    )
    return lambda command: functools.reduce(lambda decorated, option: option(decorated), options, command)


@click.group()
def main() -> None:
    """Measure the overhead of a search, memory, and the cost of a night."""


@main.command("quanta")
@click.option(
    "--images",
    "numbers",
    multiple=True,
    type=click.IntRange(1, 189),
    default=(1, 4, 16, 64),
    show_default=True,
    help="Number of images, at least two different ones; may be repeated.",
)
@image_options((256, 256), 2)
def measure_quanta(
    numbers: tuple[int, ...], size: tuple[int, int], trails: int, seed: int, markdown: bool
) -> None:
    """Measure the overhead of a quantum."""
    images = sorted(set(numbers))
    if len(images) < 2:
        raise click.UsageError("Separating the cost of a start needs two different numbers: repeat --images.")
    measured = {}
    with tempfile.TemporaryDirectory(prefix="trails_scale_") as folder:
        repo = Path(folder) / "repo"
        simulate(repo, max(images), size, trails, seed)
        for number in images:
            batch = Batch(repo, number)
            measured[number] = {**batch.prepared, "run-qbb": batch.run()}
    rows = [
        [str(number), *(f"{usage.cpu:.1f} ({usage.wall:.1f})" for usage in used.values())]
        for number, used in measured.items()
    ]
    title = f"Images of {size[0]}x{size[1]} pixels"
    columns = ["images", *next(iter(measured.values()))]
    print_table(f"{title}, core-s (wall s)", columns, rows, markdown=markdown)
    columns = ["", "a start", "an image"]
    print_table(f"{title}, straight-line fits, core-s", columns, quanta_rows(measured), markdown=markdown)


@main.command("memory")
@image_options((4000, 4072), 16)
def measure_memory(size: tuple[int, int], trails: int, seed: int, markdown: bool) -> None:
    """Measure the peak memory of each task."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="trails_memory_") as folder:
        repo = Path(folder) / "repo"
        simulate(repo, 1, size, trails, seed)
        before = "input"
        for number, (task, pipeline, label) in enumerate(MEMORY):
            used = HERE.run(
                "pipetask", "run", "-b", repo, "-p", f"{HERE.root / 'pipelines' / pipeline}.yaml#{label}",
                "-i", before, "-o", f"memory/{number}", "-j", 1, "--register-dataset-types",
            )  # fmt: skip
            before = f"memory/{number}"
            rows.append([task, f"{used.peak / 2**20:.0f}", f"{used.cpu:.1f}", f"{used.wall:.1f}"])
    title = f"{size[0]}x{size[1]} pixels, each task in its own process"
    print_table(title, ["", "peak MiB", "core-s", "wall s"], rows, markdown=markdown)


@main.command("night")
@click.option("--visits", type=click.IntRange(1), default=1000, show_default=True, help="Visits of a night.")
@click.option(
    "--detectors", type=click.IntRange(1), default=189, show_default=True, help="Detectors of a visit."
)
@click.option(
    "--cluster", type=click.IntRange(2), default=8, show_default=True, help="Detectors of a batch job."
)
@runs_option
@compare_option
@image_options((4000, 4072), 16)
def measure_night(
    visits: int,
    detectors: int,
    cluster: int,
    runs: int,
    compare: Path | None,
    size: tuple[int, int],
    trails: int,
    seed: int,
    markdown: bool,
) -> None:
    """Compute the cost of a night."""
    checkouts = checkouts_by_label(compare)
    seconds: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="trails_night_") as folder:
        repos = {label: Path(folder) / label for label in checkouts}
        simulate(repos[NOW], cluster, size, trails, seed)
        if compare is not None:
            shutil.copytree(repos[NOW], repos[BEFORE])
        batches = {
            (label, images): Batch(repos[label], images, checkout=checkouts[label])
            for images in (1, cluster)
            for label in checkouts
        }
        for _ in range(runs):
            for (label, images), batch in batches.items():
                seconds.setdefault((label, images), []).append(batch.run().cpu / images)
                batch.clear()
    adcnn = [adcnn_usage(size).cpu]
    rows = []
    for label, images in seconds:
        name = f"{label}, {images} detectors per job" if images > 1 else f"{label}, one detector per job"
        rows.append([name, *night_cells(seconds[label, images], visits * detectors)])
    rows.append([f"{ADCNN}, the network alone", *night_cells(adcnn, visits * detectors)])
    title = f"{visits} visits of {detectors} detectors of {size[0]}x{size[1]} pixels"
    columns = ["both quanta, start, reading, writing", "core-seconds per detector", "core-hours per night"]
    print_table(title, columns, rows, markdown=markdown)


def night_cells(seconds: list[float], detectors: int) -> tuple[str, str]:
    """Return core-seconds per detector and core-hours per night."""
    return median_and_range(seconds), median_and_range([s * detectors / 3600 for s in seconds], 0)


if __name__ == "__main__":
    main()
