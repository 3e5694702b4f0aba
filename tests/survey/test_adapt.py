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

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lsst.meas.trails.nn.candidate_score import second_stage
from lsst.meas.trails.nn.model_file import find_model, load_model
from lsst.meas.trails.survey import steps
from lsst.meas.trails.survey.adapt import ADAPTED, CALIBRATED, SHIPPED, AdaptOptions, adapt_model
from lsst.meas.trails.survey.page import before_and_after, write_page
from lsst.meas.trails.survey.plan import PLAN, AdaptationError
from lsst.meas.trails.survey.roles import ROLES, TooFewVisitsError

RECIPE = {
    "model": {"name": "adapt"},
    "data": {
        "simulate": {
            "train": {"seed": 1701, "count": 1, "shape": [128, 128]},
            "validation": {"seed": 1702, "count": 1, "shape": [128, 128]},
            "tile_size": 64,
        },
        "inject": {"trails": 2.0},
        "tiles_per_epoch": 4,
    },
    "optimizer": {"learning_rate": 1.0e-4},
    "stages": [{"steps": 2, "batch_size": 2}],
    "second_stage": {"epochs": 2, "batch_size": 8, "learning_rate": 1.0e-4},
}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> AdaptOptions:
    """Return options of an adaptation of two steps, in a dense rain of trails."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "adapt.yaml").write_text(yaml.safe_dump(RECIPE))
    return AdaptOptions(
        start="direct",
        recipe=str(folder / "adapt.yaml"),
        trails_per_megapixel=60.0,
        template_type=None,
        threads=1,
        device="cpu",
    )


def test_from_images_to_a_measured_model(
    survey: str, labeled: str, options: AdaptOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    # Without labels, the trails of the survey would count as false candidates with the best scores.
    result = adapt_model(survey, labeled, "mine", folder, options, progress=False)
    direct = load_model(find_model(str(options.start))).specification
    assert result.model_path == folder / "mine.json"
    model = load_model(result.model_path)
    specification = model.specification
    assert specification.name == "mine"
    assert specification.channels == direct.channels
    assert specification.weights_sha256 != direct.weights_sha256
    assert set(specification.score["at_false_per_detector"]) == {"1", "10", "100"}
    record = specification.training["adaptation"]
    assert record["start_sha256"] == direct.weights_sha256
    assert sorted(len(record[role]) for role in ROLES) == [1, 2, 2]
    assert specification.training["steps"] == 2
    facts: Any = specification.training["second_stage"]
    assert (facts["images"], facts["epochs"], facts["learning_rate"]) == (len(record["train"]), 2, 1.0e-4)
    assert 0 < facts["trails"] < facts["candidates"]
    before, after = second_stage(load_model(find_model(str(options.start)))), second_stage(model)
    assert before is not None
    assert after is not None
    assert before.section == after.section
    change = np.abs(after.weights["output.weight"] - before.weights["output.weight"])
    # Adam changes a weight by up to the learning rate in each step.
    assert 0.0 < change.max() <= 1.0e-4 * 2 * (facts["candidates"] // 8) + 1.0e-3
    assert str(tmp_path) not in specification.to_json()
    assert json.loads((folder / PLAN).read_text()) == record
    assert specification.pixel_scale == pytest.approx(0.2, rel=0.01)

    table = before_and_after(result)
    assert list(table["wanted"]) == [1.0, 10.0, 100.0] * 3
    assert np.all(np.isfinite(table["false"]))
    assert np.all(table["completeness"][2::3] >= table["completeness"][::3])
    assert set(result.metrics) == {SHIPPED, CALIBRATED, ADAPTED}
    page = write_page(result, folder / "report").read_text()
    assert "before, calibrated" in page
    assert (folder / "report" / "tables" / "before_and_after.ecsv").exists()

    # The same call finds everything in its place.
    def refuse(*arguments: object) -> None:
        raise AssertionError("made again")

    for name in (
        "find_probable",
        "make_background",
        "search_for_samples",
        "search_for_calibration",
        "search_for_test",
    ):
        monkeypatch.setattr(steps, name, refuse)
    again = adapt_model(survey, labeled, "mine", folder, options, progress=False)
    assert again.specification.weights_sha256 == specification.weights_sha256
    assert again.specification.score == specification.score
    with pytest.raises(AdaptationError, match="--output"):
        adapt_model(survey, labeled, "mine", folder, dataclasses.replace(options, seed=2), progress=False)


def test_too_few_visits(survey: str, options: AdaptOptions, tmp_path: Path) -> None:
    three = dataclasses.replace(options, max_detectors=3)
    with pytest.raises(TooFewVisitsError, match="at least 4"):
        adapt_model(survey, "input", "mine", tmp_path / "mine", three, progress=False)
    assert not (tmp_path / "mine").exists()


def test_images_that_cannot_be_used(
    survey: str,
    options: AdaptOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("visit 5 has no PSF.")

    monkeypatch.setattr(steps, "find_probable", fail)
    with pytest.raises(AdaptationError, match="none of"):
        adapt_model(survey, "input", "mine", tmp_path / "mine", options, progress=False)
    assert "visit 5 has no PSF" in caplog.text
