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

"""Training: from a recipe and tiles to a model file.

Everything that a run depends on is derived from the recipe's seed and from
the number of the epoch and step, or is in the checkpoint, so that a run that
was stopped goes on exactly where it was.
"""

from __future__ import annotations

__all__ = ("CHECKPOINT_NAME", "TrainingError", "TrainingResult", "train")

import dataclasses
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from . import checkpoint as checkpoints
from .dataset import TrailTileDataset
from .evaluate import evaluate_network
from .hardware import available_cores, choose_device, thread_count
from .losses import BlendedLoss
from .model_export import export_trained
from .networks import TrailNetwork, count_parameters, create_network
from .optimiser import learning_rate_factor, make_optimiser, update_average
from .pixel_metrics import PixelScores
from .recipe import Recipe, StageRecipe
from .training_plan import Epoch, dataset_length, epoch_batches, load_batches, plan_epochs, run_digest
from .training_report import TrainingReport

_LOG = logging.getLogger(__name__)

CHECKPOINT_NAME = "checkpoint.safetensors"
"""File in the output folder that holds the state of the run."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and where."""


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What a run of training ends with."""

    model_path: Path | None
    """The model's JSON specification; `None` if the run was stopped early."""

    steps: int
    """Steps done in all, earlier parts of a resumed run included."""

    metrics: dict[str, float]
    """Last validation."""


def train(
    recipe: Recipe,
    train_dataset: Dataset[Any],
    validation_dataset: Dataset[Any] | None,
    output_dir: Path,
    *,
    resume: bool = True,
    progress: bool = True,
    device: str = "auto",
    stop_after: int | None = None,
    original: Recipe | None = None,
) -> TrainingResult:
    """Train a network and write it as a model file.

    Parameters
    ----------
    recipe
        What to do.
    train_dataset
        Map-style dataset of (input, target, valid) with shapes (C, T, T),
        (1, T/2, T/2) and (1, T/2, T/2), float32.
    validation_dataset
        The same of visits that training never sees; `None` validates nothing
        and keeps the last weights.
    output_dir
        Folder for checkpoint, metrics (``metrics.jsonl``), log
        (``train.log``), curves (``curves.png``) and the model.
    resume
        Go on from the checkpoint in ``output_dir`` if there is one.
    progress
        Show a progress bar if on a terminal.
    device
        Torch device, or ``auto``.
    stop_after
        Stop, with a checkpoint, once this many steps are done in all.
    original
        Recipe to record in the folder, the checkpoint and the model, where
        ``recipe`` has something in its place, such as tile files for a
        simulation.

    Returns
    -------
    result
        Where the model is, and how good.

    Raises
    ------
    TrainingError
        Raised if an input, the loss or the gradient is not finite, or there
        is nothing to train on.
    CheckpointError
        Raised if the checkpoint belongs to another recipe or other tiles, or
        is damaged.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    threads = recipe.threads or available_cores()
    with thread_count(threads), torch.random.fork_rng(devices=[]):
        original = original or recipe
        trainer = _Trainer(
            recipe, original, train_dataset, validation_dataset, output_dir, choose_device(device)
        )
        with TrainingReport(output_dir, original, show_progress=progress) as report:
            return trainer.run(report, resume=resume, stop_after=stop_after)


class _Trainer:
    """State of a run."""

    def __init__(
        self,
        recipe: Recipe,
        original: Recipe,
        train_dataset: Dataset[Any],
        validation_dataset: Dataset[Any] | None,
        output_dir: Path,
        device: torch.device,
    ) -> None:
        self.recipe = recipe
        self.original = original
        self.train_dataset = train_dataset
        self.validation_dataset = validation_dataset
        self.output_dir = output_dir
        self.device = device
        if dataset_length(train_dataset) == 0:
            raise TrainingError("There is not a single tile to train on.")
        if validation_dataset is not None and dataset_length(validation_dataset) == 0:
            raise TrainingError("There is not a single tile to validate on.")

        torch.manual_seed(recipe.seed)
        self.network = create_network(
            recipe.model.architecture, in_channels=len(recipe.model.channels), **recipe.model.hyperparameters
        ).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = make_optimiser(recipe.optimiser, self.network)
        self.average = checkpoints.copy_state(self.network) if recipe.ema > 0.0 else {}
        self.best: dict[str, torch.Tensor] = {}
        self.best_metrics: dict[str, float] = {}
        self.metrics: dict[str, float] = {}
        self.step = 0
        self.epochs = list(plan_epochs(recipe, train_dataset))
        self.total_steps = self.epochs[-1].first_step + self.epochs[-1].steps
        self.digest = run_digest(original, self.epochs, (train_dataset, validation_dataset))

    def run(self, report: TrainingReport, *, resume: bool, stop_after: int | None) -> TrainingResult:
        path = self.output_dir / CHECKPOINT_NAME
        if resume and path.exists():
            self._restore(path)
            _LOG.info("Going on from step %d of %d (%s).", self.step, self.total_steps, path)
        else:
            _LOG.info(
                "Training %s with %d parameters on %d tiles for %d steps on %s.",
                self.recipe.model.architecture,
                count_parameters(self.network),
                dataset_length(self.train_dataset),
                self.total_steps,
                self.device,
            )
        report.start(step=self.step, total_steps=self.total_steps)
        end = self.total_steps if stop_after is None else min(stop_after, self.total_steps)
        for epoch in self.epochs:
            epoch_end = epoch.first_step + epoch.steps
            if epoch_end <= self.step:
                continue
            if self.step >= end:
                break
            self._run_epoch(epoch, report, min(end, epoch_end))
            if self.step < epoch_end:
                break
            if self.validation_dataset is not None and (
                epoch.last or (epoch.number + 1) % self.recipe.validation.every == 0
            ):
                self._validate(epoch, report)
            self._save()
        if self.step < self.total_steps:
            self._save()
            _LOG.info("Stopped at step %d of %d; run again to go on.", self.step, self.total_steps)
            return TrainingResult(model_path=None, steps=self.step, metrics=self.metrics)
        return self._export(report)

    def _run_epoch(self, epoch: Epoch, report: TrainingReport, end: int) -> None:
        loss_function = BlendedLoss(epoch.stage.loss)
        batches = epoch_batches(self.recipe, self.train_dataset, epoch)[self.step - epoch.first_step :]
        loader = load_batches(self.train_dataset, batches, self.recipe.data.workers)
        self.network.train()
        for batch, tensors in zip(batches, loader, strict=True):
            if self.step >= end:
                break
            started = time.monotonic()
            inputs, target, valid = (tensor.to(self.device) for tensor in tensors)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            learning_rate = self._set_learning_rate(epoch.stage)
            with self._autocast():
                logits = self.network(inputs)
            progress = (self.step - epoch.stage_first_step) / max(1, epoch.stage_steps - 1)
            loss = loss_function(logits, target, valid, progress)
            value = loss.item()
            if not math.isfinite(value):
                raise TrainingError(self._blame(batch, inputs, target, logits, "The loss is not finite"))
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            clip = self.recipe.optimiser.clip
            norm = torch.nn.utils.clip_grad_norm_(
                self.network.parameters(), math.inf if clip is None else clip
            ).item()
            if not math.isfinite(norm):
                raise TrainingError(self._blame(batch, inputs, target, logits, "The gradient is not finite"))
            self.optimiser.step()
            self.step += 1
            if self.average:
                update_average(self.average, self.network, step=self.step, decay=self.recipe.ema)
            report.step(
                step=self.step,
                epoch=epoch.number,
                stage=epoch.stage.name,
                loss=value,
                learning_rate=learning_rate,
                gradient_norm=norm,
                pixels=inputs.shape[0] * inputs.shape[2] * inputs.shape[3],
                seconds=time.monotonic() - started,
            )
            if self.step % self.recipe.checkpoint_steps == 0:
                self._save()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.recipe.precision == "bfloat16"
        )

    def _set_learning_rate(self, stage: StageRecipe) -> float:
        optimiser = self.recipe.optimiser
        peak = optimiser.learning_rate if stage.learning_rate is None else stage.learning_rate
        rate = peak * learning_rate_factor(self.step / self.total_steps, optimiser.warmup, optimiser.final)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        return rate

    def _averaged_network(self, state: Mapping[str, torch.Tensor] | None = None) -> TrailNetwork:
        """Return a network with the averaged (or other) weights."""
        with torch.random.fork_rng(devices=[]):
            network = create_network(
                self.recipe.model.architecture,
                in_channels=len(self.recipe.model.channels),
                **self.recipe.model.hyperparameters,
            )
        network.load_state_dict(state or self.average or self.network.state_dict())
        network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.eval()

    def _measure(self, network: TrailNetwork, stage: StageRecipe) -> tuple[dict[str, float], PixelScores]:
        assert self.validation_dataset is not None
        return evaluate_network(
            network,
            self.validation_dataset,
            BlendedLoss(stage.loss),
            batch_size=self.recipe.validation.batch_size,
            bfloat16=self.recipe.precision == "bfloat16",
            workers=self.recipe.data.workers,
        )

    def _validate(self, epoch: Epoch, report: TrainingReport) -> None:
        self.metrics, _ = self._measure(self._averaged_network(), epoch.stage)
        report.validation(step=self.step, epoch=epoch.number, stage=epoch.stage.name, metrics=self.metrics)
        if not self.best_metrics or _merit(self.metrics) > _merit(self.best_metrics):
            self.best_metrics = dict(self.metrics)
            self.best = {
                name: tensor.clone() for name, tensor in (self.average or self.network.state_dict()).items()
            }

    def _export(self, report: TrainingReport) -> TrainingResult:
        keep_best = self.recipe.validation.keep == "best" and bool(self.best)
        network = self._averaged_network(self.best if keep_best else None)

        def measure(network: TrailNetwork) -> tuple[dict[str, float], PixelScores | None]:
            if self.validation_dataset is None:
                return {}, None
            network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            return self._measure(network, self.epochs[-1].stage)

        path, metrics = export_trained(
            self.output_dir,
            network.cpu(),
            self.original,
            steps=self.step,
            train_tiles=dataset_length(self.train_dataset),
            files=_files(self.train_dataset),
            measure=measure,
        )
        report.finished(path, metrics)
        return TrainingResult(model_path=path, steps=self.step, metrics=metrics)

    def _save(self) -> None:
        checkpoints.write_checkpoint(
            self.output_dir / CHECKPOINT_NAME,
            checkpoints.Checkpoint(
                scalars={
                    "step": self.step,
                    "digest": self.digest,
                    "metrics": self.metrics,
                    "best_metrics": self.best_metrics,
                },
                weights=dict(self.network.state_dict()),
                average=self.average,
                best=self.best,
                optimiser=checkpoints.optimiser_tensors(self.optimiser),
                random=torch.get_rng_state(),
            ),
        )

    def _restore(self, path: Path) -> None:
        saved = checkpoints.read_checkpoint(path)
        if saved.scalars.get("digest") != self.digest:
            raise checkpoints.CheckpointError(
                f"{path}: belongs to a run with another recipe or other tiles; train into another folder, or "
                "remove it (or do not resume) to train from the start."
            )
        self.network.load_state_dict(saved.weights)
        checkpoints.restore_optimiser(self.optimiser, saved.optimiser)
        self.average = {name: tensor.to(self.device) for name, tensor in saved.average.items()}
        self.best = {name: tensor.to(self.device) for name, tensor in saved.best.items()}
        self.step = int(saved.scalars["step"])
        self.metrics = saved.scalars["metrics"]
        self.best_metrics = saved.scalars["best_metrics"]
        torch.set_rng_state(saved.random)

    def _blame(
        self,
        batch: Sequence[Any],
        inputs: torch.Tensor,
        target: torch.Tensor,
        logits: torch.Tensor,
        problem: str,
    ) -> str:
        """Say which tiles of a batch are the reason of a failure."""
        for name, tensor in (("input", inputs), ("target", target), ("output", logits.detach())):
            finite = torch.isfinite(tensor.float()).flatten(1).all(dim=1).tolist()
            if not all(finite):
                tiles = [self._tile_name(key) for key, good in zip(batch, finite) if not good]
                return f"{problem} at step {self.step + 1}: the {name} is not finite in {'; '.join(tiles)}."
        tiles = [self._tile_name(key) for key in batch]
        return (
            f"{problem} at step {self.step + 1}, though the tiles {'; '.join(tiles)} are finite; "
            "lower the learning rate."
        )

    def _tile_name(self, key: Any) -> str:
        dataset = self.train_dataset
        return dataset.tile_name(key) if isinstance(dataset, TrailTileDataset) else f"tile {key}"


def _merit(metrics: Mapping[str, float]) -> float:
    merit = metrics["pixel_average_precision"]
    return merit if math.isfinite(merit) else -math.inf


def _files(dataset: Dataset[Any]) -> list[str]:
    return list(dataset.files) if isinstance(dataset, TrailTileDataset) else []
