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

"""Validation of a network: on pixels of tiles, and on trails of scenes."""

from __future__ import annotations

__all__ = ("ObjectValidation", "evaluate_network")

import logging
import math
from collections.abc import Callable

import numpy as np
import torch

from ..core.operating_point import FALSE_RATES
from ..core.pixel_histogram import PixelHistogram
from ..nn.model_file import ModelSpecification, TrailModel
from ..nn.networks.network import TrailNetwork
from .calibration import COUNTING_THRESHOLDS, ValidationScene, calibrate
from .dataset import TileDataset
from .losses import BlendedLoss
from .recipe import ModelRecipe
from .schedule import dataset_length, load_batches

_LOG = logging.getLogger(__name__)


def evaluate_network(
    network: TrailNetwork,
    dataset: TileDataset,
    loss_function: BlendedLoss,
    *,
    batch_size: int = 8,
    bfloat16: bool = False,
    workers: int = 0,
) -> tuple[dict[str, float], PixelHistogram]:
    """Measure the loss and the pixel metrics of a network on tiles.

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
        Histogram of the logits, for these metrics.
    """
    device = next(network.parameters()).device
    indices = list(range(dataset_length(dataset)))
    batches = [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
    histogram = PixelHistogram()
    losses = []
    with torch.inference_mode():
        for inputs, target, valid in load_batches(dataset, batches, device, workers):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
                logits = network(inputs)
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


class ObjectValidation:
    """Scenes in which the trails found by a network are counted.

    Parameters
    ----------
    scene
        Function that simulates a scene by its number; training must not see it.
    count
        Number of scenes. They are simulated once and kept in memory, 13 MB per megapixel.
    """

    def __init__(self, scene: Callable[[int], ValidationScene], count: int) -> None:
        self._scene = scene
        self._count = count
        self._scenes: list[ValidationScene] = []

    def measure(self, network: TrailNetwork, recipe: ModelRecipe, *, threads: int) -> dict[str, float]:
        """Return completeness and SNR50 at 1, 10 and 100 false detections per detector.

        Parameters
        ----------
        network
            Network in evaluation mode.
        recipe
            Its description.
        threads
            Threads for the network.

        Notes
        -----
        Candidates are ranked by a score that is fitted to the other half of the scenes. Early in training
        there may be no candidates to fit it to; then the completeness is 0.
        """
        if not self._scenes:
            self._scenes = [self._scene(number) for number in range(self._count)]
        specification = ModelSpecification(**dict(recipe))
        model = TrailModel.from_network(specification, network)
        try:
            found = calibrate(model, self._scenes, threads=threads, thresholds=(COUNTING_THRESHOLDS,)).metrics
        except ValueError as error:
            _LOG.info("Trails cannot be counted yet: %s", error)
            found = {}
        metrics = {}
        for name, nothing in (("completeness", 0.0), ("snr50", math.nan)):
            for rate in FALSE_RATES:
                value = found.get(f"{name}_at_{rate}")
                metrics[f"{name}_at_{rate}"] = nothing if value is None else value
        return metrics
