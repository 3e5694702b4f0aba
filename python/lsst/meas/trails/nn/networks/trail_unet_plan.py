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

"""Plan of the U-Net that starts at half resolution: the architecture of the shipped models."""

from __future__ import annotations

__all__ = ("Region", "TrailUNetPlan")

from collections.abc import Iterator, Sequence
from typing import ClassVar

from .registry import Inner, NetworkPlan, register

type Region = tuple[tuple[int, int], ...]
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
class TrailUNetPlan(NetworkPlan):
    """Plan of an encoder-decoder with skip connections that starts at half resolution.

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
    network: ClassVar[str] = f"{__package__}.trail_unet:TrailUNet"
    graph: ClassVar[str | None] = f"{__package__}.trail_unet_graph:trail_unet_graph"

    def __init__(
        self,
        in_channels: int,
        *,
        widths: Sequence[int] = (32, 64, 96, 128),
        blocks: Sequence[int] = (1, 1, 1, 0),
        decoder_blocks: Sequence[int] = (0, 1, 1),
        dilations: Sequence[int] = (1, 2, 4),
    ) -> None:
        self.in_channels = in_channels
        self.widths = _integers("widths", widths, low=1, high=1024, length=(2, 6))
        levels = len(self.widths)
        self.blocks = _integers("blocks", blocks, low=0, high=8, length=(levels, levels))
        self.decoder_blocks = _integers(
            "decoder_blocks", decoder_blocks, low=0, high=8, length=(levels - 1, levels - 1)
        )
        self.dilations = _integers("dilations", dilations, low=1, high=64, length=(0, 16))
        self.stride = 2**levels
        # Reach of each level of the decoder, in its own pixels, by the joining
        # convolution and the residual blocks.
        self._reaches = tuple(1 + 2 * count for count in self.decoder_blocks)
        self.receptive_radius = self._receptive_radius()

    def _receptive_radius(self) -> int:
        """Return the receptive radius of the longest path, in input pixels.

        A 3x3 convolution with dilation d at stride s reaches d s further; a residual block has a second
        convolution with dilation 1; the 4x4 stem reaches one pixel beyond its two; a 2x2 convolution with
        stride 2 reaches nothing beyond its footprint; and repeating pixels to twice the resolution adds one
        fine pixel.
        """
        radius = 1
        for level, count in enumerate(self.blocks):
            radius += 2 * count * 2 ** (level + 1)
        radius += sum(dilation + 1 for dilation in self.dilations) * self.stride
        for level, reach in enumerate(self._reaches):
            # One pixel for the repetition.
            radius += (reach + 1) * 2 ** (level + 1)
        return radius

    def regions(self, inner: Inner, shape: Sequence[int]) -> list[Region]:
        """Return the part of each level, fine to coarse, that the decoder needs.

        Parameters
        ----------
        inner
            Part of the input whose logits are needed.
        shape
            Shape (H, W) of the input.
        """
        regions: list[Region] = []
        region: Region = tuple((part.start // 2, part.stop // 2) for part in inner)
        for level, reach in enumerate(self._reaches):
            # Whole pixels of the coarser level.
            region = tuple(
                (max(0, low - reach) // 2 * 2, min(size >> level + 1, high + reach + 1) // 2 * 2)
                for (low, high), size in zip(region, shape, strict=True)
            )
            regions.append(region)
            region = tuple((low // 2, high // 2) for low, high in region)
        return regions

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for name, shape in self._convolutions():
            shapes[f"{name}.conv.weight"] = shape
            shapes |= {f"{name}.norm.{part}": shape[:1] for part in _NORMALIZATION}
        return shapes | {"head.weight": (1, self.widths[0], 1, 1), "head.bias": (1,)}

    def _convolutions(self) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
        """Yield names and shapes of the convolutions that are followed by a normalization."""

        def residual(name: str, width: int, count: int) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
            for i in range(count):
                for part in ("first", "second"):
                    yield f"{name}.{i}.{part}", (width, width, 3, 3)

        widths = self.widths
        yield "stem", (widths[0], self.in_channels, 4, 4)
        for level, (width, count) in enumerate(zip(widths, self.blocks)):
            yield from residual(f"encoder.{level}", width, count)
        yield from residual("bottom", widths[-1], len(self.dilations))
        for level, (fine, coarse) in enumerate(zip(widths, widths[1:])):
            yield f"down.{level}", (coarse, fine, 2, 2)
            yield f"up.{level}", (fine, coarse, 1, 1)
            yield f"join.{level}", (fine, 2 * fine, 3, 3)
            yield from residual(f"decoder.{level}", fine, self.decoder_blocks[level])


_NORMALIZATION = ("weight", "bias", "running_mean", "running_var")
"""Weights of a batch normalization."""
