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

"""Why a training cannot go on."""

from __future__ import annotations

__all__ = ("TrainingError", "blame")

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from ..training.dataset import TrailTileDataset
from ..training.distributed import Ranks


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and where."""


def blame(
    dataset: Dataset[Any],
    batch: Sequence[Any],
    inputs: torch.Tensor,
    target: torch.Tensor,
    logits: torch.Tensor,
    ranks: Ranks,
) -> str:
    """Say which tiles of a batch are the reason of a failure.

    Parameters
    ----------
    dataset
        What is trained on.
    batch
        Keys of the tiles.
    inputs, target, logits
        What went into the network, what should have come out, what did.
    ranks
        The processes, of which each has its own part of the batch.
    """

    def name(key: Any) -> str:
        return dataset.tile_name(key) if isinstance(dataset, TrailTileDataset) else f"tile {key}"

    for what, tensor in (("input", inputs), ("target", target), ("output", logits.detach())):
        finite = torch.isfinite(tensor.float()).flatten(1).all(dim=1).tolist()
        tiles = ranks.collect([name(key) for key, good in zip(batch, finite) if not good])
        if tiles:
            return f": the {what} is not finite in {'; '.join(tiles)}."
    tiles = ranks.collect([name(key) for key in batch])
    return f", though the tiles {'; '.join(tiles)} are finite; lower the learning rate."
