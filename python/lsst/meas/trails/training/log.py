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

"""Progress reports of a training: log, metrics file, progress bar, curves."""

from __future__ import annotations

__all__ = ("METRICS_NAME", "SilentReport", "TrainingReport", "plot_curves", "read_metrics")

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..core.atomic import atomic_path
from .hard_tiles import HardTiles
from .recipe import Recipe

METRICS_NAME = "metrics.jsonl"
"""File in the output folder, with one JSON object per line."""

_LOG = logging.getLogger("lsst.meas.trails.training")
_LOG_STEPS = 50


class TrainingReport:
    """Reports the progress of a run; a context manager.

    Parameters
    ----------
    output_dir
        Folder of the run.
    recipe
        Its recipe, saved with the results.
    show_progress
        Whether to show a progress bar if on a terminal.
    """

    def __init__(self, output_dir: Path, recipe: Recipe, *, show_progress: bool = True) -> None:
        self._output_dir = output_dir
        self._metrics_path = output_dir / METRICS_NAME
        self._console = Console(stderr=True)
        self._progress: Progress | None = None
        if show_progress and self._console.is_terminal:
            self._progress = Progress(
                TextColumn("[bold]{task.fields[stage]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]}  {task.fields[speed]} Mpix/s"),
                TimeRemainingColumn(),
                console=self._console,
            )
        self._task: TaskID | None = None
        self._window: list[tuple[float, int, float]] = []
        self._handler = logging.FileHandler(output_dir / "train.log", encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        (output_dir / "recipe.yaml").write_text(
            yaml.safe_dump(recipe.to_mapping(), sort_keys=False), encoding="utf-8"
        )

    def __enter__(self) -> Self:
        self._level = _LOG.level
        if _LOG.getEffectiveLevel() > logging.INFO:
            _LOG.setLevel(logging.INFO)
        _LOG.addHandler(self._handler)
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        if isinstance(error, Exception):
            _LOG.error("%s", error)
        _LOG.removeHandler(self._handler)
        _LOG.setLevel(self._level)
        self._handler.close()

    def start(self, *, step: int, total_steps: int, resumed: bool) -> None:
        """Start or resume at a step.

        Metrics of later steps, from a run that stopped after its last
        checkpoint, are removed.
        """
        kept = [line for line in read_metrics(self._output_dir) if line["step"] <= step] if resumed else []
        with atomic_path(self._metrics_path) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        if self._progress is not None:
            self._task = self._progress.add_task(
                "train", total=total_steps, completed=step, stage="", loss="-", speed="-"
            )

    def step(
        self,
        *,
        step: int,
        epoch: int,
        stage: str,
        loss: float,
        learning_rate: float,
        gradient_norm: float,
        pixels: int,
        seconds: float,
    ) -> None:
        """Report a step of the optimizer."""
        self._write(
            {
                "kind": "train",
                "step": step,
                "epoch": epoch,
                "stage": stage,
                "loss": loss,
                "learning_rate": learning_rate,
                "gradient_norm": gradient_norm,
            }
        )
        self._window.append((loss, pixels, seconds))
        losses, counts, times = zip(*self._window, strict=True)
        speed = sum(counts) / max(sum(times), 1.0e-9) / 1.0e6
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task, completed=step, stage=stage, loss=f"{np.mean(losses):.4f}", speed=f"{speed:.2f}"
            )
        if step % _LOG_STEPS == 0:
            _LOG.info(
                "step %d, epoch %d (%s): loss %.5f, learning rate %.2e, %.2f Mpix/s",
                step,
                epoch,
                stage,
                np.mean(losses),
                learning_rate,
                speed,
            )
            self._window.clear()

    def validation(self, *, step: int, epoch: int, stage: str, metrics: Mapping[str, float]) -> None:
        """Report a validation and update the curves."""
        # JSON does not support NaN.
        finite = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
        self._write({"kind": "validation", "step": step, "epoch": epoch, "stage": stage, **finite})
        shown = ", ".join(f"{key} {value:.4f}" for key, value in metrics.items())
        _LOG.info("step %d, epoch %d (%s): validation %s", step, epoch, stage, shown)
        plot_curves(self._output_dir)

    def track[T](self, items: Sequence[T], description: str) -> Iterator[T]:
        """Yield items and show their progress on a second bar."""
        task = None
        if self._progress is not None:
            task = self._progress.add_task(
                description, total=len(items), stage=description, loss="-", speed="-"
            )
        for item in items:
            yield item
            if self._progress is not None and task is not None:
                self._progress.advance(task)
        if self._progress is not None and task is not None:
            self._progress.remove_task(task)

    def mining(self, *, step: int, epoch: int, stage: str, hard: HardTiles) -> None:
        """Report a search for hard tiles."""
        self._write(
            {
                "kind": "mining",
                "step": step,
                "epoch": epoch,
                "stage": stage,
                "looked_at": hard.searched,
                "tiles": len(hard.tiles),
                "hard_false_probability": hard.hard,
                "mean_false_probability": hard.mean,
            }
        )
        _LOG.info(
            "step %d, epoch %d (%s): %d hard tiles of %d, false probability %.3f, on average %.3f",
            step,
            epoch,
            stage,
            len(hard.tiles),
            hard.searched,
            hard.hard,
            hard.mean,
        )

    def finished(self, path: Path, metrics: Mapping[str, float]) -> None:
        """Report the end of the run."""
        plot_curves(self._output_dir)
        shown = ", ".join(f"{key} {value:.4f}" for key, value in metrics.items()) or "not validated"
        _LOG.info("Model written to %s (as stored: %s).", path, shown)

    def _write(self, line: Mapping[str, Any]) -> None:
        with self._metrics_path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, allow_nan=False) + "\n")


class SilentReport(TrainingReport):
    """Report that does nothing, for all processes except rank zero."""

    def __init__(self, output_dir: Path, recipe: Recipe, *, show_progress: bool = True) -> None:
        self._progress = None

    def __enter__(self) -> Self:
        self._level = _LOG.level
        _LOG.setLevel(logging.ERROR)
        return self

    def __exit__(self, *_: object) -> None:
        _LOG.setLevel(self._level)

    def start(self, *, step: int, total_steps: int, resumed: bool) -> None:
        """Report nothing."""

    def step(self, **_: Any) -> None:
        """Report nothing."""

    def validation(self, **_: Any) -> None:
        """Report nothing."""

    def mining(self, **_: Any) -> None:
        """Report nothing."""

    def finished(self, path: Path, metrics: Mapping[str, float]) -> None:
        """Report nothing."""


def read_metrics(output_dir: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics file, without a truncated last line."""
    path = output_dir / METRICS_NAME
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def plot_curves(output_dir: Path) -> Path:
    """Draw the curves of a run from its metrics file.

    Parameters
    ----------
    output_dir
        Folder of the run.

    Returns
    -------
    path
        The image, ``curves.png``.
    """
    from matplotlib.figure import Figure

    lines = read_metrics(output_dir)
    steps = [line for line in lines if line["kind"] == "train"]
    validations = [line for line in lines if line["kind"] == "validation"]
    counted = [line for line in validations if "completeness_at_10" in line]
    panels = 4 if counted else 3
    figure = Figure(figsize=(3.4 * panels, 3.6), layout="constrained")
    loss_axes, score_axes, rate_axes, *rest = figure.subplots(1, panels)
    for axes in rest:
        x = np.array([line["step"] for line in counted])
        for rate in (1, 10, 100):
            axes.plot(
                x, _column(counted, f"completeness_at_{rate}"), "o-", ms=3, lw=1.0, label=f"{rate} false"
            )
        axes.legend()
        axes.set(title="Validation, trails found", xlabel="step", ylim=(0.0, 1.0))
    if steps:
        x = np.array([line["step"] for line in steps])
        loss = np.array([line["loss"] for line in steps])
        width = max(1, len(loss) // 200)
        count = len(loss) // width
        loss_axes.plot(
            x[: count * width].reshape(count, width).mean(axis=1),
            loss[: count * width].reshape(count, width).mean(axis=1),
            lw=1.0,
            label="training",
        )
        rate_axes.plot(x, [line["learning_rate"] for line in steps], lw=1.0)
    measured = [line for line in validations if "loss" in line]
    if measured:
        x = np.array([line["step"] for line in measured])
        loss_axes.plot(x, _column(measured, "loss"), "o-", ms=3, lw=1.0, label="validation")
        for key, label in (("pixel_auc", "ROC area"), ("pixel_average_precision", "average precision")):
            score_axes.plot(x, _column(measured, key), "o-", ms=3, lw=1.0, label=label)
        score_axes.legend()
    if steps or measured:
        loss_axes.legend()
    loss_axes.set(title="Loss", xlabel="step", yscale="log")
    score_axes.set(title="Validation, pixels", xlabel="step", ylim=(0.0, 1.0))
    rate_axes.set(title="Learning rate", xlabel="step")
    path = output_dir / "curves.png"
    with atomic_path(path, keep_suffix=True) as partial:
        figure.savefig(partial, dpi=110)
    return path


def _column(lines: list[dict[str, Any]], key: str) -> list[float]:
    return [math.nan if line.get(key) is None else float(line[key]) for line in lines]
