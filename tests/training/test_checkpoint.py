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
from pathlib import Path

import pytest
import torch

from lsst.meas.trails.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)


@pytest.fixture
def checkpoint() -> Checkpoint:
    """Return a checkpoint with all of its parts."""
    return Checkpoint(
        scalars={"step": 3, "metrics": {"loss": 0.5}, "start": None},
        weights={"head.weight": torch.randn(2, 3).T, "norm.count": torch.tensor(4)},
        average={"head.weight": torch.randn(3, 2, dtype=torch.float64)},
        best={},
        optimizer={"0.step": torch.tensor(3.0)},
        random=torch.get_rng_state(),
        sampler={"hard": torch.tensor([], dtype=torch.int64)},
    )


def test_round_trip(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, checkpoint)
    read = read_checkpoint(path)
    assert read.scalars == checkpoint.scalars
    assert torch.equal(read.random, checkpoint.random)
    for group in ("weights", "average", "best", "optimizer", "sampler"):
        expected, found = getattr(checkpoint, group), getattr(read, group)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert list(tmp_path.iterdir()) == [path]


def test_any_change_is_found(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, checkpoint)
    content = bytearray(path.read_bytes())
    for position in (len(content) - 1, content.index(b"head.weight"), content.index(b"0.5")):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match=path.name):
            read_checkpoint(path)
    path.write_bytes(content)
    assert read_checkpoint(path).scalars["step"] == 3


def test_refuses(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(CheckpointError, match=path.name):
        read_checkpoint(path)
    write_checkpoint(path, dataclasses.replace(checkpoint, scalars=[]))  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=path.name):
        read_checkpoint(path)


def test_state_of_an_optimizer() -> None:
    parameters = [torch.nn.Parameter(torch.randn(2, 3, 4, 4)), torch.nn.Parameter(torch.randn(3))]
    first, second = (torch.optim.AdamW(parameters) for _ in range(2))
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    first.step()
    tensors = optimizer_tensors(first)
    assert set(tensors) == {f"{i}.{name}" for i in (0, 1) for name in ("step", "exp_avg", "exp_avg_sq")}
    restore_optimizer(second, tensors)
    again = optimizer_tensors(second)
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
