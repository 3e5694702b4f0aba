# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""From an image to a probability for every pixel."""

from __future__ import annotations

__all__ = ("predict_probability",)

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ..core.background import BackgroundMesh, fit_background
from ..core.normalize import network_input
from ..core.planes import ImagePlanes, plane_bits
from .hardware import choose_device, thread_count, use_bfloat16
from .model_file import TrailModel


def predict_probability(
    model: TrailModel,
    planes: ImagePlanes,
    *,
    background: BackgroundMesh | None = None,
    window: int = 2048,
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
        Its background; estimated here if not given.
    window
        Side of the part that is computed at once, pixels.  It decides the
        memory that is needed, not the result: windows overlap by all that a
        pixel's probability depends on.
    threads
        Threads of the CPU for this call; by default as torch has them.
    dtype
        ``auto`` (bfloat16 where the hardware is fast at it), ``float32`` or
        ``bfloat16``.
    device
        ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ...

    Returns
    -------
    probability
        Shape (ny, nx), float32 in [0, 1]; 0 where there are no data.

    Raises
    ------
    ValueError
        Raised if an argument is out of range, or a device does not exist.
    """
    if window < 1:
        raise ValueError(f"The window must have at least 1 pixel, not {window}.")
    chosen = choose_device(device)
    precision = torch.bfloat16 if use_bfloat16(dtype, chosen) else torch.float32
    ny, nx = planes.shape
    if ny == 0 or nx == 0:
        return np.zeros((ny, nx), dtype=np.float32)
    if background is None:
        background = fit_background(planes.image, planes.bad())
    with thread_count(threads), torch.inference_mode():
        logits = _predict_logits(model, planes, background, window, chosen, precision)
        return _to_full_resolution(logits, planes, model.network.output_stride)


def _predict_logits(
    model: TrailModel,
    planes: ImagePlanes,
    background: BackgroundMesh,
    window: int,
    device: torch.device,
    precision: torch.dtype,
) -> torch.Tensor:
    """Return the logits of the image padded to the network's stride, at the
    network's output resolution, shape (h, w), float32.
    """
    network = model.inference_network(device, precision)
    channels = model.specification.channels
    stride, output_stride = network.stride, network.output_stride
    size_y, size_x = (_round_up(size, stride) for size in planes.shape)
    margin = _round_up(network.receptive_radius, stride)
    # Windows of equal size: none of the margins is computed for a sliver.
    step_y, step_x = (_round_up(-(-size // -(-size // window)), stride) for size in (size_y, size_x))
    logits = torch.empty((size_y // output_stride, size_x // output_stride), dtype=torch.float32)
    for y0 in range(0, size_y, step_y):
        for x0 in range(0, size_x, step_x):
            y1, x1 = min(y0 + step_y, size_y), min(x0 + step_x, size_x)
            outer_y = slice(max(0, y0 - margin), min(size_y, y1 + margin))
            outer_x = slice(max(0, x0 - margin), min(size_x, x1 + margin))
            array = _window_input(planes, background, channels, outer_y, outer_x)
            inputs = torch.from_numpy(array)[None].to(device=device, dtype=precision)
            output = network(inputs.contiguous(memory_format=torch.channels_last))[0, 0]
            inner_y = slice((y0 - outer_y.start) // output_stride, (y1 - outer_y.start) // output_stride)
            inner_x = slice((x0 - outer_x.start) // output_stride, (x1 - outer_x.start) // output_stride)
            logits[y0 // output_stride : y1 // output_stride, x0 // output_stride : x1 // output_stride] = (
                output[inner_y, inner_x].float().cpu()
            )
    return logits


def _window_input(
    planes: ImagePlanes,
    background: BackgroundMesh,
    channels: tuple[str, ...],
    y: slice,
    x: slice,
) -> npt.NDArray[np.float32]:
    """Return the network's input for part of an image, which may reach beyond
    its upper edges: what lies there is marked as being without data, like
    in the tiles of training.
    """
    ny, nx = planes.shape
    part = (slice(y.start, min(y.stop, ny)), slice(x.start, min(x.stop, nx)))
    missing = ((0, y.stop - part[0].stop), (0, x.stop - part[1].stop))

    def cut(plane: npt.NDArray, fill: float = 0) -> npt.NDArray:
        view = plane[part]
        return np.pad(view, missing, constant_values=fill) if missing != ((0, 0), (0, 0)) else view

    window = ImagePlanes(
        image=cut(planes.image),
        variance=cut(planes.variance),
        mask=cut(planes.mask, plane_bits(["NO_DATA"])),
        psf=planes.psf,
        template=None if planes.template is None else cut(planes.template, np.nan),
    )
    level = background.level(*part)
    if missing != ((0, 0), (0, 0)):
        level = np.pad(level, missing)
    return network_input(window, level, channels)


def _to_full_resolution(
    logits: torch.Tensor, planes: ImagePlanes, output_stride: int
) -> npt.NDArray[np.float32]:
    """Return probabilities on the pixels of the image from logits of blocks
    of them, interpolated between the blocks' centres.
    """
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
