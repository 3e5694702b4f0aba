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

"""Runs of the second stage: candidates of simulated scenes, its training, and its place in a model."""

from __future__ import annotations

__all__ = ("rank_candidates", "second_stage_scenes")

import hashlib
from pathlib import Path

import threadpoolctl
from rich.console import Console

from ..core.processes import run_all
from ..core.progress import make_progress, track
from ..nn.candidate_score import add_second_stage
from ..nn.hardware import available_cores
from ..nn.model_file import load_model, write_specification
from ..nn.model_specification import ModelSpecification
from ..nn.second_stage import STAMP_VERSION
from .calibration import loaded_model
from .log import logged
from .recipe import Recipe, RecipeError
from .scenes import SCENE_VERSION, TrainingScenes
from .second_stage import SecondStageRecipe, train_second_stage
from .stamp_samples import StampSamples, simulate_stamp_file


def rank_candidates(
    model_path: Path,
    recipe: Recipe,
    source: str,
    *,
    folder: Path,
    threads: int | None = None,
    device: str = "cpu",
    console: Console | None = None,
) -> ModelSpecification:
    """Train the second stage of a model on the candidates of its first stage.

    Parameters
    ----------
    model_path
        The model's JSON file. Both files are rewritten; the score needs a new calibration.
    recipe
        Recipe with a section ``second_stage``.
    source
        Name of the recipe's file, for messages.
    folder
        Folder of the candidates of each scene. Those that exist are used again.
    threads
        Processes that simulate and search scenes, and threads of the training; by default one per core.
    device
        Torch device of the training, or ``auto``. Many processes search, more than a GPU may hold; they use
        the CPU.
    console
        Console that shows progress; by default none.

    Returns
    -------
    specification
        The specification as written.

    Raises
    ------
    ModelError
        Raised if the model cannot be used.
    RecipeError
        Raised if the section is missing or not valid.
    ValueError
        Raised if the candidates are too few, or all or none of them are trails.
    """
    section = recipe.second_stage
    if section is None:
        raise RecipeError(f"{source}: second_stage is missing; add this section, with 'scenes'.")
    scenes = second_stage_scenes(section, source)
    weights = load_model(model_path).specification.weights_sha256
    jobs = threads or available_cores()
    # The first scenes are the same whatever the count.
    fixed = repr((SCENE_VERSION, STAMP_VERSION, scenes.replace(count=1), section.thresholds, weights))
    kept = folder / f"candidates-{hashlib.sha256(fixed.encode()).hexdigest()[:10]}"
    kept.mkdir(parents=True, exist_ok=True)
    paths = [kept / f"{index:05d}.safetensors" for index in range(scenes.count)]
    tasks = [
        (_simulate, (model_path, weights, scenes, index, section.thresholds, path))
        for index, path in enumerate(paths)
        if not path.exists()
    ]
    with make_progress(console or Console(stderr=True, quiet=True)) as progress:
        shown = track(progress, run_all(tasks, jobs), "Searching scenes", len(tasks))
        for _ in logged(shown, len(tasks), "Searched"):
            pass
    with threadpoolctl.threadpool_limits(jobs):
        stage = train_second_stage(section, StampSamples.read(paths), device=device)
    specification = add_second_stage(model_path, stage.section, stage.weights)
    facts = {**specification.training, "second_stage": section.model_dump(mode="json")}
    specification = specification.replace(training=facts)
    write_specification(model_path, specification)
    return specification


def second_stage_scenes(section: SecondStageRecipe, source: str) -> TrainingScenes:
    """Return the scenes for the training of a second stage.

    Parameters
    ----------
    section
        Section ``second_stage`` of a recipe.
    source
        Name of the recipe's file, for messages.

    Raises
    ------
    RecipeError
        Raised if the scenes are missing or not valid.
    """
    if section.scenes is None:
        raise RecipeError(
            f"{source}: second_stage.scenes is missing; add it, or remove the section: only meas-trails "
            "adapt does without."
        )
    return TrainingScenes.from_mapping(section.scenes, source, "second_stage.scenes")


def _simulate(
    model_path: Path,
    weights: str,
    scenes: TrainingScenes,
    index: int,
    thresholds: tuple[float, float],
    path: Path,
) -> None:
    simulate_stamp_file(loaded_model(model_path, weights), scenes, index, thresholds, path)
