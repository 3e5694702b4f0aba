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

"""Seeds of simulated scenes: no model is measured on scenes that it has seen."""

from __future__ import annotations

__all__ = ("refuse_calibration_seed", "refuse_seeds_of_start")

from collections.abc import Mapping

from ..nn.model_specification import ModelSpecification
from .recipe import Recipe, RecipeError


def refuse_seeds_of_start(recipe: Recipe, start: ModelSpecification, source: str) -> None:
    """Refuse validation and calibration scenes that the initial model has seen.

    Parameters
    ----------
    recipe
        Recipe of the training.
    start
        Specification of the initial model.
    source
        Name of the recipe's file, for messages.

    Raises
    ------
    RecipeError
        Raised if these scenes have a seed that the model, or one of its own initial models, was trained on.
    """
    if recipe.data.simulate is None:
        return
    simulate = recipe.data.simulate
    learned = _seen_seeds(start.training, "train")
    # Scenes that only selected weights may validate again.
    sections = {
        "validation": (simulate.validation, learned),
        **{
            key: (section, learned | _seen_seeds(start.training, "validation"))
            for key, section in simulate.calibration_sections.items()
        },
    }
    for role, (section, seen) in sections.items():
        if section["seed"] in seen:
            raise RecipeError(
                f"{source}: data.simulate.{role} has the seed {section['seed']} of scenes that "
                f"{start.name!r} was trained with; choose another seed."
            )


def refuse_calibration_seed(
    specification: ModelSpecification, seed: int, source: str, key: str = "calibration"
) -> None:
    """Refuse calibration scenes that a model may have seen.

    Parameters
    ----------
    specification
        The model's specification, with the recipe of its training.
    seed
        Seed of the calibration scenes.
    source, key
        Name of the recipe's file, and the scenes' key in ``data.simulate``, for messages.

    Raises
    ------
    RecipeError
        Raised if the model was trained or selected with the seed, or its recipe is unknown.
    """
    if "checkpoint" in specification.training:
        # A converted model was not trained on scenes of this package.
        return
    try:
        Recipe.from_mapping(specification.training.get("recipe"), "recipe")
    except RecipeError as error:
        raise RecipeError(
            f"The specification of {specification.name!r} has no valid recipe of its training ({error}); "
            "calibrate only models with known training scenes."
        ) from error
    second_stage = specification.training.get("second_stage")
    scenes = second_stage.get("scenes") if isinstance(second_stage, Mapping) else None
    if isinstance(scenes, Mapping) and scenes.get("seed") == seed:
        raise RecipeError(
            f"{source}: data.simulate.{key} has the seed {seed} of the scenes of the model's second stage; "
            "choose another seed."
        )
    for role in ("train", "validation"):
        if seed in _seen_seeds(specification.training, role):
            raise RecipeError(
                f"{source}: data.simulate.{key} has the seed {seed} of the model's own {role} scenes; "
                "choose another seed."
            )


def _seen_seeds(training: object, role: str) -> set[int]:
    """Return the seeds of the scenes of a model and of its initial models."""
    seeds: set[int] = set()
    while isinstance(training, Mapping):
        section: object = training
        for key in ("recipe", "data", "simulate", role, "seed"):
            section = section.get(key) if isinstance(section, Mapping) else None
        if isinstance(section, int):
            seeds.add(section)
        start = training.get("start")
        training = start.get("training") if isinstance(start, Mapping) else None
    return seeds
