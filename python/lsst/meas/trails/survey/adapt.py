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
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import astropy.table
import numpy as np
from rich.console import Console

from ..core.atomic import atomic_path
from ..nn.hardware import available_cores
from ..nn.model_file import find_model, load_model, write_specification
from ..nn.model_specification import ModelSpecification
from ..tasks._survey_sources import shipped_model_name
from ..training.run import train_model
from .average import average_with_start
from .images import find_images
from .plan import Plan, adapted_recipe, keep_plan, read_recipe
from .roles import ROLES, assign_roles
from .search import InjectedTrails
from .second_stage import adapt_second_stage
from .steps import Steps

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
    recipe = read_recipe(options.recipe)
    keep_plan(plan, before, folder)
    steps = Steps(folder, options.threads or available_cores(), Console(stderr=True, quiet=not progress))
    files, shape = steps.backgrounds(plan.images["train"], start)
    result = train_model(
        adapted_recipe(recipe, before, name, files, shape),
        folder / "training",
        start=start,
        threads=options.threads,
        device=options.device,
        minutes=options.minutes,
        progress=progress,
    )
    trained = result.model_path
    assert trained is not None
    average_with_start(trained, start)
    after = adapt_second_stage(
        trained,
        start,
        recipe.second_stage,
        lambda thresholds: steps.samples(plan, trained, start, thresholds),
        steps.jobs,
    )
    calibrated = steps.calibrate(plan, start, before)
    final = steps.calibrate(plan, trained, after)
    final = final.replace(
        pixel_scale=steps.pixel_scale(), training={**final.training, "adaptation": plan.record(before)}
    )
    models = {
        SHIPPED: (start, before),
        CALIBRATED: (start, calibrated),
        ADAPTED: (trained, final),
    }
    metrics = steps.test(plan, models)
    path = _write_model(trained, final, folder)
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


def _write_model(trained: Path, specification: ModelSpecification, folder: Path) -> Path:
    """Write the adapted model, next to the folder of its training."""
    weights = trained.with_name(specification.weights_file)
    with atomic_path(folder / specification.weights_file) as partial:
        shutil.copyfile(weights, partial)
    path = folder / trained.name
    write_specification(path, specification)
    return path
