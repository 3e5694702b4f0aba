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

"""Training recipes: everything that decides the weights, in one YAML file."""

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
    "build_section",
    "load_recipe",
)

import dataclasses
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml

from ..core.normalize import CHANNELS
from ..nn.networks.registry import TrailNetwork, create_network, network_names
from .recipe_data import DataRecipe, SimulationRecipe
from .recipe_section import BadValueError, RecipeError, build_section, plain, require
from .recipe_stage import OptimizerRecipe, StageRecipe, in_part

_MAX_RECIPE_BYTES = 1_000_000
_MAX_VALUES = 100_000
_MAX_DEPTH = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """What is trained."""

    name: str = "direct"
    """Name of the model."""

    version: str = "1"
    """Version of the model."""

    architecture: str = "trail_unet"
    """One of `lsst.meas.trails.nn.networks.registry.network_names`."""

    hyperparameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Hyperparameters of the architecture."""

    channels: tuple[str, ...] = ("science", "bad")
    """Input channels, in order."""

    def __post_init__(self) -> None:
        usable = (
            self.name.isprintable() and not set(self.name) & set("/\\ ") and self.name[:1] not in ("", ".")
        )
        require(usable and len(self.name) <= 100, "name", "must be usable in a file name")
        require(
            self.architecture in network_names(),
            "architecture",
            f"must be one of {', '.join(network_names())}",
        )
        require(len(self.channels) > 0, "channels", "must not be empty")
        require(len(set(self.channels)) == len(self.channels), "channels", "names a channel twice")
        unknown = [name for name in self.channels if name not in CHANNELS]
        require(not unknown, "channels", f"holds unknown names {unknown}; known are {', '.join(CHANNELS)}")
        try:
            self.parameter_names()
        except ValueError as error:
            raise BadValueError("hyperparameters", f"is refused by the architecture: {error}") from None

    def parameter_names(self) -> tuple[str, ...]:
        """Return the names of the network's parameters."""
        return tuple(name for name, _ in self._network().named_parameters())

    @property
    def output_stride(self) -> int:
        """Pixels of the image per pixel of the output, along each axis
        (`int`).
        """
        return self._network().output_stride

    def _network(self) -> TrailNetwork:
        """Return the network without memory for its weights."""
        import torch

        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return create_network(self.architecture, in_channels=len(self.channels), **self.hyperparameters)


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

    blur: float = 0.0
    """Greatest sigma, pixels, of a Gaussian that widens the PSF; each tile
    draws its own between 0 and this.
    """

    masked_columns: float = 0.0
    """Probability with which a tile loses a run of columns or rows."""

    template_dropout: float = 0.0
    """Probability with which a tile loses its template, so that the network
    also learns to live without one.
    """

    def __post_init__(self) -> None:
        for key in ("noise", "gradient"):
            require(0.0 <= getattr(self, key) <= 10.0, key, "must lie in 0..10")
        require(0.0 <= self.blur <= 5.0, "blur", "must lie in 0..5")
        for key in ("masked_columns", "template_dropout"):
            require(0.0 <= getattr(self, key) <= 1.0, key, "must lie in 0..1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationRecipe:
    """When the network is measured, and what is kept."""

    every: int = 1
    """Epochs between validations; a stage's last epoch is always validated."""

    batch_size: int = 8
    """Tiles per step."""

    keep: str = "best"
    """``best`` exports the weights with the highest average precision of the
    last stage, ``objects`` those that found most trails at 10 false
    detections per detector, ``last`` those of the end.
    """

    objects_every: int | None = None
    """Epochs between measurements of the trails found at 1, 10 and 100 false
    detections per detector, in simulated validation scenes; a stage's last
    epoch has one too.  By default there is none: a scene takes some seconds.
    """

    object_scenes: int = 16
    """Scenes for that, of those that validation tiles come from; 16 of
    1024x1024 pixels are the area of a detector.
    """

    def __post_init__(self) -> None:
        require(self.every >= 1, "every", "must be at least 1")
        require(1 <= self.batch_size <= 4096, "batch_size", "must lie in 1..4096")
        require(self.keep in ("best", "objects", "last"), "keep", "must be 'best', 'objects' or 'last'")
        require(
            self.keep != "objects" or self.objects_every is not None, "keep", "needs 'objects_every' for that"
        )
        require(self.objects_every is None or self.objects_every >= 1, "objects_every", "must be at least 1")
        # The score is learned on one half of them and measured on the other.
        require(2 <= self.object_scenes <= 1000, "object_scenes", "must lie in 2..1000")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training recipe."""

    data: DataRecipe
    """Where tiles come from."""

    stages: tuple[StageRecipe, ...]
    """What is done with them, in order.  Every stage begins with the moving
    average of the weights of the one before, a new optimizer and a learning
    rate of its own, as if that one had been another run.
    """

    model: ModelRecipe = dataclasses.field(default_factory=ModelRecipe)
    """What is trained."""

    augmentation: AugmentationRecipe = dataclasses.field(default_factory=AugmentationRecipe)
    """How tiles are varied."""

    optimizer: OptimizerRecipe = dataclasses.field(default_factory=OptimizerRecipe)
    """The optimizer and its schedule."""

    validation: ValidationRecipe = dataclasses.field(default_factory=ValidationRecipe)
    """When the network is measured."""

    ema: float = 0.998
    """Decay of the moving average of the weights, which is what is validated
    and exported; 0 uses the weights themselves.
    """

    precision: str = "auto"
    """``bfloat16`` (weights stay float32), ``float32``, or ``auto``: bfloat16
    where the hardware is fast at it; elsewhere it is emulated and slower.
    """

    seed: int = 1
    """Seed of weights, order and augmentation."""

    threads: int | None = None
    """Threads of the CPU; by default all."""

    checkpoint_steps: int = 200
    """Steps between checkpoints; there is one at every epoch's end too."""

    def __post_init__(self) -> None:
        require(len(self.stages) > 0, "stages", "must hold at least one stage")
        names = self.model.parameter_names()
        for i, stage in enumerate(self.stages):
            unknown = [part for part in stage.train_parts if not any(in_part(name, part) for name in names)]
            known = dict.fromkeys(name.partition(".")[0] for name in names)
            require(
                not unknown,
                f"stages[{i}].train_parts",
                f"holds {unknown}, which the network does not have; it has {', '.join(known)}",
            )
        require(0.0 <= self.ema < 1.0, "ema", "must be at least 0 and less than 1")
        require(
            self.precision in ("auto", "bfloat16", "float32"),
            "precision",
            "must be 'auto', 'bfloat16' or 'float32'",
        )
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


def _check_size(value: Any) -> None:
    """Raise an error if what a YAML file holds has no end, or nearly none: a
    few lines of anchors can stand for billions of values.
    """
    left = [(value, 0)]
    for count in itertools.count():
        if not left:
            return
        part, depth = left.pop()
        if depth > _MAX_DEPTH or count > _MAX_VALUES:
            raise ValueError("it holds more values than a recipe can, or holds itself")
        if isinstance(part, Mapping):
            left += [(entry, depth + 1) for pair in part.items() for entry in pair]
        elif isinstance(part, (list, tuple, set)):
            left += [(entry, depth + 1) for entry in part]


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
        with path.open("rb") as stream:
            content = stream.read(_MAX_RECIPE_BYTES + 1)
        if len(content) > _MAX_RECIPE_BYTES:
            raise RecipeError(f"{path}: has more than {_MAX_RECIPE_BYTES} bytes, and no recipe has.")
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as a recipe: {error}") from error
    try:
        mapping = yaml.safe_load(text)
        _check_size(mapping)
    except RecursionError:
        raise RecipeError(f"{path}: is nested too deeply for a recipe.") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, AttributeError) as error:
        # Beside its own errors YAML lets those of dates and numbers through.
        raise RecipeError(f"{path}: is not valid YAML: {error}") from error
    recipe = Recipe.from_mapping(mapping, str(path))
    folder = path.resolve().parent
    data = dataclasses.replace(
        recipe.data,
        train=tuple(str(folder / name) for name in recipe.data.train),
        validation=tuple(str(folder / name) for name in recipe.data.validation),
    )
    return dataclasses.replace(recipe, data=data)
