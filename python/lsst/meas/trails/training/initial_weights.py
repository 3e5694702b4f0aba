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

"""Initial weights of a training from a model file."""

from __future__ import annotations

__all__ = ("InitialWeights", "InitialWeightsError")

import dataclasses
import json
from collections.abc import Mapping, Sequence

import torch

from ..nn.model_file import TrailModel
from ..nn.model_specification import NetworkSection
from ..nn.networks.registry import MAX_CHANNELS, create_network, plan_hyperparameters
from .recipe import ModelRecipe, Recipe


class InitialWeightsError(ValueError):
    """Raised if a model cannot initialize a training."""


@dataclasses.dataclass(frozen=True, eq=False)
class InitialWeights:
    """Initial weights and stage of a training.

    Parameters
    ----------
    model
        Model with the weights.
    stage
        Name of the stage to start with; by default the first.
    """

    model: TrailModel
    stage: str | None = None

    def stage_index(self, recipe: Recipe) -> int:
        """Return the number of the stage to start with.

        Raises
        ------
        InitialWeightsError
            Raised unless exactly one stage has the name.
        """
        if self.stage is None:
            return 0
        names = [stage.name for stage in recipe.stages]
        if names.count(self.stage) != 1:
            raise InitialWeightsError(
                f"The recipe has {names.count(self.stage)} stages {self.stage!r}; its stages are "
                f"{', '.join(names)}."
            )
        return names.index(self.stage)

    def weights(self, wanted: ModelRecipe) -> dict[str, torch.Tensor]:
        """Return the initial weights of a network, by name.

        Parameters
        ----------
        wanted
            The network to train. Its input channels may differ from the model's: common channels of the first
            convolution are copied by name, and new ones are zero, so that they have no effect at first.

        Raises
        ------
        InitialWeightsError
            Raised if architecture or hyperparameters differ, no channel is common, or other weights depend on
            the channels.
        """
        specification = self.model.specification
        whose = f"The model {specification.name!r}"
        if specification.architecture != wanted.architecture:
            raise InitialWeightsError(
                f"{whose} has the architecture {specification.architecture}, and the recipe "
                f"{wanted.architecture}; use the same architecture."
            )
        given = _all_hyperparameters(specification)
        asked = _all_hyperparameters(wanted)
        for key, value in asked.items():
            if given[key] != value:
                raise InitialWeightsError(
                    f"{whose} has {key} {given[key]}, and the recipe {value}; use the same hyperparameters."
                )
        weights = {name: tensor.detach().clone() for name, tensor in self.model.network.state_dict().items()}
        if specification.channels != wanted.channels:
            if not set(specification.channels) & set(wanted.channels):
                raise InitialWeightsError(
                    f"{whose} has no input channel of the recipe, only {', '.join(specification.channels)}; "
                    "use at least one of them."
                )
            for name in _mixing_weights(wanted.architecture, given, len(specification.channels)):
                weights[name] = _exchange_channels(weights[name], specification.channels, wanted.channels)
        return weights

    def check(self, recipe: Recipe) -> None:
        """Check that model and stage fit a recipe.

        Raises
        ------
        InitialWeightsError
            Raised if model or stage do not fit.
        """
        self.stage_index(recipe)
        self.weights(recipe.model)

    def identity(self, recipe: Recipe) -> dict[str, object]:
        """Return values for JSON that identify these initial weights."""
        specification = self.model.specification
        return {
            "name": specification.name,
            "version": specification.version,
            "weights_sha256": specification.weights_sha256,
            "channels": list(specification.channels),
            "stage": recipe.stages[self.stage_index(recipe)].name,
        }

    def record(self, recipe: Recipe) -> dict[str, object]:
        """Return the identity and the training of the initial model, for JSON."""
        return {**self.identity(recipe), "training": self.model.specification.training}


def _all_hyperparameters(section: NetworkSection) -> dict[str, object]:
    """Return hyperparameters with defaults filled in, in the types of JSON."""
    values = plan_hyperparameters(section.architecture) | section.hyperparameters
    return dict(json.loads(json.dumps(values)))


def _mixing_weights(architecture: str, hyperparameters: Mapping[str, object], count: int) -> list[str]:
    """Return the names of the weights with an axis of input channels."""
    other = count - 1 if count == MAX_CHANNELS else count + 1
    shapes = []
    for number in (count, other):
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = create_network(architecture, in_channels=number, **hyperparameters)
        shapes.append({name: tuple(tensor.shape) for name, tensor in network.state_dict().items()})
    first, second = shapes
    names = [name for name in first if first[name] != second.get(name)]
    for name in names:
        shape = first[name]
        if len(shape) != 4 or (shape[0], other, *shape[2:]) != second.get(name):
            raise InitialWeightsError(
                f"The input channels of {architecture} cannot change, as {name} depends on their number; use "
                "the channels of the model."
            )
    if not names:
        raise InitialWeightsError(
            f"{architecture} has no weights of input channels; use the channels of the model."
        )
    return names


def _exchange_channels(weight: torch.Tensor, given: Sequence[str], wanted: Sequence[str]) -> torch.Tensor:
    """Return the weights of the first convolution for other channels."""
    result = weight.new_zeros((weight.shape[0], len(wanted), *weight.shape[2:]))
    for i, name in enumerate(wanted):
        if name in given:
            result[:, i] = weight[:, given.index(name)]
    return result
