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

import dataclasses
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from lsst.meas.trails.core.planes import plane_bits
from lsst.meas.trails.core.tiles.reader import Tile
from lsst.meas.trails.training.dataset import TrailTileDataset
from lsst.meas.trails.training.target import tile_target


@pytest.fixture
def tile(make_tiles: Callable[..., Path]) -> Tile:
    """Return a tile of noise with trails of 2, 80 and 320 pixels at half resolution."""
    tile = TrailTileDataset([make_tiles(count=2, size=128)], ("science",)).read(1)
    truth = np.zeros_like(tile.truth)
    truth[4:6, 4:8] = 1
    truth[20:28, 20:60] = 1
    truth[40:56, 40:120] = 1
    # Only ignored, and of no size.
    truth[100:110, 100:110] = 2
    return dataclasses.replace(tile, truth=truth)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_weight_of_trails(tile: Tile, balance: float) -> None:
    target, weight = tile_target(tile, balance)
    for place, area in (((2, 3), 2), ((12, 20), 80), ((25, 40), 320)):
        assert target[place] == 1.0
        assert weight[place] == pytest.approx(np.clip((80.0 / area) ** balance, 0.25, 8.0))
    assert target.sum() == 2 + 80 + 320
    assert np.all(weight[(target == 0.0) & (weight > 0.0)] == 1.0)
    assert np.all(weight[50:55, 50:55] == 0.0)
    assert target.dtype == weight.dtype == np.float32


def test_at_full_resolution(tile: Tile) -> None:
    """For networks whose output has a pixel for each of the image."""
    target, weight = tile_target(tile, 1.0, stride=1)
    np.testing.assert_array_equal(target, tile.truth == 1)
    assert np.all(weight[tile.truth == 2] == 0.0)
    # A trail weighs what it weighs at half resolution.
    for part, area in (((slice(20, 28), slice(20, 60)), 320), ((slice(40, 56), slice(40, 120)), 1280)):
        assert weight[part] == pytest.approx(320.0 / area)


def test_all_trails_count_alike(tile: Tile) -> None:
    target, weight = tile_target(tile, 1.0)
    total = target * weight
    assert total[10:14, 10:30].sum() == pytest.approx(80.0)
    assert total[20:28, 20:60].sum() == pytest.approx(80.0)
    # Within the limits: a piece of 2 pixels at a tile's edge says little.
    assert total[2:3, 2:4].sum() == pytest.approx(16.0)


def test_trails_at_an_angle_are_one(tile: Tile) -> None:
    """Also where its pixels touch only at corners."""
    truth = np.zeros_like(tile.truth)
    steps = 2 * np.arange(40)
    truth[steps, steps] = 1
    _, weight = tile_target(dataclasses.replace(tile, truth=truth), 1.0)
    assert np.diag(weight)[:40] == pytest.approx(80.0 / 40.0)


def test_items_are_weighted(make_tiles: Callable[..., Path]) -> None:
    path = make_tiles(count=2, size=128)
    plain, balanced = (TrailTileDataset([path], ("science",), balance=balance)[0] for balance in (0.0, 1.0))
    assert set(np.unique(plain[2].numpy())) == {1.0}
    area = float(balanced[1].sum())
    assert balanced[2][balanced[1] > 0].numpy() == pytest.approx(np.clip(80.0 / area, 0.25, 8.0))


def test_ignored_pixels(make_tiles: Callable[..., Path]) -> None:
    path = make_tiles(count=2, size=32)
    with h5py.File(path, "r+") as file:
        truth, mask, image = file["truth"][0], file["mask"][0], file["image"][0]
        truth[:] = 0
        truth[0:2, 0:2] = 2
        # Trail in the same 2x2 pixels: the trail counts.
        truth[4:6, 4:6] = [[2, 0], [0, 1]]
        mask[8:10, 8:10] = plane_bits(["NO_DATA"])
        # Half of the 2x2 pixels are there.
        mask[12:13, 12:14] = plane_bits(["NO_DATA"])
        # Bad, but within data: to be bridged.
        mask[16:18, 16:18] = plane_bits(["SATURATED"])
        image[20:22, 20:22] = np.nan
        file["truth"][0], file["mask"][0], file["image"][0] = truth, mask, image
    dataset = TrailTileDataset([path], ("science", "bad"))
    target, valid = tile_target(dataset.read(0))
    assert np.argwhere(target > 0).tolist() == [[2, 2]]
    assert np.argwhere(valid == 0).tolist() == [[0, 0], [4, 4], [10, 10]]
    assert bool(torch.isfinite(dataset[0][0]).all())
