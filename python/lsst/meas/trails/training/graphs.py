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

"""Network passes of a training, recorded as a CUDA graph on a GPU.

A pass forward and back starts hundreds of operations. On a GPU, starting them takes longer than doing them.
"""

from __future__ import annotations

__all__ = ("network_passes",)

from collections.abc import Callable
from typing import cast

import torch
from torch import nn

from .distributed import Ranks


class _Holder(nn.Module):
    """Holder of a network; recording changes the holder and not the network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(inputs)
        return logits


def network_passes(
    network: nn.Module, ranks: Ranks, *, bfloat16: bool
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function of inputs that returns the logits of a network in training, with their gradient.

    Parameters
    ----------
    network
        The network, prepared by `~lsst.meas.trails.training.optimizer.prepare_training`.
    ranks
        Processes that train together.
    bfloat16
        Whether most layers compute in bfloat16.

    Notes
    -----
    On one GPU, the first call records the passes for inputs of its shape, and later calls replay them; see
    https://docs.pytorch.org/docs/stable/generated/torch.cuda.make_graphed_callables.html. Which weights have
    a gradient must not change afterwards.
    """
    device = next(network.parameters()).device
    if device.type != "cuda" or ranks.world_size > 1:
        wrapped = ranks.wrap(network)

        def compute(inputs: torch.Tensor) -> torch.Tensor:
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
                logits: torch.Tensor = wrapped(inputs)
            return logits

        return compute
    recorded: dict[torch.Size, Callable[[torch.Tensor], torch.Tensor]] = {}

    def replay(inputs: torch.Tensor) -> torch.Tensor:
        if inputs.shape not in recorded:
            recorded[inputs.shape] = _record(network, inputs, bfloat16)
        return recorded[inputs.shape](inputs)

    return replay


def _record(
    network: nn.Module, inputs: torch.Tensor, bfloat16: bool
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Record the passes of a network, without a trace in the statistics of its normalizations."""
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    sample = torch.empty_like(inputs).copy_(inputs)
    # Weights that are cast once would keep their first values.
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bfloat16, cache_enabled=False):
        passes = torch.cuda.make_graphed_callables(_Holder(network), (sample,))
    with torch.no_grad():
        for buffer, before in kept:
            buffer.copy_(before)
    return cast(Callable[[torch.Tensor], torch.Tensor], passes)
