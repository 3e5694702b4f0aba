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

"""Network architectures, by name.

A network maps an input of shape (B, C, H, W), made by
`lsst.meas.trails.core.normalize.network_input`, to the logit of "this pixel
belongs to a trail", shape (B, 1, H/s, W/s) with its own ``output_stride`` s.
"""

from __future__ import annotations

__all__ = (
    "MAX_CHANNELS",
    "Inner",
    "TrailNetwork",
    "TrailUNet",
    "count_parameters",
    "create_network",
    "network_names",
    "register",
)

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

MAX_CHANNELS = 16
"""Most input channels that a network may be asked to have."""

type Inner = tuple[slice, slice]
"""Rows and columns of a network's input, in whole multiples of its stride."""

type _Region = tuple[tuple[int, int], ...]
"""First pixel along each axis, and the one after the last."""


class TrailNetwork(nn.Module):
    """Base class of the architectures.

    Notes
    -----
    In evaluation mode the logit of a pixel may depend on the pixels within
    ``receptive_radius`` of it and on nothing else: no statistics over the
    tile (group or instance normalisation, squeeze and excitation).  That is
    what makes windowed prediction exact.  A network that cannot promise it
    names its ``tile_size``, and images are cut into such tiles.

    One that has none takes a second argument, ``inner``: the part of the
    input whose logits are wanted, which it may spare the rest.
    """

    in_channels: int
    """Number of input channels (`int`)."""

    stride: int
    """Number of which both sides of the input must be multiples (`int`)."""

    output_stride: int
    """Input pixels per output pixel along a side (`int`)."""

    receptive_radius: int
    """Greatest distance, in input pixels along an axis, between an output
    pixel's own footprint and an input pixel that it depends on (`int`).
    """

    tile_size: int | None = None
    """Side of the only input that the network is valid on, or `None` if it
    takes any multiple of ``stride`` (`int` | `None`).
    """

    def prepared_for_inference(self) -> Self:
        """Return a copy in evaluation mode with everything that is linear
        and constant then (batch normalisation) folded into the convolutions.
        """
        network = copy.deepcopy(self).eval().requires_grad_(False)
        for module in network.modules():
            if isinstance(module, _ConvUnit):
                module.fold()
        return network


_REGISTRY: dict[str, type[TrailNetwork]] = {}


def register(name: str) -> Callable[[type[TrailNetwork]], type[TrailNetwork]]:
    """Return a class decorator that adds an architecture to the registry.

    Parameters
    ----------
    name
        Name by which recipes and model specifications ask for it.

    Raises
    ------
    ValueError
        Raised if the name is taken.
    """

    def decorate(cls: type[TrailNetwork]) -> type[TrailNetwork]:
        if name in _REGISTRY:
            raise ValueError(f"An architecture named {name!r} is already registered.")
        _REGISTRY[name] = cls
        return cls

    return decorate


def network_names() -> tuple[str, ...]:
    """Return the names of the registered architectures, sorted."""
    return tuple(sorted(_architectures()))


def _architectures() -> dict[str, type[TrailNetwork]]:
    """Return the registry, with the architectures of other modules."""
    # They register themselves, for which they need this module.
    from . import unet_res_se as legacy_networks  # noqa: F401

    return _REGISTRY


def create_network(name: str, *, in_channels: int, **hyperparameters: Any) -> TrailNetwork:
    """Create a network with fresh random weights.

    Parameters
    ----------
    name
        Name of the architecture, one of `network_names`.
    in_channels
        Number of input channels.
    **hyperparameters
        Keyword arguments of the architecture; what is left out has its
        default.

    Raises
    ------
    ValueError
        Raised if there is no such architecture, or if it does not know a
        hyperparameter or cannot take its value.
    """
    if name not in _architectures():
        raise ValueError(f"There is no architecture {name!r}; known are {', '.join(network_names())}.")
    cls = _REGISTRY[name]
    known = [key for key in inspect.signature(cls).parameters if key != "in_channels"]
    for key in hyperparameters:
        if key not in known:
            raise ValueError(f"{name} has no hyperparameter {key!r}; it has {', '.join(known)}.")
    if isinstance(in_channels, bool) or not isinstance(in_channels, int):
        raise ValueError(f"The number of input channels must be an integer, not {in_channels!r}.")
    if not 1 <= in_channels <= MAX_CHANNELS:
        raise ValueError(f"The number of input channels must be in 1..{MAX_CHANNELS}, not {in_channels}.")
    return cls(in_channels=in_channels, **hyperparameters)


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable numbers in a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def _integers(name: str, values: Any, *, low: int, high: int, length: tuple[int, int]) -> tuple[int, ...]:
    """Return a hyperparameter that is a list of integers, checked."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise ValueError(f"{name} must be a list of integers, not {values!r}.")
    if not length[0] <= len(values) <= length[1]:
        raise ValueError(f"{name} must have {length[0]} to {length[1]} entries, not {len(values)}.")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{name} must hold integers in {low}..{high}, not {value!r}.")
    return tuple(values)


class _ConvUnit(nn.Module):
    """Convolution without bias, batch normalisation and, unless told
    otherwise, ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        activate: bool = True,
    ) -> None:
        super().__init__()
        if padding is None:
            padding = dilation * (kernel - 1) // 2
        self.conv: nn.Conv2d = nn.Conv2d(
            in_channels, out_channels, kernel, stride=stride, padding=padding, dilation=dilation, bias=False
        )
        self.norm: nn.Module = nn.BatchNorm2d(out_channels)
        self.activate = activate
        # On the meta device, where a model's weights are read into it, there is
        # nothing to draw, and torch would load its compiler for it: seconds.
        if not self.conv.weight.is_meta:
            nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return functional.relu(x, inplace=True) if self.activate else x

    def fold(self) -> None:
        """Fold the normalisation into the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class _Join(_ConvUnit):
    """Repeats the pixels of a coarser level to twice the resolution, puts
    them behind the channels of the skip connection, and convolves both.
    """

    repeat: torch.Tensor | None
    """Weights of a transposed convolution of the coarser level; `None` before
    `fold`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(2 * channels, channels)
        self.register_buffer("repeat", None)

    def forward(self, skip: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        if self.repeat is None:
            fine = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
            return super().forward(torch.cat((skip, fine), dim=1))
        fine = functional.conv_transpose2d(coarse, self.repeat, stride=2, padding=1)
        return functional.relu(fine.add_(self.conv(skip)), inplace=True)

    def fold(self) -> None:
        """Fold the normalisation, and the repetition with its part of the
        convolution into one transposed convolution: four multiplications
        instead of nine, and no tensor that holds both inputs.
        """
        super().fold()
        channels = self.conv.out_channels
        of_skip, of_coarse = self.conv.weight.detach().split(channels, dim=1)
        self.conv.in_channels = channels
        self.conv.weight = nn.Parameter(of_skip.clone(), requires_grad=False)
        # Of a weight w[k], a coarse pixel i reaches the fine pixels 2i + 1 - k
        # and 2i + 2 - k: each is there twice along an axis.
        self.repeat = of_coarse.new_zeros((channels, channels, 4, 4))
        for y in range(2):
            for x in range(2):
                self.repeat[:, :, y : y + 3, x : x + 3] += of_coarse.transpose(0, 1).flip(2, 3)


class _ResidualBlock(nn.Module):
    """Two convolutions of 3x3 and a shortcut (He et al. 2016,
    arXiv:1512.03385, figure 2).
    """

    def __init__(self, channels: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.first = _ConvUnit(channels, channels, dilation=dilation)
        self.second = _ConvUnit(channels, channels, activate=False)
        # Starting as the identity makes the first steps of training stable.
        assert isinstance(self.second.norm, nn.BatchNorm2d)
        nn.init.zeros_(self.second.norm.weight)
        self.radius = dilation + 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # In place: new memory costs a quarter of the time of a large window.
        return functional.relu(self.second(self.first(x)).add_(x), inplace=True)


@register("trail_unet")
class TrailUNet(TrailNetwork):
    """Encoder-decoder with skip connections that works from half resolution.

    The PSF is about four pixels wide, so nothing is lost in the first layer,
    a convolution of 4x4 with stride 2, and all that follows costs a quarter.
    At the coarsest level, a chain of residual blocks with growing dilation
    lets every pixel see a whole long trail.

    Parameters
    ----------
    in_channels
        Number of input channels.
    widths
        Number of channels at 1/2, 1/4, ... of the input's resolution.
        Multiples of 32 are what CPUs are quickest at.
    blocks
        Number of residual blocks at each level of the encoder.
    decoder_blocks
        Number of residual blocks at each level of the decoder (one entry
        fewer than ``widths``), from fine to coarse, after the one
        convolution that joins the skip connection with what comes from below.
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
        self.stem = _ConvUnit(in_channels, widths[0], 4, stride=2, padding=1)
        self.encoder = nn.ModuleList(
            nn.Sequential(*(_ResidualBlock(width) for _ in range(count)))
            for width, count in zip(widths, blocks, strict=True)
        )
        self.down = nn.ModuleList(
            _ConvUnit(fine, coarse, 2, stride=2, padding=0) for fine, coarse in zip(widths, widths[1:])
        )
        self.bottom = nn.Sequential(
            *(_ResidualBlock(widths[-1], dilation=dilation) for dilation in dilations)
        )
        self.up = nn.ModuleList(_ConvUnit(coarse, fine, 1) for fine, coarse in zip(widths, widths[1:]))
        self.join = nn.ModuleList(_Join(width) for width in widths[:-1])
        self.decoder = nn.ModuleList(
            nn.Sequential(*(_ResidualBlock(width) for _ in range(count)))
            for width, count in zip(widths, decoder_blocks)
        )
        self.head = nn.Conv2d(widths[0], 1, 1)
        nn.init.zeros_(self.head.weight)
        # Few pixels belong to a trail: starting from "none does" spares the
        # first epochs the unlearning of a probability of one half.
        nn.init.constant_(self.head.bias, -math.log(99.0))  # type: ignore[arg-type]
        # How far each level of the decoder sees, in its own pixels: by the
        # convolution that joins, and the residual blocks.
        self._reaches = tuple(1 + 2 * count for count in decoder_blocks)
        self.receptive_radius = self._receptive_radius(blocks, self._reaches, dilations)

    @staticmethod
    def _receptive_radius(blocks: Sequence[int], reaches: Sequence[int], dilations: Sequence[int]) -> int:
        """Return the receptive radius of the longest path, in input pixels.

        A 3x3 convolution of dilation d at stride s reaches d s further; a
        residual block has one more of them with dilation 1; the 4x4 stem
        reaches one pixel beyond its two; a 2x2 convolution with stride 2
        reaches nothing beyond its footprint, and repeating pixels to twice
        the resolution adds one fine pixel, as the coarse one sticks out.
        """
        radius = 1
        for level, count in enumerate(blocks):
            radius += 2 * count * 2 ** (level + 1)
        radius += sum(dilation + 1 for dilation in dilations) * 2 ** len(blocks)
        for level, reach in enumerate(reaches):
            # And the repetition.
            radius += (reach + 1) * 2 ** (level + 1)
        return radius

    def forward(self, x: torch.Tensor, inner: Inner | None = None) -> torch.Tensor:
        """Return logits.

        Parameters
        ----------
        x
            Input, shape (B, C, H, W), whose sides are multiples of ``stride``.
        inner
            The part of the input whose logits are wanted; by default all.

        Returns
        -------
        logits
            Shape (B, 1, h/2, w/2), for h and w the sides of that part.
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
        """Return which part of each level, fine to coarse, the decoder needs
        for part of the finest, of which the whole has this shape.

        It sees much less far than the coarsest level does, which is what the
        margin of a window is for.
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
    """Return part of a tensor that begins where the region ``of`` does."""
    (y0, y1), (x0, x1) = ((low - origin, high - origin) for (low, high), (origin, _) in zip(region, of))
    return x[:, :, y0:y1, x0:x1]
