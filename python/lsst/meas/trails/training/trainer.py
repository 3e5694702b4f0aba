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

"""Training loop: from a recipe and tiles to a model file.

Everything that a run depends on is derived from the recipe's seed and the number of the epoch and step, or is
in the checkpoint, so that a run that was stopped resumes exactly.
"""

from __future__ import annotations

__all__ = ("CHECKPOINT_NAME", "TrainingResult", "train")

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import torch

from ..core.pixel_histogram import PixelHistogram
from ..nn.hardware import keep_memory, thread_count, use_bfloat16
from ..nn.networks.network import TrailNetwork, count_parameters
from .crops import InjectedCrops
from .dataset import Batch, Key, TileDataset, TrailTileDataset
from .distributed import Ranks
from .export import export_trained
from .graphs import network_passes
from .hard_tiles import mine_hard_tiles
from .initial_weights import InitialWeights
from .log import TrainingReport
from .losses import BlendedLoss
from .nonfinite import TrainingError, describe_nonfinite
from .optimizer import prepare_training, set_learning_rate
from .recipe import Recipe, StageRecipe
from .schedule import (
    Epoch,
    TrainingData,
    dataset_length,
    epoch_batches,
    load_batches,
    plan_epochs,
    run_digest,
    stage_limits,
)
from .state import TrainingState
from .steps import Step, StepQueue
from .validation import ObjectValidation, evaluate_network

_LOG = logging.getLogger(__name__)

CHECKPOINT_NAME = "checkpoint.safetensors"
"""File in the output folder with the state of the run."""


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """Result of a training."""

    model_path: Path | None
    """The model's JSON specification; `None` if the run was stopped early."""

    steps: int
    """Total number of steps, including earlier parts of a resumed run."""

    metrics: dict[str, float]
    """Metrics of the exported weights or, for a run stopped early, of the last validation."""


def train(
    recipe: Recipe,
    train_dataset: TrainingData,
    validation_dataset: TileDataset | None,
    output_dir: Path,
    *,
    resume: bool = True,
    progress: bool = True,
    device: str = "auto",
    stop_after: int | None = None,
    minutes: float | None = None,
    original: Recipe | None = None,
    start: InitialWeights | None = None,
    objects: ObjectValidation | None = None,
    ranks: Ranks | None = None,
) -> TrainingResult:
    """Train a network on datasets and write it as a model file.

    Parameters
    ----------
    recipe
        The recipe.
    train_dataset
        Map-style dataset of (input, target, valid) with shapes (C, T, T), (1, T/s, T/s) and (1, T/s, T/s),
        float32, where s is the network's output stride; or crops with fresh trails, on the same device.
    validation_dataset
        The same from visits that are not trained on; `None` skips validation and keeps the last weights.
    output_dir
        Folder for checkpoint, metrics (``metrics.jsonl``), log (``train.log``), curves (``curves.png``) and
        the model.
    resume, progress, device, stop_after, minutes
        As for `~lsst.meas.trails.training.run.train_model`.
    original
        Recipe to record in the folder, the checkpoint and the model, if ``recipe`` names tile files instead
        of a simulation.
    start
        Initial weights and stage; by default random ones and the first.
    objects
        Scenes for the recipe's ``validation.objects_every``.
    ranks
        Processes that train together; by default this one alone.

    Raises
    ------
    TrainingError
        Raised if an input, the loss or the gradient is not finite, or there are no tiles.
    CheckpointError
        Raised if the checkpoint belongs to another recipe, other initial weights or other tiles, or is
        damaged.
    InitialWeightsError
        Raised if the initial weights do not fit the recipe.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    ranks = ranks or Ranks()
    original = original or recipe
    with thread_count(recipe.threads or ranks.cores()), torch.random.fork_rng(devices=[]), keep_memory():
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
            minutes,
        )
        with TrainingReport(
            output_dir, original, show_progress=progress, enabled=ranks.is_rank_zero
        ) as report:
            return trainer.run(report, resume=resume, stop_after=stop_after)


@dataclasses.dataclass(eq=False)
class _Trainer:
    """Training in progress; see `train`."""

    recipe: Recipe
    original: Recipe
    train_dataset: TrainingData
    validation_dataset: TileDataset | None
    output_dir: Path
    device: torch.device
    start: InitialWeights | None
    objects: ObjectValidation | None
    ranks: Ranks
    minutes: float | None

    def __post_init__(self) -> None:
        if dataset_length(self.train_dataset) == 0:
            raise TrainingError("There are no tiles to train on.")
        if self.validation_dataset is not None and dataset_length(self.validation_dataset) == 0:
            raise TrainingError("There are no tiles to validate on.")
        if self.recipe.validation.objects_every is not None and self.objects is None:
            raise TrainingError(
                "validation.objects_every needs simulated scenes; add data.simulate, or remove it."
            )
        self.state = TrainingState(self.recipe, self.device, self.start, self.ranks)
        self.epochs = list(plan_epochs(self.recipe, self.train_dataset))
        if any(epoch.mines for epoch in self.epochs) and not isinstance(self.train_dataset, TrailTileDataset):
            raise TrainingError("Hard tiles need tile files.")
        if isinstance(self.train_dataset, InjectedCrops) and any(s.mixture for s in self.recipe.stages):
            raise TrainingError("A mixture of tiles needs tile files; remove it, or data.inject.")
        self.total_steps = self.epochs[-1].first_step + self.epochs[-1].steps
        # Stages before the first one count as done.
        first_stage = 0 if self.start is None else self.start.stage_index(self.recipe)
        self.first_step = next(e.first_step for e in self.epochs if e.stage_index == first_stage)
        self.state.step = self.first_step
        self.bfloat16 = use_bfloat16(self.recipe.precision, str(self.device))
        self.passes: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {}
        self.stage_limits = stage_limits(self.epochs, first_stage, self.minutes)
        self.origin = None if self.start is None else self.start.record(self.original)
        self.digest = run_digest(
            self.original,
            self.epochs,
            (self.train_dataset, self.validation_dataset),
            None if self.start is None else self.start.identity(self.original),
        )

    def run(self, report: TrainingReport, *, resume: bool, stop_after: int | None) -> TrainingResult:
        """Train, validate and export."""
        path = self.output_dir / CHECKPOINT_NAME
        resumed = self.ranks.broadcast(resume and path.exists())
        if resumed:
            self.state.restore(path, digest=self.digest)
            _LOG.info("Resuming from step %d of %d (%s).", self.state.step, self.total_steps, path)
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
        if self.origin is not None:
            _LOG.info("Started with the weights of %(name)s %(version)s at stage %(stage)s.", self.origin)
        self.counted = time.monotonic()
        report.start(step=self.state.step, total_steps=self.total_steps, resumed=resumed)
        end = self.total_steps if stop_after is None else min(stop_after, self.total_steps)
        for epoch in self.epochs:
            epoch_end = epoch.first_step + epoch.steps
            if epoch_end <= self.state.step:
                continue
            if self.state.step >= end:
                break
            self.state.begin_epoch(epoch)
            if self.state.step == epoch.first_step and epoch.mines and self.state.mined_epoch != epoch.number:
                self._mine(epoch, report)
            self._run_epoch(epoch, report, min(end, epoch_end))
            trained = self.state.step
            if self._is_over(epoch) and self.state.step < min(end, epoch.stage_end):
                _LOG.info("The time of stage %s is over at step %d.", epoch.stage.name, self.state.step)
                self.state.skip_to(epoch.stage_end)
                epoch = dataclasses.replace(epoch, stage_last=True)
            elif self.state.step < epoch_end:
                break
            self._validate(epoch, report, trained)
            self._save()
            self._count_time()
        if self.state.step < self.total_steps:
            self._save()
            _LOG.info("Stopped at step %d of %d; run again to resume.", self.state.step, self.total_steps)
            return TrainingResult(model_path=None, steps=self.state.steps, metrics=self.state.metrics)
        return self.ranks.broadcast(self._export(report))

    def _mine(self, epoch: Epoch, report: TrainingReport) -> None:
        """Find the hard tiles of the averaged network."""
        assert isinstance(self.train_dataset, TrailTileDataset)
        if self.state.step == 0 and self.start is None:
            _LOG.warning("Hard tiles of random weights are meaningless; use them in a later stage.")
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
        report.mining(self.state.step, epoch, hard)

    def _count_time(self) -> None:
        """Add the time since the last call to the time of the stage, the same in all processes."""
        now, before = time.monotonic(), self.counted
        self.counted = now
        self.state.stage_seconds += now - before
        if self.minutes is not None:
            self.state.stage_seconds = self.ranks.broadcast(self.state.stage_seconds)

    def _is_over(self, epoch: Epoch) -> bool:
        """Return whether the time of a stage is over."""
        return self.state.stage_seconds >= self.stage_limits[epoch.stage_index]

    def _run_epoch(self, epoch: Epoch, report: TrainingReport, end: int) -> None:
        state, recipe = self.state, self.recipe
        loss_function = BlendedLoss(epoch.stage.loss)
        batches = epoch_batches(recipe, self.train_dataset, epoch, state.hard)
        batches = [self.ranks.shard(batch) for batch in batches[state.step - epoch.first_step :]]
        loader = self._load(batches, epoch)
        frozen = epoch.stage.freeze_statistics
        prepare_training(state.network, epoch.stage.train_parts, freeze_statistics=frozen)
        if epoch.stage_index not in self.passes:
            passes = network_passes(state.network, self.ranks, bfloat16=self.bfloat16)
            self.passes = {epoch.stage_index: passes}
        clip = math.inf if recipe.optimizer.clip is None else recipe.optimizer.clip
        queue = StepQueue(epoch, report, self.device, functools.partial(self._refuse, epoch))
        for batch, (inputs, target, valid) in zip(batches, loader, strict=True):
            if state.step >= end or self._is_over(epoch):
                break
            used = state.stage_seconds / self.stage_limits[epoch.stage_index]
            steps = state.step - epoch.stage_first_step
            done = max(used, steps / epoch.stage_steps)
            learning_rate = set_learning_rate(state.optimizer, recipe.optimizer, epoch.stage, done)
            progress = max(used, steps / max(1, epoch.stage_steps - 1))
            logits = self.passes[epoch.stage_index](inputs)
            # Losses with overlaps are not means over shards: use the whole batch.
            gather = self.ranks.all_gather_batch
            loss = loss_function(gather(logits), gather(target), gather(valid), progress)
            state.optimizer.zero_grad(set_to_none=True)
            (loss * self.ranks.world_size).backward()
            norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), clip)
            pixels = self.ranks.world_size * inputs.shape[0] * inputs.shape[2] * inputs.shape[3]
            values = torch.stack((loss.detach(), norm))
            queue.add(Step(state.step + 1, batch, values, learning_rate, pixels))
            state.advance(norm)
            self._count_time()
            if state.step % recipe.checkpoint_steps == 0:
                queue.flush()
                self._save()
        queue.flush()

    def _load(self, batches: Sequence[list[Key]], epoch: Epoch) -> Iterator[Batch]:
        """Return batches of an epoch on the device."""
        workers = self.recipe.data.workers
        return load_batches(self.train_dataset, batches, self.device, workers, min_snr=epoch.min_snr)

    def _refuse(self, epoch: Epoch, name: str, step: Step) -> NoReturn:
        """Raise an error about a loss or gradient that is not finite; it has not changed the weights."""
        inputs, target, _ = next(iter(self._load([step.batch], epoch)))
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.state.network(inputs)
        reason = describe_nonfinite(self.train_dataset, step.batch, inputs, target, logits, self.ranks)
        raise TrainingError(f"The {name} is not finite at step {step.number}{reason}")

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

    def _validate(self, epoch: Epoch, report: TrainingReport, step: int) -> None:
        """Measure the averaged network after a step if it is due."""

        def is_due(every: int | None) -> bool:
            return every is not None and (epoch.stage_last or (epoch.number + 1) % every == 0)

        recipe = self.recipe.validation
        pixels = self.validation_dataset is not None and is_due(recipe.every)
        objects = self.objects if is_due(recipe.objects_every) else None
        if not pixels and objects is None:
            return
        metrics: dict[str, float] = {}
        if self.ranks.is_rank_zero:
            network = self.state.averaged_network()
            if pixels:
                metrics |= self._measure(network, epoch.stage)[0]
            if objects is not None:
                threads = self.recipe.threads or self.ranks.cores()
                metrics |= objects.measure(network, self.recipe.model, threads=threads)
        metrics = self.ranks.broadcast(metrics)
        report.validation(step, epoch, metrics)
        self.state.record_validation(metrics)

    def _export(self, report: TrainingReport) -> TrainingResult:
        """Write the model in rank zero."""
        result = TrainingResult(model_path=None, steps=self.state.steps, metrics={})
        if not self.ranks.is_rank_zero:
            return result
        network = self.state.averaged_network(best=self.recipe.validation.keep != "last")

        def measure(network: TrailNetwork) -> tuple[dict[str, float], PixelHistogram | None]:
            if self.validation_dataset is None:
                return {}, None
            network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            return self._measure(network, self.epochs[-1].stage)

        dataset = self.train_dataset
        path, metrics = export_trained(
            self.output_dir,
            network.cpu(),
            self.original,
            files=dataset.files if isinstance(dataset, TrailTileDataset) else (),
            sources=dataset.sources if isinstance(dataset, InjectedCrops) else None,
            training={
                "steps": self.state.steps - self.first_step,
                "tiles": dataset_length(dataset),
                "processes": self.ranks.world_size,
                **({} if self.origin is None else {"start": self.origin}),
            },
            measure=measure,
        )
        report.finished(path, metrics)
        return dataclasses.replace(result, model_path=path, metrics=metrics)

    def _save(self) -> None:
        if self.ranks.is_rank_zero:
            self.state.save(self.output_dir / CHECKPOINT_NAME, digest=self.digest, start=self.origin)
