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

"""Plans of the residual U-Nets of Asteroid_detection_CNN, to run its checkpoints."""

from __future__ import annotations

__all__ = ("ADCNN_TILE_SIZE", "UNetResSEASPPPlan", "UNetResSEPlan")

from typing import ClassVar

from .registry import NetworkPlan, register

ADCNN_TILE_SIZE = 128
"""Side of the only valid tiles, pixels."""

_CONCATENATIONS = ("up-skip", "skip-up")


@register("UNetResSE")
class UNetResSEPlan(NetworkPlan):
    """Plan of a residual U-Net with squeeze and excitation, at full resolution.

    Parameters
    ----------
    in_channels
        Number of input channels.
    width
        Number of channels at full resolution, a multiple of 8; it doubles with every level.
    concatenation
        Order of channels where a skip connection joins the coarser level: ``up-skip`` or ``skip-up``.

    Raises
    ------
    ValueError
        Raised if a hyperparameter is of the wrong type or out of range.

    Notes
    -----
    Every logit depends on the whole input and on its size, because of group normalization, squeeze and
    excitation and, with pyramid pooling, dilations beyond the tile. The networks were trained on tiles of
    128x128 pixels and are valid only on such tiles.
    """

    network: ClassVar[str] = f"{__package__}.unet_res_se:UNetResSE"
    stride = ADCNN_TILE_SIZE
    output_stride = 1
    tile_size = ADCNN_TILE_SIZE
    receptive_radius = ADCNN_TILE_SIZE - 1

    def __init__(self, in_channels: int, *, width: int = 32, concatenation: str = "up-skip") -> None:
        # Group normalization has 8 groups.
        if isinstance(width, bool) or not isinstance(width, int) or not 8 <= width <= 128 or width % 8:
            raise ValueError(f"width must be a multiple of 8 in 8..128, not {width!r}.")
        if concatenation not in _CONCATENATIONS:
            raise ValueError(
                f"concatenation must be one of {', '.join(_CONCATENATIONS)}, not {concatenation!r}."
            )
        self.in_channels = in_channels
        self.width = width
        self.skip_first = concatenation == "skip-up"


@register("UNetResSEASPP")
class UNetResSEASPPPlan(UNetResSEPlan):
    """Plan of a `UNetResSE` with atrous spatial pyramid pooling at the bottleneck."""

    network: ClassVar[str] = f"{__package__}.unet_res_se:UNetResSEASPP"
