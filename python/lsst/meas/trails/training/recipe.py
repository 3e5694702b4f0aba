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

"""Training recipes: everything that determines the weights, in one YAML file."""

from __future__ import annotations

__all__ = (
    "AugmentationRecipe",
    "DataRecipe",
    "ModelRecipe",
    "OptimizerRecipe",
    "Recipe",
    "RecipeError",
    "SimulationRecipe",
    "StageRecipe",
    "ValidationRecipe",
    "find_recipe",
    "load_recipe",
)

import importlib.resources
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import pydantic
import yaml
from pydantic import Field

from ..core.section import require
from ..nn.model_specification import NetworkSection
from .recipe_data import FILE_ROLES, DataRecipe, SimulationRecipe
from .recipe_section import RecipeError, RecipeSection
from .recipe_stage import OptimizerRecipe, StageRecipe, is_in_part
from .second_stage import SecondStageRecipe

_MAX_RECIPE_BYTES = 1_000_000
_MAX_VALUES = 100_000
_MAX_DEPTH = 32


class ModelRecipe(RecipeSection, NetworkSection):
    """Model to train."""

    name: str = Field("direct", max_length=100)
    """Name of the model."""

    version: str = "1"
    """Version of the model."""

    architecture: str = "trail_unet"
    """One of `lsst.meas.trails.nn.networks.registry.network_names`."""

    hyperparameters: dict[str, object] = {}
    """Hyperparameters of the architecture."""

    channels: tuple[str, ...] = Field(("science", "bad"), min_length=1)
    """Input channels, in order."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        usable = self.name.isprintable() and not set(self.name) & set("/\\ ")
        require(usable and self.name[:1] not in ("", "."), "name", "must be usable in a file name")
        return self

    def parameter_names(self) -> tuple[str, ...]:
        """Return the names of the network's parameters."""
        return tuple(name for name, _ in self.create_network(meta=True).named_parameters())

    @property
    def output_stride(self) -> int:
        """Image pixels per output pixel, along each axis."""
        return self.create_plan().output_stride


class AugmentationRecipe(RecipeSection):
    """Variations of the tiles each time they are drawn."""

    symmetries: bool = True
    """The 8 symmetries of the square."""

    noise: float = Field(0.0, ge=0.0, le=10.0)
    """Maximum standard deviation of the added white noise, in units of the noise of each pixel; each tile
    draws a value between 0 and this.
    """

    gradient: float = Field(0.0, ge=0.0, le=10.0)
    """Maximum amplitude of an added plane, from edge to edge, in units of the median noise of the tile."""

    blur: float = Field(0.0, ge=0.0, le=5.0)
    """Maximum sigma, pixels, of a Gaussian that widens the PSF; each tile draws a value between 0 and this.
    """

    masked_columns: float = Field(0.0, ge=0.0, le=1.0)
    """Probability that a tile loses a run of columns or rows."""

    template_dropout: float = Field(0.0, ge=0.0, le=1.0)
    """Probability that a tile loses its template, so that the network also learns to work without one."""


class ValidationRecipe(RecipeSection):
    """Schedule of the validation, and choice of the exported weights."""

    every: int = Field(1, ge=1)
    """Epochs between validations; the last epoch of a stage is always validated."""

    batch_size: int = Field(8, ge=1, le=4096)
    """Tiles per step."""

    keep: Literal["best", "objects", "last"] = "best"
    """``best`` exports the weights with the highest average precision in the last stage, ``objects`` those
    with the most trails found at 10 false detections per detector, ``last`` the final weights.
    """

    objects_every: int | None = Field(None, ge=1)
    """Epochs between counts of the trails found at 1, 10 and 100 false detections per detector in simulated
    validation scenes; the last epoch of a stage is always counted. By default there is no count: a scene
    takes seconds.
    """

    # The score is fitted on one half of the scenes and measured on the other.
    object_scenes: int = Field(16, ge=2, le=1000)
    """Validation scenes for that count; 16 scenes of 1024x1024 pixels are the area of a detector."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        require(self.keep != "objects" or self.objects_every is not None, "keep", "needs 'objects_every'")
        return self


class Recipe(RecipeSection):
    """Training recipe."""

    data: DataRecipe
    """Sources of tiles."""

    stages: tuple[StageRecipe, ...]
    """Stages, in order. Every stage starts from the moving average of the weights of the previous one, with a
    new optimizer and learning rate, like a separate run.
    """

    model: ModelRecipe = ModelRecipe()
    """Model to train."""

    augmentation: AugmentationRecipe = AugmentationRecipe()
    """Variations of the tiles."""

    optimizer: OptimizerRecipe = OptimizerRecipe()
    """Optimizer and learning rate."""

    validation: ValidationRecipe = ValidationRecipe()
    """Schedule of the validation."""

    second_stage: SecondStageRecipe | None = None
    """Network that ranks the candidates of the trained one; by default a regression does."""

    ema: float = Field(0.998, ge=0.0, lt=1.0)
    """Decay of the moving average of the weights, which is validated and exported; 0 uses the weights
    themselves.
    """

    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """``bfloat16`` (weights stay float32), ``float32``, or ``auto``: bfloat16 on hardware that supports it;
    elsewhere it is emulated and slower.
    """

    seed: int = Field(1, ge=0, lt=2**32)
    """Seed of weights, order and augmentation."""

    threads: int | None = Field(None, ge=1)
    """CPU threads; by default all."""

    checkpoint_steps: int = Field(200, ge=1)
    """Steps between checkpoints; the end of an epoch always has one."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        require(len(self.stages) > 0, "stages", "must hold at least one stage")
        if self.data.inject is not None:
            for i, stage in enumerate(self.stages):
                require(stage.mixture is None, f"stages[{i}].mixture", "needs tile files, not 'data.inject'")
            require(self.augmentation.blur == 0.0, "augmentation.blur", "needs tile files, not 'data.inject'")
        simulate = self.data.simulate
        scenes = None if self.second_stage is None else self.second_stage.scenes
        if scenes is not None and simulate is not None:
            sections = (simulate.train, simulate.validation, *simulate.calibration_sections.values())
            is_new = scenes["seed"] not in [section["seed"] for section in sections]
            require(is_new, "second_stage.scenes", "must have another seed than those of 'data.simulate'")
        names = self.model.parameter_names()
        known = dict.fromkeys(name.partition(".")[0] for name in names)
        for i, stage in enumerate(self.stages):
            unknown = [
                part for part in stage.train_parts if not any(is_in_part(name, part) for name in names)
            ]
            require(
                not unknown,
                f"stages[{i}].train_parts",
                f"holds {unknown}, unknown to the network; its parts are {', '.join(known)}",
            )
        return self

    def to_mapping(self) -> dict[str, object]:
        """Return plain dictionaries and lists, including defaults, for `from_mapping`."""
        return self.model_dump(mode="json")


def _check_size(value: object) -> None:
    """Raise an error if the contents of a YAML file are recursive or huge.

    A few lines of anchors can represent billions of values.
    """
    left = [(value, 0)]
    for count in itertools.count():
        if not left:
            return
        part, depth = left.pop()
        if depth > _MAX_DEPTH or count > _MAX_VALUES:
            raise ValueError(f"it has more than {_MAX_VALUES} values or {_MAX_DEPTH} levels")
        if isinstance(part, Mapping):
            left += [(entry, depth + 1) for pair in part.items() for entry in pair]
        elif isinstance(part, (list, tuple, set)):
            left += [(entry, depth + 1) for entry in part]


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    path
        YAML file. Relative names of tile files and backgrounds refer to its folder.

    Raises
    ------
    RecipeError
        Raised if the file cannot be read or is not a valid recipe.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_RECIPE_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as a recipe: {error}") from error
    if len(content) > _MAX_RECIPE_BYTES:
        raise RecipeError(f"{path}: has more than {_MAX_RECIPE_BYTES} bytes; use a smaller recipe.")
    try:
        mapping = yaml.safe_load(text)
        _check_size(mapping)
    except RecursionError:
        raise RecipeError(f"{path}: is nested too deeply for a recipe.") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, AttributeError) as error:
        # PyYAML also raises errors of dates and numbers.
        raise RecipeError(f"{path}: is not valid YAML: {error}") from error
    recipe = Recipe.from_mapping(mapping, str(path))
    folder = path.resolve().parent
    files = {role: tuple(str(folder / name) for name in getattr(recipe.data, role)) for role in FILE_ROLES}
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=files)})


def find_recipe(name: str | os.PathLike[str]) -> Path:
    """Return the file of a recipe.

    Parameters
    ----------
    name
        A path, or the name of a recipe in the package.

    Raises
    ------
    RecipeError
        Raised if neither the file nor the name exists.
    """
    path = Path(name)
    if path.exists():
        return path
    folder = Path(str(importlib.resources.files("lsst.meas.trails.resources") / "config" / "train"))
    shipped = folder / f"{str(name).removesuffix('.yaml')}.yaml"
    if shipped.parent == folder and shipped.is_file():
        return shipped
    known = ", ".join(sorted(entry.stem for entry in folder.glob("*.yaml"))) or "none"
    raise RecipeError(f"{name} is neither a file nor a recipe of the package; its recipes are {known}.")
