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

"""U-Net that starts at half resolution: the architecture of the shipped models."""

from __future__ import annotations

__all__ = ("TrailUNet",)

import math
from collections.abc import Sequence

import torch
from torch import nn

from .blocks import ConvUnit, Join, ResidualBlock
from .registry import Inner, TrailNetwork, register

type _Region = tuple[tuple[int, int], ...]
"""First pixel along each axis, and the pixel after the last."""


def _integers(name: str, values: object, *, low: int, high: int, length: tuple[int, int]) -> tuple[int, ...]:
    """Check a list of integers and return it as a tuple."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise ValueError(f"{name} must be a list of integers, not {values!r}.")
    if not length[0] <= len(values) <= length[1]:
        raise ValueError(f"{name} must have {length[0]} to {length[1]} entries, not {len(values)}.")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{name} must hold integers in {low}..{high}, not {value!r}.")
    return tuple(values)


@register("trail_unet")
class TrailUNet(TrailNetwork):
    """Encoder-decoder with skip connections that starts at half resolution.

    The PSF is about four pixels wide, so that the first layer, a 4x4 convolution with stride 2, loses
    nothing, and all later layers cost a quarter. At the coarsest level, a chain of residual blocks with
    growing dilation extends the receptive field to a whole long trail.

    Parameters
    ----------
    in_channels
        Number of input channels.
    widths
        Number of channels at 1/2, 1/4, ... of the input's resolution. Multiples of 32 are fastest on CPUs.
    blocks
        Number of residual blocks at each level of the encoder.
    decoder_blocks
        Number of residual blocks at each level of the decoder (one entry fewer than ``widths``), from fine to
        coarse, after the convolution that joins the skip connection and the coarser level.
    dilations
        Dilations of the residual blocks at the coarsest level.

    Raises
    ------
    ValueError
        Raised if a hyperparameter is of the wrong type or out of range.
    """

    output_stride = 2

    def __init__(
        self,
        in_channels: int,
        *,
        widths: Sequence[int] = (32, 64, 96, 128),
        blocks: Sequence[int] = (1, 1, 1, 0),
        decoder_blocks: Sequence[int] = (0, 1, 1),
        dilations: Sequence[int] = (1, 2, 4),
    ) -> None:
        super().__init__()
        widths = _integers("widths", widths, low=1, high=1024, length=(2, 6))
        levels = len(widths)
        blocks = _integers("blocks", blocks, low=0, high=8, length=(levels, levels))
        decoder_blocks = _integers(
            "decoder_blocks", decoder_blocks, low=0, high=8, length=(levels - 1, levels - 1)
        )
        dilations = _integers("dilations", dilations, low=1, high=64, length=(0, 16))

        self.in_channels = in_channels
        self.stride = 2**levels
        self.stem = ConvUnit(in_channels, widths[0], 4, stride=2, padding=1)
        self.encoder = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
            for width, count in zip(widths, blocks, strict=True)
        )
        self.down = nn.ModuleList(
            ConvUnit(fine, coarse, 2, stride=2, padding=0) for fine, coarse in zip(widths, widths[1:])
        )
        self.bottom = nn.Sequential(*(ResidualBlock(widths[-1], dilation=dilation) for dilation in dilations))
        self.up = nn.ModuleList(ConvUnit(coarse, fine, 1) for fine, coarse in zip(widths, widths[1:]))
        self.join = nn.ModuleList(Join(width) for width in widths[:-1])
        self.decoder = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
            for width, count in zip(widths, decoder_blocks)
        )
        self.head = nn.Conv2d(widths[0], 1, 1)
        nn.init.zeros_(self.head.weight)
        # Few pixels belong to a trail: start from a probability of 1%, which shortens the first epochs.
        nn.init.constant_(self.head.bias, -math.log(99.0))  # type: ignore[arg-type]
        # Reach of each level of the decoder, in its own pixels, by the joining
        # convolution and the residual blocks.
        self._reaches = tuple(1 + 2 * count for count in decoder_blocks)
        self.receptive_radius = self._receptive_radius(blocks, self._reaches, dilations)

    @staticmethod
    def _receptive_radius(blocks: Sequence[int], reaches: Sequence[int], dilations: Sequence[int]) -> int:
        """Return the receptive radius of the longest path, in input pixels.

        A 3x3 convolution with dilation d at stride s reaches d s further; a residual block has a second
        convolution with dilation 1; the 4x4 stem reaches one pixel beyond its two; a 2x2 convolution with
        stride 2 reaches nothing beyond its footprint; and repeating pixels to twice the resolution adds one
        fine pixel.
        """
        radius = 1
        for level, count in enumerate(blocks):
            radius += 2 * count * 2 ** (level + 1)
        radius += sum(dilation + 1 for dilation in dilations) * 2 ** len(blocks)
        for level, reach in enumerate(reaches):
            # One pixel for the repetition.
            radius += (reach + 1) * 2 ** (level + 1)
        return radius

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
        wanted: _Region = tuple((part.start // 2, part.stop // 2) for part in inner)
        x = self.stem(x)
        regions = self._regions(wanted, x.shape)
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

    def _regions(self, region: _Region, shape: torch.Size) -> list[_Region]:
        """Return the part of each level, fine to coarse, that the decoder needs.

        Parameters
        ----------
        region
            Part of the finest level.
        shape
            Shape of the whole finest level.
        """
        regions: list[_Region] = []
        for level, reach in enumerate(self._reaches):
            # Whole pixels of the coarser level.
            region = tuple(
                (max(0, low - reach) // 2 * 2, min(size >> level, high + reach + 1) // 2 * 2)
                for (low, high), size in zip(region, shape[-2:], strict=True)
            )
            regions.append(region)
            region = tuple((low // 2, high // 2) for low, high in region)
        return regions


def _crop(x: torch.Tensor, region: _Region, of: _Region = ((0, 0), (0, 0))) -> torch.Tensor:
    """Return a region of a tensor that starts at the origin of the region ``of``."""
    (y0, y1), (x0, x1) = ((low - origin, high - origin) for (low, high), (origin, _) in zip(region, of))
    return x[:, :, y0:y1, x0:x1]
