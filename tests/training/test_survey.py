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
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsst.meas.trails.core.candidates.score import ScoreModel
from lsst.meas.trails.core.operating_point import DETECTOR_PIXELS
from lsst.meas.trails.nn.model_file import load_model, shipped_model_path
from lsst.meas.trails.nn.model_specification import ModelSpecification
from lsst.meas.trails.training import survey
from lsst.meas.trails.training.candidate_sample import CandidateSample
from lsst.meas.trails.training.survey import calibrate_survey, check_size, fit_survey
from lsst.meas.trails.training.survey_images import SurveyError, SurveyImage
from lsst.meas.trails.training.survey_rates import measure_score

from support.searched import PAIR, make_scene


@dataclasses.dataclass(frozen=True)
class Source:
    """Image that cannot be read."""

    visit: int
    shape: tuple[int, int] = (4000, 4100)

    @property
    def label(self) -> str:
        return f"visit {self.visit}"

    def read(self) -> SurveyImage:
        raise SurveyError("It has no good pixel.")


@pytest.fixture
def specification() -> ModelSpecification:
    """Return the specification of a model with a score that was fitted elsewhere."""
    sample = CandidateSample([make_scene(1000 + i) for i in range(10)], PAIR)
    at_false = measure_score(sample, sample.cross_validated(5), 1.0).at_false
    score = {**sample.fit().to_mapping(), "at_false_per_detector": at_false}
    shipped = load_model(shipped_model_path()).specification
    return shipped.replace(score=score, thresholds={"grow": PAIR[0], "seed": PAIR[1]})


def make_survey(seed: int, visits: int, **values: Any) -> list[Any]:
    """Return scenes of a survey whose candidates all look more like trails."""
    return [make_scene(seed + i, group=i, shift=1.0, **values) for i in range(visits)]


def test_the_rate_holds_on_images_held_back(specification: ModelSpecification) -> None:
    before, after, score = fit_survey(make_survey(0, 12), specification, [PAIR])
    assert before is not None
    assert before.rates["10"][0] > 14.0
    held_back = CandidateSample(make_survey(500, 200), PAIR)
    measured = measure_score(held_back, held_back.scored(score), 4.1, after.at_false)
    # 12 detectors have 120 such candidates: 9%.
    assert measured.rates["10"][0] == pytest.approx(10.0, rel=0.27)
    assert after.rates["10"][0] == pytest.approx(10.0, abs=0.2)
    assert after.rates["10"][1] == pytest.approx(0.9, abs=0.4)
    assert measured.metrics["score_calibration_error"] < 0.03
    assert measured.found["10"] > 0.5


def test_a_model_without_a_score(specification: ModelSpecification) -> None:
    before, after, score = fit_survey(make_survey(0, 6), specification.replace(score={}), [PAIR])
    assert before is None
    assert isinstance(score, ScoreModel)
    assert set(after.at_false) == {"1", "10", "100"}


def test_nothing_to_fit(specification: ModelSpecification) -> None:
    with pytest.raises(SurveyError, match="more images"):
        fit_survey(make_survey(0, 4, false=0), specification, [PAIR])


def test_too_few_images() -> None:
    check_size([Source(visit) for visit in range(5)], 0.15)
    with pytest.raises(SurveyError, match="no images"):
        check_size([], 0.15)
    with pytest.raises(SurveyError, match="one visit"):
        check_size([Source(1)] * 9, 0.15)
    with pytest.raises(SurveyError, match="at least 5 "):
        check_size([Source(visit) for visit in range(4)], 0.15)
    # A hundred thousand pixels each.
    small = [Source(visit, (250, 400)) for visit in range(30)]
    with pytest.raises(SurveyError, match=f"at least {int(np.ceil(45 * DETECTOR_PIXELS / 1e6))} "):
        check_size(small, 0.15)


def test_images_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shipped_model_path()
    images = [Source(visit) for visit in range(8)]
    with pytest.raises(SurveyError, match="visit 0: It has no good pixel"):
        calibrate_survey(path, images, processes=1)

    def search(_: Path, images: list[Source], **__: Any) -> Any:
        good = make_survey(0, 8)
        for scene in good:
            for pair in [*survey.THRESHOLDS, survey.own_thresholds(load_model(path).specification)]:
                scene.tables[pair] = scene.tables[PAIR]
        return [*good[:4], "visit 4: broken", *good[5 : len(images)]]

    monkeypatch.setattr(survey, "search_survey", search)
    result = calibrate_survey(path, images, provenance={"collection": "input"})
    assert result.left_out == ("visit 4: broken",)
    calibration: Any = result.specification.training["calibration"]
    assert calibration["images"] == [f"visit {i}" for i in (0, 1, 2, 3, 5, 6, 7)]
    assert calibration["collection"] == "input"
    assert "calibration_scenes" not in result.specification.training
    assert "+" in result.specification.version
    # What is written can be read.
    again = ModelSpecification.from_json(result.specification.to_json())
    assert again.score["at_false_per_detector"] == result.after.at_false
    ScoreModel.from_mapping(again.score)
    with pytest.raises(SurveyError, match="at least"):
        calibrate_survey(path, images[:7], precision=0.12)
