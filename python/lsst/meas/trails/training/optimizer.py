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

"""Optimizer, learning rate schedule, and moving average of the weights."""

from __future__ import annotations

__all__ = (
    "WeightAverage",
    "learning_rate_factor",
    "make_optimizer",
    "prepare_training",
    "set_learning_rate",
)

import math
from collections.abc import Sequence

import torch
from torch import nn

from ..nn.networks.network import TrailNetwork
from .recipe import OptimizerRecipe
from .recipe_stage import StageRecipe, is_in_part


def make_optimizer(recipe: OptimizerRecipe, network: TrailNetwork) -> torch.optim.AdamW:
    """Return the optimizer of a network's weights."""
    decayed = [parameter for parameter in network.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in network.parameters() if parameter.ndim < 2]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=recipe.betas,
        fused=True,
    )


def set_learning_rate(
    optimizer: torch.optim.Optimizer, recipe: OptimizerRecipe, stage: StageRecipe, done: float
) -> float:
    """Set the learning rate of the next step, and return it.

    Parameters
    ----------
    optimizer
        Optimizer whose learning rate to set.
    recipe
        Shape of the schedule, and its peak unless the stage has its own.
    stage
        The stage.
    done
        Fraction of the stage that is done.
    """
    peak = recipe.learning_rate if stage.learning_rate is None else stage.learning_rate
    rate = peak * learning_rate_factor(done, recipe.warmup, recipe.final)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def learning_rate_factor(done: float, warmup: float, final: float) -> float:
    """Return the learning rate as a fraction of its peak.

    Parameters
    ----------
    done
        Fraction of the stage that is done.
    warmup
        Fraction of the stage with a rising learning rate.
    final
        Factor at the end of the stage.
    """
    if done < warmup:
        # Nonzero at the first step.
        return 0.01 + 0.99 * done / warmup
    cosine = 0.5 * (1.0 + math.cos(math.pi * (done - warmup) / (1.0 - warmup)))
    return final + (1.0 - final) * cosine


def prepare_training(
    network: TrailNetwork, parts: Sequence[str] = (), *, freeze_statistics: bool = False
) -> None:
    """Put a network, or some parts of it, in training mode.

    Parameters
    ----------
    network
        The network.
    parts
        Names of the trained parts; none means all. The remaining parts are frozen: they get no gradient, and
        their normalizations use their current statistics without updating them.
    freeze_statistics
        Whether all normalizations do so.
    """

    def is_trained(name: str) -> bool:
        return not parts or any(is_in_part(name, part) for part in parts)

    for name, module in network.named_modules():
        # The mode of modules that only contain other modules has no effect.
        if next(module.children(), None) is None:
            own = [f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)]
            frozen = freeze_statistics and isinstance(module, nn.BatchNorm2d)
            module.train(not frozen and (is_trained(name) or any(is_trained(key) for key in own)))
        else:
            module.training = True
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(is_trained(name))
        if not is_trained(name):
            parameter.grad = None


class WeightAverage:
    """Exponential moving average of a network's weights and buffers.

    Parameters
    ----------
    network
        Network whose current weights start the average.
    decay
        Fraction of the average that is kept at every step. It is lower in the first steps, which would
        otherwise be dominated by the start.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        self._decay = decay
        self._steps = 0

    def restart(self, steps: int) -> None:
        """Set the number of steps since the average was started."""
        self._steps = steps

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Add the weights of a step to the average."""
        self._steps += 1
        kept = min(self._decay, (1.0 + self._steps) / (10.0 + self._steps))
        averages, values = [], []
        for name, value in network.state_dict().items():
            average = self.weights[name]
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        # One operation for all tensors: there are hundreds.
        torch._foreach_lerp_(averages, values, 1.0 - kept)
