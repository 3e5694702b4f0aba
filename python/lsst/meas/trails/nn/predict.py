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

"""Prediction of the probability that a pixel belongs to a trail."""

from __future__ import annotations

__all__ = ("predict_probability",)

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ..core.background import BackgroundMesh, fit_background
from ..core.normalize import ADCNN_NORMALIZATION, adcnn_input, measure_panel, network_input
from ..core.planes import ImagePlanes, pad_array
from .hardware import choose_device, keep_memory, thread_count, use_bfloat16
from .model_file import TrailModel

_TILES_AT_ONCE = 8

type _WindowInput = Callable[[slice, slice], npt.NDArray[np.float32]]
"""Function that returns the network's input, shape (C, h, w), for part of an image, which may reach beyond
its upper edges.
"""


def predict_probability(
    model: TrailModel,
    planes: ImagePlanes,
    *,
    background: BackgroundMesh | None = None,
    window: int = 2900,
    tile_overlap: int = 0,
    threads: int | None = None,
    dtype: str = "auto",
    device: str = "auto",
) -> npt.NDArray[np.float32]:
    """Return the probability that a pixel belongs to a trail.

    Parameters
    ----------
    model
        The model.
    planes
        The image, of any shape (ny, nx).
    background
        Its background; estimated by default.
    window
        Side of a square with the area that is computed at once. It determines the memory, not the result:
        windows, of any shape, are read with a margin of the receptive radius.
    tile_overlap
        Tile overlap in pixels; used only by models with a fixed tile size, which ignore ``window``.
    threads
        CPU threads for this call; by default torch's current number.
    dtype
        ``auto`` (bfloat16 if the hardware supports it), ``float32`` or ``bfloat16``.
    device
        ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ...

    Returns
    -------
    probability
        Shape (ny, nx), float32 in [0, 1]; 0 where there are no data.

    Raises
    ------
    ValueError
        Raised if an argument is out of range, or the device does not exist.

    Notes
    -----
    A network with a ``tile_size`` gets adjacent tiles of this size from pixel (0, 0) on, as in
    Asteroid_detection_CNN. The result depends on their borders: a trail across a border is seen in two parts.
    With ``tile_overlap``, the logits of overlapping tiles are blended with weights that fall linearly toward
    the borders, at a higher cost.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1, not {window}.")
    tile_size = model.network.tile_size
    if tile_size is not None and not (
        0 <= tile_overlap <= tile_size // 2 and tile_overlap % model.network.output_stride == 0
    ):
        raise ValueError(
            f"tile_overlap must be 0 to {tile_size // 2} for tiles of {tile_size} pixels, not {tile_overlap}."
        )
    chosen = choose_device(device)
    precision = torch.bfloat16 if use_bfloat16(dtype, chosen) else torch.float32
    ny, nx = planes.shape
    if ny == 0 or nx == 0:
        return np.zeros((ny, nx), dtype=np.float32)
    window_input = _window_input(model, planes, background)
    with thread_count(threads), keep_memory(), torch.inference_mode():
        if tile_size is None:
            logits = _predict_windows(model, planes.shape, window_input, window, chosen, precision)
        else:
            logits = _predict_tiles(model, planes.shape, window_input, tile_overlap, chosen, precision)
        return _to_full_resolution(logits, planes, model.network.output_stride)


def _predict_windows(
    model: TrailModel,
    shape: tuple[int, int],
    window_input: _WindowInput,
    window: int,
    device: torch.device,
    precision: torch.dtype,
) -> torch.Tensor:
    """Return the logits of the image, padded to the network's stride.

    They have the network's output resolution, shape (h, w), float32.
    """
    network = model.inference_network(device, precision)
    stride, output_stride = network.stride, network.output_stride
    size_y, size_x = (_round_up(size, stride) for size in shape)
    margin = _round_up(network.receptive_radius, stride)
    step_y, step_x = _window_shape((size_y, size_x), window**2, margin, stride)
    logits = torch.empty((size_y // output_stride, size_x // output_stride), dtype=torch.float32)
    for y0 in range(0, size_y, step_y):
        for x0 in range(0, size_x, step_x):
            y1, x1 = min(y0 + step_y, size_y), min(x0 + step_x, size_x)
            outer_y = slice(max(0, y0 - margin), min(size_y, y1 + margin))
            outer_x = slice(max(0, x0 - margin), min(size_x, x1 + margin))
            inputs = torch.from_numpy(window_input(outer_y, outer_x))[None].to(device=device, dtype=precision)
            inner = (
                slice(y0 - outer_y.start, y1 - outer_y.start),
                slice(x0 - outer_x.start, x1 - outer_x.start),
            )
            output = network(inputs.contiguous(memory_format=torch.channels_last), inner)[0, 0]
            logits[y0 // output_stride : y1 // output_stride, x0 // output_stride : x1 // output_stride] = (
                output.float().cpu()
            )
    return logits


def _window_shape(shape: tuple[int, int], area: int, margin: int, stride: int) -> tuple[int, int]:
    """Return the shape of windows, up to an area, with the least cost of margins.

    These are few, of equal size, and long, as there are no margins beyond the edges of the image.
    """
    best = math.inf, stride, stride
    for count in range(1, -(-shape[0] // stride) + 1):
        step_y = _round_up(-(-shape[0] // count), stride)
        if step_y > max(stride, area // stride):
            continue
        count_x = -(-shape[1] // max(stride, area // step_y // stride * stride))
        step_x = _round_up(-(-shape[1] // count_x), stride)
        cost = math.prod(
            size + 2 * margin * (-(-size // step) - 1) for size, step in zip(shape, (step_y, step_x))
        )
        best = min(best, (cost, step_y, step_x))
    return best[1:]


def _predict_tiles(
    model: TrailModel,
    shape: tuple[int, int],
    window_input: _WindowInput,
    overlap: int,
    device: torch.device,
    precision: torch.dtype,
) -> torch.Tensor:
    """Return the logits of the image, padded to whole tiles; see `_predict_windows`."""
    network = model.inference_network(device, precision)
    tile_size, output_stride = network.tile_size, network.output_stride
    assert tile_size is not None
    step = tile_size - overlap
    counts = [max(1, -(-(size - overlap) // step)) for size in shape]
    inner = tile_size // output_stride
    # The weight of a pixel falls over the overlap; the sum of weights is the same
    # in each row and each column of tiles.
    distance = torch.minimum(torch.arange(inner) + 1, inner - torch.arange(inner)).float()
    ramp = torch.clamp(distance / (overlap // output_stride + 1), max=1.0)
    covers = [torch.zeros(((count - 1) * step + tile_size) // output_stride) for count in counts]
    for count, cover in zip(counts, covers):
        for i in range(count):
            cover[i * step // output_stride :][:inner] += ramp
    weight = ramp[:, None] * ramp
    logits = torch.zeros((len(covers[0]), len(covers[1])), dtype=torch.float32)
    corners = [(i * step, j * step) for i in range(counts[0]) for j in range(counts[1])]
    for first in range(0, len(corners), _TILES_AT_ONCE):
        batch = corners[first : first + _TILES_AT_ONCE]
        arrays = [window_input(slice(y, y + tile_size), slice(x, x + tile_size)) for y, x in batch]
        inputs = torch.from_numpy(np.stack(arrays)).to(device=device, dtype=precision)
        output = network(inputs.contiguous(memory_format=torch.channels_last))[:, 0].float().cpu()
        for (y, x), part in zip(batch, output):
            logits[y // output_stride :, x // output_stride :][:inner, :inner] += weight * part
    return logits.div_(covers[0][:, None]).div_(covers[1])


def _window_input(model: TrailModel, planes: ImagePlanes, background: BackgroundMesh | None) -> _WindowInput:
    """Return the function of the network's input, with the model's normalization."""
    if model.specification.normalization == ADCNN_NORMALIZATION:
        scale = measure_panel(planes.image)
        # Padded before normalizing, as in Asteroid_detection_CNN.
        return lambda y, x: adcnn_input(planes.cut(y, x).image, scale)
    mesh = fit_background(planes.image, planes.bad()) if background is None else background
    channels = model.specification.channels

    def make(y: slice, x: slice) -> npt.NDArray[np.float32]:
        # Mark pixels beyond the edges as without data, as in training tiles.
        part = planes.cut(y, x)
        ny, nx = planes.shape
        level = mesh.level(slice(y.start, min(y.stop, ny)), slice(x.start, min(x.stop, nx)))
        return network_input(part, pad_array(level, part.shape), channels)

    return make


def _to_full_resolution(
    logits: torch.Tensor, planes: ImagePlanes, output_stride: int
) -> npt.NDArray[np.float32]:
    """Return probabilities per pixel, interpolated from logits of blocks."""
    ny, nx = planes.shape
    if output_stride > 1:
        logits = functional.interpolate(
            logits[None, None], scale_factor=float(output_stride), mode="bilinear", align_corners=False
        )[0, 0]
    probability: npt.NDArray[np.float32] = torch.sigmoid_(logits[:ny, :nx]).numpy()
    no_data = planes.has("NO_DATA") | ~np.isfinite(planes.image)
    return np.where(no_data, np.float32(0.0), probability)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
