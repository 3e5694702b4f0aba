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

"""Plan of an adaptation: everything that decides its result, kept in its folder."""

from __future__ import annotations

__all__ = ("AdaptationError", "Plan", "adapted_recipe", "keep_plan", "read_recipe")

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.atomic import atomic_path
from ..nn.model_specification import ModelSpecification
from ..training.recipe import Recipe, find_recipe, load_recipe
from .images import ImageSource
from .search import InjectedTrails

PLAN = "adaptation.json"
"""Name of the file of the plan."""

_SIMULATED_FRACTION = 0.25
"""Fraction of the tiles from simulated scenes."""

_LEAST_TILE, _TILE_STEP = 32, 16
"""Smallest tile, and factor of its side, pixels."""


class AdaptationError(ValueError):
    """Raised if a model cannot be adapted; the message has the remedy."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Images of each role, and the model to start from."""

    images: Mapping[str, Sequence[ImageSource]]
    """Images by role; see `lsst.meas.trails.survey.roles`."""

    start: str
    """Model to start from: a file, or the name of a model in the package."""

    trails: InjectedTrails
    """Trails that are injected for calibration and test; their seed is also that of the roles."""

    by_sky: bool
    """Separation of the roles by sky: images of different roles share none."""

    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Origin of the images, for JSON, without places on this machine."""

    def record(self, start: ModelSpecification) -> dict[str, Any]:
        """Return the plan for JSON, with the specification of the model to start from."""
        return {
            "start": f"{start.name} {start.version}",
            "start_sha256": start.weights_sha256,
            "seed": self.trails.seed,
            "trails_per_megapixel": self.trails.density,
            "separate_sky": self.by_sky,
            **self.origin,
            **{role: [image.name for image in images] for role, images in self.images.items()},
        }


def keep_plan(plan: Plan, start: ModelSpecification, folder: Path) -> None:
    """Write a plan to its folder, or check that the folder has the same.

    Raises
    ------
    AdaptationError
        Raised if the folder has another plan.
    """
    path = folder / PLAN
    text = json.dumps(plan.record(start), indent=2)
    if path.exists():
        if path.read_text(errors="replace") != text:
            raise AdaptationError(
                f"{path} is of another adaptation: other images, options or another model; choose another "
                "--output, or remove the folder."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        partial.write_text(text)


def read_recipe(name: str) -> Recipe:
    """Read the recipe of an adaptation.

    Parameters
    ----------
    name
        A file, or the name of a recipe in the package.

    Raises
    ------
    lsst.meas.trails.training.recipe.RecipeError
        Raised if the recipe does not exist or is not valid.
    AdaptationError
        Raised if the recipe adds no trails to images, or its second stage has scenes.
    """
    path = find_recipe(name)
    recipe = load_recipe(path)
    if recipe.data.inject is None or recipe.data.train:
        raise AdaptationError(f"{path}: must have a section data.inject, and no tile files.")
    if recipe.second_stage is not None and recipe.second_stage.scenes is not None:
        raise AdaptationError(
            f"{path}: second_stage must not have 'scenes', as the images of the survey are searched; "
            "copy the section from the recipe adapt, or remove it."
        )
    return recipe


def adapted_recipe(
    recipe: Recipe, start: ModelSpecification, name: str, backgrounds: Sequence[Path], shape: tuple[int, int]
) -> Recipe:
    """Return the recipe of an adaptation.

    Parameters
    ----------
    recipe
        Output of `read_recipe`: everything that does not depend on the survey.
    start
        The model to start from. Its network and channels stay, and simulated scenes have templates and are
        differences as often as in its training.
    name
        Name of the adapted model.
    backgrounds
        Files of backgrounds.
    shape
        Smallest sides (ny, nx) of the backgrounds, pixels.

    Raises
    ------
    AdaptationError
        Raised if the backgrounds are smaller than the smallest tile.
    """
    data = recipe.data
    assert data.inject is not None
    size = min(data.tile_size, *(side // _TILE_STEP * _TILE_STEP for side in shape))
    if size < _LEAST_TILE:
        raise AdaptationError(
            f"The smallest image has {shape[1]} x {shape[0]} pixels; at least {_LEAST_TILE} are needed."
        )
    changes: dict[str, object] = {
        "backgrounds": tuple(map(str, backgrounds)),
        "inject": data.inject.replace(tile_size=size),
    }
    if data.simulate is not None:
        scenes = {key: _value(start, "data", "simulate", "train", key) for key in ("template", "difference")}
        kinds = {key: value for key, value in scenes.items() if isinstance(value, (bool, int, float))}
        changes["simulate"] = data.simulate.replace(
            train={**data.simulate.train, **kinds}, validation={**data.simulate.validation, **kinds}
        )
        changes["simulated_fraction"] = _SIMULATED_FRACTION
    dropout = _value(start, "augmentation", "template_dropout")
    if isinstance(dropout, (int, float)):
        augmentation = recipe.augmentation.replace(template_dropout=float(dropout))
    else:
        augmentation = recipe.augmentation
    model = recipe.model.replace(
        name=name,
        architecture=start.architecture,
        hyperparameters=start.hyperparameters,
        channels=start.channels,
    )
    # The second stage is trained later, on the survey.
    return recipe.replace(
        model=model, augmentation=augmentation, data=data.replace(**changes), second_stage=None
    )


def _value(start: ModelSpecification, *keys: str) -> object:
    """Return a value of the recipe of a model, `None` if it is not known."""
    value: object = start.training.get("recipe")
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
