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

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsst.meas.trails.core.candidates.score import LOGIT_COLUMN, ScoreModel
from lsst.meas.trails.nn.candidate_score import (
    LogitCalibration,
    SecondStageScore,
    add_second_stage,
    candidate_score,
    score_of_table,
    second_stage,
)
from lsst.meas.trails.nn.model_file import ModelError, load_model, write_specification

from support.second_stages import copy_first_stage, copy_shipped_model, random_stage

SMALL: dict[str, Any] = {"widths": (4, 8), "dense": 8, "dense_numbers": 4}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a copy of a shipped model without its second stage."""
    return copy_first_stage(tmp_path)


def test_a_model_holds_both_stages(path: Path) -> None:
    before = load_model(path)
    assert second_stage(before) is None
    assert isinstance(candidate_score(before), ScoreModel)
    stage = random_stage(**SMALL)
    add_second_stage(path, stage.section, stage.weights)
    model = load_model(path)
    for name, weights in before.weights.items():
        np.testing.assert_array_equal(model.weights[name], weights)
    loaded = second_stage(model)
    assert loaded is not None
    assert loaded.section == stage.section
    for name, weights in stage.weights.items():
        np.testing.assert_allclose(loaded.weights[name], weights, atol=1e-3)
    # The old score was of other candidates.
    assert candidate_score(model) is None
    specification = model.specification.replace(score=LogitCalibration(1.5, -0.5).to_mapping())
    write_specification(path, specification)
    score = candidate_score(load_model(path))
    assert isinstance(score, SecondStageScore)
    assert score.calibration == LogitCalibration(1.5, -0.5)
    assert score.needs_template


def test_models_with_the_same_weights_stay_valid(tmp_path: Path) -> None:
    path, other = (copy_shipped_model(tmp_path, name) for name in ("direct", "template"))
    before = load_model(other)
    assert before.specification.weights_file == load_model(path).specification.weights_file
    stage = random_stage(**SMALL)
    add_second_stage(path, stage.section, stage.weights)
    after = load_model(other)
    assert after.checksum == before.checksum
    assert second_stage(after) is not None
    changed = second_stage(load_model(path))
    assert changed is not None
    assert changed.section == stage.section


def test_a_second_stage_is_replaced(path: Path) -> None:
    first, second = random_stage(1, **SMALL), random_stage(2, **(SMALL | {"dense": 4}))
    for stage in (first, second):
        add_second_stage(path, stage.section, stage.weights)
    loaded = second_stage(load_model(path))
    assert loaded is not None
    assert loaded.section.dense == 4
    np.testing.assert_allclose(loaded.weights["output.weight"], second.weights["output.weight"], atol=1e-3)


def test_weights_that_do_not_fit_change_nothing(path: Path) -> None:
    content = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    stage = random_stage(**SMALL)
    with pytest.raises(ModelError, match=r"output\.bias"):
        add_second_stage(
            path, stage.section, {name: w for name, w in stage.weights.items() if name != "output.bias"}
        )
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == content


def test_a_score_without_its_second_stage(path: Path) -> None:
    model = load_model(path)
    write_specification(path, model.specification.replace(score=LogitCalibration().to_mapping()))
    with pytest.raises(ValueError, match="second stage"):
        candidate_score(load_model(path))


def test_calibration_recovers_the_log_odds() -> None:
    rng = np.random.default_rng(5)
    truth = rng.normal(-1.0, 2.0, 40_000)
    is_trail = rng.random(len(truth)) < 1.0 / (1.0 + np.exp(-truth))
    fitted = LogitCalibration.fit((truth - 0.7) / 1.6, is_trail)
    assert fitted.slope == pytest.approx(1.6, rel=0.05)
    assert fitted.intercept == pytest.approx(0.7, abs=0.05)
    again = score_of_table(fitted.to_mapping())
    assert again == fitted
    table = {LOGIT_COLUMN: (truth - 0.7) / 1.6}
    np.testing.assert_allclose(again.of_table(table), 1.0 / (1.0 + np.exp(-truth)), atol=0.02)


@pytest.mark.parametrize("is_trail", [np.zeros(50, dtype=bool), np.ones(50, dtype=bool)])
def test_nothing_to_calibrate(is_trail: np.ndarray) -> None:
    with pytest.raises(ValueError, match="trails"):
        LogitCalibration.fit(np.linspace(-1.0, 1.0, 50), is_trail)


def test_a_second_stage_that_is_wrong_about_everything() -> None:
    logits = np.linspace(-3.0, 3.0, 50)
    with pytest.raises(ValueError, match="below"):
        LogitCalibration.fit(logits, logits < 0.2)


@pytest.mark.parametrize("change", [{"slope": -1.0}, {"slope": "1"}, {"intercept": None}])
def test_calibrations_that_are_not_valid(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        score_of_table({**LogitCalibration().to_mapping(), **change})
