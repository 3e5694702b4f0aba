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

"""Detections of models in domains that no training shows.

    python benchmarks/domains.py --model direct --model template --model difference --data FOLDER -o DIR

`domain_scenes` has the domains, which a simulator of its own makes. Each scene of 1024x1024 pixels has 32
faint trails of SNR 3 to 30, 14 bright ones up to SNR 3000, all 6 to 150 pixels long, and 10 new points of SNR
5 to 100, none of them near another. ``NAME:MODE`` says what a model searches: ``direct`` the image alone,
``template`` the image with its template, ``difference`` their difference; by default by its channels and
name. All modes see the same sky and noise; SNRs in a difference are those of the difference.

With ``--data``, the folder of real data, two domains have real PSFs, and real images are searched as well: a
calexp and LSSTCam cutouts, as they are and with injected trails.

With ``--calibrate N``, each model is first calibrated in each domain on N other scenes, as
``meas-trails calibrate`` does it: without their truth.

Scores for 1, 10 and 100 false candidates per detector are chosen in each domain; its false candidates at
the model's own score for 10 are counted too. Candidates on new points do not count as false: the fraction of
these points that are called a trail is a number of its own, as are those of edge-on galaxies and of arms of
diffraction spikes, whose candidates are false. Trails with an SNR above 30 do not enter SNR50. Mean and worst
are over the domains.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from domain_calibration import calibrate_in_domain
from rich.console import Console

from lsst.meas.trails.core.atomic import atomic_path
from lsst.meas.trails.core.background import SkySubtracted, fit_background
from lsst.meas.trails.core.geometry import segment_distance
from lsst.meas.trails.core.operating_point import FALSE_RATES
from lsst.meas.trails.core.progress import make_progress
from lsst.meas.trails.evaluation.match_table import ImageContext, MatchOptions, match_table, search_table

import domain_optics
import domain_scenes
import domain_sky
from domain_contaminants import score_contaminants
from domain_real import SHORTEST, RealJob, RealPsfs
from domain_results import DomainResult, SceneResult, write_results
from domain_scenes import DOMAINS, DomainScene, make_scene
from model_search import model_catalog, named_model, own_thresholds, run_jobs, wants_template

MODES = ("direct", "template", "difference")


@dataclasses.dataclass(frozen=True)
class Method:
    """A model and the images that it searches."""

    name: str
    mode: str

    @classmethod
    def parse(cls, text: str) -> Method:
        """Return the method of ``NAME`` or ``NAME:MODE``."""
        name, _, mode = text.rpartition(":")
        if text in MODES:
            # Models that ship are named like what they search, whatever their channels.
            return cls(text, text)
        if not name or mode not in MODES:
            model = named_model(text)
            kind = "difference" if model.specification.name.startswith("difference") else "direct"
            return cls(text, "template" if wants_template(model) else kind)
        return cls(name, mode)

    def __str__(self) -> str:
        return f"{self.name}:{self.mode}"


@functools.cache
def source_hash() -> str:
    """Return a hash of the code that makes scenes, for the names of cached ones."""
    text = b"".join(Path(str(m.__file__)).read_bytes() for m in (domain_scenes, domain_sky, domain_optics))
    return hashlib.sha256(text).hexdigest()[:12]


def cached[T](path: Path | None, make: Callable[[], T]) -> T:
    """Return what a file holds, or make it and write the file."""
    if path is None:
        return make()
    if path.exists():
        value: T = pickle.loads(path.read_bytes())
        return value
    path.parent.mkdir(parents=True, exist_ok=True)
    value = make()
    with atomic_path(path) as temporary:
        temporary.write_bytes(pickle.dumps(value))
    return value


def search(scene: DomainScene, name: str) -> SceneResult:
    """Search a scene with a model and compare its candidates with the truth."""
    model = named_model(name)
    background = fit_background(scene.planes.image, scene.planes.bad())
    candidates = model_catalog(model, SkySubtracted.from_planes(scene.planes, background), background)
    length, score = (np.asarray(candidates[key], dtype=np.float64) for key in ("trailLengthPix", "score"))
    ends = [np.asarray(candidates[key], dtype=np.float64) for key in ("x0", "y0", "x1", "y1")]
    on_point = np.zeros(len(candidates), dtype=bool)
    points = np.full((len(scene.points), 3), -np.inf)
    for row, (x, y, snr) in zip(points, scene.points, strict=True):
        fwhm = scene.planes.psf.fwhm(x, y)
        near = segment_distance(x, y, *ends) < max(3.0, 0.5 * fwhm) if len(candidates) else on_point
        # A false candidate may cross a point.
        near &= length < 6.0 * fwhm
        on_point |= near
        row[:] = snr, fwhm, np.max(score[near & (length >= SHORTEST)], initial=-np.inf)
    context = ImageContext(shape=scene.planes.shape)
    matches = match_table(
        candidates[~on_point], scene.truth, context, options=MatchOptions(min_visible_fraction=0.0)
    )
    own = own_thresholds(model)
    measured = {f"modelThreshold{rate}": float(own.get(str(rate), np.nan)) for rate in FALSE_RATES}
    return SceneResult(
        matches,
        search_table(matches, context, measured=measured),
        points,
        score_contaminants(scene, matches),
    )


@dataclasses.dataclass(frozen=True)
class DomainJob:
    """One scene, and the models that search it."""

    domain: str
    seed: int
    index: int
    methods: tuple[Method, ...]
    data: Path | None
    cache: Path | None
    own: Mapping[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    """Models that were calibrated in a domain, by method and domain."""

    def run(self) -> dict[str, SceneResult]:
        """Return the result of each method."""
        found: dict[str, SceneResult] = {}
        for mode in dict.fromkeys(method.mode for method in self.methods):
            name = f"{self.domain}-{self.seed}-{self.index}-{mode}-{source_hash()}.pickle"
            scene = cached(self.cache / name if self.cache else None, functools.partial(self._scene, mode))
            for method in self.methods:
                if method.mode == mode:
                    name = self.own.get((str(method), self.domain), method.name)
                    found[str(method)] = search(scene, name)
        return found

    def _scene(self, mode: str) -> DomainScene:
        domain, optics = DOMAINS[self.domain], None
        if domain.psf:
            assert self.data is not None
            optics = RealPsfs(self.data).optics(domain.psf, self.seed, self.index, domain_scenes.SHAPE)
        return make_scene(domain, self.seed, self.index, mode, optics, domain_scenes.SHAPE)


def make_jobs(
    domains: Sequence[str],
    methods: Sequence[Method],
    scenes: int,
    seed: int,
    data: Path | None,
    cache: Path | None,
) -> list[DomainJob]:
    """Return the scenes to search; a domain of one mode only has the methods of that mode."""
    jobs = []
    for index in range(scenes):
        for number, domain in enumerate(DOMAINS):
            only = DOMAINS[domain].only
            chosen = tuple(m for m in methods if not only or m.mode == only)
            if domain in domains and chosen:
                jobs.append(DomainJob(domain, seed + number, index, chosen, data, cache))
    return jobs


def _calibrated(
    methods: Sequence[Method],
    domains: Sequence[str],
    scenes: int,
    seed: int,
    data: Path | None,
    output: Path,
    processes: int,
    console: Console,
) -> dict[tuple[str, str], str]:
    """Calibrate each model in each domain, and return the files by method and domain."""
    paths: dict[tuple[str, str], str] = {}
    for job in make_jobs(domains, methods, 1, seed, data, None):
        for method in job.methods:
            path, calibration = calibrate_in_domain(
                method.name,
                method.mode,
                job.domain,
                scenes=scenes,
                seed=job.seed,
                data=data,
                folder=output / "models",
                processes=processes,
            )
            before, after = calibration.before, calibration.after
            old = np.nan if before is None else before.rates["10"][0]
            console.print(
                f"{method} in {job.domain}: {old:.1f} false before; score {after.at_false['10']:.3f} for "
                f"{after.rates['10'][0]:.1f} +- {after.rates['10'][1]:.1f}, thresholds {after.thresholds}, "
                f"calibration error {after.metrics['score_calibration_error']:.3f}",
                highlight=False,
            )
            paths[str(method), job.domain] = str(path)
    return paths


@click.command()
@click.option(
    "--model",
    "names",
    multiple=True,
    default=("direct", "template", "difference"),
    show_default=True,
    help="Shipped model or .json file, with :direct, :template or :difference; may be repeated.",
)
@click.option("--scenes", type=click.IntRange(1), default=30, show_default=True, help="Scenes of a domain.")
@click.option("--quick", is_flag=True, help="Four scenes of each domain.")
@click.option(
    "--domain",
    "chosen",
    multiple=True,
    type=click.Choice(list(DOMAINS)),
    help="Only this domain; may be repeated.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of real data: PSFs, a calexp and cutouts.",
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder in which scenes are kept, 17 MB each and mode.",
)
@click.option("--seed", default=880_000, show_default=True, help="Seed; must differ from those of training.")
@click.option("--jobs", default=None, type=click.IntRange(1), help="Processes.  [default: all cores]")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for domains.md, domains.json and figures.",
)
@click.option(
    "--calibrate",
    type=click.IntRange(2),
    metavar="N",
    help="Calibrate each model in each domain first, on N other scenes whose content it does not know.",
)
def main(
    names: tuple[str, ...],
    scenes: int,
    quick: bool,
    chosen: tuple[str, ...],
    data: Path | None,
    cache: Path | None,
    seed: int,
    jobs: int | None,
    output: Path | None,
    calibrate: int | None,
) -> None:
    """Measure the detections of models in domains that no training shows."""
    console = Console(width=200)
    processes = jobs or len(os.sched_getaffinity(0))
    if calibrate is not None and output is None:
        raise click.UsageError("--calibrate needs --output, for the calibrated models.")
    methods = list(dict.fromkeys(Method.parse(name) for name in names))
    domains = [name for name in DOMAINS if not chosen or name in chosen]
    if data is None:
        domains = [name for name in domains if not DOMAINS[name].psf]
        console.print("Real PSFs, calexp and cutouts are left out: pass --data FOLDER to use them.")
    count = min(scenes, 4) if quick else scenes
    work: list[Any] = [*make_jobs(domains, methods, count, seed, data, cache)]
    if data is not None and not chosen:
        repeat = 1 if quick else 4
        work += [RealJob(m.name, m.mode, data.resolve(), repeat, seed) for m in methods]
    if not work:
        raise click.UsageError("No domain remains for these models.")
    own: dict[tuple[str, str], str] = {}
    if calibrate is not None:
        assert output is not None
        own = _calibrated(methods, domains, calibrate, seed, data, output, processes, console)
        work = [dataclasses.replace(job, own=own) if isinstance(job, DomainJob) else job for job in work]
    found: dict[tuple[str, str], dict[int, SceneResult]] = {}
    real: dict[str, list[dict[str, Any]]] = {}
    with make_progress() as progress:
        task = progress.add_task("Searching", total=len(work))
        for job, result in run_jobs(work, processes):
            if isinstance(job, RealJob):
                real[str(Method(job.name, job.mode))] = result
            else:
                for method, tables in result.items():
                    found.setdefault((method, job.domain), {})[job.index] = tables
            progress.advance(task)
    # In the order of the scenes, so that results do not depend on the processes.
    results = {
        str(method): {
            domain: DomainResult([found[str(method), domain][i] for i in range(count)])
            for domain in domains
            if (str(method), domain) in found
        }
        for method in methods
    }
    titles = {name: DOMAINS[name].title for name in domains}
    text = write_results(output, results, {str(m): real[str(m)] for m in methods if str(m) in real}, titles)
    console.print(f"seed {seed}, {count} scenes of 1024x1024 pixels in each domain\n")
    console.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
