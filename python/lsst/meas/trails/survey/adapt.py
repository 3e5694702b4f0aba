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

__all__ = ("AdaptOptions", "Adaptation", "adapt_model")

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
from ..nn.hardware import available_cores, precision_name
from ..nn.model_file import find_model, load_model, write_specification
from ..nn.model_specification import ModelSpecification
from ..training.backgrounds import read_background
from ..training.calibration import Calibration, fit_calibration
from ..training.recipe import find_recipe, load_recipe
from ..training.run import train_model
from .backgrounds import find_probable, make_background, probable_score
from .images import SurveyImage, find_images
from .plan import AdaptationError, Plan, adapted_recipe, keep_plan
from .roles import ROLES, assign_roles
from .search import InjectedTrails, read_search, search_for_calibration, search_for_test

_LOG = logging.getLogger(__name__)

SHIPPED, CALIBRATED, ADAPTED = "before", "calibrated", "after"
"""Names of the three models that are compared."""


@dataclasses.dataclass(frozen=True)
class AdaptOptions:
    """Options of an adaptation."""

    start: str = "direct"
    """Model to start from: a file, or the name of a model in the package."""

    image_type: str = "preliminary_visit_image"
    """Dataset type of the images."""

    template_type: str | None = None
    """Dataset type of their templates, `None` without."""

    where: str = ""
    """Condition of a Butler query for the images."""

    images: int = 40
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
    name
        Name of the adapted model.
    folder
        Folder for everything that is made. The same call resumes an adaptation that was stopped.
    options
        The options.
    progress
        Show progress on a terminal.

    Raises
    ------
    TooFewVisitsError
        Raised if there are too few visits to leave any out.
    AdaptationError
        Raised if no image of a role can be used, or the folder is of another adaptation.
    lsst.meas.trails.repository.visit_record.RepositoryError
        Raised if the repository, collection or images do not exist.
    ValueError
        Raised if the model to start from cannot be used, or there are no trails or false candidates to
        calibrate the score.
    """
    start = find_model(options.start)
    before = load_model(start).specification
    plan = _make_plan(repo, collection, before, options)
    keep_plan(plan, folder)
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
    after = load_model(result.model_path).specification
    calibrated: dict[str, ModelSpecification] = {}
    for label, path, specification in ((CALIBRATED, start, before), (ADAPTED, result.model_path, after)):
        found = work.calibrate(plan, path, specification.weights_sha256)
        calibrated[label] = _with_calibration(specification, found)
    final = calibrated[ADAPTED].replace(
        pixel_scale=work.pixel_scale(),
        training={**calibrated[ADAPTED].training, "adaptation": plan.record()},
    )
    models = {
        SHIPPED: (start, before),
        CALIBRATED: (start, calibrated[CALIBRATED]),
        ADAPTED: (result.model_path, final),
    }
    metrics = work.test(plan, models)
    path = _write_model(result.model_path, final, folder)
    return Adaptation(path, load_model(path).specification, plan, metrics)


def _make_plan(repo: str, collection: str, start: ModelSpecification, options: AdaptOptions) -> Plan:
    """Choose the images, and assign their roles."""
    rng = np.random.default_rng(options.seed)
    images, places = find_images(
        repo,
        collection,
        options.image_type,
        template_type=options.template_type,
        where=options.where,
        limit=options.images,
        rng=rng,
    )
    roles, by_sky = assign_roles(places, rng)
    if not by_sky:
        _LOG.warning(
            "The visits share their sky: stars and galaxies of the training are also in the images that "
            "measure it. Add visits of other fields to measure it on new ones."
        )
    return Plan(
        images={role: [i for i, r in zip(images, roles, strict=True) if r == role] for role in ROLES},
        start=f"{start.name} {start.version}",
        checksum=start.weights_sha256,
        trails=InjectedTrails(options.seed, options.trails_per_megapixel),
        by_sky=by_sky,
    )


def _with_calibration(specification: ModelSpecification, found: Calibration) -> ModelSpecification:
    """Return a specification with thresholds, score and metrics of a calibration."""
    return specification.replace(
        thresholds=found.thresholds,
        score=found.score,
        metrics={**specification.metrics, **found.metrics},
        training={**specification.training, "calibration_precision": precision_name("auto", "cpu")},
    )


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

    def backgrounds(self, images: Sequence[SurveyImage], model: Path) -> tuple[list[Path], tuple[int, int]]:
        """Return the files of the backgrounds to train on, and their smallest sides (ny, nx)."""
        searches = self._make(
            "Searching images",
            {image: (self._path("searches/train", image),) for image in images},
            lambda image, paths: (find_probable, (image, model, *paths)),
        )
        score = probable_score(_read(path) for (path,) in searches.values())
        made = self._make(
            "Reading images",
            {image: (self._path("backgrounds", image, ".safetensors"),) for image in searches},
            lambda image, paths: (make_background, (image, *searches[image], score, *paths)),
        )
        files = [path for (path,) in made.values()]
        shapes = np.array([read_background(path).shape for path in files])
        return files, (int(shapes[:, 0].min()), int(shapes[:, 1].min()))

    def pixel_scale(self) -> float | None:
        """Return the pixel scale of the images to train on, arcsec; `None` if it varies."""
        tables = [_read(path) for path in sorted(self.folder.glob("searches/train/*.ecsv"))]
        scales = [float(table.meta["pixel_scale"]) for table in tables]
        return round(float(np.median(scales)), 4) if max(scales) <= 1.05 * min(scales) else None

    def calibrate(self, plan: Plan, model: Path, checksum: str) -> Calibration:
        """Search images with a model and calibrate it."""
        images = plan.images["calibrate"]
        folder = f"searches/calibrate-{checksum[:12]}"
        found = self._make(
            "Calibrating",
            {image: (self._path(folder, image),) for image in images},
            lambda image, paths: (search_for_calibration, (image, model, plan.trails, *paths)),
        )
        scenes = [read_search(path) for (path,) in found.values()]
        try:
            return fit_calibration(scenes)
        except ValueError as error:
            area = sum(scene.n_pixels for scene in scenes) / 1e6
            raise AdaptationError(
                f"The {len(scenes)} images for calibration have only {area:.1f} megapixels: {error} Add "
                "images."
            ) from error

    def test(
        self, plan: Plan, models: Mapping[str, tuple[Path, ModelSpecification]]
    ) -> dict[str, astropy.table.Table]:
        """Search images with all models and return the metrics of each."""
        images = plan.images["test"]
        keys = [(s.weights_sha256, s.thresholds, s.score) for _, s in models.values()]
        folder = f"searches/test-{hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:12]}"

        def paths_of(image: SurveyImage) -> dict[str, tuple[Path, Path]]:
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

    def _path(self, folder: str, image: SurveyImage, suffix: str = ".ecsv") -> Path:
        """Return the path of a file of an image."""
        (self.folder / folder).mkdir(parents=True, exist_ok=True)
        return self.folder / folder / f"{image.name}{suffix}"

    def _make(
        self,
        description: str,
        files: Mapping[SurveyImage, tuple[Path, ...]],
        call: Callable[[SurveyImage, tuple[Path, ...]], tuple[Callable[..., None], tuple[object, ...]]],
    ) -> dict[SurveyImage, tuple[Path, ...]]:
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
