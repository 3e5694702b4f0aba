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

"""Training: from a recipe and tiles to a model file.

Everything that a run depends on is derived from the recipe's seed and from
the number of the epoch and step, or is in the checkpoint, so that a run that
was stopped goes on exactly where it was.
"""

from __future__ import annotations

__all__ = (
    "CHECKPOINT_NAME",
    "TrainingError",
    "TrainingResult",
    "describe_nonfinite",
    "train",
)

import dataclasses
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from ..core.pixel_histogram import PixelHistogram
from ..nn.hardware import thread_count, use_bfloat16
from ..nn.networks.registry import TrailNetwork, count_parameters
from .dataset import TrailTileDataset
from .distributed import Ranks
from .export import export_trained
from .hard_tiles import mine_hard_tiles
from .initial_weights import InitialWeights
from .log import SilentReport, TrainingReport
from .losses import BlendedLoss
from .optimizer import prepare_training
from .recipe import Recipe, StageRecipe
from .schedule import Epoch, dataset_length, epoch_batches, load_batches, plan_epochs, run_digest
from .state import TrainingState
from .validation import ObjectValidation, evaluate_network

_LOG = logging.getLogger(__name__)

CHECKPOINT_NAME = "checkpoint.safetensors"
"""File in the output folder that holds the state of the run."""


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
    start: InitialWeights | None = None,
    objects: ObjectValidation | None = None,
    ranks: Ranks | None = None,
) -> TrainingResult:
    """Train a network and write it as a model file.

    Parameters
    ----------
    recipe
        What to do.
    train_dataset
        Map-style dataset of (input, target, valid) with shapes (C, T, T),
        (1, T/s, T/s) and (1, T/s, T/s), float32, where s is the network's
        output stride.
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
    start
        Weights to begin with, and the stage; by default random ones and the
        first.
    objects
        Scenes for the measurement that the recipe's
        ``validation.objects_every`` asks for.
    ranks
        Processes that train together; by default this one alone.

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
        Raised if the checkpoint belongs to another recipe, another start or
        other tiles, or is damaged.
    InitialWeightsError
        Raised if the model to start with does not fit the recipe.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    ranks = ranks or Ranks()
    threads = recipe.threads or ranks.cores()
    with thread_count(threads), torch.random.fork_rng(devices=[]):
        original = original or recipe
        trainer = _Trainer(
            recipe,
            original,
            train_dataset,
            validation_dataset,
            output_dir,
            ranks.device(device),
            start,
            objects,
            ranks,
        )
        report_class = TrainingReport if ranks.is_first else SilentReport
        with report_class(output_dir, original, show_progress=progress) as report:
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
        start: InitialWeights | None,
        objects: ObjectValidation | None,
        ranks: Ranks,
    ) -> None:
        self.recipe = recipe
        self.original = original
        self.train_dataset = train_dataset
        self.validation_dataset = validation_dataset
        self.output_dir = output_dir
        self.device = device
        self.bfloat16 = use_bfloat16(recipe.precision, device)
        self.objects = objects
        self.ranks = ranks
        if dataset_length(train_dataset) == 0:
            raise TrainingError("There is not a single tile to train on.")
        if validation_dataset is not None and dataset_length(validation_dataset) == 0:
            raise TrainingError("There is not a single tile to validate on.")
        if recipe.validation.objects_every is not None and objects is None:
            raise TrainingError(
                "validation.objects_every needs scenes to look for trails in: data.simulate, or leave it out."
            )

        self.state = TrainingState(recipe, device, start, ranks)
        self.epochs = list(plan_epochs(recipe, train_dataset))
        if any(epoch.mines for epoch in self.epochs) and not isinstance(train_dataset, TrailTileDataset):
            raise TrainingError("Hard tiles can be looked for in tile files only.")
        self.total_steps = self.epochs[-1].first_step + self.epochs[-1].steps
        # Stages before the one to start with count as done.
        first_stage = 0 if start is None else start.stage_index(recipe)
        self.first_step = next(e.first_step for e in self.epochs if e.stage_index == first_stage)
        self.state.step = self.first_step
        self.start = None if start is None else start.record(original)
        self.digest = run_digest(
            original,
            self.epochs,
            (train_dataset, validation_dataset),
            None if start is None else start.identity(original),
        )

    def run(self, report: TrainingReport, *, resume: bool, stop_after: int | None) -> TrainingResult:
        path = self.output_dir / CHECKPOINT_NAME
        resumed = self.ranks.told_by_first(resume and path.exists())
        if resumed:
            self.state.restore(path, digest=self.digest)
            _LOG.info("Going on from step %d of %d (%s).", self.state.step, self.total_steps, path)
        else:
            _LOG.info(
                "Training %s with %d parameters on %d tiles for %d steps on %s in %s.",
                self.recipe.model.architecture,
                count_parameters(self.state.network),
                dataset_length(self.train_dataset),
                self.total_steps - self.first_step,
                self.device,
                "bfloat16" if self.bfloat16 else "float32",
            )
        if self.start is not None:
            _LOG.info("Started with the weights of %(name)s %(version)s at stage %(stage)s.", self.start)
        report.start(step=self.state.step, total_steps=self.total_steps, resumed=resumed)
        end = self.total_steps if stop_after is None else min(stop_after, self.total_steps)
        for epoch in self.epochs:
            epoch_end = epoch.first_step + epoch.steps
            if epoch_end <= self.state.step:
                continue
            if self.state.step >= end:
                break
            if self.state.step == epoch.stage_first_step:
                self.state.begin_stage(epoch)
            if self.state.step == epoch.first_step and epoch.mines and self.state.mined_epoch != epoch.number:
                self._mine(epoch, report)
            self._run_epoch(epoch, report, min(end, epoch_end))
            if self.state.step < epoch_end:
                break
            self._validate(epoch, report)
            self._save()
        if self.state.step < self.total_steps:
            self._save()
            _LOG.info("Stopped at step %d of %d; run again to go on.", self.state.step, self.total_steps)
            return TrainingResult(model_path=None, steps=self.state.step, metrics=self.state.metrics)
        return self._export(report)

    def _mine(self, epoch: Epoch, report: TrainingReport) -> None:
        """Look for the tiles that are hard for the averaged network."""
        assert isinstance(self.train_dataset, TrailTileDataset)
        if self.state.step == 0 and self.start is None:
            _LOG.warning("Hard tiles are looked for with random weights; do so in a later stage.")
        self.state.synchronize()
        hard = mine_hard_tiles(
            self.state.averaged_network(),
            self.train_dataset,
            epoch.stage,
            epoch=epoch.number,
            bfloat16=self.bfloat16,
            workers=self.recipe.data.workers,
            track=lambda batches: report.track(batches, "hard tiles"),
            ranks=self.ranks,
        )
        self.state.hard, self.state.mined_epoch = hard.tiles.tolist(), epoch.number
        self._save()
        report.mining(step=self.state.step, epoch=epoch.number, stage=epoch.stage.name, hard=hard)

    def _run_epoch(self, epoch: Epoch, report: TrainingReport, end: int) -> None:
        loss_function = BlendedLoss(epoch.stage.loss)
        batches = epoch_batches(self.recipe, self.train_dataset, epoch, self.state.hard)
        batches = [self.ranks.share(batch) for batch in batches[self.state.step - epoch.first_step :]]
        loader = load_batches(self.train_dataset, batches, self.recipe.data.workers)
        prepare_training(self.state.network, epoch.stage.train_parts)
        network = self.ranks.wrap(self.state.network)
        for batch, tensors in zip(batches, loader, strict=True):
            if self.state.step >= end:
                break
            started = time.monotonic()
            inputs, target, valid = (tensor.to(self.device) for tensor in tensors)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            learning_rate = self.state.set_learning_rate(epoch)
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
                logits = network(inputs)
            progress = (self.state.step - epoch.stage_first_step) / max(1, epoch.stage_steps - 1)
            # Of the whole batch: an overlap taken share by share would be
            # another loss.
            join = self.ranks.join_batch
            loss = loss_function(join(logits), join(target), join(valid), progress)
            value = loss.item()
            if not math.isfinite(value):
                reason = describe_nonfinite(self.train_dataset, batch, inputs, target, logits, self.ranks)
                raise TrainingError(f"The loss is not finite at step {self.state.step + 1}{reason}")
            self.state.optimizer.zero_grad(set_to_none=True)
            (loss * self.ranks.count).backward()
            clip = self.recipe.optimizer.clip
            norm = torch.nn.utils.clip_grad_norm_(
                self.state.network.parameters(), math.inf if clip is None else clip
            ).item()
            if not math.isfinite(norm):
                reason = describe_nonfinite(self.train_dataset, batch, inputs, target, logits, self.ranks)
                raise TrainingError(f"The gradient is not finite at step {self.state.step + 1}{reason}")
            self.state.advance(epoch)
            report.step(
                step=self.state.step,
                epoch=epoch.number,
                stage=epoch.stage.name,
                loss=value,
                learning_rate=learning_rate,
                gradient_norm=norm,
                pixels=self.ranks.count * inputs.shape[0] * inputs.shape[2] * inputs.shape[3],
                seconds=time.monotonic() - started,
            )
            if self.state.step % self.recipe.checkpoint_steps == 0:
                self._save()

    def _measure(self, network: TrailNetwork, stage: StageRecipe) -> tuple[dict[str, float], PixelHistogram]:
        assert self.validation_dataset is not None
        return evaluate_network(
            network,
            self.validation_dataset,
            BlendedLoss(stage.loss),
            batch_size=self.recipe.validation.batch_size,
            bfloat16=self.bfloat16,
            workers=self.recipe.data.workers,
        )

    def _validate(self, epoch: Epoch, report: TrainingReport) -> None:
        """Measure the averaged network if it is time to."""

        def is_time(every: int | None) -> bool:
            return every is not None and (epoch.stage_last or (epoch.number + 1) % every == 0)

        recipe = self.recipe.validation
        pixels = self.validation_dataset is not None and is_time(recipe.every)
        objects = self.objects is not None and is_time(recipe.objects_every)
        if not pixels and not objects:
            return
        metrics: dict[str, float] = {}
        if self.ranks.is_first:
            network = self.state.averaged_network()
            if pixels:
                metrics |= self._measure(network, epoch.stage)[0]
            if objects:
                assert self.objects is not None
                threads = self.recipe.threads or self.ranks.cores()
                metrics |= self.objects.measure(network, self.recipe.model, threads=threads)
        metrics = self.ranks.told_by_first(metrics)
        report.validation(step=self.state.step, epoch=epoch.number, stage=epoch.stage.name, metrics=metrics)
        self.state.validated(metrics)

    def _export(self, report: TrainingReport) -> TrainingResult:
        """Write the model, the first process for all."""
        result = self._exported(report) if self.ranks.is_first else None
        result = self.ranks.told_by_first(result)
        assert result is not None
        return result

    def _exported(self, report: TrainingReport) -> TrainingResult:
        network = self.state.averaged_network(best=self.recipe.validation.keep != "last")

        def measure(network: TrailNetwork) -> tuple[dict[str, float], PixelHistogram | None]:
            if self.validation_dataset is None:
                return {}, None
            network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            return self._measure(network, self.epochs[-1].stage)

        path, metrics = export_trained(
            self.output_dir,
            network.cpu(),
            self.original,
            steps=self.state.step - self.first_step,
            train_tiles=dataset_length(self.train_dataset),
            files=_files(self.train_dataset),
            start=self.start,
            processes=self.ranks.count,
            measure=measure,
        )
        report.finished(path, metrics)
        return TrainingResult(model_path=path, steps=self.state.step, metrics=metrics)

    def _save(self) -> None:
        if self.ranks.is_first:
            self.state.save(self.output_dir / CHECKPOINT_NAME, digest=self.digest, start=self.start)


def _files(dataset: Dataset[Any]) -> list[str]:
    return list(dataset.files) if isinstance(dataset, TrailTileDataset) else []


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and where."""


def describe_nonfinite(
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
