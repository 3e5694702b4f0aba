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

import math
from typing import Any

import pytest
import torch

from lsst.meas.trails.training.recipe import Recipe
from lsst.meas.trails.training.schedule import Epoch, plan_epochs
from lsst.meas.trails.training.state import TrainingState

from support.networks import TINY


def _state(**changes: Any) -> tuple[TrainingState, list[Epoch]]:
    recipe = Recipe.from_mapping(
        {
            "model": {"hyperparameters": {key: list(value) for key, value in TINY.items()}},
            "data": {"train": "a.h5", "tiles_per_epoch": 2},
            "stages": [{"epochs": 1, "batch_size": 1}, {"epochs": 1, "batch_size": 1}],
            "ema": 0.9,
        }
        | changes
    )
    dataset = torch.utils.data.TensorDataset(torch.zeros(2))
    return TrainingState(recipe, torch.device("cpu")), list(plan_epochs(recipe, dataset))


def _step(state: TrainingState, norm: float = 1.0) -> None:
    for parameter in state.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.advance(torch.tensor(norm))


def test_a_stage_starts_from_the_average() -> None:
    state, epochs = _state()
    state.begin_epoch(epochs[0])
    for _ in range(2):
        _step(state)
    average = {name: tensor.clone() for name, tensor in state.averaged_network().state_dict().items()}
    assert not torch.equal(average["stem.conv.weight"], state.network.state_dict()["stem.conv.weight"])
    state.record_validation({"pixel_average_precision": 0.5})
    assert state.best
    state.begin_epoch(epochs[1])
    assert all(torch.equal(tensor, average[name]) for name, tensor in state.network.state_dict().items())
    assert (state.best, state.best_metrics) == ({}, {})


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    state, epochs = _state()
    state.begin_epoch(epochs[0])
    before = {name: parameter.clone() for name, parameter in state.network.named_parameters()}
    _step(state, math.nan)
    assert all(torch.equal(p, before[name]) for name, p in state.network.named_parameters())
    _step(state)
    assert not any(torch.equal(p, before[name]) for name, p in state.network.named_parameters())


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_best_weights_are_kept(ema: float) -> None:
    state, epochs = _state(ema=ema)
    state.begin_epoch(epochs[0])
    kept = []
    for precision in (0.5, math.nan, 0.75, 0.75):
        _step(state)
        state.record_validation({"pixel_average_precision": precision})
        kept.append(state.best_metrics["pixel_average_precision"])
    assert kept == [0.5, 0.5, 0.75, 0.75]
    best, last = (state.averaged_network(best=best).state_dict() for best in (True, False))
    assert not torch.equal(best["head.bias"], last["head.bias"])
    state.record_validation({"loss": 0.1})
    assert state.metrics == {"loss": 0.1}
