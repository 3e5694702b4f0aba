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

"""Errors of a training, and diagnosis of losses that are not finite."""

from __future__ import annotations

__all__ = ("TrainingError", "describe_nonfinite")

from collections.abc import Sequence

import torch

from .crops import InjectedCrops
from .dataset import Key, TrailTileDataset
from .distributed import Ranks
from .schedule import TrainingData


class TrainingError(RuntimeError):
    """Raised if training cannot continue."""


def describe_nonfinite(
    dataset: TrainingData,
    batch: Sequence[Key],
    inputs: torch.Tensor,
    target: torch.Tensor,
    logits: torch.Tensor,
    ranks: Ranks,
) -> str:
    """Describe which tiles of a batch have values that are not finite.

    Parameters
    ----------
    dataset
        Training tiles.
    batch
        Keys of the tiles.
    inputs, target, logits
        Input, target and output of the network.
    ranks
        Processes, each with its shard of the batch.

    Returns
    -------
    description
        End of a sentence, with a remedy if all tiles are finite.
    """

    def name(key: Key) -> str:
        if isinstance(dataset, (TrailTileDataset, InjectedCrops)):
            return dataset.tile_name(key)
        return f"tile {key}"

    for what, tensor in (("input", inputs), ("target", target), ("output", logits.detach())):
        finite = torch.isfinite(tensor.float()).flatten(1).all(dim=1).tolist()
        tiles = ranks.all_gather([name(key) for key, good in zip(batch, finite) if not good])
        if tiles:
            return f": the {what} is not finite in {'; '.join(tiles)}."
    tiles = ranks.all_gather([name(key) for key in batch])
    return f", though the tiles {'; '.join(tiles)} are finite; lower the learning rate."
