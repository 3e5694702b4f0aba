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

import pytest
import yaml

from lsst.meas.trails.nn.model_file import load_model, shipped_model_path
from lsst.meas.trails.survey.plan import AdaptationError, adapted_recipe, read_recipe
from lsst.meas.trails.training.recipe import find_recipe


def test_the_second_stage_is_trained_on_the_survey() -> None:
    recipe = read_recipe("adapt")
    assert recipe.second_stage is not None
    start = load_model(shipped_model_path()).specification
    adapted = adapted_recipe(recipe, start, "mine", [Path("one.safetensors")], (512, 500))
    # The training of the first stage would rank candidates of simulated scenes.
    assert adapted.second_stage is None
    assert adapted.model.name == "mine"
    assert adapted.data.backgrounds == ("one.safetensors",)
    with pytest.raises(AdaptationError, match="30 x 512 pixels"):
        adapted_recipe(recipe, start, "mine", [], (512, 30))


@pytest.mark.parametrize(
    ("key", "section", "problem"),
    [
        ("second_stage", {"scenes": {"seed": 1, "count": 1}}, r"second_stage must not have 'scenes'"),
        ("data", {"train": ["tiles.h5"], "validation": ["tiles.h5"]}, r"data\.inject"),
    ],
)
def test_recipes_of_other_trainings(key: str, section: dict[str, Any], problem: str, tmp_path: Path) -> None:
    mapping = yaml.safe_load(find_recipe("adapt").read_text())
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(mapping | {key: section}))
    with pytest.raises(AdaptationError, match=rf"other\.yaml: .*{problem}"):
        read_recipe(str(path))
