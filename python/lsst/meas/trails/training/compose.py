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

"""Batches of crops with fresh trails, made on the device of a training.

The pixels of trails are as in `lsst.meas.trails.core.injection.fresh.add_fresh_trails`, but for a normal
instead of a Poisson distribution of their noise, and for bleeds. No step waits for the device.
"""

from __future__ import annotations

__all__ = ("compose_batch",)

import functools
from collections.abc import Sequence

import numpy as np
import torch

from .backgrounds import BAD, IGNORED, NO_DATA, TRAIL, Background
from .crop_plan import CropPlan
from .device_input import device_input, symmetry_view
from .light import box_size, render_stamps
from .recipe_data import InjectionRecipe
from .target import LARGEST_WEIGHT, REFERENCE_AREA, SMALLEST_WEIGHT

_BLEED = 0.15
"""Pixels of bleed, up and down and beyond the first, per full well of excess charge; see
`lsst.meas.trails.core.injection.saturation.saturate`.
"""

_MAY_BLEED = 300.0
"""SNR below which no trail saturates enough to bleed."""

_STAMPS = 64
"""Largest number of stamps that are rendered at once."""


def compose_batch(
    backgrounds: Sequence[Background],
    plans: Sequence[CropPlan],
    *,
    size: int,
    channels: Sequence[str],
    injection: InjectionRecipe,
    balance: float,
    stride: int,
    device: torch.device,
    seed: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the inputs, targets and pixel weights of a batch of crops.

    Parameters
    ----------
    backgrounds
        All backgrounds, on the device or in the memory of the host.
    plans
        The crops.
    size
        Side of the crops, pixels.
    channels
        Input channels.
    injection
        Rules of the truth.
    balance, stride
        As for `~lsst.meas.trails.training.target.tile_target`, but touching trails have separate areas.
    device
        Device of the result.
    seed
        Seed of the noise.

    Returns
    -------
    inputs, target, valid
        Shapes (B, C, T, T), (B, 1, T/s, T/s) and (B, 1, T/s, T/s), float32.
    """
    crops = [backgrounds[plan.background] for plan in plans]
    signal, variance, template, flags = _gather(crops, plans, size, device)
    bad = (flags & BAD) != 0
    painter = _Painter(crops, plans, variance, bad, injection, balance, stride)
    painter.paint()
    light = painter.light
    # Numbers of each crop, in one copy to the device.
    full_well, per_electron, scale, slope_x, slope_y = _send(
        np.array(
            [
                (crop.full_well, 1.0 / crop.electrons, plan.noise**2, *plan.gradient)
                for crop, plan in zip(crops, plans, strict=True)
            ],
            dtype=np.float32,
        ),
        device,
    ).T[:, :, None, None]
    signal = signal + light
    saturated = (signal > full_well) & (light > 0.0) & ~bad
    bad = bad | saturated
    bleeding = [n for n, plan in enumerate(plans) if any(line.snr > _MAY_BLEED for line in plan.lines)]
    if bleeding:
        which = _send(np.array(bleeding), device)
        bled = _bleed(*(array.index_select(0, which) for array in (signal, saturated, full_well)))
        bad.index_copy_(0, which, bad.index_select(0, which) | bled)
    added = light.clamp_(min=0.0) * per_electron
    generator = torch.Generator(device=device).manual_seed(seed)
    noise = torch.empty_like(signal).normal_(generator=generator)
    signal = torch.addcmul(signal, noise, torch.sqrt(added + scale * variance))
    variance = torch.addcmul(added, variance, 1.0 + scale)
    place = torch.linspace(-0.5, 0.5, size, device=device)
    signal += slope_x * place[None, None, :] + slope_y * place[None, :, None]
    for number, plan in enumerate(plans):
        if plan.masked is not None:
            axis, start, stop = plan.masked
            bad[number].narrow(axis, start, stop - start).fill_(True)
    inputs = torch.stack(device_input(signal, variance, bad, template, channels), dim=1)
    symmetries = [plan.symmetry for plan in plans]
    inputs = _turned(inputs, symmetries).contiguous(memory_format=torch.channels_last)
    target, valid = _turned(torch.stack(painter.truth(flags), dim=1), symmetries).split(1, dim=1)
    return inputs, target.contiguous(), valid.contiguous()


def _send(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy an array to a device without waiting."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _gather(
    crops: Sequence[Background], plans: Sequence[CropPlan], size: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Return signal, variance and template, float32, and flags of crops, each of shape (B, T, T).

    The template is NaN where it is not used, and `None` if none is.
    """
    where = crops[0].pixels.device
    # A device without an index is not equal to the same one with it.
    pinned = where.type != device.type
    parts = [(slice(plan.y0, plan.y0 + size), slice(plan.x0, plan.x0 + size)) for plan in plans]

    def stack(views: Sequence[torch.Tensor]) -> torch.Tensor:
        first = views[0]
        shape = (len(views), *first.shape)
        result = torch.empty(shape, dtype=first.dtype, device=where, pin_memory=pinned)
        return torch.stack(list(views), out=result).to(device, non_blocking=True)

    pixels = stack([crop.pixels[:2, *part] for crop, part in zip(crops, parts, strict=True)]).float()
    flags = stack([crop.flags[part] for crop, part in zip(crops, parts, strict=True)])
    used = [plan.keeps_template and crop.has_template for crop, plan in zip(crops, plans, strict=True)]
    template = None
    if any(used):
        nothing = crops[0].pixels.new_full((1, 1), torch.nan).expand(size, size)
        views = [crop.pixels[2][part] if use else nothing for crop, part, use in zip(crops, parts, used)]
        template = stack(views).float()
    return pixels[:, 0], pixels[:, 1], template, flags


def _turned(arrays: torch.Tensor, symmetries: Sequence[int]) -> torch.Tensor:
    """Return arrays of shape (B, C, n, n), each rotated and mirrored by its symmetry."""
    order = np.argsort(symmetries, kind="stable")
    numbers, counts = np.unique(symmetries, return_counts=True)
    there, back = _send(np.stack([order, np.argsort(order)]), arrays.device)
    groups = arrays.index_select(0, there).split(counts.tolist())
    turned = [symmetry_view(group, int(number)) for number, group in zip(numbers, groups, strict=True)]
    return torch.cat(turned).index_select(0, back)


def _bleed(signal: torch.Tensor, saturated: torch.Tensor, full_well: torch.Tensor) -> torch.Tensor:
    """Return the pixels that charge above the full well reaches along columns.

    Parameters
    ----------
    signal, saturated
        Pixels and their saturation, shape (B, T, T).
    full_well
        Full well of each crop, shape (B, 1, 1).
    """
    size = signal.shape[1]
    excess = torch.where(saturated, signal - full_well, 0.0).sum(dim=1, keepdim=True)
    reach = 1.0 + _BLEED * excess / full_well
    rows = torch.arange(size, device=signal.device, dtype=torch.float32)[:, None]
    far = float(2 * size) + reach
    above = torch.where(saturated, rows, -far).cummax(dim=1).values
    below = torch.where(saturated, rows, far + size).flip(1).cummin(dim=1).values.flip(1)
    return (rows - above <= reach) | (below - rows <= reach)


class _Painter:
    """Light and truth of the trails and points of a batch."""

    def __init__(
        self,
        crops: Sequence[Background],
        plans: Sequence[CropPlan],
        variance: torch.Tensor,
        bad: torch.Tensor,
        injection: InjectionRecipe,
        balance: float,
        stride: int,
    ) -> None:
        self._crops = crops
        self._plans = plans
        self._injection = injection
        self._balance = balance
        self._stride = stride
        self._size = bad.shape[-1]
        self._device = bad.device
        inverse = variance.reciprocal()
        # Weights of all pixels, and of the good ones.
        self._weights = torch.stack([inverse, inverse.masked_fill(bad, 0.0)]).flatten(1)
        self._small = self._size // stride
        self.light = torch.zeros_like(variance)
        # Pixels of visible and of faint trails, and the weights of both.
        self._marks = variance.new_zeros((3, len(plans), self._small, self._small))

    def paint(self) -> None:
        """Add all trails and points."""
        groups: dict[int, list[tuple[int, int]]] = {}
        for number, plan in enumerate(self._plans):
            kernel = self._crops[number].psf.size
            for index, line in enumerate(plan.lines):
                x0, y0, x1, y1 = line.trail.ends
                size = box_size(max(abs(x1 - x0), abs(y1 - y0)), kernel)
                groups.setdefault(size, []).append((number, index))
        for size, members in sorted(groups.items()):
            for first in range(0, len(members), _STAMPS):
                self._paint_group(size, members[first : first + _STAMPS])

    def _paint_group(self, size: int, members: Sequence[tuple[int, int]]) -> None:
        """Add trails with stamps of one size."""
        lines = [self._plans[number].lines[index] for number, index in members]
        trails = [line.trail for line in lines]
        # Whole pixels of the truth.
        corners = np.array(
            [
                [round((v - 0.5 * size) / self._stride) * self._stride for v in (trail.x, trail.y)]
                for trail in trails
            ]
        )
        midpoints = np.array([[trail.x, trail.y] for trail in trails]) - corners
        ends = np.array([trail.ends for trail in trails])
        values = np.column_stack([midpoints, ends[:, 2:] - ends[:, :2], [line.snr for line in lines]])
        numbers = _send(values.astype(np.float32), self._device)
        kernels = _send(self._kernels(members), self._device)
        stamps = render_stamps(kernels, numbers[:, :2], numbers[:, 2:4], size)
        crops = _send(np.array([number for number, _ in members]), self._device)
        first = _send(corners, self._device)
        inside, where = _window(crops, first, size, self._size)
        # Beyond the crop is the noise of blank sky, and no good pixel.
        everywhere, good = (
            torch.where(inside, weights[where], beyond) for weights, beyond in zip(self._weights, (1.0, 0.0))
        )
        squared = stamps.square()
        flux = numbers[:, 4] * torch.rsqrt((squared * everywhere).sum(dim=(1, 2)))
        visible = flux * torch.sqrt((squared * good).sum(dim=(1, 2))) >= self._injection.ignore_below
        peak = stamps.amax(dim=(1, 2), keepdim=True)
        mask = self._pooled(stamps > self._injection.truth_fraction * peak)
        stamps *= flux[:, None, None] * inside
        self.light.view(-1).scatter_add_(0, where.flatten(), stamps.flatten())
        is_trail = _send(np.array([line.is_trail for line in lines]), self._device)[:, None, None]
        step = self._stride
        inside, where = _window(crops, first // step, size // step, self._small)
        truth = (mask & inside & is_trail).float()
        area = truth.sum(dim=(1, 2)) * step**2
        weight = ((REFERENCE_AREA / area.clamp(min=1.0)) ** self._balance).clamp(
            SMALLEST_WEIGHT, LARGEST_WEIGHT
        )
        marks = torch.stack([visible.float(), (~visible).float(), weight])[:, :, None, None] * truth
        self._marks.view(3, -1).scatter_reduce_(
            1, where.flatten().expand(3, -1), marks.flatten(1), reduce="amax"
        )

    def _kernels(self, members: Sequence[tuple[int, int]]) -> np.ndarray:
        """Return the PSF at the midpoint of each trail, shape (n, k, k), float32."""
        kernels = []
        for number, index in members:
            plan, trail = self._plans[number], self._plans[number].lines[index].trail
            kernels.append(self._crops[number].psf.kernel(trail.x + plan.x0, trail.y + plan.y0))
        side = max(len(kernel) for kernel in kernels)
        result = np.zeros((len(kernels), side, side), dtype=np.float32)
        for i, kernel in enumerate(kernels):
            edge = (side - len(kernel)) // 2
            result[i, edge : side - edge, edge : side - edge] = kernel
        return result

    def _pooled(self, bits: torch.Tensor) -> torch.Tensor:
        """Return the bits that any pixel of each block has set."""
        rows = functools.reduce(torch.bitwise_or, (bits[:, i :: self._stride] for i in range(self._stride)))
        return functools.reduce(
            torch.bitwise_or, (rows[:, :, i :: self._stride] for i in range(self._stride))
        )

    def truth(self, flags: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return target and weight, each of shape (B, T/s, T/s), float32."""
        # A block has data if one of its pixels has.
        pooled = self._pooled(flags ^ NO_DATA)
        visible, faint, weights = self._marks
        painted, real = visible > 0.0, (pooled & TRAIL) != 0
        trail = painted | real
        ignored = ((pooled & IGNORED) != 0) | (faint > 0.0)
        seen = ((pooled & NO_DATA) != 0) & (trail | ~ignored)
        weight = seen.float()
        if self._balance > 0.0:
            weight = torch.where(painted, weight * weights, weight)
        return trail.float(), weight


def _window(
    crops: torch.Tensor, corners: torch.Tensor, size: int, crop: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which pixels of windows are inside of their crops, and their indices in all crops together.

    Parameters
    ----------
    crops, corners
        Crop and corner (x, y) of each window, shapes (n,) and (n, 2).
    size, crop
        Sides of the windows and of the crops.

    Returns
    -------
    inside, where
        Shape (n, size, size). Pixels that are not inside have the index of one at the border.
    """
    pixel = torch.arange(size, device=crops.device)
    column, row = (corners[:, axis, None] + pixel for axis in (0, 1))
    has_column, has_row = ((0 <= at) & (at < crop) for at in (column, row))
    rows = crops[:, None] * crop + row.clamp(0, crop - 1)
    where = rows[:, :, None] * crop + column.clamp(0, crop - 1)[:, None, :]
    return has_row[:, :, None] & has_column[:, None, :], where
