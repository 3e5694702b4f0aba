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

"""Schedule of a training: its epochs and batches."""

from __future__ import annotations

__all__ = (
    "Epoch",
    "TrainingData",
    "dataset_length",
    "epoch_batches",
    "load_batches",
    "plan_epochs",
    "run_digest",
    "stage_limits",
)

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from ..core.section import Section
from ..core.tiles.layout import parse_split
from .crops import InjectedCrops
from .dataset import Batch, Key, TileDataset, TrailTileDataset
from .recipe import Recipe, StageRecipe
from .recipe_data import FILE_ROLES

type TrainingData = TileDataset | InjectedCrops
"""Data to train on: tiles, or crops with fresh trails."""


@dataclasses.dataclass(frozen=True)
class Epoch:
    """Pass, or part of one, over the drawn tiles.

    Parameters
    ----------
    number, stage_index
        Number of the epoch, over all stages, and of its stage.
    stage
        The stage.
    first_step, steps
        Steps of the run before the epoch, and in it.
    stage_first_step, stage_steps
        Steps of the run before the stage, and in it.
    stage_last
        Whether it is the last epoch of the stage.
    min_snr
        Minimum SNR of the brightest trail in its tiles with trails.
    mines
        Whether it starts with a search for hard tiles.
    """

    number: int
    stage: StageRecipe
    stage_index: int
    first_step: int
    steps: int
    stage_first_step: int
    stage_steps: int
    stage_last: bool
    min_snr: float
    mines: bool

    @property
    def stage_end(self) -> int:
        """Steps of the run until the end of the stage."""
        return self.stage_first_step + self.stage_steps


def dataset_length(dataset: TrainingData) -> int:
    """Return the number of tiles in a dataset."""
    assert isinstance(dataset, Sized)
    return len(dataset)


def _drawn(recipe: Recipe, dataset: TrainingData) -> int:
    """Return the number of tiles in an epoch."""
    return recipe.data.tiles_per_epoch or dataset_length(dataset)


def plan_epochs(recipe: Recipe, dataset: TrainingData) -> Iterator[Epoch]:
    """Iterate over the epochs of a run, in order.

    The last epoch of a stage may be shorter.
    """
    number = 0
    first = 0
    for index, stage in enumerate(recipe.stages):
        # Smaller last batches are omitted, as their gradient and statistics are noisier.
        per_epoch = max(1, _drawn(recipe, dataset) // stage.batch_size)
        steps = stage.steps if stage.epochs is None else stage.epochs * per_epoch
        assert steps is not None
        for done in range(0, steps, per_epoch):
            count = min(per_epoch, steps - done)
            in_stage = done // per_epoch
            yield Epoch(
                number=number,
                stage=stage,
                stage_index=index,
                first_step=first + done,
                steps=count,
                stage_first_step=first,
                stage_steps=steps,
                stage_last=done + count == steps,
                min_snr=_min_snr(stage, in_stage, -(-steps // per_epoch)),
                mines=stage.mines and in_stage % (stage.mine_every or steps) == 0,
            )
            number += 1
        first += steps


def _min_snr(stage: StageRecipe, epoch: int, epochs: int) -> float:
    if stage.min_snr is None:
        return 0.0
    first, last = stage.min_snr
    return first + (last - first) * epoch / max(1, epochs - 1)


def stage_limits(epochs: Sequence[Epoch], first_stage: int, minutes: float | None) -> dict[int, float]:
    """Return the longest time of each stage, seconds.

    Parameters
    ----------
    epochs
        The epochs of the run.
    first_stage
        Number of the stage to start with.
    minutes
        Time of the run, which goes to the stages by their numbers of drawn tiles; `None` for any time.
    """
    tiles = {epoch.stage_index: epoch.stage_steps * epoch.stage.batch_size for epoch in epochs}
    total = sum(count for index, count in tiles.items() if index >= first_stage)
    return {
        index: math.inf if minutes is None else 60.0 * minutes * count / total
        for index, count in tiles.items()
    }


def epoch_batches(
    recipe: Recipe, dataset: TrainingData, epoch: Epoch, hard: Sequence[int] = ()
) -> list[list[Key]]:
    """Return the keys of the tiles of an epoch, batch by batch.

    Parameters
    ----------
    recipe
        The recipe.
    dataset
        Training tiles.
    epoch
        The epoch.
    hard
        Tiles of the class ``hard``.
    """
    count = _drawn(recipe, dataset)
    if isinstance(dataset, TrailTileDataset):
        mixture = recipe.data.mixture if epoch.stage.mixture is None else epoch.stage.mixture
        drawn = dataset.draw(count, epoch=epoch.number, mixture=mixture, hard=hard, min_snr=epoch.min_snr)
        keys: list[Key] = list(drawn)
    elif isinstance(dataset, InjectedCrops):
        keys = list(dataset.draw(count, epoch=epoch.number))
    else:
        generator = np.random.default_rng([recipe.seed, epoch.number])
        keys = []
        while len(keys) < count:
            keys += generator.permutation(dataset_length(dataset)).tolist()
        keys = keys[:count]
    size = min(epoch.stage.batch_size, len(keys))
    return [keys[i * size : (i + 1) * size] for i in range(epoch.steps)]


def load_batches(
    dataset: TrainingData,
    batches: Sequence[list[int]] | Sequence[list[Key]],
    device: torch.device,
    workers: int = 0,
    *,
    min_snr: float = 0.0,
) -> Iterator[Batch]:
    """Iterate over batches of (input, target, valid) on a device.

    Parameters
    ----------
    dataset
        Map-style dataset, or crops with fresh trails.
    batches
        Keys of the tiles, batch by batch.
    device
        Device of the network. Inputs have its preferred layout.
    workers
        Processes that read tiles; 0 reads in this process.
    min_snr
        Minimum SNR of fresh trails.
    """
    if isinstance(dataset, InjectedCrops):
        yield from dataset.load(batches, min_snr=min_snr)
        return
    loader: DataLoader[tuple[torch.Tensor, ...]] = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=min(workers, len(batches)),
        pin_memory=device.type == "cuda",
    )
    for tensors in loader:
        inputs, target, valid = (tensor.to(device, non_blocking=True) for tensor in tensors)
        yield inputs.contiguous(memory_format=torch.channels_last), target, valid


_PROCEDURE = 3
"""Version of the training; raise it whenever the same recipe and tiles give other weights."""


def run_digest(
    recipe: Recipe,
    epochs: Sequence[Epoch],
    datasets: Sequence[TrainingData | None],
    start: Mapping[str, object] | None = None,
) -> str:
    """Return a digest of everything that determines the weights.

    Parameters
    ----------
    recipe
        The original recipe, with a simulation instead of its tile files.
    epochs
        The epochs.
    datasets
        Training and validation tiles.
    start
        Identity of the initial weights and stage; `None` for random weights.

    Returns
    -------
    digest
        Hexadecimal. It depends on the number, names and sizes of tile files, but not on their folders.
    """
    mapping = _enabled(recipe)
    for key in ("threads", "checkpoint_steps"):
        mapping.pop(key, None)
    data = mapping["data"]
    for key in ("workers", *FILE_ROLES):
        data.pop(key, None)
    if recipe.validation.objects_every is None:
        mapping["validation"].pop("object_scenes", None)
    # Calibration follows training.
    for key in ("calibration", "calibrations"):
        data.get("simulate", {}).pop(key, None)
    mapping["epochs"] = [epoch.steps for epoch in epochs]
    mapping["tiles"] = [None if dataset is None else _describe_tiles(dataset) for dataset in datasets]
    mapping["procedure"] = _PROCEDURE
    if start is not None:
        mapping["start"] = dict(start)
    return hashlib.sha256(json.dumps(mapping, sort_keys=True).encode()).hexdigest()


def _enabled(section: object) -> Any:
    """Return a section of a recipe as plain data, without disabled keys.

    Keys that are zero, false, empty or `None` do not change a run, so that runs of this version can resume in
    versions with more keys.
    """
    if isinstance(section, Section):
        return {name: _enabled(value) for name, value in section if value}
    return [_enabled(entry) for entry in section] if isinstance(section, tuple) else section


def _describe_tiles(dataset: TrainingData) -> dict[str, object]:
    """Return properties of tiles that identify them without reading all of them."""
    files = dataset.files if isinstance(dataset, (TrailTileDataset, InjectedCrops)) else ()
    return {
        "count": dataset_length(dataset),
        "files": [[os.path.basename(name), os.path.getsize(parse_split(name)[0])] for name in files],
    }
