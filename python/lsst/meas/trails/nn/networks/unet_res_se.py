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

"""Residual U-Nets of Asteroid_detection_CNN, to run its checkpoints.

The names and shapes of their parameters match the checkpoints.
"""

from __future__ import annotations

__all__ = ("UNetResSE", "UNetResSEASPP")

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from .network import TrailNetwork
from .unet_res_se_plan import ADCNN_TILE_SIZE, UNetResSEPlan

_GROUPS = 8
_REDUCTION = 8
_ASPP_DILATIONS = (1, 6, 12, 18)
_LEVELS = 5


class _SqueezeExcite(nn.Module):
    """Channels weighted by a function of their means (Hu et al. 2018, arXiv:1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _REDUCTION, 1)
        self.fc2 = nn.Conv2d(channels // _REDUCTION, channels, 1)
        self.register_load_state_dict_pre_hook(self._accept_linear)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.fc2(functional.silu(self.fc1(x.mean(dim=(2, 3), keepdim=True))))
        return x * torch.sigmoid(weights)

    @staticmethod
    def _accept_linear(module: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_: object) -> None:
        """Accept weights of linear layers, equal to 1x1 convolutions of channel means."""
        for name in ("fc1.weight", "fc2.weight"):
            tensor = state.get(prefix + name)
            if isinstance(tensor, torch.Tensor) and tensor.ndim == 2:
                state[prefix + name] = tensor[:, :, None, None]


class _ResBlock(nn.Module):
    """Residual block with group normalization, and squeeze and excitation.

    It has pre-activation (He et al. 2016, arXiv:1603.05027).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.bn1 = nn.GroupNorm(_GROUPS, in_channels)
        self.c1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.GroupNorm(_GROUPS, out_channels)
        self.c2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.se = _SqueezeExcite(out_channels)
        self.proj = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.c1(functional.silu(self.bn1(x)))
        y = self.se(self.c2(functional.silu(self.bn2(y))))
        return y + self.proj(x)


class _Down(nn.Module):
    """Max pooling and a residual block."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.rb = _ResBlock(in_channels, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rb(functional.max_pool2d(x, 2))


class _Up(nn.Module):
    """Transposed convolution, skip connection and two residual blocks."""

    def __init__(self, coarse: int, fine: int, *, skip_first: bool) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(coarse, coarse, 2, stride=2)
        self.rb1 = _ResBlock(coarse + fine, fine)
        self.rb2 = _ResBlock(fine, fine)
        self.skip_first = skip_first

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = self.up(x)
        x = torch.cat((skip, x) if self.skip_first else (x, skip), dim=1)
        return self.rb2(self.rb1(x))


class _ASPP(nn.Module):
    """Atrous spatial pyramid pooling without its image-level part.

    See Chen et al. 2017, arXiv:1706.05587.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        part = channels // len(_ASPP_DILATIONS)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, part, 3, padding=dilation, dilation=dilation, bias=False),
                nn.BatchNorm2d(part),
                nn.SiLU(inplace=True),
            )
            for dilation in _ASPP_DILATIONS
        )
        self.project = nn.Conv2d(part * len(_ASPP_DILATIONS), channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.project(torch.cat([block(x) for block in self.blocks], dim=1))


class UNetResSE(TrailNetwork):
    """Residual U-Net with squeeze and excitation, at full resolution.

    Parameters
    ----------
    plan
        Plan of the network.
    """

    def __init__(self, plan: UNetResSEPlan) -> None:
        super().__init__(plan)
        in_channels, width = plan.in_channels, plan.width
        widths = [width * 2**level for level in range(_LEVELS)]
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.SiLU(inplace=True),
            _ResBlock(width, width),
        )
        self.d1, self.d2, self.d3, self.d4 = (_Down(fine, coarse) for fine, coarse in zip(widths, widths[1:]))
        self.aspp = self._bottleneck(widths[-1])
        # Coarsest first, in the order of use.
        self.u1, self.u2, self.u3, self.u4 = (
            _Up(coarse, fine, skip_first=plan.skip_first)
            for fine, coarse in reversed(list(zip(widths, widths[1:])))
        )
        self.head = nn.Conv2d(width, 1, 1)
        self.register_load_state_dict_pre_hook(self._accept_reversed)

    @staticmethod
    def _bottleneck(channels: int) -> nn.Module:
        return nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (B, 1, 128, 128), of an input, shape (B, C, 128, 128).

        Raises
        ------
        ValueError
            Raised if the input has other sides.
        """
        if tuple(x.shape[-2:]) != (ADCNN_TILE_SIZE, ADCNN_TILE_SIZE):
            raise ValueError(
                f"{type(self).__name__} needs tiles of {ADCNN_TILE_SIZE}x{ADCNN_TILE_SIZE} pixels, not "
                f"{x.shape[-2]}x{x.shape[-1]}."
            )
        s0 = self.stem(x)
        s1 = self.d1(s0)
        s2 = self.d2(s1)
        s3 = self.d3(s2)
        y = self.aspp(self.d4(s3))
        y = self.u4(self.u3(self.u2(self.u1(y, s3), s2), s1), s0)
        return self.head(y)

    @staticmethod
    def _accept_reversed(module: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_: object) -> None:
        """Accept weights with ``u1`` as the finest level, recognized by their shapes."""
        names: Sequence[str] = ("u1", "u2", "u3", "u4")
        first, last = (state.get(f"{prefix}{name}.up.weight") for name in (names[0], names[-1]))
        if not isinstance(first, torch.Tensor) or not isinstance(last, torch.Tensor):
            return
        if first.ndim == last.ndim == 4 and first.shape[0] < last.shape[0]:
            renamed = {}
            for old, new in zip(names, reversed(names)):
                for key in [key for key in state if key.startswith(f"{prefix}{old}.")]:
                    renamed[f"{prefix}{new}." + key.removeprefix(f"{prefix}{old}.")] = state.pop(key)
            state.update(renamed)


class UNetResSEASPP(UNetResSE):
    """`UNetResSE` with atrous spatial pyramid pooling at the bottleneck."""

    @staticmethod
    def _bottleneck(channels: int) -> nn.Module:
        return _ASPP(channels)
