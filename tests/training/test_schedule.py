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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lsst.meas.trails.training.dataset import TrailTileDataset
from lsst.meas.trails.training.recipe import Recipe
from lsst.meas.trails.training.schedule import plan_epochs, run_digest, stage_limits

SIMULATE = {"train": {"seed": 1, "count": 9, "snr": [3.0, 25.0]}, "validation": {"seed": 2, "count": 3}}


def _digest(
    train: Path, validation: Path | None, simulate: Mapping[str, Any] | None = None, /, **changes: Any
) -> str:
    """Return the digest of a run with tiles from a simulation."""
    # The number of tiles drawn says nothing of those there are.
    data = {
        "simulate": SIMULATE | (simulate or {}),
        "tiles_per_epoch": 6,
        "workers": changes.pop("workers", 0),
    }
    recipe = Recipe.from_mapping({"data": data, "stages": [{"epochs": 2, "batch_size": 2}]} | changes)
    datasets = [
        None if path is None else TrailTileDataset([path], ("science",)) for path in (train, validation)
    ]
    assert datasets[0] is not None
    return run_digest(recipe, list(plan_epochs(recipe, datasets[0])), datasets)


@pytest.fixture
def tiles(make_tiles: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """Return a file to train on and one to validate on."""
    return make_tiles("train.h5"), make_tiles("validation.h5", count=2)


def test_what_leaves_the_weights_as_they_are(tiles: tuple[Path, Path], tmp_path: Path) -> None:
    before = _digest(*tiles)
    assert _digest(*tiles, threads=2, checkpoint_steps=7, workers=3) == before
    assert _digest(*tiles, {"calibration": {"seed": 3, "count": 4}}) == before
    (tmp_path / "elsewhere").mkdir()
    moved = [path.rename(tmp_path / "elsewhere" / path.name) for path in tiles]
    assert _digest(moved[0], moved[1]) == before


def test_what_is_off_changes_nothing(tiles: tuple[Path, Path]) -> None:
    before = _digest(*tiles)
    off = {"noise": 0.0, "gradient": 0.0}
    assert _digest(*tiles, augmentation=off) == before
    assert _digest(*tiles, validation={"object_scenes": 5}) == before
    counted = [{"objects_every": 2}, {"objects_every": 2, "object_scenes": 5}]
    assert len({before, *(_digest(*tiles, validation=validation) for validation in counted)}) == 3
    # Off is not how these are by default.
    assert len({before, _digest(*tiles, augmentation={"symmetries": False}), _digest(*tiles, ema=0.0)}) == 3


def test_beginning_with_a_model_is_another_run(tiles: tuple[Path, Path]) -> None:
    recipe = Recipe.from_mapping({"data": {"train": "a.h5"}, "stages": [{"epochs": 1, "batch_size": 2}]})
    dataset = TrailTileDataset([tiles[0]], ("science",))
    epochs = list(plan_epochs(recipe, dataset))
    starts = [None, {"weights_sha256": "ab", "stage": "main"}, {"weights_sha256": "ac", "stage": "main"}]
    assert len({run_digest(recipe, epochs, (dataset, None), start) for start in starts}) == 3


def test_from_bright_to_faint(tiles: tuple[Path, Path]) -> None:
    stages = [{"epochs": 5, "batch_size": 4, "min_snr": [20, 0]}, {"epochs": 1, "batch_size": 4}]
    recipe = Recipe.from_mapping({"data": {"train": "a.h5"}, "stages": stages})
    epochs = list(plan_epochs(recipe, TrailTileDataset([tiles[0]], ("science",))))
    assert [epoch.min_snr for epoch in epochs] == [20.0, 15.0, 10.0, 5.0, 0.0, 0.0]


def test_stages_share_the_time_by_their_tiles(tiles: tuple[Path, Path]) -> None:
    stages = [{"steps": 10, "batch_size": 2}, {"steps": 10, "batch_size": 4}, {"steps": 5, "batch_size": 4}]
    recipe = Recipe.from_mapping({"data": {"train": "a.h5"}, "stages": stages})
    epochs = list(plan_epochs(recipe, TrailTileDataset([tiles[0]], ("science",))))
    assert [epoch.stage_end for epoch in epochs if epoch.stage_last] == [10, 20, 25]
    assert stage_limits(epochs, 0, 8.0) == {0: 120.0, 1: 240.0, 2: 120.0}
    later = stage_limits(epochs, 1, 3.0)
    assert (later[1], later[2]) == (120.0, 60.0)
    assert set(stage_limits(epochs, 0, None).values()) == {math.inf}


def test_when_hard_tiles_are_looked_for(tiles: tuple[Path, Path]) -> None:
    stages = [
        {"epochs": 2, "batch_size": 2},
        {"epochs": 3, "batch_size": 4, "mixture": {"hard": 1, "empty": 1}},
        {"epochs": 5, "batch_size": 4, "mixture": {"hard": 1}, "mine_every": 2},
        {"epochs": 1, "batch_size": 4, "mixture": {"hard": 0, "empty": 1}},
    ]
    recipe = Recipe.from_mapping({"data": {"train": "a.h5"}, "stages": stages})
    epochs = list(plan_epochs(recipe, TrailTileDataset([tiles[0]], ("science",))))
    assert [epoch.number for epoch in epochs if epoch.mines] == [2, 5, 7, 9]
    assert [epoch.number for epoch in epochs if epoch.stage_last] == [1, 4, 9, 10]
    assert [epoch.stage_first_step for epoch in epochs] == [0] * 2 + [8] * 3 + [14] * 5 + [24]


def test_what_changes_the_weights(
    tiles: tuple[Path, Path], make_tiles: Callable[..., Path], tmp_path: Path
) -> None:
    train, validation = tiles
    digests = [
        _digest(train, validation),
        _digest(train, validation, seed=2),
        _digest(train, validation, {"train": SIMULATE["train"] | {"count": 10}}),
        _digest(train, validation, {"train": SIMULATE["train"] | {"snr": [5.0, 25.0]}}),
        _digest(train, validation, {"tile_size": 128}),
        _digest(train, None),
        _digest(train, validation, stages=[{"epochs": 2, "batch_size": 2, "learning_rate": 0.001}]),
        # As many tiles under another name.
        _digest(make_tiles("other.h5"), validation),
        # Validation decides which weights are kept.
        _digest(train, make_tiles("validation.h5", count=4)),
        # As many tiles of the same name.
        _digest(make_tiles("train.h5", size=64), tmp_path / "validation.h5"),
    ]
    assert len(set(digests)) == len(digests)
