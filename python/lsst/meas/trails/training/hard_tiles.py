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

"""Hard negatives: the tiles on which a network sees what is not there."""

from __future__ import annotations

__all__ = ("HardTiles", "false_probability", "mine_hard_tiles")

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ..nn.networks.registry import TrailNetwork
from .dataset import TrailTileDataset
from .distributed import Ranks
from .recipe import StageRecipe
from .schedule import load_batches

_MINING = 3
"""What random numbers are for, next to order and variation of a dataset."""

_PIXELS = 32
"""Pixels of a tile whose false probability counts: at half resolution about
what a trail of 20 pixels covers.
"""

_MARGIN = 3
"""Pixels of half resolution around trails that do not count: the flank of a
bright trail is seen beyond its mask, and that is not what the network shall
unlearn.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class HardTiles:
    """What a search has found.

    Parameters
    ----------
    tiles
        Numbers of the hard tiles, the worst first.
    looked_at
        Number of tiles looked at.
    hard, mean
        Mean false probability of the hard tiles and of all looked at.
    """

    tiles: npt.NDArray[np.int64]
    looked_at: int
    hard: float
    mean: float


def mine_hard_tiles(
    network: TrailNetwork,
    dataset: TrailTileDataset,
    stage: StageRecipe,
    *,
    epoch: int,
    bfloat16: bool = False,
    workers: int = 0,
    track: Callable[[Sequence[list[int]]], Iterable[list[int]]] | None = None,
    ranks: Ranks | None = None,
) -> HardTiles:
    """Look for the tiles on which a network errs most.

    Parameters
    ----------
    network
        Network on its device, in evaluation mode.
    dataset
        Tiles to look at, as they are in their files.
    stage
        How many to look at (``mining_tiles``) and what fraction of them is
        hard (``hard_fraction``).
    epoch
        Number of the epoch, which with the seed of the dataset decides the
        tiles that are looked at.
    bfloat16
        Whether to compute in bfloat16.
    workers
        Processes that read tiles.
    track
        Passes on its argument and shows progress.
    ranks
        Processes that share the work, with the same network; by default this
        one alone.
    """
    ranks = ranks or Ranks()
    device = next(network.parameters()).device
    looked_at = np.arange(len(dataset), dtype=np.int64)
    if stage.mining_tiles is not None and stage.mining_tiles < len(dataset):
        rng = np.random.default_rng([dataset.seed, _MINING, epoch])
        looked_at = np.sort(rng.choice(looked_at, stage.mining_tiles, replace=False))
    indices = looked_at.tolist()
    places = range(0, len(indices), stage.batch_size)[ranks.rank :: ranks.world_size]
    batches = [indices[place : place + stage.batch_size] for place in places]
    found = torch.zeros(len(indices), device=device)
    loader = load_batches(dataset, batches, workers)
    with torch.inference_mode():
        shown = batches if track is None else track(batches)
        for place, _, tensors in zip(places, shown, loader, strict=True):
            inputs, target, valid = (tensor.to(device) for tensor in tensors)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
                logits = network(inputs)
            found[place : place + len(inputs)] = false_probability(logits, target, valid)
        # Zero where another process has looked.
        score = ranks.all_reduce(found).cpu().numpy().astype(np.float64)
    # Equal ones in the order of their numbers.
    worst = np.argsort(-score, kind="stable")[: math.ceil(stage.hard_fraction * len(looked_at))]
    return HardTiles(
        tiles=looked_at[worst],
        looked_at=len(looked_at),
        hard=float(np.mean(score[worst])),
        mean=float(np.mean(score)),
    )


def false_probability(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return how much a network sees in each tile where there is no trail.

    Parameters
    ----------
    logits, target, valid
        Logits, targets and weights, shape (B, 1, h, w).

    Returns
    -------
    score
        Mean of the 32 greatest probabilities on pixels that count in the
        loss and are more than 3 pixels from a trail, shape (B,).
    """
    near = functional.max_pool2d(target, 2 * _MARGIN + 1, stride=1, padding=_MARGIN)
    counts = (valid > 0.0) & (near == 0.0)
    probability = torch.where(counts, torch.sigmoid(logits.float()), torch.zeros_like(target)).flatten(1)
    return probability.topk(min(_PIXELS, probability.shape[1]), dim=1).values.mean(dim=1)
