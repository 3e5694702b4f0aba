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

from lsst.meas.trails.nn.candidate_score import second_stage
from lsst.meas.trails.nn.model_file import load_model
from lsst.meas.trails.training import rank
from lsst.meas.trails.training.rank import rank_candidates
from lsst.meas.trails.training.recipe import Recipe, RecipeError
from lsst.meas.trails.training.run import train_model
from lsst.meas.trails.training.scenes import TrainingScenes

from support.second_stages import copy_first_stage, random_samples

SECTION: dict[str, Any] = {
    "scenes": {"seed": 9, "count": 3},
    "network": {"widths": [4, 8], "dense": 8, "dense_numbers": 4},
    "epochs": 1,
    "batch_size": 16,
}
MAPPING: dict[str, Any] = {
    "data": {"simulate": {"train": {"seed": 1, "count": 2}, "validation": {"seed": 2, "count": 1}}},
    "stages": [{"epochs": 1}],
    "second_stage": SECTION,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a copy of a shipped model."""
    return copy_first_stage(tmp_path)


def test_a_model_gets_a_second_stage(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []

    def simulate(model: object, scenes: TrainingScenes, index: int, thresholds: object, path: Path) -> None:
        searched.append((scenes.seed, index, thresholds))
        random_samples(30, seed=index).write(path)

    monkeypatch.setattr(rank, "simulate_stamp_file", simulate)
    recipe = Recipe.from_mapping(MAPPING)
    specification = rank_candidates(path, recipe, "recipe", folder=tmp_path / "tiles", threads=1)
    assert searched == [(9, index, (0.015, 0.03)) for index in range(3)]
    model = load_model(path)
    assert model.specification == specification
    assert specification.score == {}
    assert specification.training["second_stage"]["scenes"] == SECTION["scenes"]  # type: ignore[index]
    stage = second_stage(model)
    assert stage is not None
    assert np.isfinite(
        stage.logits(random_samples(4).stamps, random_samples(4).numbers.astype(np.float64))
    ).all()
    # A run that was stopped does not search scenes again; more scenes add to them.
    (next((tmp_path / "tiles").glob("*")) / "00001.safetensors").unlink()
    more = Recipe.from_mapping(MAPPING | {"second_stage": SECTION | {"scenes": {"seed": 9, "count": 4}}})
    copy_first_stage(path.parent)
    rank_candidates(path, more, "recipe", folder=tmp_path / "tiles", threads=1)
    assert [index for _, index, _ in searched[3:]] == [1, 3]


def test_a_second_stage_searches_scenes_of_its_own(path: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        scenes = SECTION["scenes"] | {"seed": seed}
        with pytest.raises(RecipeError, match="second_stage"):
            Recipe.from_mapping(MAPPING | {"second_stage": SECTION | {"scenes": scenes}})
    without = Recipe.from_mapping({key: value for key, value in MAPPING.items() if key != "second_stage"})
    with pytest.raises(RecipeError, match="recipe: second_stage"):
        rank_candidates(path, without, "recipe", folder=tmp_path)
    no_scenes = Recipe.from_mapping(MAPPING | {"second_stage": {}})
    with pytest.raises(RecipeError, match=r"recipe: second_stage\.scenes is missing"):
        rank_candidates(path, no_scenes, "recipe", folder=tmp_path)
    # A training says so before it begins.
    with pytest.raises(RecipeError, match=r"second_stage\.scenes is missing"):
        train_model(no_scenes, tmp_path / "trained", progress=False)
