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

    python benchmarks/speed.py [--size 4004 4096 ...] [--runs 3] [--compare CHECKOUT] [--markdown]

An image with trails is simulated into a Butler repository.  In each run, each
in its own process:

- A job for each of the two quanta, and one job for both, as a batch system runs
  them (``pipetask run-qbb``): processor time, wall time and peak memory, by
  steps.  `quantum_steps` defines the steps.
- The network on the image, with every engine and precision that the package
  offers here, the second time that it runs.
- For comparison: UNetResSEASPP, the network of Asteroid_detection_CNN, in
  float32, with random weights, which do not change its time; and sep, with the
  convolution with the PSF, but without reading and background.  UNetResSEASPP
  takes minutes for a detector, and the same time for every tile: it is measured
  on a part of the image and scaled by the number of tiles.

``--compare`` measures another checkout of the package in turn with this one, in
the same environment, such as an earlier commit:

    git worktree add ../before COMMIT

Times are in core-seconds (user and system, of the process and its children) and
in seconds of wall time, the median of all runs with their range.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import processes
from processes import (
    ADCNN,
    HERE,
    NOW,
    STEPS,
    TASKS,
    Batch,
    Checkout,
    Usage,
    compare_option,
    gibibytes,
    markdown_option,
    median_and_range,
    print_table,
    ratio,
    runs_option,
    seed_option,
)
from rich.console import Console
from rich.progress import Progress

APART, TOGETHER = "both, in two processes", "both, in one process"
SEP = "sep"

CANDIDATES = ("components", "fits", "score")
"""Steps that depend on the number of candidates."""

REFERENCE_PIXELS = 4004 * 4096
"""Number of pixels of the image that ``--trails`` refers to."""

type Results = dict[str, dict[str, list[Usage]]]
"""Resources in all runs, by checkout and measured object."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the measurements."""

    model: str
    """Name or file of the model."""

    precision: str
    """Precision of the network in the quanta."""

    config: tuple[str, ...]
    """Configuration overrides of this checkout."""

    threads: int
    """Number of threads."""

    trails: int
    """Number of trails in an image of `REFERENCE_PIXELS`."""

    adcnn_side: int
    """Side of the part on which UNetResSEASPP is measured, pixels."""

    seed: int
    """Seed of the simulation."""

    def trails_in(self, size: tuple[int, int]) -> int:
        """Return the number of trails in an image, for the same density."""
        return max(1, round(self.trails * size[0] * size[1] / REFERENCE_PIXELS))

    def overrides(self, label: str) -> list[str]:
        """Return the options that configure the quanta of a checkout."""
        fields = [f"trailSegmentation:model={self.model}", f"trailSegmentation:precision={self.precision}"]
        fields += self.config if label == NOW else ()
        return [part for field in fields for part in ("-c", field)]


class Detector:
    """Image of a size, with the measurements on it.

    Parameters
    ----------
    folder
        Empty folder for the repositories.
    size
        Rows and columns.
    checkouts
        Checkouts by label, in the order of the measurements.
    options
        Options.
    """

    def __init__(
        self, folder: Path, size: tuple[int, int], checkouts: dict[str, Checkout], options: Options
    ) -> None:
        self.size = size
        self.results: Results = {label: {} for label in checkouts}
        self.candidates: dict[str, int] = {}
        self._options, self._checkouts = options, checkouts
        self._repos = {label: folder / label for label in checkouts}
        processes.simulate(folder / NOW, 1, size, options.trails_in(size), options.seed)
        self._batches = {}
        for label, repo in self._repos.items():
            if label != NOW:
                shutil.copytree(folder / NOW, repo)
        for label, checkout in checkouts.items():
            overrides = options.overrides(label)
            self._batches[label] = Batch(self._repos[label], checkout=checkout, options=overrides)

    def measurements(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Return name and function of the measurements of a run, with the checkouts in turn."""
        for measure in (self._measure_apart, self._measure_together):
            for label in self._checkouts:
                yield label, functools.partial(measure, label)
        for label in self._checkouts:
            for variant in self._checkouts[label].call("engines"):
                yield label, functools.partial(self._measure_network, label, variant)
        yield ADCNN, self._measure_adcnn
        yield SEP, self._measure_sep

    def _measure_apart(self, label: str) -> None:
        batch = self._batches[label]
        used = batch.run_apart(self._options.threads)
        self.candidates[label] = batch.candidates()
        batch.clear()
        for task, usage in used.items():
            self._add(label, task, usage)
        self._add(label, APART, used[TASKS[0]] + used[TASKS[1]])

    def _measure_together(self, label: str) -> None:
        self._add(label, TOGETHER, self._batches[label].run(self._options.threads))
        self._batches[label].clear()

    def _measure_network(self, label: str, variant: dict[str, str]) -> None:
        measured = self._checkouts[label].call(
            "network", self._options.threads, repo=str(self._repos[label]), model=self._options.model,
            **variant,
        )  # fmt: skip
        self._add(label, ", ".join(("network", *variant.values())), Usage(**measured))

    def _measure_adcnn(self) -> None:
        options = self._options
        self._add(NOW, ADCNN, processes.adcnn_usage(self.size, options.adcnn_side, options.threads))

    def _measure_sep(self) -> None:
        self._add(NOW, SEP, Usage(**HERE.call("sep", self._options.threads, repo=str(self._repos[NOW]))))

    def _add(self, label: str, what: str, usage: Usage) -> None:
        self.results[label].setdefault(what, []).append(usage)


def report(size: tuple[int, int], results: Results, candidates: dict[str, int], *, markdown: bool) -> None:
    """Print the measurements on an image."""
    labels = list(results)
    counts = " and ".join(f"{candidates[label]} {label}" for label in labels)
    title = f"{size[0]}x{size[1]} pixels, {counts} candidates"
    ratios = ["ratio"] if len(labels) == 2 else []
    columns = ["", *(f"core-s {label}" for label in labels), *ratios]
    columns += [*(f"wall s {label}" for label in labels), *ratios]
    names = list(dict.fromkeys(what for label in reversed(labels) for what in results[label]))
    rows = []
    for name in names:
        used = [results[label].get(name, []) for label in labels]
        rows.append([name, *time_cells(used), *(gibibytes([u.peak for u in each]) for each in used)])
    peaks = [f"peak GiB {label}" for label in labels]
    print_table(title, [*columns, *peaks], rows, markdown=markdown)
    for name in (APART, TOGETHER):
        runs = [results[label][name] for label in labels]
        rows = [[step, *time_cells([[u.step(step) for u in each] for each in runs])] for step in STEPS]
        rows.append(["total", *time_cells(runs)])
        parts = [[functools.reduce(Usage.__add__, map(u.step, CANDIDATES)) for u in each] for each in runs]
        rows.append([", ".join(CANDIDATES), *time_cells(parts)])
        print_table(f"{title}: {name}", columns, rows, markdown=markdown)


def time_cells(used: Sequence[Sequence[Usage]]) -> list[str]:
    """Return processor and wall times of each checkout, with the ratio of two."""
    cells = []
    for field in ("cpu", "wall"):
        values = [[getattr(usage, field) for usage in each] for each in used]
        cells += [median_and_range(each) for each in values]
        cells += [ratio(*values)] if len(values) == 2 else []
    return cells


def report_growth(measured: dict[tuple[int, int], Results], *, markdown: bool) -> None:
    """Print how time and memory of this checkout grow with the size of the image."""
    names = list(next(iter(measured.values()))[NOW])
    columns = ["", *(f"{size[0] * size[1] / 1e6:.1f} Mpix" for size in measured)]
    rows = []
    for name in names:
        used = [results[NOW][name] for results in measured.values()]
        cells = (
            f"{median_and_range([u.cpu for u in each])} core-s, {gibibytes([u.peak for u in each])} GiB"
            for each in used
        )
        rows.append([name, *cells])
    print_table("Growth with the number of pixels", columns, rows, markdown=markdown)


@click.command()
@click.option(
    "--size",
    "sizes",
    nargs=2,
    multiple=True,
    type=click.IntRange(min=256),
    default=((4004, 4096),),
    show_default=True,
    help="Rows and columns; may be repeated.",
)
@click.option(
    "--trails",
    type=click.IntRange(min=1),
    default=120,
    show_default=True,
    help="Trails in an image of 4004x4096 pixels; images of other sizes have the same density.",
)
@runs_option
@compare_option
@click.option("--threads", type=click.IntRange(min=1), help="Number of threads.  [default: all cores]")
@click.option("--model", default="direct", show_default=True, help="Shipped model, or a .json file.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Precision of the network in the quanta.",
)
@click.option("-c", "--config", multiple=True, help="LABEL:FIELD=VALUE for the quanta of this checkout.")
@click.option(
    "--adcnn-side",
    type=click.IntRange(min=128),
    default=1024,
    show_default=True,
    help="Side of the part on which UNetResSEASPP is measured, pixels; its time is scaled to the image.",
)
@seed_option
@markdown_option
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON file for all runs.")
def main(
    sizes: tuple[tuple[int, int], ...],
    runs: int,
    compare: Path | None,
    threads: int | None,
    model: str,
    markdown: bool,
    output: Path | None,
    **others: object,
) -> None:
    """Measure time and memory of the search of a detector."""
    model = str(Path(model).resolve()) if model.endswith(".json") else model
    threads = threads or processes.available_cores()
    options = Options(model=model, threads=threads, **others)  # type: ignore[arg-type]
    checkouts = processes.checkouts_by_label(compare)
    measured: dict[tuple[int, int], Results] = {}
    print(f"{threads} threads, {runs} runs: medians (ranges).\n")
    with Progress(console=Console(stderr=True)) as progress:
        for size in sizes:
            with tempfile.TemporaryDirectory(prefix="trails_speed_") as folder:
                detector = Detector(Path(folder), size, checkouts, options)
                measurements = list(detector.measurements())
                bar = progress.add_task(f"{size[0]}x{size[1]}", total=runs * len(measurements))
                for _ in range(runs):
                    for name, measure in measurements:
                        progress.update(bar, description=f"{size[0]}x{size[1]}: {name}")
                        measure()
                        progress.advance(bar)
            measured[size] = detector.results
            report(size, detector.results, detector.candidates, markdown=markdown)
    if len(sizes) > 1:
        report_growth(measured, markdown=markdown)
    if output is not None:
        output.write_text(json.dumps(flat(measured), indent=2) + "\n")


def flat(measured: dict[tuple[int, int], Results]) -> list[dict[str, object]]:
    """Return one record per run of a measurement."""
    return [
        {"size": size, "checkout": label, "what": what, "run": run}
        | {name: value for name, value in dataclasses.asdict(usage).items() if name != "output"}
        for size, results in measured.items()
        for label, by_what in results.items()
        for what, usages in by_what.items()
        for run, usage in enumerate(usages)
    ]


if __name__ == "__main__":
    main()
