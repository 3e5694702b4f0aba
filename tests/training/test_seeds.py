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

from typing import Any

import pytest

from lsst.meas.trails.nn.model_specification import ModelSpecification
from lsst.meas.trails.training.recipe import Recipe, RecipeError
from lsst.meas.trails.training.seeds import refuse_calibration_seed, refuse_seeds_of_start


def _recipe(train: int, validation: int, calibration: int | None = None) -> Recipe:
    seeds = {"train": train, "validation": validation, "calibration": calibration}
    scenes = {key: {"seed": seed, "count": 1} for key, seed in seeds.items() if seed is not None}
    return Recipe.from_mapping({"data": {"simulate": scenes}, "stages": [{"steps": 1}]})


def _model(**training: Any) -> ModelSpecification:
    return ModelSpecification(
        name="tiny", version="1", architecture="trail_unet", channels=("science",), training=training
    )


@pytest.fixture
def started() -> ModelSpecification:
    """Return a model trained on seed 1 that started from a model trained on seed 11."""
    first = {"recipe": _recipe(11, 12).to_mapping()}
    return _model(recipe=_recipe(1, 2).to_mapping(), start={"training": first})


@pytest.mark.parametrize(
    ("seeds", "role"),
    [
        ((5, 1, None), "validation"),
        ((5, 11, None), "validation"),
        ((5, 6, 1), "calibration"),
        ((5, 6, 2), "calibration"),
        ((5, 6, 12), "calibration"),
    ],
)
def test_seen_scenes_are_refused(
    seeds: tuple[int, int, int | None], role: str, started: ModelSpecification
) -> None:
    seed = seeds[1] if role == "validation" else seeds[2]
    with pytest.raises(RecipeError, match=f"f.yaml: data.simulate.{role} .*{seed}"):
        refuse_seeds_of_start(_recipe(*seeds), started, "f.yaml")


def test_other_scenes_are_accepted(started: ModelSpecification) -> None:
    # Scenes that only selected weights may validate again; any may train.
    refuse_seeds_of_start(_recipe(1, 2, 7), started, "f.yaml")
    tiles = Recipe.from_mapping({"data": {"train": "a.h5"}, "stages": [{"steps": 1}]})
    refuse_seeds_of_start(tiles, started, "f.yaml")
    refuse_calibration_seed(started, 7, "f.yaml")
    refuse_calibration_seed(_model(checkpoint="ckpt_best.pt"), 1, "f.yaml")


@pytest.mark.parametrize("seed", [1, 2, 11, 12])
def test_calibration_on_seen_scenes_is_refused(seed: int, started: ModelSpecification) -> None:
    with pytest.raises(RecipeError, match=f"f.yaml: data.simulate.calibration .*{seed}"):
        refuse_calibration_seed(started, seed, "f.yaml")


def test_calibration_on_scenes_of_the_second_stage_is_refused() -> None:
    ranked = _model(recipe=_recipe(1, 2).to_mapping(), second_stage={"scenes": {"seed": 5, "count": 1}})
    refuse_calibration_seed(ranked, 6, "f.yaml")
    with pytest.raises(RecipeError, match="f.yaml: data.simulate.calibration .*5"):
        refuse_calibration_seed(ranked, 5, "f.yaml")


def test_calibration_needs_the_recipe() -> None:
    with pytest.raises(RecipeError, match="tiny.*recipe"):
        refuse_calibration_seed(_model(), 1, "f.yaml")
