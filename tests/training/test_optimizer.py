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

from __future__ import annotations

import pytest
import torch
from torch import nn

from lsst.meas.trails.training.optimizer import (
    WeightAverage,
    learning_rate_factor,
    make_optimizer,
    prepare_training,
    set_learning_rate,
)
from lsst.meas.trails.training.recipe import OptimizerRecipe, StageRecipe

from support.networks import random_network


def test_learning_rate_factor() -> None:
    assert learning_rate_factor(0.0, 0.1, 0.2) == pytest.approx(0.01)
    assert learning_rate_factor(0.1, 0.1, 0.2) == 1.0
    assert learning_rate_factor(0.55, 0.1, 0.2) == pytest.approx(0.6)
    assert learning_rate_factor(1.0, 0.1, 0.2) == pytest.approx(0.2)
    assert learning_rate_factor(0.0, 0.0, 0.2) == 1.0


@pytest.mark.parametrize(("stage_rate", "peak"), [(0.004, 0.004), (None, 0.003)])
def test_peak_of_the_stage_or_the_recipe(stage_rate: float | None, peak: float) -> None:
    recipe = OptimizerRecipe(learning_rate=0.003, warmup=0.2)
    optimizer = make_optimizer(recipe, random_network())
    stage = StageRecipe(steps=20, learning_rate=stage_rate)
    for done in (0.0, 0.2, 0.7):
        expected = peak * learning_rate_factor(done, 0.2, recipe.final)
        assert set_learning_rate(optimizer, recipe, stage, done) == expected
        assert [group["lr"] for group in optimizer.param_groups] == [expected] * 2


def test_average_of_weights_and_statistics() -> None:
    network = random_network()
    average = WeightAverage(network, 0.5)
    expected = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for step in range(1, 9):
        if step == 5:
            # The count decides the decay.
            average.restart(step - 1)
        for tensor in network.state_dict().values():
            tensor.add_(1)
        decay = min(0.5, (1.0 + step) / (10.0 + step))
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                expected[name].lerp_(tensor, 1.0 - decay)
            else:
                expected[name].copy_(tensor)
        average.update(network)
    for name, tensor in average.weights.items():
        assert torch.equal(tensor, expected[name]), name


def test_frozen_parts() -> None:
    network = random_network()
    prepare_training(network, ["up", "head.bias"])
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert "head.bias" in trained
    assert {name.partition(".")[0] for name in trained} == {"up", "head"}
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.training == name.startswith("up.")
    prepare_training(network, freeze_statistics=True)
    normalizations = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert normalizations
    assert not any(module.training for module in normalizations)
    assert all(module.training for module in network.modules() if isinstance(module, nn.Conv2d))
    prepare_training(network)
    assert all(module.training for module in normalizations)
    assert all(parameter.requires_grad for parameter in network.parameters())
