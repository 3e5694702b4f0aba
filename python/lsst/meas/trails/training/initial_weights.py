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

"""Training that begins with the weights of a model file."""

from __future__ import annotations

__all__ = ("InitialWeights", "InitialWeightsError")

import dataclasses
import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..nn.model_file import TrailModel
from ..nn.networks.registry import MAX_CHANNELS, TrailNetwork, create_network
from .recipe import ModelRecipe, Recipe


class InitialWeightsError(ValueError):
    """A model that a training cannot begin with; the message says why."""


@dataclasses.dataclass(frozen=True, eq=False)
class InitialWeights:
    """What a training begins with in place of random weights.

    Parameters
    ----------
    model
        The model whose weights they are.
    stage
        Name of the stage to begin with; by default the first.
    """

    model: TrailModel
    stage: str | None = None

    def stage_index(self, recipe: Recipe) -> int:
        """Return the number of the stage to begin with.

        Raises
        ------
        InitialWeightsError
            Raised if not exactly one stage has the name.
        """
        if self.stage is None:
            return 0
        names = [stage.name for stage in recipe.stages]
        if names.count(self.stage) != 1:
            how_many = "no stage" if self.stage not in names else "more than one stage"
            raise InitialWeightsError(
                f"The recipe has {how_many} {self.stage!r}; its stages are {', '.join(names)}."
            )
        return names.index(self.stage)

    def weights(self, wanted: ModelRecipe) -> dict[str, torch.Tensor]:
        """Return the weights that a network begins with, by name.

        Parameters
        ----------
        wanted
            The network to train.  It may have other input channels than the
            model: of the first convolution, those that both have are taken
            over by name, and new ones are zero, so that they change nothing
            at first.

        Raises
        ------
        InitialWeightsError
            Raised if architecture or hyperparameters differ, or the two have
            no channel in common, or the architecture mixes its channels in
            another way.
        """
        specification = self.model.specification
        whose = f"The model {specification.name!r}"
        if specification.architecture != wanted.architecture:
            raise InitialWeightsError(
                f"{whose} is a {specification.architecture} and the recipe asks for a {wanted.architecture}; "
                "a training can begin only with weights of its own architecture."
            )
        given = _all_hyperparameters(self.model.network, specification.hyperparameters)
        asked = _all_hyperparameters(self.model.network, wanted.hyperparameters)
        for key, value in asked.items():
            if given[key] != value:
                raise InitialWeightsError(
                    f"{whose} has {key} {given[key]} and the recipe asks for {value}; give the recipe the "
                    "hyperparameters of the model."
                )
        weights = {name: tensor.detach().clone() for name, tensor in self.model.network.state_dict().items()}
        if specification.channels != wanted.channels:
            if not set(specification.channels) & set(wanted.channels):
                raise InitialWeightsError(
                    f"{whose} has the input channels {', '.join(specification.channels)}, none of which the "
                    "recipe has."
                )
            for name in _mixing_weights(wanted.architecture, given, len(specification.channels)):
                weights[name] = _exchange_channels(weights[name], specification.channels, wanted.channels)
        return weights

    def check(self, recipe: Recipe) -> None:
        """Raise an error if the recipe cannot begin with this.

        Raises
        ------
        InitialWeightsError
            Raised if model or stage do not fit the recipe.
        """
        self.stage_index(recipe)
        self.weights(recipe.model)

    def identity(self, recipe: Recipe) -> dict[str, Any]:
        """Return what tells this start from others, for JSON."""
        specification = self.model.specification
        return {
            "name": specification.name,
            "version": specification.version,
            "weights_sha256": specification.weights_sha256,
            "channels": list(specification.channels),
            "stage": recipe.stages[self.stage_index(recipe)].name,
        }

    def record(self, recipe: Recipe) -> dict[str, Any]:
        """Return what a trained model says of its start, for JSON: its
        identity, and how it was itself trained.
        """
        return {**self.identity(recipe), "training": self.model.specification.training}


def _all_hyperparameters(network: TrailNetwork, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return hyperparameters with the defaults of those left out, as JSON
    would give them back.
    """
    parameters = inspect.signature(type(network)).parameters
    values = {key: given.get(key, known.default) for key, known in parameters.items() if key != "in_channels"}
    return dict(json.loads(json.dumps(values)))


def _mixing_weights(architecture: str, hyperparameters: Mapping[str, Any], count: int) -> list[str]:
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
                f"The input channels of a {architecture} cannot be exchanged ({name} depends on their "
                "number); give the recipe the channels of the model."
            )
    if not names:
        raise InitialWeightsError(f"A {architecture} has no weights of input channels.")
    return names


def _exchange_channels(weight: torch.Tensor, given: Sequence[str], wanted: Sequence[str]) -> torch.Tensor:
    """Return the weights of a first convolution for other channels."""
    result = weight.new_zeros((weight.shape[0], len(wanted), *weight.shape[2:]))
    for i, name in enumerate(wanted):
        if name in given:
            result[:, i] = weight[:, given.index(name)]
    return result
