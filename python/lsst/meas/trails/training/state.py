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

"""The state of a training run: weights, optimizer, and what is remembered."""

from __future__ import annotations

__all__ = ("TrainingState",)

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..nn.networks.registry import TrailNetwork, create_network
from . import checkpoint as checkpoints
from .distributed import Ranks
from .initial_weights import InitialWeights
from .optimizer import make_optimizer, set_learning_rate, update_average
from .recipe import Recipe
from .schedule import Epoch


class TrainingState:
    """Everything that a step of training changes.

    Parameters
    ----------
    recipe
        The recipe.
    device
        Where the network is.
    start
        Weights to begin with; by default random ones.
    ranks
        Processes that train together; by default this one alone.
    """

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        start: InitialWeights | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self._recipe = recipe
        self._device = device
        self._ranks = ranks or Ranks()
        torch.manual_seed(recipe.seed)
        self.network = _create(recipe)
        if start is not None:
            self.network.load_state_dict(start.weights(recipe.model))
        self.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._ranks.join_statistics(self.network)
        self.optimizer = make_optimizer(recipe.optimizer, self.network)
        self.average = checkpoints.copy_state(self.network) if recipe.ema > 0.0 else {}
        self.best: dict[str, torch.Tensor] = {}
        self.best_metrics: dict[str, float] = {}
        self.metrics: dict[str, float] = {}
        self.step = 0
        self.hard: list[int] = []
        self.mined_epoch = -1

    def begin_stage(self, epoch: Epoch) -> None:
        """Begin a stage as if it were a run of its own, which started with
        the averaged weights of the one before.
        """
        if self.average:
            self.network.load_state_dict(self.average)
        self.optimizer = make_optimizer(self._recipe.optimizer, self.network)
        self.best, self.best_metrics = {}, {}
        seed = np.random.SeedSequence([self._recipe.seed, epoch.stage_index]).generate_state(1)
        torch.manual_seed(int(seed[0]))

    def synchronize(self) -> None:
        """Take over the statistics of normalizations, in which processes may
        differ, from the first.
        """
        self._ranks.take_from_first((*self.network.state_dict().values(), *self.average.values()))

    def set_learning_rate(self, epoch: Epoch) -> float:
        """Set and return the learning rate of the next step."""
        done = (self.step - epoch.stage_first_step) / epoch.stage_steps
        return set_learning_rate(self.optimizer, self._recipe.optimizer, epoch.stage.learning_rate, done)

    def advance(self, epoch: Epoch) -> None:
        """Change the weights by the gradients that they have."""
        self.optimizer.step()
        self.step += 1
        if self.average:
            in_stage = self.step - epoch.stage_first_step
            update_average(self.average, self.network, step=in_stage, decay=self._recipe.ema)

    def averaged_network(self, *, best: bool = False) -> TrailNetwork:
        """Return a network with the averaged weights, ready to be measured.

        Parameters
        ----------
        best
            Whether to take those that validated best, if there are any.
        """
        with torch.random.fork_rng(devices=[]):
            network = _create(self._recipe)
        network.load_state_dict((best and self.best) or self.average or self.network.state_dict())
        network.to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.eval()

    def validated(self, metrics: dict[str, float]) -> None:
        """Remember what a validation gave, and the weights if none were
        better in this stage.
        """
        self.metrics = metrics
        if not self._merits(metrics):
            return
        if not self.best_metrics or self._merits(metrics) > self._merits(self.best_metrics):
            self.best_metrics = dict(metrics)
            weights = self.average or self.network.state_dict()
            self.best = {name: tensor.clone() for name, tensor in weights.items()}

    def _merits(self, metrics: dict[str, float]) -> list[float]:
        """Return what the best weights are the best in, the first before the
        second; nothing if that was not measured.
        """
        names = ["pixel_average_precision"]
        if self._recipe.validation.keep == "objects":
            names = [f"completeness_at_{rate}" for rate in (10, 1, 100)]
        if not all(name in metrics for name in names):
            return []
        return [metrics[name] if math.isfinite(metrics[name]) else -math.inf for name in names]

    def save(self, path: Path, *, digest: str, start: dict[str, Any] | None) -> None:
        """Write a checkpoint.

        Parameters
        ----------
        path
            The file.
        digest
            Digest of all that decides the weights.
        start
            What the run began with.
        """
        checkpoints.write_checkpoint(
            path,
            checkpoints.Checkpoint(
                scalars={
                    "step": self.step,
                    "digest": digest,
                    "metrics": self.metrics,
                    "best_metrics": self.best_metrics,
                    "mined_epoch": self.mined_epoch,
                    "start": start,
                },
                weights=dict(self.network.state_dict()),
                average=self.average,
                best=self.best,
                optimizer=checkpoints.optimizer_tensors(self.optimizer),
                random=torch.get_rng_state(),
                sampler={"hard": torch.tensor(self.hard, dtype=torch.int64)},
            ),
        )

    def restore(self, path: Path, *, digest: str) -> None:
        """Go on from a checkpoint.

        Raises
        ------
        CheckpointError
            Raised if it is of a run with another digest, or damaged.
        """
        saved = checkpoints.read_checkpoint(path)
        if saved.scalars.get("digest") != digest:
            raise checkpoints.CheckpointError(
                f"{path}: belongs to a run with another recipe or other tiles, or that began with other "
                "weights; train into another folder, or remove it (or do not resume) to train from the start."
            )
        self.network.load_state_dict(saved.weights)
        checkpoints.restore_optimizer(self.optimizer, saved.optimizer)
        self.average = {name: tensor.to(self._device) for name, tensor in saved.average.items()}
        self.best = {name: tensor.to(self._device) for name, tensor in saved.best.items()}
        self.step = int(saved.scalars["step"])
        self.metrics = saved.scalars["metrics"]
        self.best_metrics = saved.scalars["best_metrics"]
        self.mined_epoch = int(saved.scalars["mined_epoch"])
        self.hard = saved.sampler["hard"].tolist()
        torch.set_rng_state(saved.random)


def _create(recipe: Recipe) -> TrailNetwork:
    return create_network(
        recipe.model.architecture, in_channels=len(recipe.model.channels), **recipe.model.hyperparameters
    )
