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

from typing import Any

import numpy as np
import pytest
import torch

from lsst.meas.trails.core.candidates.stamps import STAMP_CHANNELS
from lsst.meas.trails.nn.second_stage import SecondStage, SecondStageSection
from lsst.meas.trails.training.recipe_section import RecipeError
from lsst.meas.trails.training.second_stage import (
    SecondStageNetwork,
    SecondStageRecipe,
    fine_tune_second_stage,
    train_second_stage,
)

from support.second_stages import random_samples, random_stage

SMALL = {"widths": [4, 8], "dense": 8, "dense_numbers": 4}
SCENES = {"seed": 1, "count": 1}


def recipe(**changes: Any) -> SecondStageRecipe:
    mapping = {"scenes": SCENES, "network": SMALL, "epochs": 6, "batch_size": 32, "learning_rate": 0.01}
    return SecondStageRecipe.from_mapping(mapping | changes)


@pytest.mark.parametrize("in_stamp", [True, False])
def test_trails_are_told_from_others(in_stamp: bool) -> None:
    stage = train_second_stage(recipe(epochs=12), random_samples(in_stamp=in_stamp))
    other = random_samples(seed=2, in_stamp=in_stamp)
    logits = stage.logits(other.stamps.astype(np.float32), other.numbers.astype(np.float64))
    low, high = np.quantile(logits[other.is_true], 0.1), np.quantile(logits[~other.is_true], 0.9)
    assert low > high
    # Log-odds are probabilities, but for a training this short.
    assert np.mean(1.0 / (1.0 + np.exp(-logits))) == pytest.approx(np.mean(other.is_true), abs=0.1)


def test_a_network_is_blind_to_what_it_leaves_out() -> None:
    blind = recipe(network=SMALL | {"channels": [name for name in STAMP_CHANNELS if name != "science"]})
    other = random_samples(seed=2)
    logits = train_second_stage(blind, random_samples()).logits(
        other.stamps, other.numbers.astype(np.float64)
    )
    assert logits[other.is_true].mean() - logits[~other.is_true].mean() < 0.5


@pytest.mark.parametrize("left_out", [{}, {"channels": ()}, {"numbers": ()}])
def test_inference_agrees_with_torch(left_out: dict[str, Any]) -> None:
    section = SecondStageSection(widths=(4, 8), dense=8, dense_numbers=4, **left_out)
    some = random_samples(20)
    some.stamps[:] *= np.float16(20.0)
    numbers = some.numbers[:, section.number_indices].astype(np.float64)
    stamps = torch.from_numpy(some.stamps[:, section.channel_indices].astype(np.float32))
    torch.manual_seed(3)
    network = SecondStageNetwork(section, numbers.mean(axis=0), numbers.std(axis=0), dropout=0.2)
    for _ in range(3):
        network(stamps, torch.from_numpy(numbers).float())
    with torch.no_grad():
        expected = network.eval()(stamps, torch.from_numpy(numbers).float()).numpy()
    stage = network.export()
    assert {name: w.shape for name, w in stage.weights.items()} == section.weight_shapes()
    logits = stage.logits(some.stamps.astype(np.float32), some.numbers.astype(np.float64))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert len(np.unique(expected)) > 10


def test_the_same_recipe_gives_the_same_weights() -> None:
    first, second = (train_second_stage(recipe(epochs=1), random_samples(64)).weights for _ in range(2))
    for name, weights in first.items():
        np.testing.assert_array_equal(second[name], weights)


def fine_tuning(**changes: Any) -> SecondStageRecipe:
    return SecondStageRecipe.from_mapping({"epochs": 12, "batch_size": 32, "learning_rate": 0.01} | changes)


@pytest.mark.parametrize("left_out", [{}, {"channels": ()}, {"numbers": ()}])
def test_fine_tuning_starts_from_the_weights(left_out: dict[str, Any]) -> None:
    stage = random_stage(widths=(4, 8), dense=8, dense_numbers=4, **left_out)
    # Steps this small change no weight.
    same = fine_tune_second_stage(fine_tuning(epochs=1, learning_rate=1.0e-9), stage, random_samples())
    assert same.section == stage.section
    assert set(same.weights) == set(stage.weights)
    for name, weights in stage.weights.items():
        np.testing.assert_allclose(same.weights[name], weights, rtol=1e-5, atol=1e-6)


def test_fine_tuning_learns() -> None:
    stage = random_stage(widths=(4, 8), dense=8, dense_numbers=4)
    tuned = fine_tune_second_stage(fine_tuning(), stage, random_samples())
    other = random_samples(seed=2)

    def gap(stage: SecondStage) -> float:
        logits = stage.logits(other.stamps.astype(np.float32), other.numbers.astype(np.float64))
        return float(np.quantile(logits[other.is_true], 0.1) - np.quantile(logits[~other.is_true], 0.9))

    assert gap(stage) < 0.0 < gap(tuned)
    for name in ("numbers.mean", "numbers.scale"):
        np.testing.assert_array_equal(tuned.weights[name], stage.weights[name])
    assert not np.array_equal(tuned.weights["conv.0.first.bias"], stage.weights["conv.0.first.bias"])
    with pytest.raises(ValueError, match="of 20 candidates"):
        fine_tune_second_stage(fine_tuning(), stage, random_samples(20))


@pytest.mark.parametrize("is_true", [False, True])
def test_nothing_to_learn_from(is_true: bool) -> None:
    some = random_samples(64)
    some.is_true[:] = is_true
    with pytest.raises(ValueError, match=f"{64 * is_true} of 64"):
        train_second_stage(recipe(), some)
    with pytest.raises(ValueError, match="of 20 candidates"):
        train_second_stage(recipe(), random_samples(20))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"scenes": {"count": 3}}, "scenes"),
        ({"scenes": SCENES | {"count": 0}}, "scenes"),
        ({"thresholds": [0.5, 0.2]}, "thresholds"),
        ({"network": {"widths": []}}, "widths"),
        ({"epoch": 3}, "epoch"),
        # A network of its own needs scenes.
        ({"scenes": None}, "network"),
    ],
)
def test_recipes_that_are_not_valid(change: dict[str, Any], key: str) -> None:
    with pytest.raises(RecipeError, match=key):
        recipe(**change)
