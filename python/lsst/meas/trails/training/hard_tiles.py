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

"""Hard negatives: tiles with high probabilities away from trails."""

from __future__ import annotations

__all__ = ("HardTiles", "false_probability", "mine_hard_tiles")

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ..nn.networks.network import TrailNetwork
from .dataset import TrailTileDataset
from .distributed import Ranks
from .recipe import StageRecipe
from .schedule import load_batches

_MINING = 3
"""Purpose of random numbers, distinct from order and variation of a dataset."""

_PIXELS = 32
"""Pixels of a tile whose false probability counts: at half resolution about the area of a trail of 20 pixels.
"""

_MARGIN = 3
"""Pixels of half resolution around trails that do not count: detecting the wings of a bright trail beyond its
mask is not an error.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class HardTiles:
    """Result of a search.

    Parameters
    ----------
    tiles
        Numbers of the hard tiles, worst first.
    searched
        Number of searched tiles.
    hard, mean
        Mean false probability of the hard tiles and of all searched tiles.
    """

    tiles: npt.NDArray[np.int64]
    searched: int
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
    """Find the tiles with the most false detections of a network.

    Parameters
    ----------
    network
        Network on its device, in evaluation mode.
    dataset
        Tiles to search, without variations.
    stage
        Number of searched tiles (``mining_tiles``) and fraction of hard ones (``hard_fraction``).
    epoch
        Number of the epoch; it and the seed of the dataset select the tiles.
    bfloat16
        Whether to compute in bfloat16.
    workers
        Processes that read tiles.
    track
        Function that yields its argument's items and shows progress.
    ranks
        Processes that share the work, with the same network; by default this one alone.
    """
    ranks = ranks or Ranks()
    device = next(network.parameters()).device
    searched = np.arange(len(dataset), dtype=np.int64)
    if stage.mining_tiles is not None and stage.mining_tiles < len(dataset):
        rng = np.random.default_rng([dataset.seed, _MINING, epoch])
        searched = np.sort(rng.choice(searched, stage.mining_tiles, replace=False))
    indices = searched.tolist()
    places = range(0, len(indices), stage.batch_size)[ranks.rank :: ranks.world_size]
    batches = [indices[place : place + stage.batch_size] for place in places]
    found = torch.zeros(len(indices), device=device)
    loader = load_batches(dataset, batches, device, workers)
    with torch.inference_mode():
        shown = batches if track is None else track(batches)
        for place, _, (inputs, target, valid) in zip(places, shown, loader, strict=True):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
                logits = network(inputs)
            found[place : place + len(inputs)] = false_probability(logits, target, valid)
        # Entries of other processes are zero.
        score = ranks.all_reduce(found).cpu().numpy().astype(np.float64)
    # Ties in the order of their numbers.
    worst = np.argsort(-score, kind="stable")[: math.ceil(stage.hard_fraction * len(searched))]
    return HardTiles(
        tiles=searched[worst],
        searched=len(searched),
        hard=float(np.mean(score[worst])),
        mean=float(np.mean(score)),
    )


def false_probability(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return the false probability of each tile, away from trails.

    Parameters
    ----------
    logits, target, valid
        Logits, targets and weights, shape (B, 1, h, w).

    Returns
    -------
    score
        Mean of the 32 highest probabilities on pixels that count in the loss and are more than 3 pixels from
        a trail, shape (B,).
    """
    near = functional.max_pool2d(target, 2 * _MARGIN + 1, stride=1, padding=_MARGIN)
    counts = (valid > 0.0) & (near == 0.0)
    probability = torch.where(counts, torch.sigmoid(logits.float()), torch.zeros_like(target)).flatten(1)
    return probability.topk(min(_PIXELS, probability.shape[1]), dim=1).values.mean(dim=1)
