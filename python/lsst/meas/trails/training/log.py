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

__all__ = ("METRICS_NAME", "TrainingReport", "logged", "plot_curves", "read_metrics")

import json
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..core.atomic import atomic_path
from ..core.operating_point import FALSE_RATES
from .hard_tiles import HardTiles
from .recipe import Recipe
from .schedule import Epoch

METRICS_NAME = "metrics.jsonl"
"""File in the output folder, with one JSON object per line."""

_LOG = logging.getLogger("lsst.meas.trails.training")
_LOG_STEPS = 50


def logged[T](items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield items and log their number ten times, for batch jobs, which have no progress bar."""
    started, tenths = time.monotonic(), 0
    for number, item in enumerate(items, 1):
        yield item
        if 10 * number // total > tenths:
            tenths = 10 * number // total
            _LOG.info("%s %d of %d scenes in %.0f s.", what, number, total, time.monotonic() - started)


class TrainingReport:
    """Progress report of a run; a context manager.

    Parameters
    ----------
    output_dir
        Folder of the run.
    recipe
        Its recipe, saved with the results.
    show_progress
        Whether to show a progress bar on a terminal.
    enabled
        Whether to report at all; only rank zero does.
    """

    def __init__(
        self, output_dir: Path, recipe: Recipe, *, show_progress: bool = True, enabled: bool = True
    ) -> None:
        self._output_dir = output_dir
        self._enabled = enabled
        self._task: TaskID | None = None
        self._window: list[tuple[float, int, float]] = []
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("[bold]{task.fields[stage]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  {task.fields[speed]} Mpix/s"),
            TimeRemainingColumn(),
            console=console,
            disable=not (enabled and show_progress and console.is_terminal),
        )
        self._handler: logging.Handler = logging.NullHandler()
        if enabled:
            self._handler = logging.FileHandler(output_dir / "train.log", encoding="utf-8")
            self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            text = yaml.safe_dump(recipe.to_mapping(), sort_keys=False)
            (output_dir / "recipe.yaml").write_text(text, encoding="utf-8")

    def __enter__(self) -> Self:
        self._level = _LOG.level
        if not self._enabled:
            _LOG.setLevel(logging.ERROR)
        elif _LOG.getEffectiveLevel() > logging.INFO:
            _LOG.setLevel(logging.INFO)
        _LOG.addHandler(self._handler)
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
        if isinstance(error, Exception) and self._enabled:
            _LOG.error("%s", error)
        _LOG.removeHandler(self._handler)
        _LOG.setLevel(self._level)
        self._handler.close()

    def start(self, *, step: int, total_steps: int, resumed: bool) -> None:
        """Start or resume at a step.

        Metrics of later steps, from a run that stopped after its last checkpoint, are removed.
        """
        self._task = self._add_task("train", total_steps, step)
        if self._enabled:
            kept = [line for line in read_metrics(self._output_dir) if resumed and line["step"] <= step]
            with atomic_path(self._output_dir / METRICS_NAME) as partial:
                partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def step(
        self,
        step: int,
        epoch: Epoch,
        *,
        loss: float,
        learning_rate: float,
        gradient_norm: float,
        pixels: int,
        seconds: float,
    ) -> None:
        """Report a step of the optimizer."""
        values = {"loss": loss, "learning_rate": learning_rate, "gradient_norm": gradient_norm}
        self._write("train", step, epoch, values)
        self._window.append((loss, pixels, seconds))
        losses, counts, times = zip(*self._window, strict=True)
        speed = sum(counts) / max(sum(times), 1.0e-9) / 1.0e6
        if self._task is not None:
            loss_text, speed_text = f"{np.mean(losses):.4f}", f"{speed:.2f}"
            self._progress.update(
                self._task, completed=step, stage=epoch.stage.name, loss=loss_text, speed=speed_text
            )
        if step % _LOG_STEPS == 0:
            text = f"loss {np.mean(losses):.5f}, learning rate {learning_rate:.2e}, {speed:.2f} Mpix/s"
            self._log(step, epoch, text)
            self._window.clear()

    def validation(self, step: int, epoch: Epoch, metrics: Mapping[str, float]) -> None:
        """Report a validation and update the curves."""
        # JSON does not support NaN.
        finite = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
        self._write("validation", step, epoch, finite)
        self._log(step, epoch, f"validation {_metrics_text(metrics)}")
        if self._enabled:
            plot_curves(self._output_dir)

    def track[T](self, items: Sequence[T], description: str) -> Iterator[T]:
        """Yield items and show their progress on a second bar."""
        task = self._add_task(description, len(items))
        for item in items:
            yield item
            self._progress.advance(task)
        self._progress.remove_task(task)

    def mining(self, step: int, epoch: Epoch, hard: HardTiles) -> None:
        """Report a search for hard tiles."""
        values = {
            "looked_at": hard.searched,
            "tiles": len(hard.tiles),
            "hard_false_probability": hard.hard,
            "mean_false_probability": hard.mean,
        }
        self._write("mining", step, epoch, values)
        self._log(
            step,
            epoch,
            f"{len(hard.tiles)} hard tiles of {hard.searched}, false probability {hard.hard:.3f}, on average "
            f"{hard.mean:.3f}",
        )

    def finished(self, path: Path, metrics: Mapping[str, float]) -> None:
        """Report the end of the run."""
        plot_curves(self._output_dir)
        _LOG.info("Model written to %s (as stored: %s).", path, _metrics_text(metrics) or "not validated")

    def _add_task(self, description: str, total: int, completed: int = 0) -> TaskID:
        return self._progress.add_task(
            description, total=total, completed=completed, stage=description, loss="-", speed="-"
        )

    def _log(self, step: int, epoch: Epoch, text: str) -> None:
        _LOG.info("step %d, epoch %d (%s): %s", step, epoch.number, epoch.stage.name, text)

    def _write(self, kind: str, step: int, epoch: Epoch, values: Mapping[str, float | None]) -> None:
        """Append a line to the metrics file."""
        if self._enabled:
            line = {"kind": kind, "step": step, "epoch": epoch.number, "stage": epoch.stage.name, **values}
            with (self._output_dir / METRICS_NAME).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, allow_nan=False) + "\n")


def _metrics_text(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {value:.4f}" for key, value in metrics.items())


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
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    lines = read_metrics(output_dir)
    steps = [line for line in lines if line["kind"] == "train"]
    validations = [line for line in lines if line["kind"] == "validation"]
    counted = [line for line in validations if "completeness_at_10" in line]
    measured = [line for line in validations if "loss" in line]
    panels = 4 if counted else 3
    figure = Figure(figsize=(3.4 * panels, 3.6), layout="constrained")
    loss_axes, score_axes, rate_axes, *rest = figure.subplots(1, panels)

    def draw(axes: Axes, lines: Sequence[Mapping[str, Any]], key: str, label: str) -> None:
        values = [math.nan if line.get(key) is None else float(line[key]) for line in lines]
        axes.plot([line["step"] for line in lines], values, "o-", ms=3, lw=1.0, label=label)

    for axes in rest:
        for rate in FALSE_RATES:
            draw(axes, counted, f"completeness_at_{rate}", f"{rate} false")
        axes.legend()
        axes.set(title="Validation, trails found", xlabel="step", ylim=(0.0, 1.0))
    if steps:
        x, loss, rates = (
            np.array([line[key] for line in steps]) for key in ("step", "loss", "learning_rate")
        )
        width = max(1, len(loss) // 200)
        count = len(loss) // width
        means = (part[: count * width].reshape(count, width).mean(axis=1) for part in (x, loss))
        loss_axes.plot(*means, lw=1.0, label="training")
        rate_axes.plot(x, rates, lw=1.0)
    if measured:
        draw(loss_axes, measured, "loss", "validation")
        for key, label in (("pixel_auc", "ROC area"), ("pixel_average_precision", "average precision")):
            draw(score_axes, measured, key, label)
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
