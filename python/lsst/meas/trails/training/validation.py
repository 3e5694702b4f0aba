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

"""Pixel-level measures of a network on a dataset of tiles."""

from __future__ import annotations

__all__ = ("evaluate_network",)

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..core.pixel_histogram import PixelHistogram
from ..nn.networks.registry import TrailNetwork
from .losses import BlendedLoss
from .schedule import dataset_length, load_batches


def evaluate_network(
    network: TrailNetwork,
    dataset: Dataset[Any],
    loss_function: BlendedLoss,
    *,
    batch_size: int = 8,
    bfloat16: bool = False,
    workers: int = 0,
) -> tuple[dict[str, float], PixelHistogram]:
    """Measure a network on tiles.

    Parameters
    ----------
    network
        Network on its device, in evaluation mode.
    dataset
        Map-style dataset of (input, target, valid).
    loss_function
        Loss to average over the batches.
    batch_size
        Tiles per step.
    bfloat16
        Whether to compute in bfloat16.
    workers
        Processes that read tiles.

    Returns
    -------
    metrics
        ``loss``, ``pixel_auc`` and ``pixel_average_precision``.
    histogram
        What the two latter are of.
    """
    device = next(network.parameters()).device
    indices = list(range(dataset_length(dataset)))
    batches = [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
    histogram = PixelHistogram()
    losses = []
    with torch.inference_mode():
        for inputs, target, valid in load_batches(dataset, batches, workers):
            inputs = inputs.to(device).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
                logits = network(inputs)
            target, valid = target.to(device), valid.to(device)
            losses.append(loss_function(logits, target, valid).item())
            seen = valid > 0.0
            pixels = logits[seen].float().cpu().numpy(), (target[seen] > 0.5).cpu().numpy()
            histogram += PixelHistogram.from_logits(*pixels)
    metrics = {
        "loss": float(np.average(losses, weights=[len(batch) for batch in batches])),
        "pixel_auc": histogram.auc,
        "pixel_average_precision": histogram.average_precision,
    }
    return metrics, histogram
