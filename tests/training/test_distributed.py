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

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from lsst.meas.trails.cli.train import train
from lsst.meas.trails.training.checkpoint import Checkpoint, read_checkpoint
from lsst.meas.trails.training.distributed import Ranks
from lsst.meas.trails.training.log import read_metrics
from lsst.meas.trails.training.recipe import ModelRecipe
from lsst.meas.trails.training.trainer import CHECKPOINT_NAME

SMALL = {"widths": [4, 8], "blocks": [1, 0], "decoder_blocks": [0], "dilations": [1]}


def _write_recipe(path: Path, tiles: Path, **changes: Any) -> None:
    # The convolutions alone are trained: the statistics of a normalization
    # are those of a process's own tiles, and so cannot be the same with two.
    names = ModelRecipe(hyperparameters=SMALL).parameter_names()
    parts = [name for name in names if "norm" not in name]
    assert {"stem.conv.weight", "head.weight", "head.bias"} <= set(parts)
    stage = {"batch_size": 4, "train_parts": parts, "loss": {"bce": 1.0, "dice": 1.0}}
    mapping = {
        "model": {"name": "tiny", "hyperparameters": SMALL},
        "data": {"train": [str(tiles)], "validation": [str(tiles.with_name("validation.h5"))]},
        "stages": [
            {"name": "all", "epochs": 2, **stage},
            {"name": "hard", "epochs": 1, **stage, "mixture": {"hard": 1, "missed": 1}, "hard_fraction": 0.5},
        ],
        "augmentation": {"noise": 0.3},
        "precision": "float32",
        "threads": 1,
        "ema": 0.9,
    }
    path.write_text(yaml.safe_dump(mapping | changes))


def _run_two(arguments: list[str]) -> list[subprocess.CompletedProcess[str]]:
    """Run the command in two processes, as torchrun does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = []
    for rank in ("0", "1"):
        environment = os.environ | {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "OMP_NUM_THREADS": "1",
        }
        code = "from lsst.meas.trails.cli.train import train; train()"
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", code, *arguments, "--device", "cpu"],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    done = []
    for process in running:
        try:
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
        done.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return done


@pytest.mark.process
def test_two_processes_are_as_one(make_tiles: Callable[..., Path], tmp_path: Path) -> None:
    tiles, recipe = make_tiles(), tmp_path / "recipe.yaml"
    make_tiles("validation.h5", count=2, seed=2)
    _write_recipe(recipe, tiles)
    alone = CliRunner().invoke(train, [str(tmp_path / "one"), "--config", str(recipe)])
    assert alone.exit_code == 0, alone.output
    first, second = _run_two([str(tmp_path / "two"), "--config", str(recipe)])
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    # Only rank zero reports.
    assert first.stdout.strip().endswith("tiny.json")
    assert second.stdout == ""

    one, two = (read_metrics(tmp_path / name) for name in ("one", "two"))
    assert [(line["kind"], line["step"]) for line in one] == [(line["kind"], line["step"]) for line in two]
    for key in ("loss", "gradient_norm", "learning_rate", "hard_false_probability"):
        expected = [line[key] for line in one if key in line]
        assert expected
        # Only the order of sums in float32 differs; steps amplify that.
        np.testing.assert_allclose([line[key] for line in two if key in line], expected, rtol=1.0e-4)
    saved: list[Checkpoint] = [read_checkpoint(tmp_path / name / CHECKPOINT_NAME) for name in ("one", "two")]
    assert saved[0].sampler["hard"].tolist() == saved[1].sampler["hard"].tolist()
    for name, tensor in saved[0].weights.items():
        np.testing.assert_allclose(saved[1].weights[name].numpy(), tensor.numpy(), atol=1.0e-4, err_msg=name)
    training = json.loads((tmp_path / "two" / "tiny.json").read_text())["training"]
    assert training["processes"] == 2


def test_shards() -> None:
    shards = [Ranks(rank=rank, world_size=3).shard(range(6)) for rank in range(3)]
    assert shards == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match="batch of 8 tiles .* 3 processes.*batch_size"):
        Ranks(rank=0, world_size=3).shard(range(8))
    alone = Ranks()
    assert alone.is_rank_zero
    assert alone.shard([1, 2, 3]) == [1, 2, 3]
