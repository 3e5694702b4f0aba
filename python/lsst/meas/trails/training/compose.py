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

_TRAIL, _FAINT = 1, 2
"""Bits of the truth: a visible trail; a trail that is too faint."""

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
    with_template = any(plan.keeps_template and crop.has_template for plan, crop in zip(plans, crops))
    pixels, flags = _gather(crops, plans, size, with_template, device)
    signal, variance = pixels[:, 0], pixels[:, 1]
    template = pixels[:, 2] if with_template else None
    bad = (flags & BAD) != 0
    painter = _Painter(crops, plans, variance, bad, injection, balance, stride)
    painter.paint()
    light = painter.light

    def per_crop(values: Sequence[float]) -> torch.Tensor:
        return _send(np.array(values, dtype=np.float32), device)[:, None, None]

    signal = signal + light
    full_well = per_crop([crop.full_well for crop in crops])
    saturated = (signal > full_well) & (light > 0.0) & ~bad
    bad = bad | saturated
    for number, plan in enumerate(plans):
        if any(line.snr > _MAY_BLEED for line in plan.lines):
            bad[number].logical_or_(_bleed(signal[number], saturated[number], full_well[number]))
    added = light.clamp_(min=0.0) * per_crop([1.0 / crop.electrons for crop in crops])
    scales = [plan.noise**2 for plan in plans]
    generator = torch.Generator(device=device).manual_seed(seed)
    noise = torch.empty_like(signal).normal_(generator=generator)
    signal = torch.addcmul(signal, noise, torch.sqrt(added + per_crop(scales) * variance))
    variance = torch.addcmul(added, variance, per_crop([1.0 + scale for scale in scales]))
    place = torch.linspace(-0.5, 0.5, size, device=device)
    slope_x, slope_y = (per_crop([plan.gradient[axis] for plan in plans]) for axis in (0, 1))
    signal += slope_x * place[None, None, :] + slope_y * place[None, :, None]
    for number, plan in enumerate(plans):
        if plan.masked is not None:
            axis, start, stop = plan.masked
            bad[number].narrow(axis, start, stop - start).fill_(True)
    planes = device_input(signal, variance, bad, template, channels)
    target, valid = painter.truth(flags)
    shape = (len(plans), len(channels), size, size)
    inputs = torch.empty(shape, device=device, memory_format=torch.channels_last)
    results = (torch.empty_like(target), torch.empty_like(valid))
    for number, plan in enumerate(plans):
        for channel, plane in enumerate(planes):
            inputs[number, channel] = symmetry_view(plane[number], plan.symmetry)
        for result, array in zip(results, (target, valid), strict=True):
            result[number] = symmetry_view(array[number], plan.symmetry)
    return inputs, results[0][:, None], results[1][:, None]


def _send(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy an array to a device without waiting."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _gather(
    crops: Sequence[Background],
    plans: Sequence[CropPlan],
    size: int,
    with_template: bool,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pixels, shape (B, 2 or 3, T, T), float32, and flags, shape (B, T, T), of crops."""
    where = crops[0].pixels.device
    # A device without an index is not equal to the same one with it.
    pinned = where.type != device.type
    planes = 3 if with_template else 2
    pixels = torch.empty(
        (len(plans), planes, size, size),
        dtype=torch.float16 if pinned else torch.float32,
        device=where,
        pin_memory=pinned,
    )
    flags = torch.empty((len(plans), size, size), dtype=torch.uint8, device=where, pin_memory=pinned)
    for number, (crop, plan) in enumerate(zip(crops, plans, strict=True)):
        part = slice(plan.y0, plan.y0 + size), slice(plan.x0, plan.x0 + size)
        pixels[number, :2] = crop.pixels[:2, *part]
        if with_template and crop.has_template and plan.keeps_template:
            pixels[number, 2] = crop.pixels[2][part]
        elif with_template:
            pixels[number, 2] = torch.nan
        flags[number] = crop.flags[part]
    return pixels.to(device, non_blocking=True).float(), flags.to(device, non_blocking=True)


def _bleed(signal: torch.Tensor, saturated: torch.Tensor, full_well: torch.Tensor) -> torch.Tensor:
    """Return the pixels that charge above the full well reaches along columns, shape (T, T)."""
    excess = torch.where(saturated, signal - full_well, 0.0).sum(dim=0)
    reach = 1.0 + _BLEED * excess / full_well
    rows = torch.arange(len(signal), device=signal.device, dtype=torch.float32)[:, None]
    far = float(2 * len(signal)) + reach
    above = torch.where(saturated, rows, -far).cummax(dim=0).values
    below = torch.where(saturated, rows, far + len(signal)).flip(0).cummin(dim=0).values.flip(0)
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
        self._weights = torch.stack([inverse, inverse.masked_fill(bad, 0.0)], dim=1)
        small = (len(plans), self._size // stride, self._size // stride)
        self.light = torch.zeros_like(variance)
        self._truth = torch.zeros(small, dtype=torch.uint8, device=self._device)
        self._trail_weight = torch.zeros(small, device=self._device)

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
        places = [_overlap(corner, size, self._size) for corner in corners.tolist()]
        weights = stamps.new_zeros((len(lines), 2, size, size))
        # The noise of blank sky beyond the crop.
        weights[:, 0] = 1.0
        for weight, (number, _), (inside, outside) in zip(weights, members, places, strict=True):
            weight[:, *outside] = self._weights[number][:, *inside]
        sums = torch.einsum("nij,ncij->nc", stamps.square(), weights)
        flux = numbers[:, 4] * torch.rsqrt(sums[:, 0])
        visible = flux * torch.sqrt(sums[:, 1]) >= self._injection.ignore_below
        peak = stamps.amax(dim=(1, 2), keepdim=True)
        mask = self._pooled(stamps > self._injection.truth_fraction * peak)
        code = torch.where(visible, _TRAIL, _FAINT).to(torch.uint8)
        truth = mask * code[:, None, None]
        trail_weights = mask * self._small_trail_weights(mask, corners)[:, None, None]
        stamps *= flux[:, None, None]
        for i, ((number, _), line, (inside, outside)) in enumerate(zip(members, lines, places, strict=True)):
            self.light[number][inside].add_(stamps[i][outside])
            if line.is_trail:
                inside, outside = (self._reduced(part) for part in (inside, outside))
                self._truth[number][inside].bitwise_or_(truth[i][outside])
                if self._balance > 0.0:
                    view = self._trail_weight[number][inside]
                    torch.maximum(view, trail_weights[i][outside], out=view)

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

    def _reduced(self, part: tuple[slice, slice]) -> tuple[slice, slice]:
        """Return a part of the pixels as a part of the truth."""
        rows, columns = (slice(s.start // self._stride, s.stop // self._stride) for s in part)
        return rows, columns

    def _small_trail_weights(self, mask: torch.Tensor, corners: np.ndarray) -> torch.Tensor:
        """Return the weight of each trail from its area in the crop, shape (n,)."""
        step = self._stride
        first = _send(corners // step, self._device)
        pixel = torch.arange(mask.shape[-1], device=self._device)
        column, row = (first[:, axis, None] + pixel for axis in (0, 1))
        has_column, has_row = (((0 <= at) & (at < self._size // step)).float() for at in (column, row))
        area = torch.einsum("nij,ni,nj->n", mask.float(), has_row, has_column) * step**2
        weight = (REFERENCE_AREA / area.clamp(min=1.0)) ** self._balance
        return weight.clamp(SMALLEST_WEIGHT, LARGEST_WEIGHT)

    def truth(self, flags: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return target and weight, each of shape (B, T/s, T/s), float32."""
        # A block has data if one of its pixels has.
        pooled = self._pooled(flags ^ NO_DATA)
        painted, real = (self._truth & _TRAIL) != 0, (pooled & TRAIL) != 0
        trail = painted | real
        ignored = ((pooled & IGNORED) | (self._truth & _FAINT)) != 0
        seen = ((pooled & NO_DATA) != 0) & (trail | ~ignored)
        weight = seen.float()
        if self._balance > 0.0:
            weight = torch.where(painted, weight * self._trail_weight, weight)
        return trail.float(), weight


def _overlap(corner: Sequence[int], size: int, crop: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the overlap of a stamp and a crop, as slices (y, x) of the crop and of the stamp.

    The corner is (x, y). The slices are empty if there is no overlap.
    """
    inside, outside = [], []
    for first in (corner[1], corner[0]):
        start = min(max(first, 0), crop)
        stop = max(start, min(first + size, crop))
        inside.append(slice(start, stop))
        outside.append(slice(start - first, stop - first))
    return (inside[0], inside[1]), (outside[0], outside[1])
