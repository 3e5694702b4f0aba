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

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.tiles.labels import LabeledTruth
from lsst.meas.trails.nn.candidate_score import add_second_stage, second_stage
from lsst.meas.trails.nn.model_file import load_model, shipped_model_path
from lsst.meas.trails.survey.images import KnownImage, LabeledImage, find_images
from lsst.meas.trails.survey.search import InjectedTrails, inject_into
from lsst.meas.trails.survey.second_stage import LABEL_COUNT, adapt_second_stage, search_for_samples
from lsst.meas.trails.training.calibration import classify
from lsst.meas.trails.training.second_stage import SecondStageRecipe
from lsst.meas.trails.training.stamp_samples import StampSamples, search_stamps

from support.second_stages import copy_first_stage, random_samples, random_stage

THRESHOLDS = (0.03, 0.06)
TRAILS = InjectedTrails(seed=1, density=60.0)


def test_labels_decide_what_is_true(
    survey: str, labeled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The image with most false candidates.
    image = find_images(survey, labeled, "preliminary_visit_image")[0][4]
    known, path = image.read(), shipped_model_path()
    planes, injected = inject_into(image, known, TRAILS)
    table = search_stamps(load_model(path), planes, THRESHOLDS)
    real = known.labels.trails
    classify(table, Trails.from_trails([*injected, *real]), Trails.empty())
    wrong = table[~table["is_true"] & ~table["ignored"]]
    n_real = int(np.sum(table["trail"] >= len(injected)))
    n_injected = int(np.sum(table["is_true"])) - n_real
    assert len(wrong) >= 2
    assert min(n_real, n_injected) >= 1

    def search(labels: LabeledTruth, least_score: float) -> StampSamples:
        monkeypatch.setattr(
            LabeledImage, "read", lambda self: KnownImage(**{**vars(known), "labels": labels})
        )
        search_for_samples(
            image, path, TRAILS, THRESHOLDS, tmp_path / "candidates.ecsv", least_score, tmp_path / "samples"
        )
        return StampSamples.read([tmp_path / "samples"])

    # The first two false candidates are the most probable ones.
    probable = astropy.table.Table(wrong[["x", "y", "trailLengthPix", "trailAnglePix", "streakFlag"]][:2])
    probable["score"] = [0.9, 0.9]
    probable.write(tmp_path / "candidates.ecsv")
    artifact = np.array([[wrong["x"][0] + 1.0, wrong["y"][0]]])
    plain = search(LabeledTruth(real, Trails.empty(), np.zeros((0, 2))), np.inf)
    assert np.sum(plain.is_true) == n_injected + LABEL_COUNT * n_real
    assert np.sum(~plain.is_true) == len(wrong)
    vetted = search(LabeledTruth(real, Trails.empty(), artifact), 0.8)
    assert np.sum(vetted.is_true) == np.sum(plain.is_true)
    # One counts several times, and one is left out.
    assert np.sum(~vetted.is_true) == len(wrong) - 1 + LABEL_COUNT - 1
    same = np.all(vetted.numbers == wrong["numbers"][0], axis=1)
    assert np.sum(same) == LABEL_COUNT
    assert not np.any(vetted.is_true[same])
    assert not np.any(np.all(vetted.numbers == wrong["numbers"][1], axis=1))


SMALL: dict[str, Any] = {"widths": (4, 8), "dense": 8, "dense_numbers": 4}
SECTION = SecondStageRecipe(epochs=2, batch_size=32, learning_rate=1.0e-3)


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """Return a model with a second stage, and one that is trained from it and has none yet."""
    paths = []
    for name in ("start", "trained"):
        (tmp_path / name).mkdir()
        paths.append(copy_first_stage(tmp_path / name))
    start, trained = paths
    stage = random_stage(**SMALL)
    add_second_stage(start, stage.section, stage.weights)
    return start, trained


def test_a_second_stage_is_trained_further(models: tuple[Path, Path], tmp_path: Path) -> None:
    start, trained = models
    files = [tmp_path / f"{seed}.safetensors" for seed in (1, 2)]
    for seed, path in enumerate(files):
        random_samples(100, seed=seed).write(path)
    asked = []

    def search(thresholds: tuple[float, float]) -> list[Path]:
        asked.append(thresholds)
        return files

    specification = adapt_second_stage(trained, start, SECTION, search, 1)
    assert asked == [SECTION.thresholds]
    model = load_model(trained)
    assert model.specification == specification
    facts: Any = specification.training["second_stage"]
    assert (facts["images"], facts["candidates"], facts["epochs"]) == (2, 200, 2)
    assert facts["trails"] == sum(np.sum(StampSamples.read([path]).is_true) for path in files)
    before, after = second_stage(load_model(start)), second_stage(model)
    assert before is not None
    assert after is not None
    assert after.section == before.section
    for name, weights in before.weights.items():
        assert np.array_equal(after.weights[name], weights) == name.startswith(
            ("numbers.mean", "numbers.scale")
        )


def test_a_second_stage_stays(
    models: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start, trained = models
    few = tmp_path / "few.safetensors"
    random_samples(20).write(few)
    before, training = second_stage(load_model(start)), load_model(trained).specification.training
    assert before is not None
    # The recipe has no section; there are few candidates.
    for section in (None, SECTION):
        specification = adapt_second_stage(trained, start, section, lambda _: [few], 1)
        after = second_stage(load_model(trained))
        assert after is not None
        assert specification.training == training
        for name, weights in before.weights.items():
            np.testing.assert_array_equal(after.weights[name], weights)
    assert "of 20 candidates" in caplog.text
    # A model without a second stage gets none.
    plain, copy = (copy_first_stage(path.parent) for path in models)
    assert adapt_second_stage(copy, plain, SECTION, lambda _: [few], 1) == load_model(copy).specification
