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

import pytest
import torch

from lsst.meas.trails.nn.model_file import TrailModel
from lsst.meas.trails.nn.networks.registry import create_network
from lsst.meas.trails.training.initial_weights import InitialWeights, InitialWeightsError
from lsst.meas.trails.training.recipe import ModelRecipe, Recipe

from support.networks import TINY, random_network


def _wanted(**changes: Any) -> ModelRecipe:
    return ModelRecipe(**{"hyperparameters": dict(TINY), "channels": ("science", "bad")} | changes)


def test_takes_the_weights_as_they_are(model: TrailModel) -> None:
    weights = InitialWeights(model).weights(_wanted())
    expected = model.network.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    # They are copies.
    weights["head.bias"] += 1.0
    assert not torch.equal(weights["head.bias"], expected["head.bias"])


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (("science", "bad"), ("bad", "science")),
        (("bad", "science"), ("science",)),
        (("science",), ("bad", "science")),
        # The same number of channels, one of them new.
        (("science", "bad"), ("science", "science_again")),
    ],
)
def test_channels_are_taken_over_by_name(
    model: TrailModel, given: tuple[str, ...], wanted: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    before = create_network("trail_unet", in_channels=len(given), **TINY).eval()
    torch.nn.init.normal_(before.head.weight)  # type: ignore[union-attr, arg-type]
    channels = "lsst.meas.trails.nn.model_specification.CHANNELS"
    monkeypatch.setattr(channels, dict.fromkeys([*given, *wanted]))
    specification = model.specification.replace(channels=given)
    started = TrailModel.from_network(specification, before)
    after = create_network("trail_unet", in_channels=len(wanted), **TINY).eval()
    after.load_state_dict(InitialWeights(started).weights(_wanted(channels=wanted)))

    planes = {name: torch.randn(1, 1, 32, 32) for name in {*given, *wanted}}
    # Removed channels are zero in the old network, and new channels have no effect.
    old = torch.cat([planes[name] * float(name in wanted) for name in given], dim=1)
    new = torch.cat([planes[name] for name in wanted], dim=1)
    with torch.inference_mode():
        # Only the order of the sum differs.
        torch.testing.assert_close(after(new), before(old), rtol=1.0e-5, atol=1.0e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # Dilations leave the shapes of the weights as they are.
        (
            {"hyperparameters": TINY | {"dilations": (1, 4)}},
            r"dilations.*\[1, 2\].*\[1, 4\]",
        ),
        ({"hyperparameters": {}}, "widths"),
    ],
)
def test_refuses_another_network(model: TrailModel, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InitialWeightsError, match=message):
        InitialWeights(model).weights(_wanted(**changes))


def test_refuses_other_inputs_and_architectures(model: TrailModel) -> None:
    blind = model.specification.replace(channels=("bad",), architecture="trail_unet")
    with pytest.raises(InitialWeightsError, match="bad"):
        InitialWeights(TrailModel.from_network(blind, random_network(channels=1))).weights(
            _wanted(channels=("science",))
        )
    other = _wanted().model_copy(update={"architecture": "other_net"})
    with pytest.raises(InitialWeightsError, match="trail_unet.*other_net"):
        InitialWeights(model).weights(other)


def test_defaults_may_be_left_out(model: TrailModel) -> None:
    """Omitted values equal their defaults."""
    short = {key: value for key, value in TINY.items() if key != "dilations"}
    network = create_network("trail_unet", in_channels=2, **short)
    specification = model.specification.replace(
        hyperparameters={key: list(value) for key, value in short.items()}
    )
    start = InitialWeights(TrailModel.from_network(specification, network))
    assert start.weights(_wanted(hyperparameters=short | {"dilations": [1, 2, 4]}))


def test_stages(model: TrailModel) -> None:
    stages = [{"name": name, "steps": 1} for name in ("warm", "main", "main")]
    recipe = Recipe.from_mapping({"data": {"train": "a.h5"}, "stages": stages})
    assert InitialWeights(model).stage_index(recipe) == 0
    assert InitialWeights(model, "warm").stage_index(recipe) == 0
    with pytest.raises(InitialWeightsError, match="'mine'.*warm, main, main"):
        InitialWeights(model, "mine").stage_index(recipe)
    with pytest.raises(InitialWeightsError, match="'main'"):
        InitialWeights(model, "main").stage_index(recipe)
