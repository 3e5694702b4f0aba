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

"""U-Net that starts at half resolution, in torch; see `TrailUNetPlan`."""

from __future__ import annotations

__all__ = ("TrailUNet",)

import math

import torch
from torch import nn

from .blocks import ConvUnit, Join, ResidualBlock
from .network import TrailNetwork
from .registry import Inner
from .trail_unet_plan import Region, TrailUNetPlan


class TrailUNet(TrailNetwork):
    """Encoder-decoder with skip connections that starts at half resolution.

    Parameters
    ----------
    plan
        Plan of the network.
    """

    plan: TrailUNetPlan

    def __init__(self, plan: TrailUNetPlan) -> None:
        super().__init__(plan)
        widths = plan.widths
        self.stem = ConvUnit(plan.in_channels, widths[0], 4, stride=2, padding=1)
        self.encoder = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
            for width, count in zip(widths, plan.blocks, strict=True)
        )
        self.down = nn.ModuleList(
            ConvUnit(fine, coarse, 2, stride=2, padding=0) for fine, coarse in zip(widths, widths[1:])
        )
        self.bottom = nn.Sequential(
            *(ResidualBlock(widths[-1], dilation=dilation) for dilation in plan.dilations)
        )
        self.up = nn.ModuleList(ConvUnit(coarse, fine, 1) for fine, coarse in zip(widths, widths[1:]))
        self.join = nn.ModuleList(Join(width) for width in widths[:-1])
        self.decoder = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
            for width, count in zip(widths, plan.decoder_blocks)
        )
        self.head = nn.Conv2d(widths[0], 1, 1)
        nn.init.zeros_(self.head.weight)
        # Few pixels belong to a trail: start from a probability of 1%, which shortens the first epochs.
        nn.init.constant_(self.head.bias, -math.log(99.0))  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, inner: Inner | None = None) -> torch.Tensor:
        """Return logits.

        Parameters
        ----------
        x
            Input, shape (B, C, H, W); H and W must be multiples of ``stride``.
        inner
            The part of the input, h x w pixels, whose logits are needed; by default all.

        Returns
        -------
        logits
            Shape (B, 1, h/2, w/2).
        """
        if inner is None:
            inner = slice(0, x.shape[-2]), slice(0, x.shape[-1])
        wanted = tuple((part.start // 2, part.stop // 2) for part in inner)
        regions = self.plan.regions(inner, x.shape[-2:])
        x = self.stem(x)
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(x)
            if level < len(self.down):
                skips.append(_crop(x, regions[level]))
                x = self.down[level](x)
        x = self.bottom(x)
        here = tuple((0, size) for size in x.shape[-2:])
        for level in reversed(range(len(self.up))):
            above = tuple((low // 2, high // 2) for low, high in regions[level])
            x = self.up[level](_crop(x, above, here))
            x = self.join[level](skips.pop(), x)
            x = self.decoder[level](x)
            here = regions[level]
        return _crop(self.head(x), wanted, here)


def _crop(x: torch.Tensor, region: Region, of: Region = ((0, 0), (0, 0))) -> torch.Tensor:
    """Return a region of a tensor that starts at the origin of the region ``of``."""
    (y0, y1), (x0, x1) = ((low - origin, high - origin) for (low, high), (origin, _) in zip(region, of))
    return x[:, :, y0:y1, x0:x1]
