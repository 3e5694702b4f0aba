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

"""Network inputs from torch tensors, as `lsst.meas.trails.core.normalize` makes them from arrays."""

from __future__ import annotations

__all__ = ("DEVICE_CHANNELS", "device_input", "symmetry_view")

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from ..core.normalize import LARGEST_SIGNIFICANCE, SOFTENING


class _Pixels(NamedTuple):
    """Pixels of a batch, each of shape (B, h, w)."""

    signal: torch.Tensor
    bad: torch.Tensor
    template: torch.Tensor | None
    missing: torch.Tensor | None
    per_sigma: torch.Tensor


def _compress(significance: torch.Tensor, missing: torch.Tensor) -> torch.Tensor:
    """Return ``5 asinh(z / 5)``, 0 at missing pixels."""
    limit = float(LARGEST_SIGNIFICANCE)
    significance = significance.masked_fill_(missing, 0.0).clamp_(-limit, limit)
    # As in numpy: torch takes ten times as long for asinh on a CPU.
    scaled = (significance * (1.0 / SOFTENING)).abs_()
    result = scaled.square().add_(1.0).sqrt_().add_(scaled).log_().mul_(SOFTENING)
    return result.copysign_(significance)


def _science(pixels: _Pixels) -> torch.Tensor:
    return _compress(pixels.signal * pixels.per_sigma, pixels.bad)


def _bad(pixels: _Pixels) -> torch.Tensor:
    return pixels.bad.float()


def _template(pixels: _Pixels) -> torch.Tensor:
    if pixels.template is None or pixels.missing is None:
        return torch.zeros_like(pixels.signal)
    return _compress(pixels.template * pixels.per_sigma, pixels.missing)


def _template_missing(pixels: _Pixels) -> torch.Tensor:
    return torch.ones_like(pixels.signal) if pixels.missing is None else pixels.missing.float()


DEVICE_CHANNELS: dict[str, Callable[[_Pixels], torch.Tensor]] = {
    "science": _science,
    "bad": _bad,
    "template": _template,
    "template_missing": _template_missing,
}
"""Input channels by name; see `lsst.meas.trails.core.normalize.CHANNELS`."""


def device_input(
    signal: torch.Tensor,
    variance: torch.Tensor,
    bad: torch.Tensor,
    template: torch.Tensor | None,
    channels: Sequence[str],
) -> list[torch.Tensor]:
    """Return the input channels of a network, each of shape (B, h, w), float32, finite everywhere.

    Parameters
    ----------
    signal
        Image without its background, shape (B, h, w), float32, finite.
    variance
        Variance, same shape, positive and finite where there is no bad pixel.
    bad
        Pixels that carry no information, same shape, bool.
    template
        Template, same shape and unit as the signal; NaN where it has no data or the variance is not valid;
        `None` without any.
    channels
        Names of the channels.
    """
    missing = None if template is None else torch.isnan(template)
    pixels = _Pixels(signal, bad, template, missing, torch.rsqrt(variance))
    return [DEVICE_CHANNELS[name](pixels) for name in channels]


def symmetry_view(array: torch.Tensor, number: int) -> torch.Tensor:
    """Return a view rotated and mirrored in its last two axes, which are equal.

    Parameters
    ----------
    array
        Shape (..., n, n).
    number
        Symmetry of the square; see `lsst.meas.trails.training.augmentation.apply_symmetry`.
    """
    if number & 4:
        array = array.flip(-1)
    return torch.rot90(array, number & 3, dims=(-2, -1))
