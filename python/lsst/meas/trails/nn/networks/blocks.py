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

"""Building blocks of the networks."""

from __future__ import annotations

__all__ = ("ConvUnit", "Join", "ResidualBlock")

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval


class ConvUnit(nn.Module):
    """Convolution without bias, batch normalization and optional ReLU."""

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
        # On the meta device there are no weights to initialize, and torch would
        # load its compiler, which takes seconds.
        if not self.conv.weight.is_meta:
            nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return functional.relu(x, inplace=True) if self.activate else x

    def fold(self) -> None:
        """Fold the normalization into the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class Join(ConvUnit):
    """Convolution of a skip connection and a coarser level.

    The pixels of the coarser level are repeated to twice the resolution and appended to the channels of the
    skip connection.
    """

    repeat: torch.Tensor | None
    """Weights of a transposed convolution of the coarser level; `None` before `fold`."""

    def __init__(self, channels: int) -> None:
        super().__init__(2 * channels, channels)
        self.register_buffer("repeat", None)

    def forward(self, skip: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        of_skip, repeat = self.conv.weight, self.repeat
        if repeat is None:
            of_skip, of_coarse = of_skip.split(self.conv.out_channels, dim=1)
            repeat = _repeated(of_coarse)
        fine = functional.conv_transpose2d(coarse, repeat, stride=2, padding=1)
        fine = fine.add_(functional.conv2d(skip, of_skip, self.conv.bias, padding=1))
        return functional.relu(self.norm(fine), inplace=True)

    def fold(self) -> None:
        """Fold the normalization, and keep the weights of both parts."""
        super().fold()
        self.conv.in_channels = self.conv.out_channels
        of_skip, of_coarse = self.conv.weight.detach().split(self.conv.out_channels, dim=1)
        self.conv.weight = nn.Parameter(of_skip.clone(), requires_grad=False)
        self.repeat = _repeated(of_coarse)


def _repeated(weight: torch.Tensor) -> torch.Tensor:
    """Return a convolution of repeated pixels as a transposed convolution of the pixels.

    This needs four multiplications instead of nine, and no tensor of the repeated pixels.

    Parameters
    ----------
    weight
        Weights of the convolution, shape (n, m, 3, 3).

    Returns
    -------
    weight
        Weights of the transposed convolution with stride 2 and padding 1, shape (m, n, 4, 4).
    """
    # With weight w[k], a coarse pixel i reaches the fine pixels 2i + 1 - k and 2i + 2 - k, as it is repeated
    # twice along an axis.
    flipped = weight.transpose(0, 1).flip(2, 3)
    rows = functional.pad(flipped, (0, 0, 0, 1)) + functional.pad(flipped, (0, 0, 1, 0))
    return functional.pad(rows, (0, 1)) + functional.pad(rows, (1, 0))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, arXiv:1512.03385, figure 2)."""

    def __init__(self, channels: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.first = ConvUnit(channels, channels, dilation=dilation)
        self.second = ConvUnit(channels, channels, activate=False)
        # Starting as the identity makes the first steps of training stable.
        assert isinstance(self.second.norm, nn.BatchNorm2d)
        nn.init.zeros_(self.second.norm.weight)
        self.radius = dilation + 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # In place: allocation takes a quarter of the time on a large window.
        return functional.relu(self.second(self.first(x)).add_(x), inplace=True)
