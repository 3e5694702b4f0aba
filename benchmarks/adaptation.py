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

"""Gain of an adaptation in a domain that training does not show, and what it costs in the others.

    python benchmarks/adaptation.py --domain galaxies --minutes 30 -o DIR
    python benchmarks/domains.py --model direct --model DIR/adapted/galaxies.json:direct -o DIR/domains

The first command adapts a model to images of a domain of `domain_scenes`, without trails, as ``meas-trails
adapt`` does with those of a survey, and prints its table. Their seeds differ from those of the second, which
compares both models in all domains.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console

from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.injection.gain import fit_gains
from lsst.meas.trails.core.tiles.labels import LabeledTruth
from lsst.meas.trails.survey.adapt import AdaptOptions, adapt_images
from lsst.meas.trails.survey.images import KnownImage
from lsst.meas.trails.survey.page import before_and_after, write_page
from lsst.meas.trails.survey.plan import Plan
from lsst.meas.trails.survey.search import InjectedTrails

from domain_scenes import DOMAINS, SHAPE, make_scene

TRAILS = InjectedTrails(seed=1, density=46.0, bright=14.0 / 46.0)
"""Trails in the images left out, as many as in ``domains.py``."""

SEED = 1_760_000
"""Seed of the first domain; those of ``domains.py`` begin at 880 000."""


@dataclasses.dataclass(frozen=True)
class DomainImage:
    """Image of a domain, without trails."""

    domain: str
    mode: str
    visit: int
    detector: int = 0
    shape: tuple[int, int] = SHAPE

    @property
    def name(self) -> str:
        """Name for files."""
        return f"{self.domain}-{self.mode}-{self.visit}"

    def read(self) -> KnownImage:
        """Simulate the image."""
        number = list(DOMAINS).index(self.domain)
        none = (0.0, 0.0, 0.0)
        scene = make_scene(
            DOMAINS[self.domain], SEED + number, self.visit, self.mode, shape=self.shape, density=none
        )
        planes = scene.planes
        full = planes.image[planes.has("SATURATED")]
        return KnownImage(
            planes=planes,
            labels=LabeledTruth(Trails.empty(), Trails.empty(), np.zeros((0, 2))),
            pixel_to_sky=_to_sky,
            pixel_scale=0.2,
            exposure_time=30.0,
            gain=fit_gains(planes).typical,
            # Most saturated pixels are bleeds, which are dark in these scenes.
            full_well=float(np.max(full)) if full.size else np.inf,
        )


def _to_sky(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    return x / 18_000.0, y / 18_000.0


@click.command()
@click.option(
    "--domain",
    type=click.Choice([name for name, domain in DOMAINS.items() if not domain.psf]),
    default="galaxies",
    show_default=True,
    help="Domain to adapt to.",
)
@click.option("--model", default="direct", show_default=True, help="Model to start from.")
@click.option(
    "--mode",
    type=click.Choice(["direct", "template", "difference"]),
    default="direct",
    show_default=True,
    help="What the model searches.",
)
@click.option(
    "--scenes",
    nargs=3,
    type=click.IntRange(1),
    default=(120, 40, 40),
    show_default=True,
    help="Scenes of a million pixels to train on, to calibrate with, and to measure on.",
)
@click.option("--minutes", type=float, default=30.0, show_default=True, help="Time of the training.")
@click.option("--device", default="auto", show_default=True, help="Torch device of the training.")
@click.option("--config", default="adapt", show_default=True, help="Recipe of the training.")
@click.option("--jobs", type=click.IntRange(1), help="Processes and threads.  [default: all cores]")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for everything that is made; the model goes to its folder adapted.",
)
def main(
    domain: str,
    model: str,
    mode: str,
    scenes: tuple[int, int, int],
    minutes: float,
    device: str,
    config: str,
    jobs: int | None,
    output: Path,
) -> None:
    """Measure the gain of an adaptation to a simulated survey."""
    first = 0
    images = {}
    for role, count in zip(("train", "calibrate", "test"), scenes, strict=True):
        images[role] = [DomainImage(domain, mode, visit) for visit in range(first, first + count)]
        first += count
    plan = Plan(images, model, TRAILS, by_sky=True, origin={"domain": domain, "mode": mode})
    threads = jobs or len(os.sched_getaffinity(0))
    options = AdaptOptions(recipe=config, minutes=minutes, device=device, threads=threads)
    result = adapt_images(plan, domain, output / "adapted", options)
    console = Console(width=140)
    console.print("\n".join(before_and_after(result).pformat(max_width=-1)), markup=False, highlight=False)
    console.print(f"{write_page(result, output / 'report')}\n{result.model_path}", highlight=False)


if __name__ == "__main__":
    main()
