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

"""What commands that follow a training recipe have in common."""

from __future__ import annotations

__all__ = ("calibrate_model", "find_model", "find_recipe", "refuse_scenes_of_start")

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from ..nn.model_file import ModelSpecification
    from ..training.recipe import Recipe


def find_recipe(name: str) -> Path:
    """Return the file of a recipe: a path, or the name of a shipped one.

    Raises
    ------
    RecipeError
        Raised if there is neither.
    """
    import importlib.resources

    from ..training.recipe import RecipeError

    path = Path(name)
    if path.exists():
        return path
    folder = Path(str(importlib.resources.files("lsst.meas.trails.resources") / "config" / "train"))
    shipped = folder / f"{name.removesuffix('.yaml')}.yaml"
    if shipped.parent == folder and shipped.is_file():
        return shipped
    known = ", ".join(sorted(entry.stem for entry in folder.glob("*.yaml"))) or "none"
    raise RecipeError(f"There is no recipe {name}: no such file, and those of the package are: {known}.")


def find_model(name: str) -> str:
    """Return the file of a model: a path, or the name of a shipped one.

    Raises
    ------
    ModelError
        Raised if there is neither.
    """
    from ..nn.model_file import ModelError, shipped_model_path

    path = Path(name)
    if path.suffix in (".json", ".safetensors") or path.with_name(path.name + ".json").is_file():
        return name
    try:
        return str(shipped_model_path(name))
    except ModelError as error:
        raise ModelError(f"There is no file {name}, and: {error}") from error


def refuse_scenes_of_start(recipe: Recipe, start: ModelSpecification, source: str) -> None:
    """Raise an error if a training would be measured on scenes that the model
    it begins with was trained on.

    Parameters
    ----------
    recipe
        What shall be done.
    start
        The model to begin with.
    source
        Name of the recipe's file, for messages.

    Raises
    ------
    RecipeError
        Raised if scenes to validate or to calibrate on have the seed of
        scenes that the model, or one that it began with, was trained on.
    """
    from ..training.recipe import RecipeError

    if recipe.data.simulate is None:
        return
    simulate = recipe.data.simulate
    learned = _seen_seeds(start.training, "train")
    # Those that only decided which weights were kept may do so again.
    sections = {
        "validation": (simulate.validation, learned),
        "calibration": (simulate.calibration, learned | _seen_seeds(start.training, "validation")),
    }
    for role, (section, seen) in sections.items():
        if section is not None and section["seed"] in seen:
            raise RecipeError(
                f"{source}: data.simulate.{role} has the seed {section['seed']}, with which scenes were "
                f"simulated that {start.name!r} has seen; give it another."
            )


def _seen_seeds(training: Any, role: str) -> set[int]:
    """Return the seeds of the scenes that a model, and those that it began
    with, were trained on (``train``) or selected with (``validation``).
    """
    seeds: set[int] = set()
    while isinstance(training, Mapping):
        section: Any = training
        for key in ("recipe", "data", "simulate", role, "seed"):
            section = section.get(key) if isinstance(section, Mapping) else None
        if isinstance(section, int):
            seeds.add(section)
        start = training.get("start")
        training = start.get("training") if isinstance(start, Mapping) else None
    return seeds


def _refuse_seen_scenes(specification: ModelSpecification, seed: int, source: str) -> None:
    """Raise an error if a model may have been trained on the scenes that it
    shall be calibrated on.

    Parameters
    ----------
    specification
        The model's specification, with the recipe that it was trained by.
    seed
        Seed of the scenes to calibrate on.
    source
        Name of the file that asks for them, for messages.

    Raises
    ------
    RecipeError
        Raised if the seed is one of those that the model was trained or
        selected with, or these are not known.
    """
    from ..training.recipe import Recipe, RecipeError

    if "checkpoint" in specification.training:
        # Converted: it was trained before there were scenes of this package.
        return
    try:
        Recipe.from_mapping(specification.training.get("recipe"), "recipe")
    except RecipeError as error:
        raise RecipeError(
            f"The specification of {specification.name!r} does not say what the model was trained on "
            f"({error}); a model can be calibrated only on scenes that it has certainly not seen."
        ) from error
    for role in ("train", "validation"):
        if seed in _seen_seeds(specification.training, role):
            raise RecipeError(
                f"{source}: data.simulate.calibration has the seed {seed}, with which the model's own "
                f"{role} scenes were simulated; give it another."
            )


def calibrate_model(
    model_path: Path,
    section: Mapping[str, Any],
    source: str,
    *,
    threads: int | None,
    console: Console,
) -> ModelSpecification:
    """Choose thresholds and calibrate the score on scenes of their own, and
    add them, with what was found, to the model's specification.

    Parameters
    ----------
    model_path
        The model's JSON file, which is rewritten.
    section
        The section ``data.simulate.calibration`` of a recipe.
    source
        Name of the recipe's file, for messages.
    threads
        Threads for the network.
    console
        Where progress is shown.

    Returns
    -------
    specification
        The specification as written.

    Raises
    ------
    ModelError
        Raised if the model cannot be used.
    RecipeError
        Raised if the section cannot be followed, or its scenes are among
        those that the model was trained on.
    ValueError
        Raised if the scenes hold nothing to learn a score from.
    """
    import dataclasses

    from rich.progress import track

    from ..nn.hardware import precision_name
    from ..nn.model_file import load_model, write_specification
    from ..training.calibration import calibrate
    from ..training.recipe import build_section
    from ..training.scenes import TrainingScenes

    scenes = build_section(TrainingScenes, section, "data.simulate.calibration", source)
    model = load_model(model_path)
    before = model.specification
    _refuse_seen_scenes(before, scenes.seed, source)
    numbers = track(range(scenes.count), "Calibrating the score", console=console)
    calibration = calibrate(model, (scenes.validation_scene(i) for i in numbers), threads=threads)
    specification = dataclasses.replace(
        before,
        thresholds=calibration.thresholds,
        score=calibration.score,
        training={
            **before.training,
            "calibration_precision": precision_name("auto", "auto"),
            "calibration_scenes": dict(section),
        },
        metrics={**before.metrics, **calibration.metrics},
    )
    write_specification(model_path, specification)
    return specification
