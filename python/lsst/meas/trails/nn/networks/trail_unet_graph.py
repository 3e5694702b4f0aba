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

"""U-Net that starts at half resolution, as a graph of OpenVINO; see `TrailUNetPlan`."""

from __future__ import annotations

__all__ = ("trail_unet_graph",)

import numpy as np
import numpy.typing as npt

from .openvino_runtime import openvino, ops
from .registry import Inner, Weights
from .trail_unet_plan import Region, TrailUNetPlan

type _Array = npt.NDArray[np.float32]

_EPSILON = 1.0e-5
"""Added to variances by torch's batch normalization."""


def trail_unet_graph(
    plan: TrailUNetPlan, weights: Weights, shape: tuple[int, int], inner: Inner
) -> openvino.Model:
    """Return the network as a graph.

    Parameters
    ----------
    plan
        Plan of the network.
    weights
        Weights by name.
    shape
        Shape (H, W) of the input, multiples of the plan's stride.
    inner
        The part of the input whose logits are computed.

    Returns
    -------
    graph
        Graph with one input, float32 of shape (1, C, H, W), and one output, the logits, float32 of shape
        (1, 1, h/2, w/2).

    Notes
    -----
    Normalizations are folded into convolutions, and the repetition of a coarser level into a transposed
    convolution, as `~lsst.meas.trails.nn.networks.blocks.Join` does.
    """
    build = _Builder(weights)
    image = ops.parameter([1, plan.in_channels, *shape], np.float32)
    regions = plan.regions(inner, shape)
    sizes = tuple(size // 2 for size in shape)
    x = build.convolution(image, "stem", stride=2, padding=1)
    skips = []
    for level, count in enumerate(plan.blocks):
        for i in range(count):
            x = build.residual(x, f"encoder.{level}.{i}")
        if level < len(regions):
            skips.append(_crop(x, regions[level], tuple((0, size >> level) for size in sizes)))
            x = build.convolution(x, f"down.{level}", stride=2, padding=0)
    for i, dilation in enumerate(plan.dilations):
        x = build.residual(x, f"bottom.{i}", dilation=dilation)
    here: Region = tuple((0, size >> len(regions)) for size in sizes)
    for level in reversed(range(len(regions))):
        above = tuple((low // 2, high // 2) for low, high in regions[level])
        x = build.convolution(_crop(x, above, here), f"up.{level}", padding=0)
        x = build.join(skips.pop(), x, f"join.{level}")
        for i in range(plan.decoder_blocks[level]):
            x = build.residual(x, f"decoder.{level}.{i}")
        here = regions[level]
    wanted = tuple((part.start // 2, part.stop // 2) for part in inner)
    return openvino.Model([_crop(build.head(x), wanted, here)], [image], "trail_unet")


class _Builder:
    """Nodes of the graph, by the names of their weights."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def convolution(
        self,
        x: openvino.Node,
        name: str,
        *,
        stride: int = 1,
        padding: int = 1,
        dilation: int = 1,
        activate: bool = True,
    ) -> openvino.Node:
        kernel, bias = self._folded(name)
        y = ops.add(_convolve(x, kernel, stride, padding, dilation), bias)
        return ops.relu(y) if activate else y

    def residual(self, x: openvino.Node, name: str, *, dilation: int = 1) -> openvino.Node:
        y = self.convolution(x, f"{name}.first", padding=dilation, dilation=dilation)
        return ops.relu(ops.add(self.convolution(y, f"{name}.second", activate=False), x))

    def join(self, skip: openvino.Node, coarse: openvino.Node, name: str) -> openvino.Node:
        kernel, bias = self._folded(name)
        channels = len(kernel)
        of_coarse = kernel[:, channels:].transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        repeat = np.zeros((channels, channels, 4, 4), dtype=np.float32)
        for y in range(2):
            for x in range(2):
                repeat[:, :, y : y + 3, x : x + 3] += of_coarse
        fine = ops.convolution_backprop_data(
            coarse, ops.constant(repeat), [2, 2], pads_begin=[1, 1], pads_end=[1, 1]
        )
        return ops.relu(ops.add(ops.add(fine, _convolve(skip, kernel[:, :channels])), bias))

    def head(self, x: openvino.Node) -> openvino.Node:
        bias = self._weights["head.bias"][None, :, None, None]
        return ops.add(_convolve(x, self._weights["head.weight"], padding=0), ops.constant(bias))

    def _folded(self, name: str) -> tuple[_Array, openvino.Node]:
        """Return kernel and bias of a convolution with its normalization."""
        scale, shift, mean, variance = (
            self._weights[f"{name}.norm.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = np.divide(scale, np.sqrt(variance + _EPSILON), dtype=np.float32)
        kernel = self._weights[f"{name}.conv.weight"] * scale[:, None, None, None]
        return kernel, ops.constant((shift - mean * scale)[None, :, None, None])


def _convolve(
    x: openvino.Node, kernel: _Array, stride: int = 1, padding: int = 1, dilation: int = 1
) -> openvino.Node:
    pads = [padding, padding]
    constant = ops.constant(np.ascontiguousarray(kernel))
    return ops.convolution(x, constant, [stride, stride], pads, pads, [dilation, dilation])


def _crop(x: openvino.Node, region: Region, of: Region) -> openvino.Node:
    """Return a region of an array that covers the region ``of``."""
    if region == of:
        return x
    starts, stops = ([pair[i] - origin for pair, (origin, _) in zip(region, of)] for i in (0, 1))
    return ops.slice(x, *(ops.constant(np.array(values)) for values in (starts, stops, [1, 1], [2, 3])))
