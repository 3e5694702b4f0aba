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

"""Steps whose values are still on the device, so that no step waits for it."""

from __future__ import annotations

__all__ = ("Step", "StepQueue")

import dataclasses
import math
import time
from collections.abc import Callable
from typing import NoReturn

import torch

from .dataset import Key
from .log import TrainingReport
from .schedule import Epoch

_GPU_STEPS = 50
"""Steps on a GPU between reports, each of which waits for it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """A step of the optimizer."""

    number: int
    """Number of the step, counted from 1."""

    batch: list[Key]
    """Keys of its tiles."""

    values: torch.Tensor
    """Loss and norm of the gradient, shape (2,)."""

    learning_rate: float
    """Learning rate of the step."""

    pixels: int
    """Pixels of the whole batch."""


class StepQueue:
    """Steps of an epoch that are not yet reported.

    Parameters
    ----------
    epoch
        The epoch.
    report
        Where to report the steps.
    device
        Device of the training; on a GPU, many steps are reported at once.
    refuse
        Function of ``loss`` or ``gradient`` and a step that raises an error, called if the value is not
        finite.
    """

    def __init__(
        self,
        epoch: Epoch,
        report: TrainingReport,
        device: torch.device,
        refuse: Callable[[str, Step], NoReturn],
    ) -> None:
        self._epoch = epoch
        self._report = report
        self._length = _GPU_STEPS if device.type == "cuda" else 1
        self._refuse = refuse
        self._steps: list[Step] = []
        self._reported = time.monotonic()

    def add(self, step: Step) -> None:
        """Add a step, and report all if they are enough."""
        self._steps.append(step)
        if len(self._steps) >= self._length:
            self.flush()

    def flush(self) -> None:
        """Wait for the steps, and report them."""
        if not self._steps:
            return
        values = torch.stack([step.values for step in self._steps]).tolist()
        self._reported, before = time.monotonic(), self._reported
        seconds = (self._reported - before) / len(values)
        steps, self._steps = self._steps, []
        for step, (loss, norm) in zip(steps, values, strict=True):
            for name, value in (("loss", loss), ("gradient", norm)):
                if not math.isfinite(value):
                    self._refuse(name, step)
            self._report.step(
                step.number,
                self._epoch,
                loss=loss,
                learning_rate=step.learning_rate,
                gradient_norm=norm,
                pixels=step.pixels,
                seconds=seconds,
            )
