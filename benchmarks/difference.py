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

"""Count the false candidates in simulated difference images without trails.

    python benchmarks/difference.py [--scenes 16] [--model difference --model direct]

TrailSegmentationTask and TrailCandidateTask search images of 1024x1024 pixels.
Each candidate is classified by the masked sources within 3 pixels of its line:

dipole
    A DETECTED source next to a DETECTED_NEGATIVE source, from an error of
    registration.
negative
    A DETECTED_NEGATIVE source alone, which faded or exists in the template
    only.
positive
    A DETECTED source alone, which brightened, is new, or was badly subtracted.
nothing
    No source above 5 sigma.

Candidates with streakFlag are ignored. Numbers are per detector of 16.4 Mpix.
"""

from __future__ import annotations

import functools

import click
import numpy as np
import numpy.typing as npt
import scipy.ndimage
from astropy.table import Row, Table
from rich.console import Console
from rich.table import Table as RichTable

from lsst.images import DifferenceImage
from lsst.meas.trails.core.geometry import segment_distance
from lsst.meas.trails.core.progress import make_progress, track
from lsst.meas.trails.sim.simulation import Simulation
from lsst.meas.trails.tasks import TrailCandidateTask, TrailSegmentationTask

SIDE = 1024
DETECTOR = 16.4e6
"""Pixels of a detector."""

DISTANCE = 3.0
"""Largest distance between a candidate and its sources, pixels."""

KINDS = ("dipole", "negative", "positive", "nothing")
SCORES = (0.0, 0.1, 0.3, 0.5, 0.9)


def find(image: DifferenceImage, model: str) -> Table:
    """Return the candidates of an image."""
    config = TrailSegmentationTask.ConfigClass()
    config.model = model
    probability = TrailSegmentationTask(config=config).run(image=image).trail_probability
    task = TrailCandidateTask(config=TrailCandidateTask.ConfigClass())
    return task.run(image=image, trail_probability=probability).trail_candidate_detector


def label_sources(image: DifferenceImage) -> tuple[npt.NDArray[np.int_], dict[int, str]]:
    """Return the source number of each pixel, 0 for none, and the kinds of the sources."""
    positive, negative = (image.mask.get(name) for name in ("DETECTED", "DETECTED_NEGATIVE"))
    labels, number = scipy.ndimage.label(positive | negative, structure=np.ones((3, 3)))
    index = np.arange(1, number + 1)
    has = [scipy.ndimage.maximum(plane, labels, index) for plane in (positive, negative)]
    kinds = {
        int(source): "dipole" if one and two else "negative" if two else "positive"
        for source, one, two in zip(index, *has, strict=True)
    }
    return labels, kinds


def kind_of(row: Row, labels: npt.NDArray[np.int_], kinds: dict[int, str]) -> str:
    """Return the kind of the sources along a candidate."""
    ends = (float(row[name]) for name in ("x0", "y0", "x1", "y1"))
    y, x = np.indices(labels.shape)
    near = segment_distance(x, y, *ends) <= DISTANCE
    found = {kinds[int(label)] for label in np.unique(labels[near]) if label}
    if "dipole" in found or {"positive", "negative"} <= found:
        return "dipole"
    return found.pop() if found else "nothing"


@click.command()
@click.option("--scenes", type=click.IntRange(1), default=16, show_default=True, help="Images of 1024x1024.")
@click.option(
    "--model",
    "models",
    multiple=True,
    default=("difference", "direct"),
    show_default=True,
    help="Shipped model or file; may be repeated.",
)
@click.option(
    "--seed",
    type=int,
    default=990_000,
    show_default=True,
    help="Seed; it must not be the seed of a training set.",
)
def main(scenes: int, models: tuple[str, ...], seed: int) -> None:
    """Count the false candidates in difference images."""
    console = Console(width=100)
    sources: list[str] = []
    found: dict[str, list[tuple[str, float]]] = {model: [] for model in models}
    with make_progress() as progress:
        for number in track(progress, range(scenes), "Searching"):
            simulation = Simulation(seed=seed + number, shape=(SIDE, SIDE), trails=0.0, difference=True)
            image = simulation.image(0, 0).difference
            labels, kinds = label_sources(image)
            sources += kinds.values()
            describe = functools.partial(kind_of, labels=labels, kinds=kinds)
            for model in models:
                rows = [row for row in find(image, model) if not row["streakFlag"]]
                found[model] += [(describe(row), float(row["score"])) for row in rows]
    factor = DETECTOR / (scenes * SIDE**2)
    counts = ", ".join(f"{factor * sources.count(kind):.0f} {kind}" for kind in KINDS[:3])
    console.print(f"{scenes} images, seed {seed}. Sources per detector: {counts}.")
    for model in models:
        table = RichTable(title=f"{model}: false candidates per detector", title_justify="left")
        table.add_column("on")
        for score in SCORES:
            table.add_column(f"score > {score}" if score else "all", justify="right")
        for kind in (*KINDS, "together"):
            scores = np.array([value for what, value in found[model] if kind in (what, "together")])
            table.add_row(kind, *(f"{factor * np.count_nonzero(scores >= score):.1f}" for score in SCORES))
        console.print(table)


if __name__ == "__main__":
    main()
