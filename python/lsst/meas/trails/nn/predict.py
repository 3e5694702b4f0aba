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

import contextlib
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..core.background import BackgroundMesh, fit_background
from ..core.normalize import ADCNN_NORMALIZATION, adcnn_input, measure_panel, network_input
from ..core.planes import ImagePlanes, pad_array
from .engines import Engine, choose_engine, create_engine
from .hardware import keep_memory, thread_count
from .model_file import TrailModel
from .networks.registry import NetworkPlan

type _Array = npt.NDArray[np.float32]

_TILES_AT_ONCE = 8

_BAND = 256
"""Rows that are normalized or interpolated at once, for temporary arrays that fit into a cache."""

type _WindowInput = Callable[[slice, slice], _Array]
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
    engine: str = "auto",
) -> _Array:
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
        Side of a square with the area that is computed at once in float32; twice the area in bfloat16. It
        determines the memory, not the result: windows, of any shape, are read with a margin of the receptive
        radius.
    tile_overlap
        Tile overlap in pixels; used only by models with a fixed tile size, which ignore ``window``.
    threads
        CPU threads for this call; by default all cores with OpenVINO, and torch's current number with torch.
    dtype
        ``auto`` (bfloat16 if the hardware supports it), ``float32`` or ``bfloat16``.
    device
        ``auto`` (a GPU if there is one, torch is installed and ``engine`` is not ``openvino``), ``cpu``,
        ``cuda``, ...
    engine
        Library that runs the network: ``openvino`` (on CPUs), ``torch``, or ``auto`` (OpenVINO if it is
        installed and can run the network on this device, else torch). The probabilities are equal within
        1e-5 in float32.

    Returns
    -------
    probability
        Shape (ny, nx), float32 in [0, 1]; 0 where there are no data.

    Raises
    ------
    ValueError
        Raised if an argument is out of range, the device does not exist, or the engine is not installed.

    Notes
    -----
    A network with a ``tile_size`` gets adjacent tiles of this size from pixel (0, 0) on, as in
    Asteroid_detection_CNN. The result depends on their borders: a trail across a border is seen in two parts.
    With ``tile_overlap``, the logits of overlapping tiles are blended with weights that fall linearly toward
    the borders, at a higher cost.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1, not {window}.")
    if threads is not None and threads < 1:
        raise ValueError(f"The number of threads must be at least 1, not {threads}.")
    plan = model.plan
    tile_size = plan.tile_size
    if tile_size is not None and not (
        0 <= tile_overlap <= tile_size // 2 and tile_overlap % plan.output_stride == 0
    ):
        raise ValueError(
            f"tile_overlap must be 0 to {tile_size // 2} for tiles of {tile_size} pixels, not {tile_overlap}."
        )
    choice = choose_engine(plan, engine=engine, device=device, dtype=dtype)
    ny, nx = planes.shape
    if ny == 0 or nx == 0:
        return np.zeros((ny, nx), dtype=np.float32)
    window_input = _window_input(model, planes, background)
    with contextlib.ExitStack() as stack:
        if choice.engine == "torch":
            stack.enter_context(thread_count(threads))
            stack.enter_context(keep_memory())
        runner = create_engine(model, choice, threads)
        try:
            if tile_size is None:
                area = window**2 * (2 if choice.bfloat16 else 1)
                logits = _predict_windows(runner, plan, planes.shape, window_input, area)
            else:
                logits = _predict_tiles(runner, plan, planes.shape, window_input, tile_overlap)
        finally:
            runner.release()
        return _to_full_resolution(logits, planes, plan.output_stride)


def _predict_windows(
    engine: Engine, plan: NetworkPlan, shape: tuple[int, int], window_input: _WindowInput, area: int
) -> _Array:
    """Return the logits of the image, padded to the network's stride.

    They have the network's output resolution, shape (h, w), float32.
    """
    stride, output_stride = plan.stride, plan.output_stride
    size_y, size_x = (_round_up(size, stride) for size in shape)
    margin = _round_up(plan.receptive_radius, stride)
    step_y, step_x = _window_shape((size_y, size_x), area, margin, stride)
    logits = np.empty((size_y // output_stride, size_x // output_stride), dtype=np.float32)
    for y0 in range(0, size_y, step_y):
        for x0 in range(0, size_x, step_x):
            y1, x1 = min(y0 + step_y, size_y), min(x0 + step_x, size_x)
            outer_y = slice(max(0, y0 - margin), min(size_y, y1 + margin))
            outer_x = slice(max(0, x0 - margin), min(size_x, x1 + margin))
            inner = (
                slice(y0 - outer_y.start, y1 - outer_y.start),
                slice(x0 - outer_x.start, x1 - outer_x.start),
            )
            output = engine.logits(_input_in_bands(plan, window_input, outer_y, outer_x), inner)[0]
            logits[y0 // output_stride : y1 // output_stride, x0 // output_stride : x1 // output_stride] = (
                output
            )
    return logits


def _input_in_bands(plan: NetworkPlan, window_input: _WindowInput, y: slice, x: slice) -> _Array:
    """Return the input for a window, shape (1, C, h, w)."""
    inputs = np.empty((1, plan.in_channels, y.stop - y.start, x.stop - x.start), dtype=np.float32)
    for start in range(y.start, y.stop, _BAND):
        rows = slice(start, min(start + _BAND, y.stop))
        inputs[0, :, rows.start - y.start : rows.stop - y.start] = window_input(rows, x)
    return inputs


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
    engine: Engine, plan: NetworkPlan, shape: tuple[int, int], window_input: _WindowInput, overlap: int
) -> _Array:
    """Return the logits of the image, padded to whole tiles; see `_predict_windows`."""
    tile_size, output_stride = plan.tile_size, plan.output_stride
    assert tile_size is not None
    step = tile_size - overlap
    counts = [max(1, -(-(size - overlap) // step)) for size in shape]
    inner = tile_size // output_stride
    # The weight of a pixel falls over the overlap; the sum of weights is the same
    # in each row and each column of tiles.
    distance = np.minimum(np.arange(inner) + 1, inner - np.arange(inner))
    ramp = np.minimum(distance / (overlap // output_stride + 1), 1.0).astype(np.float32)
    covers = [np.zeros(((n - 1) * step + tile_size) // output_stride, dtype=np.float32) for n in counts]
    for count, cover in zip(counts, covers):
        for i in range(count):
            cover[i * step // output_stride :][:inner] += ramp
    weight = ramp[:, None] * ramp
    logits = np.zeros((len(covers[0]), len(covers[1])), dtype=np.float32)
    corners = [(i * step, j * step) for i in range(counts[0]) for j in range(counts[1])]
    for first in range(0, len(corners), _TILES_AT_ONCE):
        batch = corners[first : first + _TILES_AT_ONCE]
        arrays = [window_input(slice(y, y + tile_size), slice(x, x + tile_size)) for y, x in batch]
        for (y, x), part in zip(batch, engine.logits(np.stack(arrays))):
            logits[y // output_stride :, x // output_stride :][:inner, :inner] += weight * part
    logits /= covers[0][:, None]
    logits /= covers[1]
    return logits


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


def _to_full_resolution(logits: _Array, planes: ImagePlanes, stride: int) -> _Array:
    """Return probabilities per pixel, interpolated linearly between the centers of blocks."""
    ny, nx = planes.shape
    probability = np.empty((ny, nx), dtype=np.float32)
    blocks = max(1, _BAND // stride)
    with np.errstate(over="ignore"):
        for first in range(0, -(-ny // stride), blocks):
            # A margin of one block on each side; beyond the outer centers the value is constant.
            rows = np.arange(first - 1, first + blocks + 1).clip(0, len(logits) - 1)
            band = _interpolate(
                _interpolate(np.pad(logits[rows], ((0, 0), (1, 1)), mode="edge").T, stride).T, stride
            )
            part = probability[first * stride : first * stride + len(band)]
            band = band[: len(part), :nx]
            # The logistic function; a large negative logit gives 1 / inf.
            np.exp(np.negative(band, out=band), out=band)
            band += np.float32(1.0)
            np.reciprocal(band, out=part)
    probability[planes.has("NO_DATA") | ~np.isfinite(planes.image)] = 0.0
    return probability


def _interpolate(values: _Array, stride: int) -> _Array:
    """Return values at ``stride`` places along the first axis for each inner row.

    The rows are at the centers of blocks of ``stride`` places.
    """
    inner = values[1:-1]
    result = np.empty((len(inner), stride, *values.shape[1:]), dtype=np.float32)
    for place in range(stride):
        offset = np.float32((place + 0.5) / stride - 0.5)
        neighbor = values[:-2] if offset < 0.0 else values[2:]
        np.subtract(neighbor, inner, out=result[:, place])
        result[:, place] *= abs(offset)
        result[:, place] += inner
    return result.reshape(-1, *values.shape[1:])


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
