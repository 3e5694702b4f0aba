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

"""Base class of the networks in torch."""

from __future__ import annotations

__all__ = ("TrailNetwork", "count_parameters")

import copy
from typing import Self

from torch import nn

from .blocks import ConvUnit
from .registry import NetworkPlan


class TrailNetwork(nn.Module):
    """Base class of the networks.

    Networks without a ``tile_size`` take a second argument, ``inner``: the part of the input whose logits are
    needed.

    Parameters
    ----------
    plan
        Plan of the network; its geometry is that of the network.
    """

    def __init__(self, plan: NetworkPlan) -> None:
        super().__init__()
        self.plan = plan
        self.in_channels = plan.in_channels
        self.stride = plan.stride
        self.output_stride = plan.output_stride
        self.receptive_radius = plan.receptive_radius
        self.tile_size = plan.tile_size

    def prepared_for_inference(self) -> Self:
        """Return a copy in evaluation mode with batch normalizations folded into convolutions."""
        network = copy.deepcopy(self).eval().requires_grad_(False)
        for module in network.modules():
            if isinstance(module, ConvUnit):
                module.fold()
        return network


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable numbers in a network."""
    return sum(parameter.numel() for parameter in network.parameters())
