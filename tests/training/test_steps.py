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

from __future__ import annotations

import math
from typing import Any, NoReturn
from unittest.mock import Mock

import pytest
import torch

from lsst.meas.trails.training.recipe import StageRecipe
from lsst.meas.trails.training.schedule import Epoch
from lsst.meas.trails.training.steps import Step, StepQueue

EPOCH = Epoch(
    number=0,
    stage=StageRecipe(steps=20),
    stage_index=0,
    first_step=0,
    steps=20,
    stage_first_step=0,
    stage_steps=20,
    stage_last=True,
    min_snr=0.0,
    mines=False,
)


def _step(number: int, loss: float = 0.5, norm: float = 2.0) -> Step:
    return Step(number, [], torch.tensor([loss, norm]), 0.001, 100)


def _refuse(name: str, step: Step) -> NoReturn:
    raise ArithmeticError(f"{name} {step.number}")


@pytest.mark.parametrize(("device", "length"), [("cpu", 1), ("cuda", 50)])
def test_steps_of_a_gpu_are_reported_together(device: str, length: int) -> None:
    report: Any = Mock()
    # The values are on the CPU here; the device decides on the length only.
    queue = StepQueue(EPOCH, report, torch.device(device), _refuse)
    for number in range(1, length):
        queue.add(_step(number))
    assert not report.step.called
    queue.add(_step(length, loss=0.25))
    assert report.step.call_count == length
    call = report.step.call_args
    assert call.args == (length, EPOCH)
    assert (call.kwargs["loss"], call.kwargs["gradient_norm"], call.kwargs["pixels"]) == (0.25, 2.0, 100)
    queue.flush()
    assert report.step.call_count == length


@pytest.mark.parametrize(("values", "name"), [((math.nan, 1.0), "loss"), ((1.0, math.inf), "gradient")])
def test_values_that_are_not_finite(values: tuple[float, float], name: str) -> None:
    report: Any = Mock()
    queue = StepQueue(EPOCH, report, torch.device("cuda"), _refuse)
    queue.add(_step(1))
    queue.add(_step(2, *values))
    queue.add(_step(3, math.nan))
    with pytest.raises(ArithmeticError, match=f"{name} 2"):
        queue.flush()
    assert report.step.call_count == 1
