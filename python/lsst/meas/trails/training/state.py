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

"""State of a training: everything that a step changes."""

from __future__ import annotations

__all__ = ("TrainingState",)

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ..nn.networks.network import TrailNetwork
from . import checkpoint as checkpoints
from .distributed import Ranks
from .initial_weights import InitialWeights
from .optimizer import WeightAverage, make_optimizer
from .recipe import Recipe
from .schedule import Epoch


class TrainingState:
    """Everything that a step of training changes.

    Parameters
    ----------
    recipe
        The recipe.
    device
        Device of the network.
    start
        Initial weights; by default random ones.
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
        self.network = recipe.model.create_network()
        if start is not None:
            self.network.load_state_dict(start.weights(recipe.model))
        self.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._ranks.convert_sync_batchnorm(self.network)
        self.optimizer = make_optimizer(recipe.optimizer, self.network)
        self._average = WeightAverage(self.network, recipe.ema) if recipe.ema > 0.0 else None
        self._stage_index = -1
        self.best: dict[str, torch.Tensor] = {}
        self.best_metrics: dict[str, float] = {}
        self.metrics: dict[str, float] = {}
        self.step = 0
        self.skipped = 0
        """Steps that were left out, as the time of their stage was over."""

        self.stage_seconds = 0.0
        """Time spent in the current stage."""

        self.hard: list[int] = []
        self.mined_epoch = -1

    def _averaged_weights(self) -> dict[str, torch.Tensor]:
        """Return the weights to validate and export, by name."""
        return self.network.state_dict() if self._average is None else self._average.weights

    def begin_epoch(self, epoch: Epoch) -> None:
        """Prepare for the steps of an epoch.

        The first epoch of a stage starts like a separate run, from the averaged weights of the previous
        stage.
        """
        if self.step == epoch.stage_first_step:
            self.network.load_state_dict(self._averaged_weights())
            self.optimizer = make_optimizer(self._recipe.optimizer, self.network)
            self.best, self.best_metrics = {}, {}
            self.stage_seconds = 0.0
            seed = np.random.SeedSequence([self._recipe.seed, epoch.stage_index]).generate_state(1)
            torch.manual_seed(int(seed[0]))
        if self._stage_index != epoch.stage_index:
            self._stage_index = epoch.stage_index
            if self._average is not None:
                self._average.restart(self.step - epoch.stage_first_step)

    def synchronize(self) -> None:
        """Copy the statistics of normalizations, which may differ, from rank zero."""
        average = {} if self._average is None else self._averaged_weights()
        self._ranks.broadcast_tensors((*self.network.state_dict().values(), *average.values()))

    @property
    def steps(self) -> int:
        """Steps until now without those that were left out."""
        return self.step - self.skipped

    def skip_to(self, step: int) -> None:
        """Leave out the steps before another one."""
        self.skipped += step - self.step
        self.step = step

    def advance(self, gradient_norm: torch.Tensor) -> None:
        """Change the weights by their gradients, unless the norm of these is not finite."""
        # Fused optimizers skip the step on the device; nothing waits for it.
        self.optimizer.found_inf = (~torch.isfinite(gradient_norm)).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self.step += 1
        if self._average is not None:
            self._average.update(self.network)

    def averaged_network(self, *, best: bool = False) -> TrailNetwork:
        """Return a network with the averaged weights, in evaluation mode.

        Parameters
        ----------
        best
            Whether to use the weights that validated best, if there are any.
        """
        network = self._recipe.model.create_network()
        network.load_state_dict((best and self.best) or self._averaged_weights())
        network.to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.eval()

    def record_validation(self, metrics: dict[str, float]) -> None:
        """Keep the metrics, and the weights if they are the best of the stage."""
        self.metrics = metrics
        merits = self._merits(metrics)
        if merits and (not self.best_metrics or merits > self._merits(self.best_metrics)):
            self.best_metrics = dict(metrics)
            self.best = {name: tensor.clone() for name, tensor in self._averaged_weights().items()}

    def _merits(self, metrics: Mapping[str, float]) -> list[float]:
        """Return the metrics that rank weights, most important first.

        The list is empty if one was not measured.
        """
        names = ["pixel_average_precision"]
        if self._recipe.validation.keep == "objects":
            names = [f"completeness_at_{rate}" for rate in (10, 1, 100)]
        if not all(name in metrics for name in names):
            return []
        return [metrics[name] if math.isfinite(metrics[name]) else -math.inf for name in names]

    def save(self, path: Path, *, digest: str, start: Mapping[str, object] | None) -> None:
        """Write a checkpoint.

        Parameters
        ----------
        path
            The file.
        digest
            Digest of everything that determines the weights.
        start
            Record of the initial weights.
        """
        checkpoints.write_checkpoint(
            path,
            checkpoints.Checkpoint(
                scalars={
                    "step": self.step,
                    "skipped": self.skipped,
                    "stage_seconds": self.stage_seconds,
                    "digest": digest,
                    "metrics": self.metrics,
                    "best_metrics": self.best_metrics,
                    "mined_epoch": self.mined_epoch,
                    "start": start,
                },
                weights=dict(self.network.state_dict()),
                average={} if self._average is None else self._averaged_weights(),
                best=self.best,
                optimizer=checkpoints.optimizer_tensors(self.optimizer),
                random=torch.get_rng_state(),
                sampler={"hard": torch.tensor(self.hard, dtype=torch.int64)},
            ),
        )

    def restore(self, path: Path, *, digest: str) -> None:
        """Resume from a checkpoint.

        Raises
        ------
        CheckpointError
            Raised if the digest differs, or the file is damaged.
        """
        saved = checkpoints.read_checkpoint(path)
        if saved.scalars.get("digest") != digest:
            raise checkpoints.CheckpointError(
                f"{path}: belongs to a run with another recipe, other tiles or other initial weights; train "
                "into another folder, or remove it (or pass --no-resume) to train from the start."
            )
        self.network.load_state_dict(saved.weights)
        checkpoints.restore_optimizer(self.optimizer, saved.optimizer)
        if self._average is not None:
            for name, tensor in self._average.weights.items():
                tensor.copy_(saved.average[name])
        self.best = {name: tensor.to(self._device) for name, tensor in saved.best.items()}
        self.step = int(saved.scalars["step"])
        self.skipped = int(saved.scalars["skipped"])
        self.stage_seconds = float(saved.scalars["stage_seconds"])
        self.metrics = saved.scalars["metrics"]
        self.best_metrics = saved.scalars["best_metrics"]
        self.mined_epoch = int(saved.scalars["mined_epoch"])
        self.hard = saved.sampler["hard"].tolist()
        torch.set_rng_state(saved.random)
