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

"""Training in several processes, one per GPU or machine.

``torchrun`` starts the processes and passes the rank of each in environment variables. All processes do the
same steps: each works on its shard of every batch, the loss is computed over the whole batch, and the
gradients are summed, so that the weights stay equal everywhere. Only rank zero writes files.

The one difference from a single process with the same batches is batch normalization: on GPUs its statistics
cover the whole batch, on CPUs the shard of each process. Shards of fewer than about 4 tiles make them noisy;
a recipe for many processes needs a larger ``batch_size`` and a matching ``learning_rate``.
"""

from __future__ import annotations

__all__ = ("Ranks", "joined_ranks")

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ..nn.hardware import available_cores, choose_device

_TIMEOUT = datetime.timedelta(hours=6)
"""Maximum wait for another process: rank zero simulates scenes and searches for trails in them while the
others wait.
"""


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Processes that train together; by default a single one.

    Without a process group, every collective operation returns its argument.

    Parameters
    ----------
    rank, world_size
        Number of this process, and of all processes.
    local_rank, local_world_size
        The same on this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """Return a device by name; ``auto`` and ``cuda`` are the GPU of this rank."""
        device = torch.device(choose_device(name))
        if self.world_size > 1 and device.type == "cuda" and ":" not in name:
            device = torch.device(choose_device(f"cuda:{self.local_rank}"))
        return device

    def cores(self) -> int:
        """Return the number of cores for this process."""
        return max(1, available_cores() // self.local_world_size)

    @contextlib.contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """Run a block in rank zero before the other processes."""
        if not self.is_rank_zero:
            self.barrier()
        yield
        if self.is_rank_zero:
            self.barrier()

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world_size > 1:
            distributed.barrier()

    def shard[T](self, batch: Sequence[T]) -> list[T]:
        """Return the shard of a batch for this process.

        Raises
        ------
        ValueError
            Raised if the size of the batch is not a multiple of the number of processes.
        """
        if len(batch) % self.world_size:
            raise ValueError(
                f"A batch of {len(batch)} tiles cannot be split among {self.world_size} processes; make "
                "batch_size a multiple of their number."
            )
        size = len(batch) // self.world_size
        return list(batch[self.rank * size : (self.rank + 1) * size])

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return a network with the weights of rank zero and averaged gradients."""
        if self.world_size == 1:
            return network
        device = next(network.parameters()).device
        return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)

    def convert_sync_batchnorm(self, network: nn.Module) -> None:
        """Make batch normalizations use the whole batch, on GPUs only (torch's limit)."""
        if self.world_size > 1 and next(network.parameters()).device.type == "cuda":
            # Replaces inner modules and keeps their tensors.
            nn.SyncBatchNorm.convert_sync_batchnorm(network)

    def all_gather_batch(self, shard: torch.Tensor) -> torch.Tensor:
        """Return the whole batch from the shards of all processes, float32.

        The gradient flows to this process's shard only. As `wrap` averages over the processes, the loss must
        be multiplied by ``world_size``.
        """
        if self.world_size == 1:
            return shard
        shard = shard.float().contiguous()
        shards = [torch.empty_like(shard) for _ in range(self.world_size)]
        distributed.all_gather(shards, shard.detach())
        shards[self.rank] = shard
        return torch.cat(shards)

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace a tensor by its sum over all processes, and return it."""
        if self.world_size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def broadcast_tensors(self, tensors: Iterable[torch.Tensor]) -> None:
        """Copy the values of rank zero into tensors."""
        if self.world_size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def broadcast[T](self, value: T) -> T:
        """Return the value of rank zero."""
        if self.world_size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def all_gather[T](self, values: Sequence[T]) -> list[T]:
        """Return the values of all processes."""
        if self.world_size == 1:
            return list(values)
        parts: list[Sequence[T]] = [[] for _ in range(self.world_size)]
        distributed.all_gather_object(parts, values)
        return [value for part in parts for value in part]


@contextlib.contextmanager
def joined_ranks(device: str = "auto") -> Iterator[Ranks]:
    """Join the process group of ``torchrun``, if there is one.

    Parameters
    ----------
    device
        Torch device for training, or ``auto``.

    Raises
    ------
    ValueError
        Raised if the device does not exist.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Ranks()
        return
    ranks = Ranks(
        rank=int(os.environ["RANK"]),
        world_size=world_size,
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        local_world_size=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
    )
    chosen = ranks.device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()
