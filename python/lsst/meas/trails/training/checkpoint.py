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

"""Checkpoints of a training in safetensors.

Everything but tensors is stored as JSON in the file's header, so that nothing in a checkpoint can be
executed. A checksum detects any changed byte.
"""

from __future__ import annotations

__all__ = (
    "Checkpoint",
    "CheckpointError",
    "optimizer_tensors",
    "read_checkpoint",
    "restore_optimizer",
    "write_checkpoint",
)

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from ..core.atomic import atomic_path

_FORMAT = "meas_trails-checkpoint-2"


class CheckpointError(ValueError):
    """Raised if a checkpoint cannot be used; the message names the file."""


@dataclasses.dataclass
class Checkpoint:
    """State of a training run."""

    scalars: dict[str, Any]
    """Values for JSON: position, best metrics, digest of the run."""

    weights: dict[str, torch.Tensor]
    """State of the network."""

    average: dict[str, torch.Tensor]
    """Moving average of that state; empty if it is disabled."""

    best: dict[str, torch.Tensor]
    """State that validated best; empty before the first validation."""

    optimizer: dict[str, torch.Tensor]
    """State of the optimizer, by ``<index of the parameter>.<name>``."""

    random: torch.Tensor
    """State of torch's random generator, uint8."""

    sampler: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    """Inputs of the order of the tiles in addition to the seed."""


_GROUPS = ("weights", "average", "best", "optimizer", "sampler")


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically."""
    tensors = {"random": checkpoint.random}
    for group in _GROUPS:
        for name, tensor in getattr(checkpoint, group).items():
            # The format supports neither strides nor shared memory.
            tensors[f"{group}/{name}"] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    scalars = json.dumps(checkpoint.scalars)
    metadata = {"format": _FORMAT, "scalars": scalars, "sha256": _checksum(scalars, tensors)}
    with atomic_path(path) as partial:
        partial.write_bytes(safetensors.torch.save(tensors, metadata=metadata))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    CheckpointError
        Raised if the file is not a complete checkpoint of this version, or is damaged.
    """
    groups: dict[str, dict[str, torch.Tensor]] = {group: {} for group in _GROUPS}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise CheckpointError(
                    f"{path}: is not a checkpoint of this version; train into another folder."
                )
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        scalars = json.loads(metadata["scalars"])
        if metadata["sha256"] != _checksum(metadata["scalars"], tensors):
            raise CheckpointError(
                f"{path}: is damaged (wrong checksum); restore a copy, or remove it to train from the start."
            )
        random = tensors.pop("random")
        for key, tensor in tensors.items():
            group, _, name = key.partition("/")
            groups[group][name] = tensor
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path}: is not a complete checkpoint ({error}); remove it to train from the start."
        ) from error
    if not isinstance(scalars, dict):
        raise CheckpointError(f"{path}: is not a complete checkpoint; remove it to train from the start.")
    return Checkpoint(scalars=scalars, random=random, **groups)


def _checksum(scalars: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of everything in a checkpoint, hexadecimal."""
    digest = hashlib.sha256(scalars.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # As bytes: numpy does not support all types of torch.
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the state of an optimizer as named tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value if isinstance(value, torch.Tensor) else torch.tensor(value)
        for index, values in state.items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Restore the state of an optimizer from `optimizer_tensors`."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:
            # Keep the memory layout of the parameter.
            tensor = torch.empty_like(parameter).copy_(tensor)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
