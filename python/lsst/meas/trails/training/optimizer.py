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
    "learning_rate_factor",
    "make_average",
    "make_optimizer",
    "make_scheduler",
    "prepare_training",
    "restart_average",
)

import math
from collections.abc import Sequence

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from ..nn.networks.network import TrailNetwork
from .recipe import OptimizerRecipe
from .recipe_stage import is_in_part
from .schedule import Epoch


def make_optimizer(recipe: OptimizerRecipe, network: TrailNetwork) -> torch.optim.AdamW:
    """Return the optimizer of a network's weights."""
    decayed = [parameter for parameter in network.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in network.parameters() if parameter.ndim < 2]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=recipe.betas,
    )


def make_scheduler(
    optimizer: torch.optim.Optimizer, recipe: OptimizerRecipe, epoch: Epoch, step: int
) -> LambdaLR:
    """Return the learning rate schedule of a stage.

    Parameters
    ----------
    optimizer
        Optimizer whose learning rate to set.
    recipe
        Shape of the schedule, and its peak unless the stage has its own.
    epoch
        Any epoch of the stage.
    step
        Next step of the run, counted from 0.
    """
    peak = recipe.learning_rate if epoch.stage.learning_rate is None else epoch.stage.learning_rate
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] = peak
    return LambdaLR(
        optimizer,
        lambda done: learning_rate_factor(done / epoch.stage_steps, recipe.warmup, recipe.final),
        last_epoch=step - epoch.stage_first_step - 1,
    )


def learning_rate_factor(done: float, warmup: float, final: float) -> float:
    """Return the learning rate as a fraction of its peak.

    Parameters
    ----------
    done
        Fraction of the stage's steps that are done.
    warmup
        Fraction of the steps with a rising learning rate.
    final
        Factor at the end of the stage.
    """
    if done < warmup:
        # Nonzero at the first step.
        return 0.01 + 0.99 * done / warmup
    cosine = 0.5 * (1.0 + math.cos(math.pi * (done - warmup) / (1.0 - warmup)))
    return final + (1.0 - final) * cosine


def prepare_training(network: TrailNetwork, parts: Sequence[str] = ()) -> None:
    """Put a network, or some parts of it, in training mode.

    Parameters
    ----------
    network
        The network.
    parts
        Names of the trained parts; none means all. The remaining parts are frozen: they get no gradient, and
        their normalizations use their current statistics without updating them.
    """

    def is_trained(name: str) -> bool:
        return not parts or any(is_in_part(name, part) for part in parts)

    for name, module in network.named_modules():
        # The mode of modules that only contain other modules has no effect.
        if next(module.children(), None) is None:
            own = [f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)]
            module.train(is_trained(name) or any(is_trained(key) for key in own))
        else:
            module.training = True
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(is_trained(name))
        if not is_trained(name):
            parameter.grad = None


def make_average(network: TrailNetwork, decay: float) -> AveragedModel:
    """Return the exponential moving average of a network's weights and buffers.

    Parameters
    ----------
    network
        Network whose current weights start the average.
    decay
        Fraction of the average that is kept at every step. It is lower in the first steps, which would
        otherwise be dominated by the start.
    """

    def update(
        averages: Sequence[torch.Tensor], values: Sequence[torch.Tensor], count: torch.Tensor | int
    ) -> None:
        step = int(count)
        kept = min(decay, (1.0 + step) / (10.0 + step))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1.0 - kept)
            else:
                average.copy_(value)

    average = AveragedModel(network, multi_avg_fn=update, use_buffers=True)
    restart_average(average, 0)
    return average


def restart_average(average: AveragedModel, steps: int) -> None:
    """Set the number of steps since the average was started."""
    # A count of zero would replace the average by the weights.
    average.n_averaged.fill_(steps + 1)
