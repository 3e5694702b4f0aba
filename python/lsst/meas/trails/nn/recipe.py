# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""Training recipes: everything that decides the weights, in one YAML file."""

from __future__ import annotations

__all__ = (
    "AugmentationRecipe",
    "DataRecipe",
    "ModelRecipe",
    "OptimiserRecipe",
    "Recipe",
    "RecipeError",
    "SimulationRecipe",
    "StageRecipe",
    "ValidationRecipe",
    "build_section",
    "load_recipe",
)

import dataclasses
import os
from pathlib import Path
from typing import Any, Self

import yaml

from ..core.normalize import CHANNELS
from .losses import BlendedLoss
from .networks import create_network, network_names
from .recipe_data import DataRecipe, SimulationRecipe, check_mixture
from .recipe_section import BadValueError, RecipeError, build_section, plain, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """What is trained."""

    name: str = "direct"
    """Name of the model."""

    version: str = "1"
    """Version of the model."""

    architecture: str = "trail_unet"
    """One of `lsst.meas.trails.nn.networks.network_names`."""

    hyperparameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Hyperparameters of the architecture."""

    channels: tuple[str, ...] = ("science", "bad")
    """Input channels, in order."""

    def __post_init__(self) -> None:
        require(bool(self.name) and not set(self.name) & set("/\\ "), "name", "must be usable in a file name")
        require(
            self.architecture in network_names(),
            "architecture",
            f"must be one of {', '.join(network_names())}",
        )
        require(len(self.channels) > 0, "channels", "must not be empty")
        require(len(set(self.channels)) == len(self.channels), "channels", "names a channel twice")
        unknown = [name for name in self.channels if name not in CHANNELS]
        require(not unknown, "channels", f"holds unknown names {unknown}; known are {', '.join(CHANNELS)}")
        import torch

        try:
            with torch.device("meta"):
                create_network(self.architecture, in_channels=len(self.channels), **self.hyperparameters)
        except ValueError as error:
            raise BadValueError("hyperparameters", f"is refused by the architecture: {error}") from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationRecipe:
    """How tiles are varied each time they are drawn."""

    symmetries: bool = True
    """The 8 symmetries of the square."""

    noise: float = 0.0
    """Greatest standard deviation of added white noise, in units of the
    pixel's own; each tile draws its own between 0 and this.
    """

    gradient: float = 0.0
    """Greatest amplitude of an added plane, in units of the tile's median
    noise, from edge to edge.
    """

    masked_columns: float = 0.0
    """Probability with which a tile loses a run of columns or rows."""

    def __post_init__(self) -> None:
        for key in ("noise", "gradient"):
            require(0.0 <= getattr(self, key) <= 10.0, key, "must lie in 0..10")
        require(0.0 <= self.masked_columns <= 1.0, "masked_columns", "must lie in 0..1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserRecipe:
    """AdamW, with a linear warm-up and a cosine to the end of all stages."""

    learning_rate: float = 2.0e-3
    """Learning rate at the end of the warm-up."""

    weight_decay: float = 1.0e-2
    """Decoupled weight decay; not applied to biases and normalisations."""

    betas: tuple[float, ...] = (0.9, 0.99)
    """Decay rates of the two moments."""

    warmup: float = 0.03
    """Fraction of all steps in which the learning rate rises."""

    final: float = 0.01
    """Learning rate at the very end, as a fraction."""

    clip: float | None = 1.0
    """Greatest norm of the gradient; null does not clip."""

    def __post_init__(self) -> None:
        require(0.0 < self.learning_rate <= 1.0, "learning_rate", "must be positive and at most 1")
        require(0.0 <= self.weight_decay <= 10.0, "weight_decay", "must lie in 0..10")
        require(
            len(self.betas) == 2 and all(0.0 <= beta < 1.0 for beta in self.betas),
            "betas",
            "must be two numbers in 0..1",
        )
        require(0.0 <= self.warmup < 1.0, "warmup", "must lie in 0..1")
        require(0.0 <= self.final <= 1.0, "final", "must lie in 0..1")
        if self.clip is not None:
            require(self.clip > 0.0, "clip", "must be positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageRecipe:
    """A stretch of training with a loss and a batch size of its own."""

    name: str = "main"
    """Name of the stage, for logs."""

    epochs: int | None = None
    """Length in epochs; or give ``steps``."""

    steps: int | None = None
    """Length in optimiser steps."""

    batch_size: int = 8
    """Tiles per step."""

    loss: dict[str, Any] = dataclasses.field(default_factory=lambda: {"bce": 1.0})
    """Blend of losses; see `lsst.meas.trails.nn.losses.BlendedLoss`."""

    learning_rate: float | None = None
    """Peak learning rate of this stage, where it differs."""

    mixture: dict[str, Any] | None = None
    """Fractions of tiles by class in this stage, where they differ."""

    def __post_init__(self) -> None:
        require((self.epochs is None) != (self.steps is None), "epochs", "or 'steps' is needed, and not both")
        for key in ("epochs", "steps"):
            value = getattr(self, key)
            require(value is None or value >= 1, key, "must be at least 1")
        require(1 <= self.batch_size <= 4096, "batch_size", "must lie in 1..4096")
        if self.learning_rate is not None:
            require(0.0 < self.learning_rate <= 1.0, "learning_rate", "must be positive and at most 1")
        check_mixture(self.mixture)
        try:
            BlendedLoss(self.loss)
        except ValueError as error:
            raise BadValueError("loss", f"is refused: {error}") from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationRecipe:
    """When the network is measured, and what is kept."""

    every: int = 1
    """Epochs between validations; the last epoch is always validated."""

    batch_size: int = 8
    """Tiles per step."""

    keep: str = "best"
    """``best`` exports the weights with the highest average precision,
    ``last`` those of the end.
    """

    def __post_init__(self) -> None:
        require(self.every >= 1, "every", "must be at least 1")
        require(1 <= self.batch_size <= 4096, "batch_size", "must lie in 1..4096")
        require(self.keep in ("best", "last"), "keep", "must be 'best' or 'last'")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training recipe."""

    data: DataRecipe
    """Where tiles come from."""

    stages: tuple[StageRecipe, ...]
    """What is done with them, in order."""

    model: ModelRecipe = dataclasses.field(default_factory=ModelRecipe)
    """What is trained."""

    augmentation: AugmentationRecipe = dataclasses.field(default_factory=AugmentationRecipe)
    """How tiles are varied."""

    optimiser: OptimiserRecipe = dataclasses.field(default_factory=OptimiserRecipe)
    """The optimiser and its schedule."""

    validation: ValidationRecipe = dataclasses.field(default_factory=ValidationRecipe)
    """When the network is measured."""

    ema: float = 0.998
    """Decay of the moving average of the weights, which is what is validated
    and exported; 0 uses the weights themselves.
    """

    precision: str = "bfloat16"
    """``bfloat16`` (weights stay float32) or ``float32``."""

    seed: int = 1
    """Seed of weights, order and augmentation."""

    threads: int | None = None
    """Threads of the CPU; by default all."""

    checkpoint_steps: int = 200
    """Steps between checkpoints; there is one at every epoch's end too."""

    def __post_init__(self) -> None:
        require(len(self.stages) > 0, "stages", "must hold at least one stage")
        require(0.0 <= self.ema < 1.0, "ema", "must be at least 0 and less than 1")
        require(self.precision in ("bfloat16", "float32"), "precision", "must be 'bfloat16' or 'float32'")
        require(0 <= self.seed < 2**32, "seed", "must lie in 0..4294967295")
        require(self.threads is None or self.threads >= 1, "threads", "must be at least 1")
        require(self.checkpoint_steps >= 1, "checkpoint_steps", "must be at least 1")

    @classmethod
    def from_mapping(cls, mapping: Any, source: str = "recipe") -> Self:
        """Return a recipe from what a YAML file holds.

        Parameters
        ----------
        mapping
            Sections by name.
        source
            Where it comes from, for messages.

        Raises
        ------
        RecipeError
            Raised if a key is unknown or missing, or a value is of the wrong
            type or out of range.
        """
        return build_section(cls, mapping, "", source)

    def to_mapping(self) -> dict[str, Any]:
        """Return the recipe as plain dictionaries and lists, defaults
        included; `from_mapping` reads it back.
        """
        mapping = plain(self)
        assert isinstance(mapping, dict)
        return mapping


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    path
        YAML file.  Relative names of tile files in it count from its folder.

    Raises
    ------
    RecipeError
        Raised if the file cannot be read or is no valid recipe.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as a recipe: {error}") from error
    try:
        mapping = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: is not valid YAML: {error}") from error
    recipe = Recipe.from_mapping(mapping, str(path))
    folder = path.resolve().parent
    data = dataclasses.replace(
        recipe.data,
        train=tuple(str(folder / name) for name in recipe.data.train),
        validation=tuple(str(folder / name) for name in recipe.data.validation),
    )
    return dataclasses.replace(recipe, data=data)
