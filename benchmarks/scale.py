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
    python benchmarks/scale.py night [--visits 1000] [--detectors 189] [--cluster 8]

``quanta`` searches small simulated images as a batch system does: a graph of
``DetectTrails.yaml#perDetector`` (``pipetask qgraph``), its preparation
(``pre-exec-init-qbb``) and one job for all of its quanta (``run-qbb -j 1``),
each in its own process.  Each image has two quanta, one of
TrailSegmentationTask and one of TrailCandidateTask.  Straight-line fits to the
processor times give the cost of a start and of an image.  The work of the tasks
on an image in memory is measured separately, and the duration of each quantum is
read from its metadata; the rest is the middleware's.

``memory`` runs every task of this package on an image of the size of a
detector, each in its own process, and reads the peak resident memory of that
process.

``night`` searches one image of the size of a detector as ``quanta`` does, and
runs the network UNetResSEASPP of Asteroid_detection_CNN in float32 on the same
machine for comparison, both on one core.  It computes core-hours from the
processor times, which depend less on other work on the machine than wall times.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

# Large libraries are imported only in functions that run in separate processes:
# Linux includes the memory of the parent in the peak memory of a process.

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"

STEPS = ("qgraph", "pre-exec-init-qbb", "run-qbb")
"""Commands that are run for each number of images."""

TASKS = ("trailSegmentation", "trailCandidate")

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


@dataclasses.dataclass(frozen=True)
class Usage:
    """Resources used by a process."""

    cpu: float
    """Processor time, user and system, seconds."""

    wall: float
    """Wall time, seconds."""

    peak: int
    """Peak resident memory, bytes."""

    output: str
    """Standard output."""


def run(*command: object) -> Usage:
    """Run a command of this environment on one core."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "MPLBACKEND": "Agg"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as messages:
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command], stdout=output, stderr=messages, env=environment
        )
        # Unlike `wait`, this returns the resources of the one process.
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            messages.seek(0)
            name = " ".join(map(str, command[:2]))
            raise click.ClickException(f"{name} failed:\n{messages.read()[-3000:]}")
        output.seek(0)
        unit = 1 if sys.platform == "darwin" else 1024
        return Usage(used.ru_utime + used.ru_stime, wall, unit * used.ru_maxrss, output.read())


def simulate(repo: Path, detectors: int, size: tuple[int, int], trails: int, seed: int) -> None:
    """Simulate a repository of images."""
    run(
        "meas-trails", "simulate", repo, "--detectors", detectors, "--size", *size,
        "--trails", trails, "--seed", seed,
    )  # fmt: skip


def search(repo: Path, images: int) -> dict[str, Usage]:
    """Search some images, with outputs in ``batch/IMAGES/run``."""
    graph = repo.parent / f"{images}.qg"
    batch, pipeline = f"batch/{images}", f"{PIPELINES / 'DetectTrails.yaml'}#perDetector"
    select = ("-p", pipeline, "-i", "input", "-d", f"instrument = 'TrailSimCam' AND detector < {images}")
    return {
        "qgraph": run(
            "pipetask", "qgraph", "-b", repo, *select, "-o", batch, "--output-run", f"{batch}/run",
            "--save-qgraph", graph, "--qgraph-datastore-records",
        ),
        "pre-exec-init-qbb": run("pipetask", "pre-exec-init-qbb", repo, graph),
        "run-qbb": run("pipetask", "run-qbb", repo, graph, "-j", 1),
    }  # fmt: skip


def quantum_time(repo: Path, images: int) -> dict[str, float]:
    """Return the processor time in the metadata of the quanta, seconds."""
    from lsst.pipe.base import TaskMetadata

    total = 0.0
    for task in TASKS:
        paths = list((repo / "batch" / str(images) / "run" / f"{task}_metadata").rglob("*.json"))
        assert len(paths) == images
        for path in paths:
            quantum = TaskMetadata.model_validate_json(path.read_text())["quantum"]
            total += float(quantum["endCpuTime"]) - float(quantum["startCpuTime"])
    return {"batch": total}


def work_time(repo: Path, images: int) -> dict[str, float]:
    """Return the processor time of imports, model and tasks in this process, seconds."""
    from lsst.daf.butler import Butler

    started = time.process_time()
    # The tasks import these in their first run.
    from lsst.meas.trails.nn import predict  # noqa: F401
    from lsst.meas.trails.nn.model_file import load_model, shipped_model_path
    from lsst.meas.trails.tasks import TrailCandidateTask, TrailSegmentationTask

    imported = time.process_time()
    load_model(shipped_model_path("direct"))
    loaded = time.process_time()
    butler = Butler.from_config(repo, collections="input")
    segment = TrailSegmentationTask(config=TrailSegmentationTask.ConfigClass())
    find = TrailCandidateTask(config=TrailCandidateTask.ConfigClass())
    seconds = []
    for ref in butler.query_datasets("preliminary_visit_image")[: images + 1]:
        image = butler.get(ref)
        start = time.process_time()
        probability = segment.run(image=image).trail_probability
        find.run(image=image, trail_probability=probability)
        seconds.append(time.process_time() - start)
    rest = seconds[1:]
    return {
        "import": imported - started,
        "model": loaded - imported,
        # Torch selects its algorithms, and compiled functions are loaded.
        "first": seconds[0] - sum(rest) / len(rest),
        "image": sum(rest) / len(rest),
    }


APART: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "quantum-time": quantum_time,
    "work-time": work_time,
}
"""Functions that are measured in a separate process."""


def apart(what: str, repo: Path, images: int) -> dict[str, float]:
    """Return the result of a function of `APART` in a new process."""
    return dict(
        json.loads(run(sys.executable, __file__, "apart", what, repo, images).output.splitlines()[-1])
    )


def line(images: list[int], seconds: list[float]) -> tuple[float, float]:
    """Return slope and intercept of a straight-line fit to times."""
    n, mean_x, mean_y = len(images), sum(images) / len(images), sum(seconds) / len(images)
    spread = sum((x - mean_x) ** 2 for x in images)
    slope = sum((images[i] - mean_x) * (seconds[i] - mean_y) for i in range(n)) / spread
    return slope, mean_y - slope * mean_x


def report_lines(
    console: Console,
    numbers: list[int],
    measured: list[dict[str, Usage]],
    quantum_times: list[float],
    work: dict[str, float],
) -> None:
    """Print the cost of a start and of an image."""
    table = Table(title="Straight-line fits, CPU s", title_justify="left")
    for name in ("", "a start", "an image"):
        table.add_column(name, justify="right" if name else "left")
    lines = {step: line(numbers, [each[step].cpu for each in measured]) for step in STEPS}
    for step, (slope, start) in lines.items():
        table.add_row(step, f"{start:.2f}", f"{slope:.3f}")
    console.print(table)
    quanta, image = line(numbers, quantum_times)[0], work["image"]
    table = Table(title="An image in run-qbb, two quanta, CPU s", title_justify="left")
    table.add_column("")
    table.add_column("both", justify="right")
    table.add_column("a quantum", justify="right")
    for name, value in (
        ("work of the tasks on an image in memory", image),
        ("reading and writing within the quantum", quanta - image),
        ("the middleware between quanta", lines["run-qbb"][0] - quanta),
    ):
        table.add_row(name, f"{value:.3f}", f"{value / 2:.3f}")
    console.print(table)
    console.print(
        f"In a start: import of tasks, networks and torch {work['import']:.2f} s, loading of the model "
        f"{work['model']:.2f} s,\nextra time of the first image {work['first']:.2f} s."
    )


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
@click.option(
    "--size", type=click.IntRange(64), default=256, show_default=True, help="Side of the images, pixels."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the simulation.")
def measure_quanta(numbers: tuple[int, ...], size: int, seed: int) -> None:
    """Measure the overhead of a quantum."""
    images = sorted(set(numbers))
    if len(images) < 2:
        raise click.UsageError("Separating the cost of a start needs two different numbers: repeat --images.")
    console = Console(width=110)
    with tempfile.TemporaryDirectory(prefix="trails_scale_") as folder:
        repo = Path(folder) / "repo"
        simulate(repo, max(images), (size, size), 2, seed)
        measured, own = [], []
        for number in images:
            measured.append(search(repo, number))
            own.append(apart("quantum-time", repo, number)["batch"])
        work = apart("work-time", repo, min(16, max(images) - 1))
    table = Table(title=f"Images of {size}x{size} pixels, CPU s (wall s)", title_justify="left")
    for name in ("images", *STEPS, "in quanta"):
        table.add_column(name, justify="right")
    for number, usage, batch in zip(images, measured, own, strict=True):
        cells = (f"{usage[step].cpu:.1f} ({usage[step].wall:.1f})" for step in STEPS)
        table.add_row(str(number), *cells, f"{batch:.1f}")
    console.print(table)
    report_lines(console, images, measured, own, work)


@main.command("memory")
@click.option(
    "--size",
    nargs=2,
    type=click.IntRange(256),
    default=(4000, 4072),
    show_default=True,
    help="Rows and columns.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the simulation.")
def measure_memory(size: tuple[int, int], seed: int) -> None:
    """Measure the peak memory of each task."""
    console = Console(width=110)
    table = Table(title=f"{size[0]}x{size[1]} pixels, each task in its own process", title_justify="left")
    table.add_column("")
    for name in ("peak memory", "CPU s", "wall s"):
        table.add_column(name, justify="right")
    with tempfile.TemporaryDirectory(prefix="trails_memory_") as folder:
        repo = Path(folder) / "repo"
        simulate(repo, 1, size, max(1, size[0] * size[1] // 1_000_000), seed)
        before = "input"
        for number, (task, pipeline, label) in enumerate(MEMORY):
            used = run(
                "pipetask", "run", "-b", repo, "-p", f"{PIPELINES / pipeline}.yaml#{label}", "-i", before,
                "-o", f"memory/{number}", "-j", 1, "--register-dataset-types",
            )  # fmt: skip
            before = f"memory/{number}"
            table.add_row(task, f"{used.peak / 2**20:.0f} MiB", f"{used.cpu:.1f}", f"{used.wall:.1f}")
    console.print(table)


def adcnn_time(size: tuple[int, int]) -> float:
    """Return the processor time of UNetResSEASPP for an image, seconds.

    Every tile takes the same time, which follows from the difference between
    a small and a large image.
    """
    import speed

    tiles, cpu = [], []
    for side in (256, 1024):
        job = speed.Job(
            what=speed.ADCNN, repo="", shape=(side, side), model="", threads=1, repeat=1,
            adcnn_side=side, seed=1,
        )  # fmt: skip
        used = run(sys.executable, speed.__file__, "--job", json.dumps(dataclasses.asdict(job)))
        tiles.append((side // 128) ** 2)
        cpu.append(used.cpu)
    of_image = -(-size[0] // 128) * -(-size[1] // 128)
    return of_image * (cpu[1] - cpu[0]) / (tiles[1] - tiles[0])


@main.command("night")
@click.option("--visits", type=click.IntRange(1), default=1000, show_default=True, help="Visits of a night.")
@click.option(
    "--detectors", type=click.IntRange(1), default=189, show_default=True, help="Detectors of a visit."
)
@click.option(
    "--cluster", type=click.IntRange(1), default=8, show_default=True, help="Detectors of a batch job."
)
@click.option(
    "--size",
    nargs=2,
    type=click.IntRange(256),
    default=(4000, 4072),
    show_default=True,
    help="Rows and columns.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the simulation.")
def measure_night(visits: int, detectors: int, cluster: int, size: tuple[int, int], seed: int) -> None:
    """Compute the cost of a night."""
    with tempfile.TemporaryDirectory(prefix="trails_night_") as folder:
        repo = Path(folder) / "repo"
        simulate(repo, 1, size, max(1, size[0] * size[1] // 1_000_000), seed)
        used = search(repo, 1)
        quanta = apart("quantum-time", repo, 1)["batch"]
        adcnn = adcnn_time(size)
    start = used["run-qbb"].cpu - quanta
    table = Table(
        title=f"{visits} visits of {detectors} detectors of {size[0]}x{size[1]} pixels", title_justify="left"
    )
    for name in ("", "core-seconds a detector", "core-hours"):
        table.add_column(name, justify="right" if name else "left")
    for name, seconds in (
        ("both quanta, with reading and writing", quanta),
        ("a start, one for each detector", start),
        (f"a start, one for {cluster} detectors", start / cluster),
        (f"both quanta, and a start for {cluster} detectors", quanta + start / cluster),
        ("UNetResSEASPP in float32, network only", adcnn),
    ):
        table.add_row(name, f"{seconds:.1f}", f"{seconds * visits * detectors / 3600:.0f}")
    Console(width=110).print(table)


@main.command("apart", hidden=True)
@click.argument("what", type=click.Choice(list(APART)))
@click.argument("repo", type=click.Path(path_type=Path))
@click.argument("images", type=int)
def measure_apart(what: str, repo: Path, images: int) -> None:
    """Measure in this process."""
    print(json.dumps(APART[what](repo, images)))


if __name__ == "__main__":
    main()
