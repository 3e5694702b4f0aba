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

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest

from lsst.meas.trails.training.log import METRICS_NAME, TrainingReport, plot_curves, read_metrics
from lsst.meas.trails.training.recipe import Recipe
from lsst.meas.trails.training.schedule import Epoch

RECIPE = Recipe.from_mapping({"data": {"train": "a.h5"}, "stages": [{"name": "main", "steps": 100}]})
EPOCH = Epoch(
    number=2,
    stage=RECIPE.stages[0],
    stage_index=0,
    first_step=0,
    steps=100,
    stage_first_step=0,
    stage_steps=100,
    stage_last=True,
    min_snr=0.0,
    mines=False,
)
STEP: dict[str, Any] = {
    "loss": 0.5,
    "learning_rate": 0.1,
    "gradient_norm": 2.0,
    "pixels": 100,
    "seconds": 0.1,
}


def test_report(tmp_path: Path) -> None:
    with TrainingReport(tmp_path, RECIPE, show_progress=False) as report:
        report.start(step=0, total_steps=100, resumed=False)
        report.step(50, EPOCH, **STEP)
        report.validation(50, EPOCH, {"loss": 0.25, "pixel_auc": math.nan})
        assert list(report.track([1, 2], "tiles")) == [1, 2]
        report.finished(tmp_path / "tiny.json", {})
    first, second = read_metrics(tmp_path)
    assert first == {"kind": "train", "step": 50, "epoch": 2, "stage": "main"} | {
        key: STEP[key] for key in ("loss", "learning_rate", "gradient_norm")
    }
    assert (second["kind"], second["loss"], second["pixel_auc"]) == ("validation", 0.25, None)
    text = (tmp_path / "train.log").read_text()
    assert "step 50, epoch 2 (main): loss 0.50000" in text
    assert "tiny.json" in text
    assert Recipe.from_mapping(RECIPE.to_mapping()) == RECIPE


def test_errors_are_logged(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), TrainingReport(tmp_path, RECIPE):
        raise ValueError("broken")
    assert "ERROR broken" in (tmp_path / "train.log").read_text()


def test_resumed_run_drops_later_metrics(tmp_path: Path) -> None:
    lines = [json.dumps({"kind": "train", "step": step}) for step in (1, 2, 3)]
    (tmp_path / METRICS_NAME).write_text("\n".join([*lines, '{"kind": "tr']))
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3]
    for resumed, steps in ((True, [1, 2]), (False, [])):
        with TrainingReport(tmp_path, RECIPE, show_progress=False) as report:
            report.start(step=2, total_steps=100, resumed=resumed)
        assert [line["step"] for line in read_metrics(tmp_path)] == steps


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    with TrainingReport(tmp_path, RECIPE, enabled=False) as report:
        report.start(step=0, total_steps=100, resumed=False)
        report.step(50, EPOCH, **STEP)
        report.validation(50, EPOCH, {"loss": 0.25})
        assert not logging.getLogger("lsst.meas.trails.training.trainer").isEnabledFor(logging.INFO)
    assert list(tmp_path.iterdir()) == []


def test_curves_without_metrics(tmp_path: Path) -> None:
    assert plot_curves(tmp_path).read_bytes().startswith(b"\x89PNG")
