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

"""Adaptation of a model to a survey: from images to a calibrated model and its page."""

from __future__ import annotations

__all__ = ("AdaptOptions", "Adaptation", "adapt_images", "adapt_model")

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import astropy.table
import numpy as np
from rich.console import Console

from ..core.atomic import atomic_path
from ..core.processes import run_all
from ..core.progress import make_progress, track
from ..evaluation.collection_sample import CollectionSample
from ..evaluation.summary import summarize
from ..nn.candidate_score import add_second_stage, second_stage
from ..nn.hardware import available_cores, precision_name
from ..nn.model_file import find_model, load_model, write_specification
from ..nn.model_specification import ModelSpecification
from ..tasks._survey_sources import shipped_model_name
from ..training.recipe import find_recipe, load_recipe
from ..training.run import train_model
from ..training.survey import fit_survey
from .backgrounds import find_probable, make_background, probable_score
from .images import ImageSource, find_images
from .plan import AdaptationError, Plan, adapted_recipe, keep_plan
from .roles import ROLES, assign_roles
from .search import InjectedTrails, read_search, search_for_calibration, search_for_test

_LOG = logging.getLogger(__name__)

SHIPPED, CALIBRATED, ADAPTED = "before", "calibrated", "after"
"""Names of the three models that are compared."""


@dataclasses.dataclass(frozen=True)
class AdaptOptions:
    """Options of an adaptation."""

    start: str | None = None
    """Model to start from: a file, or the name of a model in the package. By default, ``template`` if there
    are templates, ``difference`` for difference images, else ``direct``.
    """

    dataset_type: str = "preliminary_visit_image"
    """Dataset type of the images."""

    template_type: str | None = "template_detector"
    """Dataset type of their templates, where there are any; `None` to do without."""

    where: str = ""
    """Condition of a Butler query for the images."""

    max_detectors: int = 40
    """Largest number of images, for all roles."""

    minutes: float = 30.0
    """Longest time of the training, without reading, searches and simulation."""

    device: str = "auto"
    """Torch device of the training."""

    threads: int | None = None
    """Processes that read and search, and threads of the training; by default all cores."""

    seed: int = 1
    """Seed of the choice of images, their roles and the trails in them."""

    recipe: str = "adapt"
    """Recipe of the training: a file, or the name of a recipe in the package. The images are added to it."""

    trails_per_megapixel: float = 10.0
    """Density of the trails that are injected for calibration and test, a fifth of them bright."""


@dataclasses.dataclass(frozen=True, eq=False)
class Adaptation:
    """Result of an adaptation."""

    model_path: Path
    """Specification of the adapted model."""

    specification: ModelSpecification
    """The same, read."""

    plan: Plan
    """Images and roles."""

    metrics: Mapping[str, astropy.table.Table]
    """Metrics on the test images by model: as shipped, calibrated, and adapted and calibrated."""


def adapt_model(
    repo: str,
    collection: str,
    name: str,
    folder: Path,
    options: AdaptOptions = AdaptOptions(),
    *,
    progress: bool = True,
) -> Adaptation:
    """Fine-tune a model on images of a collection, and calibrate and measure it on others.

    Parameters
    ----------
    repo, collection
        The repository, and the collections of images, templates and labels, separated by commas.
    name, folder, options, progress
        As for `adapt_images`.

    Raises
    ------
    TooFewVisitsError
        Raised if there are too few visits to leave any out.
    AdaptationError, ValueError
        Raised as by `adapt_images`.
    lsst.meas.trails.repository.visit_record.RepositoryError
        Raised if the repository, collection or images do not exist.
    """
    if options.start is not None:
        # Before the repository is read.
        find_model(options.start)
    plan = _make_plan(repo, collection, options)
    return adapt_images(plan, name, folder, options, progress=progress)


def adapt_images(
    plan: Plan, name: str, folder: Path, options: AdaptOptions = AdaptOptions(), *, progress: bool = True
) -> Adaptation:
    """Fine-tune a model on some images, calibrate it on others and measure it on others again.

    Parameters
    ----------
    plan
        The images.
    name
        Name of the adapted model.
    folder
        Folder for everything that is made. The same call resumes an adaptation that was stopped.
    options
        The options; those that choose images are ignored.
    progress
        Show progress on a terminal.

    Raises
    ------
    AdaptationError
        Raised if no image of a role can be used, or the folder is of another adaptation.
    ValueError
        Raised if the model to start from, or the recipe, cannot be used.
    """
    start = find_model(plan.start)
    before = load_model(start).specification
    keep_plan(plan, before, folder)
    work = _Work(folder, options.threads or available_cores(), Console(stderr=True, quiet=not progress))
    files, shape = work.backgrounds(plan.images["train"], start)
    recipe = adapted_recipe(load_recipe(find_recipe(options.recipe)), before, name, files, shape)
    result = train_model(
        recipe,
        folder / "training",
        start=start,
        threads=options.threads,
        device=options.device,
        minutes=options.minutes,
        progress=progress,
    )
    assert result.model_path is not None
    after = _with_second_stage(result.model_path, start)
    calibrated = work.calibrate(plan, start, before)
    final = work.calibrate(plan, result.model_path, after)
    final = final.replace(
        pixel_scale=work.pixel_scale(), training={**final.training, "adaptation": plan.record(before)}
    )
    models = {
        SHIPPED: (start, before),
        CALIBRATED: (start, calibrated),
        ADAPTED: (result.model_path, final),
    }
    metrics = work.test(plan, models)
    path = _write_model(result.model_path, final, folder)
    return Adaptation(path, load_model(path).specification, plan, metrics)


def _make_plan(repo: str, collection: str, options: AdaptOptions) -> Plan:
    """Choose the images, and assign their roles."""
    images, places = find_images(
        repo,
        collection,
        options.dataset_type,
        template_type=options.template_type,
        where=options.where,
        most=options.max_detectors,
        seed=options.seed,
    )
    roles, by_sky = assign_roles(places, np.random.default_rng(options.seed))
    if not by_sky:
        _LOG.warning(
            "The visits share their sky: stars and galaxies of the training are also in the images that "
            "measure it. Add visits of other fields to measure it on new ones."
        )
    has_template = any(image.source.template_type is not None for image in images)
    return Plan(
        images={role: [i for i, r in zip(images, roles, strict=True) if r == role] for role in ROLES},
        start=options.start or shipped_model_name(has_template, options.dataset_type),
        trails=InjectedTrails(options.seed, options.trails_per_megapixel),
        by_sky=by_sky,
        origin={
            "collections": list(images[0].source.collections),
            "dataset_type": options.dataset_type,
            "template_type": options.template_type if has_template else None,
        },
    )


def _with_second_stage(path: Path, start: Path) -> ModelSpecification:
    """Give a trained model the second stage of the model that it started from, if there is one.

    It mostly looks at the image, and its score is calibrated on the survey.
    """
    stage = second_stage(load_model(start))
    if stage is None:
        return load_model(path).specification
    return add_second_stage(path, stage.section, stage.weights)


def _write_model(trained: Path, specification: ModelSpecification, folder: Path) -> Path:
    """Write the adapted model, next to the folder of its training."""
    weights = trained.with_name(specification.weights_file)
    with atomic_path(folder / specification.weights_file) as partial:
        shutil.copyfile(weights, partial)
    path = folder / trained.name
    write_specification(path, specification)
    return path


@dataclasses.dataclass(frozen=True, eq=False)
class _Work:
    """Steps of an adaptation that go image by image, and keep their results in files."""

    folder: Path
    jobs: int
    console: Console

    def backgrounds(self, images: Sequence[ImageSource], model: Path) -> tuple[list[Path], tuple[int, int]]:
        """Return the files of the backgrounds to train on, and their smallest sides (ny, nx)."""
        searches = self._make(
            "Searching images",
            {image: (self._path("searches/train", image),) for image in images},
            lambda image, paths: (find_probable, (image, model, *paths)),
        )
        tables = {image: _read(path) for image, (path,) in searches.items()}
        score = probable_score(tables.values())
        made = self._make(
            "Reading images",
            {image: (self._path("backgrounds", image, ".safetensors"),) for image in searches},
            lambda image, paths: (make_background, (image, *searches[image], score, *paths)),
        )
        rows, columns = (min(int(tables[image].meta["shape"][axis]) for image in made) for axis in (0, 1))
        return [path for (path,) in made.values()], (rows, columns)

    def pixel_scale(self) -> float | None:
        """Return the pixel scale of the images to train on, arcsec; `None` if it varies."""
        tables = [_read(path) for path in sorted(self.folder.glob("searches/train/*.ecsv"))]
        scales = [float(table.meta["pixel_scale"]) for table in tables]
        return round(float(np.median(scales)), 4) if max(scales) <= 1.05 * min(scales) else None

    def calibrate(self, plan: Plan, model: Path, specification: ModelSpecification) -> ModelSpecification:
        """Search images with a model, and return its specification with new thresholds and score."""
        folder = f"searches/calibrate-{specification.weights_sha256[:12]}"
        found = self._make(
            "Calibrating",
            {image: (self._path(folder, image),) for image in plan.images["calibrate"]},
            lambda image, paths: (search_for_calibration, (image, model, plan.trails, *paths)),
        )
        scenes = [read_search(path) for (path,) in found.values()]
        try:
            _, measured, score = fit_survey(scenes, specification)
        except ValueError as error:
            area = sum(scene.n_pixels for scene in scenes) / 1e6
            raise AdaptationError(
                f"The {len(scenes)} images for calibration have only {area:.1f} megapixels: {error}"
            ) from error
        return specification.replace(
            thresholds=dict(zip(("grow", "seed"), measured.thresholds, strict=True)),
            score={
                **score.to_mapping(),
                "at_false_per_detector": dict(measured.at_false),
                "false_per_detector_at": dict(measured.false_at_score),
            },
            metrics={**specification.metrics, **measured.metrics},
            training={**specification.training, "calibration_precision": precision_name("auto", "cpu")},
        )

    def test(
        self, plan: Plan, models: Mapping[str, tuple[Path, ModelSpecification]]
    ) -> dict[str, astropy.table.Table]:
        """Search images with all models and return the metrics of each."""
        images = plan.images["test"]
        keys = [(s.weights_sha256, s.thresholds, s.score) for _, s in models.values()]
        folder = f"searches/test-{hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:12]}"

        def paths_of(image: ImageSource) -> dict[str, tuple[Path, Path]]:
            return {
                name: (
                    self._path(folder, image, f"-{name}-matches.ecsv"),
                    self._path(folder, image, f"-{name}-search.ecsv"),
                )
                for name in models
            }

        found = self._make(
            "Measuring",
            {image: tuple(path for pair in paths_of(image).values() for path in pair) for image in images},
            lambda image, paths: (search_for_test, (image, models, plan.trails, paths_of(image))),
        )
        pairs = [paths_of(image) for image in found]
        return {
            name: summarize(
                CollectionSample(
                    (_read(pair[name][0]) for pair in pairs), (_read(pair[name][1]) for pair in pairs)
                )
            )
            for name in models
        }

    def _path(self, folder: str, image: ImageSource, suffix: str = ".ecsv") -> Path:
        """Return the path of a file of an image."""
        (self.folder / folder).mkdir(parents=True, exist_ok=True)
        return self.folder / folder / f"{image.name}{suffix}"

    def _make(
        self,
        description: str,
        files: Mapping[ImageSource, tuple[Path, ...]],
        call: Callable[[ImageSource, tuple[Path, ...]], tuple[Callable[..., None], tuple[object, ...]]],
    ) -> dict[ImageSource, tuple[Path, ...]]:
        """Call a function for each image whose files do not exist, in several processes.

        Parameters
        ----------
        description
            Text next to the progress bar.
        files
            Files of each image.
        call
            Function that returns the function, and its arguments, that makes the files of an image.

        Returns
        -------
        made
            Images with files; the others cannot be used.
        """
        calls = [call(image, paths) for image, paths in files.items() if not _exist(paths)]
        with make_progress(self.console) as progress:
            problems = run_all([(_attempt, part) for part in calls], self.jobs)
            for problem in track(progress, problems, description, len(calls)):
                if problem:
                    _LOG.warning("%s It is left out.", problem)
        made = {image: paths for image, paths in files.items() if _exist(paths)}
        if not made:
            raise AdaptationError(
                f"{description}: none of {len(files)} images can be used; see the warnings."
            )
        return made


def _exist(paths: Sequence[Path]) -> bool:
    return all(path.exists() for path in paths)


def _attempt(function: Callable[..., None], arguments: tuple[object, ...]) -> str:
    """Call a function; return why its image cannot be used, or nothing."""
    try:
        function(*arguments)
    except ValueError as error:
        return str(error)
    return ""


def _read(path: Path) -> astropy.table.Table:
    return astropy.table.Table.read(path, format="ascii.ecsv")
