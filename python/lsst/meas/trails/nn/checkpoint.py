# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""Checkpoints: the whole state of a training run in one safetensors file.

Tensors are stored as such and everything else as JSON in the file's header,
so that nothing in a checkpoint can be executed, and one rename makes a new
checkpoint replace the old one.
"""

from __future__ import annotations

__all__ = (
    "Checkpoint",
    "CheckpointError",
    "copy_state",
    "optimiser_tensors",
    "read_checkpoint",
    "restore_optimiser",
    "write_checkpoint",
)

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

_FORMAT = "meas_trails-checkpoint-1"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file."""


@dataclasses.dataclass
class Checkpoint:
    """State of a training run."""

    scalars: dict[str, Any]
    """What JSON can hold: position, best metric, digest of the recipe."""

    weights: dict[str, torch.Tensor]
    """State of the network."""

    average: dict[str, torch.Tensor]
    """Moving average of that state; empty if none is kept."""

    best: dict[str, torch.Tensor]
    """State that validated best; empty before the first validation."""

    optimiser: dict[str, torch.Tensor]
    """State of the optimiser, by ``<index of the parameter>.<name>``."""

    random: torch.Tensor
    """State of torch's random generator, uint8."""

    sampler: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    """What the order of the tiles depends on beside the seed."""


_GROUPS = ("weights", "average", "best", "optimiser", "sampler")


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the file is replaced in one step or not at all."""
    tensors = {"random": checkpoint.random}
    for group in _GROUPS:
        for name, tensor in getattr(checkpoint, group).items():
            # The format knows neither strides nor shared memory.
            tensors[f"{group}/{name}"] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    metadata = {"format": _FORMAT, "scalars": json.dumps(checkpoint.scalars)}
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(safetensors.torch.save(tensors, metadata=metadata))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    CheckpointError
        Raised if the file is no complete checkpoint of this version.
    """
    groups: dict[str, dict[str, torch.Tensor]] = {group: {} for group in _GROUPS}
    random = None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise CheckpointError(
                    f"{path}: is no checkpoint of this version of meas_trails; train into another folder."
                )
            scalars = json.loads(metadata["scalars"])
            for key in file.keys():
                group, _, name = key.partition("/")
                if key == "random":
                    random = file.get_tensor(key)
                else:
                    groups[group][name] = file.get_tensor(key)
    except (safetensors.SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path}: is not a complete checkpoint ({error}); remove it to train from the start."
        ) from error
    if random is None or not isinstance(scalars, dict):
        raise CheckpointError(f"{path}: is not a complete checkpoint; remove it to train from the start.")
    return Checkpoint(scalars=scalars, random=random, **groups)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the state of an optimiser as named tensors."""
    state = optimiser.state_dict()["state"]
    return {
        f"{index}.{name}": value if isinstance(value, torch.Tensor) else torch.tensor(value)
        for index, values in state.items()
        for name, value in values.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put a state of `optimiser_tensors` back."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:
            # With the memory layout of the parameter.
            tensor = torch.empty_like(parameter).copy_(tensor)
        state.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def copy_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of a network's parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
