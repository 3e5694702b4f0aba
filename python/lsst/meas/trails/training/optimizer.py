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

"""The optimizer, its learning rate, and the moving average of the weights."""

from __future__ import annotations

__all__ = (
    "learning_rate_factor",
    "make_optimizer",
    "prepare_training",
    "set_learning_rate",
    "update_average",
)

import math
from collections.abc import Sequence

import torch

from ..nn.networks.registry import TrailNetwork
from .recipe import OptimizerRecipe
from .recipe_stage import in_part


def make_optimizer(recipe: OptimizerRecipe, network: TrailNetwork) -> torch.optim.AdamW:
    """Return the optimizer of a network's weights."""
    decayed = [parameter for parameter in network.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in network.parameters() if parameter.ndim < 2]
    beta1, beta2 = recipe.betas
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        betas=(beta1, beta2),
    )


def prepare_training(network: TrailNetwork, parts: Sequence[str] = ()) -> None:
    """Put a network, or some parts of it, in training mode.

    Parameters
    ----------
    network
        The network.
    parts
        Names of the parts that are trained; none are all.  The others are
        frozen: they get no gradient, and their normalizations work with the
        statistics that they have and leave them as they are.
    """

    def trained(name: str) -> bool:
        return not parts or any(in_part(name, part) for part in parts)

    for name, module in network.named_modules():
        # What holds other modules has no mode of its own to speak of.
        if next(module.children(), None) is None:
            own = [f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)]
            module.train(trained(name) or any(trained(key) for key in own))
        else:
            module.training = True
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(trained(name))
        if not trained(name):
            parameter.grad = None


def learning_rate_factor(done: float, warmup: float, final: float) -> float:
    """Return the learning rate as a fraction of its peak.

    Parameters
    ----------
    done
        Fraction of the stage's steps that are done.
    warmup
        Fraction of them in which it rises.
    final
        The fraction that it falls to at the end.
    """
    if done < warmup:
        # Not zero at the first step.
        return 0.01 + 0.99 * done / warmup
    cosine = 0.5 * (1.0 + math.cos(math.pi * (done - warmup) / (1.0 - warmup)))
    return final + (1.0 - final) * cosine


def set_learning_rate(
    optimizer: torch.optim.Optimizer, recipe: OptimizerRecipe, peak: float | None, done: float
) -> float:
    """Set the learning rate of an optimizer.

    Parameters
    ----------
    optimizer
        The optimizer.
    recipe
        Its schedule.
    peak
        Learning rate at the end of the warm-up, where it is not the recipe's.
    done
        Fraction of the stage's steps that are done.

    Returns
    -------
    rate
        The learning rate.
    """
    rate = recipe.learning_rate if peak is None else peak
    rate *= learning_rate_factor(done, recipe.warmup, recipe.final)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def update_average(
    average: dict[str, torch.Tensor], network: TrailNetwork, *, step: int, decay: float
) -> None:
    """Bring a moving average of weights up to date, in place.

    Parameters
    ----------
    average
        The average by name, as in the network's state.
    network
        The network.
    step
        Steps done since the average began.
    decay
        What is kept of the average at every step.
    """
    # The first steps count for more, or the average would long remember
    # the weights of the start.
    decay = min(decay, (1.0 + step) / (10.0 + step))
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            average[name].lerp_(tensor, 1.0 - decay)
        else:
            average[name].copy_(tensor)
