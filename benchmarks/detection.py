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

"""What models find in simulated images that they have never seen, beside
detectors without a network.

    python benchmarks/detection.py [--model direct] [--scenes 60] [--reference-image FILE] [-o DIR]

Kinds of images, each with 10 trails per megapixel, 6 to 150 pixels long, SNR
3 to 30, placed anywhere:

field
    Stars, galaxies, cosmic rays, satellites and defects; every scene with a
    seeing, sky and crowding of its own.
template
    The same with a template of the sky, in which only models that want one
    have it; run when one of them does.
blank
    Noise and trails alone.
difference
    The same field from which a template has been subtracted, with what a
    subtraction leaves; the SNR is that in the difference.
like
    As field, with the PSF and the noise of a real image that ``--reference-image``
    names, each scene at another place of its detector.

The baselines search the same images: footprints as the stack detects them, ranked
by elongation; sep, tuned for trails; and the matched-filter bank, the limit of
what noise allows on blank sky.

False candidates are counted per detector of 16.4 Mpix; duplicates on a trail
and candidates on a satellite streak count neither way.  Thresholds of
probability and the score are the model's own; the score at 1, 10 and 100
false candidates is that at which these scenes have as many, as for a FROC
curve.  Intervals are of 95%: Wilson's of fractions in bins, bootstrap over
scenes of SNR50 and of completeness at a rate.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import astropy.table
import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lsst.images import Box
from lsst.meas.trails.core.background import BackgroundMesh, SkySubtracted, fit_background
from lsst.meas.trails.core.candidates.find import CandidateOptions, find_candidates
from lsst.meas.trails.core.candidates.score import ScoreModel
from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.injection.population import TrailPopulation
from lsst.meas.trails.core.normalize import TEMPLATE_CHANNELS
from lsst.meas.trails.core.operating_point import FALSE_RATES
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.evaluation.baselines import (
    SEP_FOR_TRAILS,
    BaselineDetections,
    elongated_footprints,
    sep_sources,
)
from lsst.meas.trails.nn.model_file import TrailModel, load_model, shipped_model_path
from lsst.meas.trails.nn.predict import predict_probability
from lsst.meas.trails.repository.visit_image import sample_psf
from lsst.meas.trails.sim.psf import draw_seeing, make_psf
from lsst.meas.trails.sim.reference_image import ReferenceImage
from lsst.meas.trails.sim.scene import Scene, SceneConfig, simulate_scene
from lsst.meas.trails.sim.template import TemplateConfig
from lsst.meas.trails.training.scenes import subtracted_scene, with_cut_template

from detection_figures import completeness_figure, froc_figure, reliability_figure
from detection_sample import DetectionSample, ImageSearch, search_result
from matched_filter import matched_filter_bank

SHAPE = (1024, 1024)
SNR_BINS = (3.0, 5.0, 7.0, 9.0, 12.0, 16.0, 30.0)
LENGTH_BINS = (6.0, 10.0, 20.0, 40.0, 80.0, 150.0)

KINDS = {
    "field": "Field",
    "template": "Field with template",
    "blank": "Blank sky",
    "difference": "Difference",
    "like": "Field, PSF and noise of a real image",
}
"""Kinds of scenes, with their titles."""

STREAMS = {"field": 0, "blank": 1, "like": 2, "template": 3, "difference": 4}
"""What is added to the seed for each kind."""

BASELINES: dict[str, Callable[[ImagePlanes, BackgroundMesh], BaselineDetections]] = {
    "PSF-matched 5 sigma footprints": elongated_footprints,
    "sep for trails": lambda planes, background: sep_sources(planes, background, SEP_FOR_TRAILS),
    "matched-filter bank": matched_filter_bank,
}


@functools.cache
def _reference_image(path: str) -> ReferenceImage:
    return ReferenceImage.read(path)


@functools.cache
def _model(name: str) -> TrailModel:
    return load_model(name if name.endswith(".json") else shipped_model_path(name))


def wants_template(model: TrailModel) -> bool:
    """Return whether a model has a template among its channels."""
    return bool(TEMPLATE_CHANNELS & set(model.specification.channels))


def make_scene(kind: str, seed: int, index: int, like: str | None = None) -> Scene:
    """Simulate a test scene.

    Parameters
    ----------
    kind
        One of `KINDS`.
    seed, index
        Seed of the kind and number of the scene.
    like
        File of the real image that a scene ``like`` it follows.
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
    if kind == "like":
        if like is None:
            raise ValueError("Scenes like a real image need one.")
        reference_image = _reference_image(like)
        whole = reference_image.bbox()
        start = [
            int(rng.integers(side.start, side.stop - size + 1))
            for side, size in zip((whole.y, whole.x), SHAPE, strict=True)
        ]
        box = Box.from_shape(SHAPE, start=start)
        config = dataclasses.replace(config, sky_noise=reference_image.sky_noise, gain=reference_image.gain)
        return simulate_scene(config, sample_psf(reference_image.psf, box), rng)
    if kind in ("template", "difference"):
        config = dataclasses.replace(config, template=TemplateConfig())
    box = Box.from_shape(SHAPE)
    scene = simulate_scene(config, sample_psf(make_psf(draw_seeing(rng), rng, box), box), rng)
    return subtracted_scene(scene, box) if kind == "difference" else with_cut_template(scene)


def search_with_model(model: TrailModel, scene: Scene, background: BackgroundMesh) -> ImageSearch:
    """Find candidates as the tasks do, and compare them with the truth."""
    planes = scene.planes
    probability = predict_probability(model, planes, background=background, threads=1)
    thresholds = model.specification.thresholds
    table = find_candidates(
        probability,
        SkySubtracted.from_planes(planes, background),
        ScoreModel.from_mapping(model.specification.score),
        CandidateOptions(grow=thresholds["grow"], seed=thresholds["seed"]),
    )
    found = Trails.from_table(table, length="trailLengthPix", angle="trailAnglePix")
    streak = np.asarray(table["streakFlag"])
    return search_result(found, table["score"], scene.truth, planes.image.size, streak_flag=streak)


@dataclasses.dataclass(frozen=True)
class Job:
    """One scene, and who searches it.

    Parameters
    ----------
    kind, seed, index, like
        As for `make_scene`.
    models
        Names of models.
    baselines
        Names of baselines.
    """

    kind: str
    seed: int
    index: int
    like: str | None
    models: tuple[str, ...]
    baselines: tuple[str, ...]

    def run(self) -> dict[str, ImageSearch]:
        """Return what each found, by its name."""
        try:
            scene = make_scene(self.kind, self.seed, self.index, self.like)
            planes = scene.planes
            background = fit_background(planes.image, planes.bad())
            found = {name: search_with_model(_model(name), scene, background) for name in self.models}
            for name in self.baselines:
                baseline = BASELINES[name](planes, background)
                found[name] = search_result(baseline.trails, baseline.rank, scene.truth, planes.image.size)
        except Exception as error:
            raise RuntimeError(
                f"Scene {self.index} of kind {self.kind!r} with seed {self.seed} failed: {error!r}"
            ) from error
        return found


def run_jobs(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, dict[str, ImageSearch]]]:
    """Yield scenes and what was found in them, as they are finished."""
    if processes == 1:
        for job in jobs:
            yield job, job.run()
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as executor:
        futures = {executor.submit(job.run): job for job in jobs}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _interval(values: tuple[float, float, float], digits: int) -> str:
    value, low, high = values
    if not np.isfinite(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text if not np.isfinite(low) else f"{text} ({low:.{digits}f}-{high:.{digits}f})"


def _bins(edges: Sequence[float]) -> list[tuple[float, float]]:
    return list(zip(edges[:-1], edges[1:], strict=True))


def print_tables(console: Console, title: str, samples: Mapping[str, DetectionSample]) -> None:
    """Print what was found in the scenes of a kind."""
    summary = Table(title=title, title_justify="left")
    summary.add_column("detector", no_wrap=True)
    for name in ("Mpix", "trails", "false per detector", "completeness"):
        summary.add_column(name, justify="right")
    for name in ("SNR50", "SNR50, 20-150 px", "midpoint, px", "angle, deg", "length, %", "of"):
        summary.add_column(name, justify="right")
    bins = Table(title=f"{title}: completeness by SNR and by length", title_justify="left")
    bins.add_column("detector", no_wrap=True)
    bins.add_column("false per detector", justify="right")
    for low, high in _bins(SNR_BINS):
        bins.add_column(f"SNR {low:g}-{high:g}", justify="right")
    for low, high in _bins(LENGTH_BINS):
        bins.add_column(f"{low:g}-{high:g} px", justify="right")
    for name, sample in samples.items():
        for i, point in enumerate(sample.operating_points(FALSE_RATES)):
            errors, count = sample.median_errors(point.rate)
            summary.add_row(
                *((name, f"{sample.megapixels:.0f}", str(len(sample.all.snr))) if i == 0 else ("", "", "")),
                f"{point.rate:g}",
                _interval(point.completeness, 2),
                _interval(point.snr50, 1),
                _interval(point.snr50_long, 1),
                *(f"{e:.{d}f}" if count else "-" for e, d in zip(errors * [1.0, 1.0, 100.0], (2, 1, 1))),
                str(count),
                end_section=i == len(FALSE_RATES) - 1,
            )
            fractions = [
                *sample.completeness(point.rate, "snr", SNR_BINS)[0],
                *sample.completeness(point.rate, "length", LENGTH_BINS)[0],
            ]
            bins.add_row(
                name if i == 0 else "",
                f"{point.rate:g}",
                *(f"{value:.2f}" if np.isfinite(value) else "-" for value in fractions),
                end_section=i == len(FALSE_RATES) - 1,
            )
    console.print(summary)
    console.print("Medians of errors: trails of SNR > 10 that are found at that rate.", style="dim")
    console.print(bins)


def operating_table(groups: Mapping[str, Mapping[str, DetectionSample]]) -> astropy.table.Table:
    """Return operating points as a table, one row a kind, detector and rate."""
    rows = []
    for kind, samples in groups.items():
        for name, sample in samples.items():
            for point in sample.operating_points(FALSE_RATES):
                errors, count = sample.median_errors(point.rate)
                row: dict[str, object] = {
                    "kind": kind,
                    "detector": name,
                    "megapixels": sample.megapixels,
                    "trails": len(sample.all.snr),
                    "false_per_detector": point.rate,
                    "threshold": point.threshold,
                }
                for key in ("completeness", "snr50", "snr50_long"):
                    row |= zip((key, f"{key}_low", f"{key}_high"), getattr(point, key), strict=True)
                keys = ("median_midpoint_error", "median_angle_error", "median_length_error")
                row |= zip(keys, errors, strict=True)
                rows.append(row | {"errors_of": count})
    table = astropy.table.Table(rows)
    table["median_midpoint_error"].unit = "pix"
    table["median_angle_error"].unit = "deg"
    return table


def bin_table(groups: Mapping[str, Mapping[str, DetectionSample]]) -> astropy.table.Table:
    """Return completeness in bins, one row a bin."""
    rows = []
    for kind, samples in groups.items():
        for name, sample in samples.items():
            for rate in FALSE_RATES:
                for by, edges in (("snr", SNR_BINS), ("length", LENGTH_BINS)):
                    columns = sample.completeness(rate, by, edges)
                    for (start, stop), *values in zip(_bins(edges), *columns, strict=True):
                        rows.append((kind, name, float(rate), by, start, stop, *values))
    names = ("kind", "detector", "false_per_detector", "by", "start", "stop", "completeness", "low", "high")
    return astropy.table.Table(rows=rows, names=(*names, "trails"))


def reliability_table(groups: Mapping[str, Mapping[str, DetectionSample]]) -> astropy.table.Table:
    """Return the calibration curves of scores, one row a bin."""
    rows = []
    for kind, samples in groups.items():
        for name, sample in samples.items():
            curve = sample.reliability()
            for values in zip(curve.score, curve.fraction, curve.low, curve.high, curve.count, strict=True):
                rows.append((kind, name, *values, curve.error))
    names = ("kind", "detector", "score", "fraction", "low", "high", "candidates", "calibration_error")
    return astropy.table.Table(rows=rows, names=names)


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
    help="So many of them are searched by the baselines as well, which take 10 s each.  [default: all]",
)
@click.option(
    "--reference-image",
    type=click.Path(exists=True, dir_okay=False),
    help="A real visit image to take PSF and noise from for scenes of the kind 'like'.",
)
@click.option(
    "--kind",
    "chosen",
    multiple=True,
    type=click.Choice(list(KINDS)),
    help="Only this kind of scenes; may be repeated.",
)
@click.option("--seed", default=770_000, show_default=True, help="Seed; no training set may have it.")
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
    """Measure what models and their baselines find."""
    console, log = Console(width=200), Console(stderr=True)
    models = {name: _model(name) for name in names}
    kinds = [kind for kind in KINDS if not chosen or kind in chosen]
    if "template" in kinds and not any(wants_template(model) for model in models.values()):
        console.print("No scenes with a template: none of the models wants one.")
        kinds.remove("template")
    if "like" in kinds and reference_image is None:
        console.print("No scenes on a real PSF: --reference-image names no image.")
        kinds.remove("like")
    if not kinds:
        raise click.UsageError("No kind of scenes is left.")
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
    # Those with baselines take longest: they start first, and by index, so that a
    # scene is the same whatever else is run.
    work.sort(key=lambda job: (not job.baselines, job.index))
    found: dict[tuple[str, int], dict[str, ImageSearch]] = {}
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
    groups: dict[str, dict[str, DetectionSample]] = {}
    for kind in kinds:
        results = [found[kind, index] for index in range(scenes)]
        detectors = [*names, *(BASELINES if baselines else ())]
        groups[kind] = {
            name: DetectionSample([result[name] for result in results if name in result])
            for name in detectors
        }
        print_tables(console, KINDS[kind], groups[kind])
    scored = {kind: {name: samples[name] for name in names} for kind, samples in groups.items()}
    for kind, samples in scored.items():
        for name, sample in samples.items():
            ece = sample.reliability().error
            console.print(f"{KINDS[kind]}, {name}: expected calibration error of the score {ece:.3f}")
    if output is not None:
        write(output, groups, scored)
        console.print(f"Figures and numbers are in {output}.")


def write(
    output: Path,
    groups: Mapping[str, Mapping[str, DetectionSample]],
    scored: Mapping[str, Mapping[str, DetectionSample]],
) -> None:
    """Write figures and numbers into a folder."""
    output.mkdir(parents=True, exist_ok=True)
    for name, table in (
        ("operating_points", operating_table(groups)),
        ("completeness", bin_table(groups)),
        ("reliability", reliability_table(scored)),
    ):
        table.write(output / f"{name}.ecsv", format="ascii.ecsv", overwrite=True)
    for kind, samples in groups.items():
        figure = completeness_figure(
            samples, title=KINDS[kind], rates=FALSE_RATES, snr_edges=SNR_BINS, length_edges=LENGTH_BINS
        )
        figure.savefig(output / f"completeness_{kind}.png", dpi=150)
    titled = {KINDS[kind]: samples for kind, samples in groups.items()}
    froc_figure(titled).savefig(output / "froc.png", dpi=150)
    titled = {KINDS[kind]: samples for kind, samples in scored.items()}
    reliability_figure(titled).savefig(output / "reliability.png", dpi=150)


if __name__ == "__main__":
    main()
