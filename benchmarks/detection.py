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

"""Detections of models and of baselines in simulated images.

No training set has these images.

    python benchmarks/detection.py [--model direct] [--scenes 60] [--reference-image FILE] [-o DIR]

Each kind of image has 10 trails per megapixel, 6 to 150 pixels long, with an SNR
of 3 to 30, at random positions:

field
    Stars, galaxies, cosmic rays, satellites and defects; seeing, sky and
    crowding differ from scene to scene.
template
    As field, with a template of the sky for models with a template channel;
    run only if there is such a model.
blank
    Noise and trails only.
difference
    As field, after subtraction of a template, with the residuals of the
    subtraction; the SNR is measured in the difference.
reference
    As field, with the PSF and the noise of the real image ``--reference-image``,
    each scene at another place of its detector.

The baselines search the same images: footprints as the stack detects them, ranked
by elongation; sep, tuned for trails; and the matched-filter bank, which is the
noise limit on blank sky.

`MatchTrailsTask` and `SummarizeTrailsTask` use the same evaluation: false
candidates are counted per detector of 16.4 Mpix, and duplicates on a trail and
candidates on satellites do not count. Models use
their own thresholds of probability and their own score; the score threshold for
1, 10 and 100 false candidates is chosen in these scenes, as for a FROC curve.
The 95% intervals are Wilson's for fractions in bins, and bootstrap over scenes for
SNR50 and for completeness at a rate.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import astropy.table
import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lsst.images import Box
from lsst.meas.trails.core.background import SkySubtracted, fit_background
from lsst.meas.trails.core.injection.population import TrailPopulation
from lsst.meas.trails.core.operating_point import FALSE_RATES
from lsst.meas.trails.evaluation.baselines import (
    SEP_FOR_TRAILS,
    BaselineDetections,
    elongated_footprints,
    sep_sources,
)
from lsst.meas.trails.evaluation.figures.comparison import (
    calibration_comparison,
    completeness_comparison,
    froc_comparison,
)
from lsst.meas.trails.evaluation.match_table import ImageContext, MatchOptions, match_table, search_table
from lsst.meas.trails.evaluation.metrics_table import point_name, select
from lsst.meas.trails.repository.visit_image import sample_psf
from lsst.meas.trails.sim.psf import draw_seeing, make_psf
from lsst.meas.trails.sim.reference_image import ReferenceImage
from lsst.meas.trails.sim.scene import Scene, SceneConfig, simulate_scene
from lsst.meas.trails.sim.template import TemplateConfig
from lsst.meas.trails.training.scenes import subtracted_scene, with_cut_template

from detection_results import (
    OPTIONS,
    Groups,
    MethodResult,
    Tables,
    bin_table,
    operating_table,
    print_tables,
    reliability_table,
)
from matched_filter import matched_filter_bank
from model_search import model_catalog, named_model, run_jobs, wants_template

SHAPE = (1024, 1024)

KINDS = {
    "field": "Field",
    "template": "Field with template",
    "blank": "Blank sky",
    "difference": "Difference",
    "reference": "Field, PSF and noise of a real image",
}
"""Kinds of scenes, with their titles."""

STREAMS = {"field": 0, "blank": 1, "reference": 2, "template": 3, "difference": 4}
"""Offset of the seed of each kind."""

BASELINES: dict[str, Callable[[SkySubtracted], BaselineDetections]] = {
    "PSF-matched 5 sigma footprints": elongated_footprints,
    "sep for trails": lambda sky: sep_sources(sky, SEP_FOR_TRAILS),
    "matched-filter bank": matched_filter_bank,
}


@functools.cache
def _reference_image(path: str) -> ReferenceImage:
    return ReferenceImage.read(path)


def make_scene(kind: str, seed: int, index: int, reference_image: str | None = None) -> Scene:
    """Simulate a test scene.

    Parameters
    ----------
    kind
        One of `KINDS`.
    seed, index
        Seed of the kind and number of the scene.
    reference_image
        File of the real image of the kind ``reference``.
    """
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
    if kind == "reference":
        if reference_image is None:
            raise ValueError("Scenes of the kind 'reference' need a reference image.")
        reference = _reference_image(reference_image)
        whole = reference.bbox()
        start = [
            int(rng.integers(side.start, side.stop - size + 1))
            for side, size in zip((whole.y, whole.x), SHAPE, strict=True)
        ]
        box = Box.from_shape(SHAPE, start=start)
        config = dataclasses.replace(config, sky_noise=reference.sky_noise, gain=reference.gain)
        return simulate_scene(config, sample_psf(reference.psf, box), rng)
    if kind in ("template", "difference"):
        config = dataclasses.replace(config, template=TemplateConfig())
    box = Box.from_shape(SHAPE)
    scene = simulate_scene(config, sample_psf(make_psf(draw_seeing(rng), rng, box), box), rng)
    return subtracted_scene(scene, box) if kind == "difference" else with_cut_template(scene)


def match(candidates: astropy.table.Table, scene: Scene) -> Tables:
    """Compare candidates with the truth of their scene; all trails count."""
    context = ImageContext(shape=scene.planes.shape)
    options = MatchOptions(min_visible_fraction=0.0)
    matches = match_table(candidates, scene.truth, context, options=options)
    return matches, search_table(matches, context)


@dataclasses.dataclass(frozen=True)
class Job:
    """One scene, and the methods that search it.

    Parameters
    ----------
    kind, seed, index, reference_image
        As for `make_scene`.
    models
        Names of models.
    baselines
        Names of baselines.
    """

    kind: str
    seed: int
    index: int
    reference_image: str | None
    models: tuple[str, ...]
    baselines: tuple[str, ...]

    def run(self) -> dict[str, Tables]:
        """Return the tables of each method, by its name."""
        try:
            scene = make_scene(self.kind, self.seed, self.index, self.reference_image)
            planes = scene.planes
            background = fit_background(planes.image, planes.bad())
            sky = SkySubtracted.from_planes(planes, background)
            catalogs = {name: model_catalog(named_model(name), sky, background) for name in self.models}
            for name in self.baselines:
                catalogs[name] = BASELINES[name](sky).catalog()
            found = {name: match(catalog, scene) for name, catalog in catalogs.items()}
        except Exception as error:
            raise RuntimeError(
                f"Scene {self.index} of kind {self.kind!r} with seed {self.seed} failed: {error!r}"
            ) from error
        return found


@click.command()
@click.option(
    "--model",
    "names",
    multiple=True,
    default=("direct",),
    show_default=True,
    help="Shipped model, or a .json file; may be repeated.",
)
@click.option("--scenes", default=60, show_default=True, help="Scenes of 1024x1024 pixels of each kind.")
@click.option(
    "--baseline-scenes",
    default=None,
    type=int,
    help="Number of these scenes that the baselines search as well, in 10 s each.  [default: all]",
)
@click.option(
    "--reference-image",
    type=click.Path(exists=True, dir_okay=False),
    help="Real visit image whose PSF and noise scenes of the kind 'reference' have.",
)
@click.option(
    "--kind",
    "chosen",
    multiple=True,
    type=click.Choice(list(KINDS)),
    help="Only this kind of scenes; may be repeated.",
)
@click.option(
    "--seed", default=770_000, show_default=True, help="Seed; must differ from the seeds of training sets."
)
@click.option("--jobs", default=None, type=int, help="Processes.  [default: all cores]")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for figures (PNG) and numbers (ECSV).",
)
def main(
    names: tuple[str, ...],
    scenes: int,
    baseline_scenes: int | None,
    reference_image: str | None,
    chosen: tuple[str, ...],
    seed: int,
    jobs: int | None,
    output: Path | None,
) -> None:
    """Measure the detections of models and baselines."""
    console, log = Console(width=200), Console(stderr=True)
    models = {name: named_model(name) for name in names}
    kinds = [kind for kind in KINDS if not chosen or kind in chosen]
    if "template" in kinds and not any(wants_template(model) for model in models.values()):
        console.print("Scenes with a template are skipped: no model has a template channel.")
        kinds.remove("template")
    if "reference" in kinds and reference_image is None:
        console.print("Scenes of the kind 'reference' are skipped: pass --reference-image to run them.")
        kinds.remove("reference")
    if not kinds:
        raise click.UsageError("No kind of scene remains to be run.")
    for name, model in models.items():
        console.print(f"{name}: model {model.specification.name} {model.specification.version}")
    console.print(f"seed {seed}, {scenes} scenes of each kind")
    baselines = scenes if baseline_scenes is None else min(baseline_scenes, scenes)
    work = [
        Job(
            kind,
            seed + STREAMS[kind],
            index,
            reference_image,
            names,
            tuple(BASELINES) if index < baselines else (),
        )
        for kind in kinds
        for index in range(scenes)
    ]
    # Jobs with baselines take longest, and start first.
    work.sort(key=lambda job: (not job.baselines, job.index))
    found: dict[tuple[str, int], dict[str, Tables]] = {}
    processes = jobs or len(os.sched_getaffinity(0))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=log) as progress:
            task = progress.add_task("scenes", total=len(work))
            for job, result in run_jobs(work, processes):
                found[job.kind, job.index] = result
                progress.advance(task)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    groups: dict[str, dict[str, MethodResult]] = {}
    for kind in kinds:
        scenes_of_kind = [found[kind, index] for index in range(scenes)]
        groups[kind] = {
            name: MethodResult([tables[name] for tables in scenes_of_kind if name in tables])
            for name in (*names, *(BASELINES if baselines else ()))
        }
        print_tables(console, KINDS[kind], groups[kind])
    for kind, results in groups.items():
        for name in names:
            error = results[name].calibration_error
            console.print(f"{KINDS[kind]}, {name}: expected calibration error of the score {error:.3f}")
    if output is not None:
        write(output, groups, names)
        console.print(f"Figures and numbers are in {output}.")


def write(output: Path, groups: Groups, models: Sequence[str]) -> None:
    """Write figures and numbers to a folder; calibration of the models only."""
    output.mkdir(parents=True, exist_ok=True)
    scored = {kind: {name: results[name] for name in models} for kind, results in groups.items()}
    for name, table in (
        ("operating_points", operating_table(groups)),
        ("completeness", bin_table(groups)),
        ("reliability", reliability_table(scored)),
    ):
        table.write(output / f"{name}.ecsv", format="ascii.ecsv", overwrite=True)
    for kind, results in groups.items():
        panels = {
            point_name(rate): {
                name: select(result.metrics, section="completeness", operatingPoint=point_name(rate))
                for name, result in results.items()
            }
            for rate in FALSE_RATES
        }
        figure = completeness_comparison(panels, by=tuple(OPTIONS.quantities))
        figure.suptitle(f"{KINDS[kind]}: completeness, with 95% intervals")
        figure.savefig(output / f"completeness_{kind}.png", dpi=150)
    froc_comparison(_metrics(groups)).savefig(output / "froc.png", dpi=150)
    calibration_comparison(_metrics(scored)).savefig(output / "reliability.png", dpi=150)


def _metrics(groups: Groups) -> dict[str, dict[str, astropy.table.Table]]:
    return {
        KINDS[kind]: {name: result.metrics for name, result in results.items()}
        for kind, results in groups.items()
    }


if __name__ == "__main__":
    main()
