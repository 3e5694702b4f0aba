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

"""Training in several processes, on one machine or on many.

``torchrun`` starts the processes and tells each its number in environment
variables.  All do the same steps: each works on its share of every batch, the
loss is that of the whole batch, and the gradients are summed, so that the
weights stay the same everywhere.  The first alone writes.

What differs from one process with the same batches is the batch
normalization: on GPUs its statistics are those of the whole batch, on CPUs
those of each process's share.  A share of fewer than about 4 tiles makes them
noisy; give a recipe for many processes a larger ``batch_size``, and a
``learning_rate`` to go with it.
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

_PATIENCE = datetime.timedelta(hours=6)
"""How long processes wait for one another: the first simulates scenes and
looks for trails in them while the others wait.
"""


@dataclasses.dataclass(frozen=True)
class Ranks:
    """The processes that train together; by default there is one.

    Parameters
    ----------
    rank, count
        Number of this process, and of processes.
    local_rank, local_count
        The same on this machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes (`bool`)."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """Return a device by name; each process has a GPU of its own."""
        device = choose_device(name)
        if self.count > 1 and device.type == "cuda" and ":" not in name:
            device = choose_device(f"cuda:{self.local_rank}")
        return device

    def cores(self) -> int:
        """Return the number of cores that this process should use."""
        return max(1, available_cores() // self.local_count)

    @contextlib.contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """Let the first process go through a block before the others."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            distributed.barrier()

    def share[T](self, batch: Sequence[T]) -> list[T]:
        """Return this process's share of a batch.

        Raises
        ------
        ValueError
            Raised if the batch cannot be shared equally.
        """
        if len(batch) % self.count:
            raise ValueError(
                f"A batch of {len(batch)} tiles cannot be shared by {self.count} processes; make batch_size "
                "a multiple of their number."
            )
        size = len(batch) // self.count
        return list(batch[self.rank * size : (self.rank + 1) * size])

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return a network whose gradients are the mean over all processes,
        with the weights of the first.
        """
        if self.count == 1:
            return network
        device = next(network.parameters()).device
        return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)

    def join_statistics(self, network: nn.Module) -> None:
        """Let the batch normalizations of a network see all of a batch, where
        torch can do that: on GPUs.
        """
        if self.count > 1 and next(network.parameters()).device.type == "cuda":
            # Replaces modules within, and keeps their tensors.
            nn.SyncBatchNorm.convert_sync_batchnorm(network)

    def join_batch(self, part: torch.Tensor) -> torch.Tensor:
        """Return the whole batch of which each process has a share, float32.

        The gradient goes back to the own share alone; as `wrap` takes the
        mean over the processes, the loss has to be multiplied by `count`.
        """
        if self.count == 1:
            return part
        part = part.float().contiguous()
        parts = [torch.empty_like(part) for _ in range(self.count)]
        distributed.all_gather(parts, part.detach())
        parts[self.rank] = part
        return torch.cat(parts)

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of the processes' tensors, which is also put into
        their place.
        """
        if self.count > 1:
            distributed.all_reduce(tensor)
        return tensor

    def take_from_first(self, tensors: Iterable[torch.Tensor]) -> None:
        """Put the values of the first process into tensors."""
        if self.count > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def told_by_first[T](self, value: T) -> T:
        """Return the value that the first process has."""
        if self.count == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def collect[T](self, values: Sequence[T]) -> list[T]:
        """Return the values of all processes."""
        if self.count == 1:
            return list(values)
        parts: list[Sequence[T]] = [[] for _ in range(self.count)]
        distributed.all_gather_object(parts, values)
        return [value for part in parts for value in part]


@contextlib.contextmanager
def joined_ranks(device: str = "auto") -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` has started, if it has.

    Parameters
    ----------
    device
        Torch device that training will use, or ``auto``.

    Raises
    ------
    ValueError
        Raised if there is no such device.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks()
        return
    ranks = Ranks(
        rank=int(os.environ["RANK"]),
        count=count,
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        local_count=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
    )
    chosen = ranks.device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()
