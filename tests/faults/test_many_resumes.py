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

"""A training in many short parts equals an uninterrupted one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from lsst.meas.trails.training.checkpoint import read_checkpoint
from lsst.meas.trails.training.dataset import TrailTileDataset
from lsst.meas.trails.training.recipe import Recipe
from lsst.meas.trails.training.trainer import CHECKPOINT_NAME, train

from support.small import SMALL_NETWORK, write_tile_file

STEPS = 30


def test_schedule_does_not_drift(tmp_path: Path) -> None:
    """Learning rates, losses, order of tiles, average and optimizer state are the same."""
    tiles = write_tile_file(tmp_path / "tiles.h5")
    recipe = Recipe.from_mapping(
        {
            "model": {"name": "tiny", "hyperparameters": SMALL_NETWORK},
            "data": {"train": [str(tiles)], "tiles_per_epoch": 7},
            "augmentation": {"noise": 0.5, "masked_columns": 0.5},
            "stages": [
                {"steps": STEPS // 2, "batch_size": 2},
                {"name": "end", "steps": STEPS - STEPS // 2, "batch_size": 3, "learning_rate": 1.0e-4},
            ],
            "ema": 0.9,
            "threads": 1,
            "checkpoint_steps": 1000,
        }
    )

    def lines(folder: Path) -> list[dict[str, Any]]:
        text = (folder / "metrics.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def run(folder: Path, stop_after: int | None = None) -> None:
        dataset = TrailTileDataset(
            [str(tiles)], recipe.model.channels, seed=recipe.seed, augmentation=recipe.augmentation, stride=2
        )
        train(recipe, dataset, None, folder, progress=False, device="cpu", stop_after=stop_after)

    run(tmp_path / "whole", STEPS - 1)
    for step in range(1, STEPS):
        run(tmp_path / "parts", step)
    whole, parts = (read_checkpoint(tmp_path / name / CHECKPOINT_NAME) for name in ("whole", "parts"))
    assert whole.scalars["step"] == parts.scalars["step"] == STEPS - 1
    for group in ("weights", "average", "optimizer"):
        first, second = getattr(whole, group), getattr(parts, group)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
    # The state of torch's generator is not compared: each data loader draws an
    # unused number from it.
    keys = ("step", "epoch", "stage", "loss", "learning_rate", "gradient_norm")
    logged = [
        [[line[key] for key in keys] for line in lines(tmp_path / name) if line["kind"] == "train"]
        for name in ("whole", "parts")
    ]
    assert len(logged[0]) == STEPS - 1
    assert logged[0] == logged[1]
