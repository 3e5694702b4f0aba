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

"""Rendering of many trails at once on the device of a training.

The same Fourier method as `lsst.meas.trails.core.render`, for batches of torch tensors.
"""

from __future__ import annotations

__all__ = ("box_size", "render_stamps")

import math

import scipy.fft
import torch

_MARGIN = 2
"""Pixels beyond the reach of the kernel, for a sub-pixel shift."""

_STEP = 32
"""Sides of boxes are multiples of this, so that a batch has few different ones."""


def box_size(extent: float, kernel: int) -> int:
    """Return the side of a box that holds a trail, pixels.

    Parameters
    ----------
    extent
        Longest extent of the trail along an axis, pixels.
    kernel
        Side of the PSF kernel.
    """
    return -(-(math.ceil(extent) + 2 * (kernel // 2 + _MARGIN) + 2) // _STEP) * _STEP


def render_stamps(
    kernels: torch.Tensor, midpoints: torch.Tensor, extents: torch.Tensor, size: int
) -> torch.Tensor:
    """Return trails of unit flux, each on a stamp of its own, shape (n, size, size).

    Parameters
    ----------
    kernels
        PSF kernel of each trail, shape (n, k, k), float32, with odd k.
    midpoints
        Midpoints (x, y) in the coordinates of the stamps, pixels, shape (n, 2).
    extents
        Extents (dx, dy) from the first to the second end, pixels, shape (n, 2).
    size
        Side of the stamps, at least that of `box_size`.

    Notes
    -----
    Unlike in `~lsst.meas.trails.core.render.render_trail`, the PSF does not change along a trail: within a
    crop of a few hundred pixels it changes by less than one percent.
    """
    k = kernels.shape[-1]
    side = scipy.fft.next_fast_len(max(size, k), real=True)
    padded = kernels.new_zeros((len(kernels), side, side))
    padded[:, :k, :k] = kernels
    transform = torch.fft.rfft2(padded)
    fy = torch.fft.fftfreq(side, device=kernels.device)[None, :, None]
    fx = torch.fft.rfftfreq(side, device=kernels.device)[None, None, :]
    (dx, dy), (x, y) = ((pair[:, 0, None, None], pair[:, 1, None, None]) for pair in (extents, midpoints))
    # The kernel's center is its pixel k // 2.
    shift = k // 2
    rows, columns = _turn(fy * (y - shift)), _turn(fx * (x - shift))
    transform *= rows * torch.sinc(fx * dx + fy * dy)
    transform *= columns
    stamps = torch.fft.irfft2(transform, s=(side, side))[:, :size, :size]
    return stamps / stamps.sum(dim=(1, 2), keepdim=True)


def _turn(cycles: torch.Tensor) -> torch.Tensor:
    """Return the unit complex numbers of minus some angles, in cycles."""
    angle = (-2.0 * math.pi) * cycles
    return torch.complex(torch.cos(angle), torch.sin(angle))
