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

"""Time and memory of the search of a detector.

    python benchmarks/speed.py [--size 1000x1018 --size 4000x4072 ...] [--threads N]

Simulated images of several sizes are put into a Butler repository.  Each
measurement has its own process, for its peak memory:

network
    The network of the shipped model only, in its default precision.
TrailSegmentationTask, TrailCandidateTask
    ``run`` of the two tasks on an image in memory.
quanta
    Both quanta of ``DetectTrails.yaml#perDetector``, one after the other in
    one process, including reads from and writes to the repository.
UNetResSEASPP
    The network of Asteroid_detection_CNN in float32, with random weights, which
    do not change its time.  It takes minutes for a detector, and the same time
    for every tile; it is measured on a part of the image and scaled by the
    number of tiles.

A first small image loads libraries and the model and makes torch select its
algorithms; the column "at start" is the memory after it.  Times are the fastest
of the repetitions, because other work on the machine only adds to them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

# Large libraries are imported only in functions that run in separate processes:
# Linux includes the memory of the parent in the peak memory of a process.

SIZES = ("1000x1018", "4000x4072", "8000x8144")
WARM_UP = 256
ADCNN = "UNetResSEASPP"


@dataclasses.dataclass(frozen=True)
class Job:
    """Measurement in a separate process."""

    what: str
    """Key of `MEASUREMENTS`."""

    repo: str
    """The Butler repository."""

    shape: tuple[int, int]
    """Shape (ny, nx) of the image."""

    model: str
    """Name or file of the model."""

    threads: int
    """Number of threads."""

    repeat: int
    """Number of repetitions."""

    adcnn_side: int
    """Side of the part on which UNetResSEASPP is measured, pixels."""

    seed: int
    """Seed of the simulation."""


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of a measurement."""

    seconds: float
    """Time of the fastest repetition."""

    start: int
    """Peak resident memory before the first repetition, bytes."""

    peak: int
    """Peak resident memory of the process, bytes."""

    note: str = ""
    """Remark on the measurement."""

    scaled: float = 1.0
    """Factor by which the time was multiplied."""


def data_id() -> dict[str, Any]:
    """Return the data ID of the single image in the repository."""
    with open("visit.json") as stream:
        return dict(json.load(stream))


def simulate(job: Job) -> Result:
    """Simulate the image and put it into the repository."""
    from lsst.meas.trails.repository.butler import open_or_create
    from lsst.meas.trails.sim.simulation import Simulation

    start = time.perf_counter()
    trails = job.shape[0] * job.shape[1] / 1.0e6
    simulation = Simulation(seed=job.seed, shape=job.shape, trails=trails)
    butler = open_or_create(job.repo)
    simulation.register(butler, "input")
    simulation.put(butler, "input", 0, 0)
    with open("visit.json", "w") as stream:
        json.dump(simulation.data_ids()[0], stream)
    return finish(time.perf_counter() - start, 0)


def run_quanta(job: Job) -> Result:
    """Run both quanta of a detector, with input and output."""
    from lsst.pipe.base import ExecutionResources, Pipeline
    from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor

    pipelines = Path(__file__).resolve().parents[1] / "pipelines"
    pipeline = Pipeline.from_uri(f"{pipelines / 'DetectTrails.yaml'}#perDetector")
    pipeline.addConfigOverride("trailSegmentation", "model", job.model)
    warm_segmentation(job, get(job, "preliminary_visit_image", "VisitImage"))
    start, seconds = peak_memory(), []
    for number in range(job.repeat):
        butler = SimplePipelineExecutor.prep_butler(job.repo, ["input"], f"speed/{number}")
        executor = SimplePipelineExecutor.from_pipeline(
            pipeline, butler=butler, resources=ExecutionResources(num_cores=job.threads)
        )
        seconds.append(timed(lambda: executor.run(True, save_versions=False)))
    return finish(min(seconds), start, "with input and output")


def warm_segmentation(job: Job, image: Any) -> Any:
    """Return a TrailSegmentationTask that has run before."""
    from lsst.meas.trails.tasks import TrailSegmentationConfig, TrailSegmentationTask

    config = TrailSegmentationConfig()
    config.model = job.model
    task = TrailSegmentationTask(config=config)
    task.run(image=corner(image), num_cores=job.threads)
    return task


def run_segmentation(job: Job) -> Result:
    """Run TrailSegmentationTask on an image in memory."""
    image = get(job, "preliminary_visit_image", "VisitImage")
    task = warm_segmentation(job, image)
    start = peak_memory()
    seconds = [timed(lambda: task.run(image=image, num_cores=job.threads)) for _ in range(job.repeat)]
    return finish(min(seconds), start)


def run_candidates(job: Job) -> Result:
    """Run TrailCandidateTask on an image and probabilities in memory."""
    from lsst.meas.trails.tasks import TrailCandidateConfig, TrailCandidateTask

    task = TrailCandidateTask(config=TrailCandidateConfig())
    image = get(job, "preliminary_visit_image", "VisitImage")
    probability = get(job, "trail_probability", "ImageV2", "speed/0")
    task.run(image=corner(image), trail_probability=corner(probability))
    start = peak_memory()
    counts: list[int] = []

    def run() -> None:
        counts.append(len(task.run(image=image, trail_probability=probability).trail_candidate_detector))

    seconds = [timed(run) for _ in range(job.repeat)]
    return finish(min(seconds), start, f"{counts[0]} candidates")


def run_network(job: Job) -> Result:
    """Run the model's network on an image in memory."""
    from lsst.meas.trails.core.background import fit_background
    from lsst.meas.trails.nn.hardware import precision_name
    from lsst.meas.trails.nn.model_file import load_model, shipped_model_path
    from lsst.meas.trails.nn.predict import predict_probability
    from lsst.meas.trails.tasks._input_image import read_input_image

    model = load_model(job.model if job.model.endswith(".json") else shipped_model_path(job.model))
    image = get(job, "preliminary_visit_image", "VisitImage")
    small, planes = (read_input_image(each, psf_spacing=512.0).planes for each in (corner(image), image))
    predict_probability(model, small, threads=job.threads)
    background = fit_background(planes.image, planes.bad())
    start = peak_memory()
    seconds = [
        timed(lambda: predict_probability(model, planes, background=background, threads=job.threads))
        for _ in range(job.repeat)
    ]
    return finish(min(seconds), start, precision_name("auto", "auto"))


def run_adcnn(job: Job) -> Result:
    """Run UNetResSEASPP on noise, and scale its time to the image."""
    import numpy as np

    from lsst.meas.trails.core.normalize import ADCNN_CHANNELS, ADCNN_NORMALIZATION
    from lsst.meas.trails.core.planes import ImagePlanes
    from lsst.meas.trails.core.psf import PsfGrid
    from lsst.meas.trails.nn.model_file import ModelSpecification, TrailModel
    from lsst.meas.trails.nn.networks.registry import count_parameters
    from lsst.meas.trails.nn.predict import predict_probability

    specification = ModelSpecification(
        name=ADCNN,
        version="0",
        architecture=ADCNN,
        channels=ADCNN_CHANNELS,
        normalization=ADCNN_NORMALIZATION,
    )
    network = specification.create_network().eval()
    model = TrailModel(specification=specification, network=network, checksum="")
    tile = network.tile_size
    assert tile is not None

    def noise(shape: tuple[int, int]) -> ImagePlanes:
        image = np.random.default_rng(job.seed).standard_normal(shape, dtype=np.float32)
        mask = np.zeros(shape, dtype=np.uint32)
        return ImagePlanes(image=image, variance=np.ones_like(image), mask=mask, psf=PsfGrid.gaussian(4.0))

    def tiles(shape: tuple[int, int]) -> int:
        return -(-shape[0] // tile) * -(-shape[1] // tile)

    part = noise((min(job.adcnn_side, job.shape[0]), min(job.adcnn_side, job.shape[1])))
    predict_probability(model, noise((tile, tile)), threads=job.threads, dtype="float32")
    start = peak_memory()
    seconds = [
        timed(lambda: predict_probability(model, part, threads=job.threads, dtype="float32"))
        for _ in range(job.repeat)
    ]
    scaled = tiles(job.shape) / tiles(part.shape)
    note = f"float32, {count_parameters(network) / 1e6:.1f} M parameters"
    if scaled > 1.0:
        note += f"; measured on {part.shape[0]}x{part.shape[1]} pixels, time x {scaled:.2f}"
    return dataclasses.replace(finish(min(seconds) * scaled, start, note), scaled=scaled)


MEASUREMENTS: dict[str, Callable[[Job], Result]] = {
    "simulation": simulate,
    "quanta": run_quanta,
    "network": run_network,
    ADCNN: run_adcnn,
    "TrailSegmentationTask": run_segmentation,
    "TrailCandidateTask": run_candidates,
}
"""Measurements, each after those that make its inputs."""


def get(job: Job, dataset_type: str, storage_class: str, collection: str = "input") -> Any:
    """Read a dataset of the image."""
    from lsst.daf.butler import Butler

    butler = Butler.from_config(job.repo, collections=collection)
    return butler.get(dataset_type, data_id(), storageClass=storage_class)


def corner(image: Any) -> Any:
    """Return a small part of an image, for the warm-up."""
    from lsst.images import Box

    ny, nx = (min(WARM_UP, side.size) for side in (image.bbox.y, image.bbox.x))
    y, x = image.bbox.y.start, image.bbox.x.start
    return image[Box.factory[y : y + ny, x : x + nx]]


def timed(run: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_memory() -> int:
    """Return the peak resident memory of this process so far, bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def finish(seconds: float, start: int, note: str = "") -> Result:
    """Return a result with the peak memory of this process."""
    return Result(seconds=seconds, start=start, peak=peak_memory(), note=note)


def measure(job: Job, folder: str) -> Result:
    """Measure in a new process."""
    threads = {
        name: str(job.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--job", json.dumps(dataclasses.asdict(job))],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, **threads},
    )
    if done.returncode != 0:
        raise click.ClickException(f"Measuring {job.what} on {job.shape} failed:\n{done.stderr[-3000:]}")
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def report(console: Console, results: dict[tuple[int, int], dict[str, Result]]) -> None:
    """Print the results."""
    for shape, measured in results.items():
        pixels = shape[0] * shape[1] / 1.0e6
        table = Table(title=f"{shape[0]}x{shape[1]}: {pixels:.1f} Mpix", title_justify="left")
        table.add_column("")
        for name in ("seconds", "per Mpix", "peak memory", "at start"):
            table.add_column(name, justify="right")
        table.add_column("")
        for what, result in measured.items():
            if what != "simulation":
                table.add_row(
                    what,
                    f"{result.seconds:.2f}",
                    f"{result.seconds / pixels:.3f}",
                    f"{result.peak / 2**30:.2f} GiB",
                    f"{result.start / 2**30:.2f} GiB",
                    result.note,
                )
        console.print(table)
        if "network" in measured and ADCNN in measured:
            ratio = measured[ADCNN].seconds / measured["network"].seconds
            console.print(f"The network is {ratio:.1f} times as fast as {ADCNN} in float32.\n")
    if len(results) > 1:
        table = Table(title="Growth with the number of pixels", title_justify="left")
        table.add_column("")
        for shape in results:
            table.add_column(f"{shape[0] * shape[1] / 1e6:.1f} Mpix", justify="right")
        for what in (name for name in MEASUREMENTS if name not in ("simulation", ADCNN)):
            cells = [measured[what] for measured in results.values()]
            table.add_row(what, *(f"{cell.seconds:.2f} s, {cell.peak / 2**30:.2f} GiB" for cell in cells))
        console.print(table)


def parse_size(text: str) -> tuple[int, int]:
    """Return the shape (ny, nx) of a size such as 4000x4072."""
    try:
        ny, nx = (int(part) for part in text.split("x"))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a size; pass ROWSxCOLUMNS, such as 4000x4072.") from None
    if min(ny, nx) < WARM_UP:
        raise click.BadParameter(f"{text} is too small: an image needs at least {WARM_UP}x{WARM_UP} pixels.")
    return ny, nx


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@click.command()
@click.option(
    "--size",
    "sizes",
    multiple=True,
    default=SIZES,
    show_default=True,
    help="Rows x columns; may be repeated.",
)
@click.option("--model", default="direct", show_default=True, help="Shipped model, or a .json file.")
@click.option("--threads", type=click.IntRange(min=1), help="Number of threads.  [default: all cores]")
@click.option("--repeat", type=click.IntRange(min=1), default=1, show_default=True, help="Repetitions.")
@click.option(
    "--adcnn-side",
    type=click.IntRange(min=128),
    default=1024,
    show_default=True,
    help=f"Side of the part on which {ADCNN} is measured, pixels; its time is scaled to the image.",
)
@click.option("--seed", default=880_000, show_default=True, help="Seed of the images.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON file for the results.")
@click.option("--job", "text", hidden=True, help="Measure in this process.")
def main(
    sizes: tuple[str, ...],
    model: str,
    threads: int | None,
    repeat: int,
    adcnn_side: int,
    seed: int,
    output: Path | None,
    text: str | None,
) -> None:
    """Measure time and memory of a search."""
    if text is not None:
        data = json.loads(text)
        job = Job(**{**data, "shape": tuple(data["shape"])})
        print(json.dumps(dataclasses.asdict(MEASUREMENTS[job.what](job))))
        return
    console = Console(width=140)
    shapes = [parse_size(size) for size in sizes]
    threads = threads or available_cores()
    model = str(Path(model).resolve()) if model.endswith(".json") else model
    console.print(f"model {model}, {threads} threads, fastest of {repeat}, seed {seed}")
    results: dict[tuple[int, int], dict[str, Result]] = {}
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(shapes) * len(MEASUREMENTS))
        for shape in shapes:
            results[shape] = {}
            with tempfile.TemporaryDirectory(prefix="trails_speed_") as folder:
                for what in MEASUREMENTS:
                    progress.update(bar, description=f"{shape[0]}x{shape[1]}: {what}")
                    job = Job(
                        what=what,
                        repo=f"{folder}/repo",
                        shape=shape,
                        model=model,
                        threads=threads,
                        repeat=repeat,
                        adcnn_side=adcnn_side,
                        seed=seed,
                    )
                    results[shape][what] = measure(job, folder)
                    progress.advance(bar)
    report(console, results)
    if output is not None:
        figures = [
            {"shape": shape, "what": what, "threads": threads, **dataclasses.asdict(result)}
            for shape, measured in results.items()
            for what, result in measured.items()
        ]
        output.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
