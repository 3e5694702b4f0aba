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

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from lsst.meas.trails.nn.networks.network import TrailNetwork
from lsst.meas.trails.nn.networks.registry import create_plan
from lsst.meas.trails.training.dataset import TrailTileDataset
from lsst.meas.trails.training.hard_tiles import false_probability, mine_hard_tiles
from lsst.meas.trails.training.recipe import StageRecipe


class _Brightness(TrailNetwork):
    """A network that takes what is bright for a trail."""

    def __init__(self) -> None:
        # With the geometry of the shipped architecture: half resolution.
        super().__init__(create_plan("trail_unet", in_channels=1))
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * torch.nn.functional.max_pool2d(x[:, :1], 2) - 10.0


def _stage(**changes: object) -> StageRecipe:
    return StageRecipe(steps=1, mixture={"hard": 1.0}, **changes)  # type: ignore[arg-type]


@pytest.fixture
def dataset(make_tiles: Callable[..., Path]) -> TrailTileDataset:
    """Return tiles without trails at odd numbers, some of them with a bright star."""
    path = make_tiles(count=20, size=64)
    with h5py.File(path, "r+") as file:
        for number, flux in ((3, 400.0), (7, 5000.0), (11, 1000.0)):
            image = file["image"][number]
            image[20:40, 20:40] += flux
            file["image"][number] = image
    return TrailTileDataset([path], ("science", "bad"), seed=3)


def test_the_worst_come_first(dataset: TrailTileDataset) -> None:
    hard = mine_hard_tiles(_Brightness(), dataset, _stage(hard_fraction=0.15, batch_size=3), epoch=0)
    # Tiles with trails are brighter than most, but that is no mistake.
    assert hard.tiles.tolist() == [7, 11, 3]
    assert hard.searched == 20
    assert hard.hard > 0.9 > 0.5 > hard.mean
    # Neither the number of tiles in a batch nor progress changes it.
    seen = []

    def track(batches: list[list[int]]) -> list[list[int]]:
        seen.extend(batches)
        return batches

    stage = _stage(hard_fraction=0.15, batch_size=20)
    again = mine_hard_tiles(_Brightness(), dataset, stage, epoch=5, track=track)  # type: ignore[arg-type]
    assert again.tiles.tolist() == [7, 11, 3]
    assert seen == [list(range(20))]


def test_some_of_the_tiles(dataset: TrailTileDataset) -> None:
    stage = _stage(hard_fraction=1.0, mining_tiles=6)
    found = [
        mine_hard_tiles(_Brightness(), dataset, stage, epoch=epoch).tiles.tolist() for epoch in (1, 1, 2)
    ]
    assert found[0] == found[1]
    assert set(found[0]) != set(found[2])
    assert all(len(set(tiles)) == 6 for tiles in found)
    # Hard tiles are drawn like those of any class.
    keys = dataset.draw(9, epoch=0, mixture={"hard": 2, "missed": 1}, hard=found[0])
    assert sum(key.tile in found[0] for key in keys) >= 6
    with pytest.raises(ValueError, match="class 'hard'"):
        dataset.draw(9, epoch=0, mixture={"hard": 1})


def test_what_is_false() -> None:
    logits = torch.full((4, 1, 32, 32), -20.0)
    target, valid = torch.zeros_like(logits), torch.ones_like(logits)
    # 16 false pixels, half of the 32 that count.
    logits[0, 0, 4:8, 4:8] = 20.0
    # A trail, and a false pixel on its flank and one well off.
    logits[1, 0, 8, 8:24] = 20.0
    target[1, 0, 8, 8:24] = 1.0
    logits[1, 0, 11, 10] = logits[1, 0, 12, 10] = 20.0
    # Ignored, whatever it is.
    logits[2, 0, 4:8, 4:8] = torch.nan
    valid[2, 0, 4:8, 4:8] = 0.0
    # Weights of trails do not make background count more.
    logits[3, 0, 4:8, 4:8] = 20.0
    valid[3, 0, 4:8, 4:8] = 8.0
    score = false_probability(logits, target, valid)
    np.testing.assert_allclose(score.numpy(), [0.5, 1 / 32, 0.0, 0.5], atol=1.0e-6)
