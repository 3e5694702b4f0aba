# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""What a model finds in simulated images that it has never seen.

    python benchmarks/detection.py [--model direct] [--scenes 60] [--seed 770000]

Three kinds of images, each with 10 trails per megapixel, 6 to 150 pixels
long, SNR 3 to 30, placed anywhere:

field
    Stars, galaxies, cosmic rays, satellites and defects; every scene with a
    seeing, sky and crowding of its own.
blank
    Noise and trails alone.

False candidates are counted per detector of 16.4 Mpix; duplicates on a trail
and candidates on a satellite streak count neither way.  Thresholds of
probability and the score are the model's own; the score at 1, 10 and 100
false candidates is that at which these scenes have as many, as for a FROC
curve.
"""

from __future__ import annotations

import dataclasses

import click
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lsst.images import Box
from lsst.meas.trails.core.background import fit_background
from lsst.meas.trails.core.candidates import CandidateOptions, find_candidates
from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.matching import sort_candidates
from lsst.meas.trails.core.operating_point import FALSE_RATES, completeness_at, measure_detection
from lsst.meas.trails.core.population import TrailPopulation
from lsst.meas.trails.core.scoring import ScoreModel
from lsst.meas.trails.nn.model_file import TrailModel, load_model, shipped_model_path
from lsst.meas.trails.nn.predict import predict_probability
from lsst.meas.trails.sim.psf import draw_seeing, make_psf, sample_psf
from lsst.meas.trails.sim.scene import Scene, SceneConfig, simulate_scene

SHAPE = (1024, 1024)
SNR_BINS = (3.0, 5.0, 7.0, 9.0, 12.0, 16.0, 30.0)
LENGTH_BINS = (6.0, 10.0, 20.0, 40.0, 80.0, 150.0)


def make_scene(kind: str, seed: int, index: int) -> Scene:
    """Simulate a test scene."""
    rng = np.random.default_rng([seed, index])
    config = SceneConfig.varied(SHAPE, rng, trails=TrailPopulation(number=10.0))
    if kind == "blank":
        config = dataclasses.replace(
            config,
            sky=None,
            cosmic_rays=0.0,
            bad_column_rate=0.0,
            dead_amplifier_chance=0.0,
            satellite_chance=0.0,
        )
    box = Box.from_shape(SHAPE)
    return simulate_scene(config, sample_psf(make_psf(draw_seeing(rng), rng, box), box), rng)


@dataclasses.dataclass
class Sample:
    """Candidates and trails of many scenes."""

    scores: list[float] = dataclasses.field(default_factory=list)
    is_false: list[bool] = dataclasses.field(default_factory=list)
    candidate_of: list[int] = dataclasses.field(default_factory=list)
    snr: list[float] = dataclasses.field(default_factory=list)
    length: list[float] = dataclasses.field(default_factory=list)
    pixels: int = 0

    def add(self, scene: Scene, model: TrailModel) -> None:
        """Search a scene and add what comes of it."""
        planes = scene.planes
        background = fit_background(planes.image, planes.bad())
        probability = predict_probability(model, planes, background=background)
        thresholds = model.specification.thresholds
        table = find_candidates(
            probability,
            planes,
            background,
            ScoreModel.from_mapping(model.specification.score),
            CandidateOptions(low=thresholds["low"], high=thresholds["high"]),
        )
        found = Trails.from_table(table, length="trailLengthPix", angle="trailAnglePix")
        is_trail = np.asarray(scene.truth["source_type"]) == "Trail"
        sorting = sort_candidates(
            found,
            scene.trails,
            Trails.from_table(scene.truth[~is_trail]),
            rank=np.asarray(table["score"]),
            streak_flag=np.asarray(table["streakFlag"]),
        )
        offset = len(self.scores)
        self.scores += [float(score) for score in table["score"]]
        self.is_false += [bool(value) for value in sorting.is_false]
        self.candidate_of += [int(i) + offset if i >= 0 else -1 for i in sorting.matches.candidate_of]
        self.snr += [float(value) for value in scene.truth["snr_optimal"][is_trail]]
        self.length += [float(value) for value in scene.trails.length]
        self.pixels += planes.image.size

    def report(self, console: Console, title: str) -> None:
        """Print what was found."""
        scores, is_false = np.array(self.scores), np.array(self.is_false, dtype=bool)
        candidate_of = np.array(self.candidate_of, dtype=np.int64)
        snr, length = np.array(self.snr), np.array(self.length)
        thresholds, metrics = measure_detection(scores, is_false, candidate_of, snr, length, self.pixels)
        table = Table(
            title=f"{title}: {len(snr)} trails in {self.pixels / 1e6:.0f} Mpix", title_justify="left"
        )
        table.add_column("false per detector")
        for name in ("completeness", "SNR50", "SNR50, 20-150 pixels"):
            table.add_column(name, justify="right")
        for low, high in zip(SNR_BINS, SNR_BINS[1:]):
            table.add_column(f"SNR {low:g}-{high:g}", justify="right")
        for low, high in zip(LENGTH_BINS, LENGTH_BINS[1:]):
            table.add_column(f"{low:g}-{high:g} px", justify="right")
        for rate in FALSE_RATES:
            found = completeness_at(thresholds[str(rate)], scores, candidate_of)
            bins = [found[(snr >= a) & (snr < b)] for a, b in zip(SNR_BINS, SNR_BINS[1:])]
            bins += [found[(length >= a) & (length < b)] for a, b in zip(LENGTH_BINS, LENGTH_BINS[1:])]
            values = [metrics[f"{name}_at_{rate}"] for name in ("completeness", "snr50", "snr50_long")]
            table.add_row(
                str(rate),
                *("-" if value is None else f"{value:.2f}" for value in values),
                *(f"{np.mean(part):.2f}" if part.size else "-" for part in bins),
            )
        console.print(table)


@click.command()
@click.option("--model", "name", default="direct", show_default=True, help="Shipped model, or a .json file.")
@click.option("--scenes", default=60, show_default=True, help="Scenes of 1024x1024 pixels of each kind.")
@click.option("--seed", default=770_000, show_default=True, help="Seed; no training set may have it.")
def main(name: str, scenes: int, seed: int) -> None:
    """Measure what a model finds."""
    console = Console(width=200)
    model = load_model(name if name.endswith(".json") else shipped_model_path(name))
    console.print(f"model {model.specification.name} {model.specification.version}, seed {seed}")
    for number, kind in enumerate(("field", "blank")):
        sample = Sample()
        for index in track(range(scenes), kind, console=Console(stderr=True)):
            sample.add(make_scene(kind, seed + number, index), model)
        sample.report(console, kind)


if __name__ == "__main__":
    main()
