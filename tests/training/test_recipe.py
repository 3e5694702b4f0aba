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

from lsst.meas.trails.training.recipe import Recipe, RecipeError, find_recipe, load_recipe

MINIMAL = """
data:
  train: tiles/train-*.h5
  validation: [tiles/a.h5, /elsewhere/b.h5]
stages:
  - epochs: 3
"""


def _changed(path: str, value: Any) -> dict[str, Any]:
    """Return the minimal recipe with one value set, at 'a.b.c'."""
    mapping = yaml.safe_load(MINIMAL)
    *parents, last = path.split(".")
    section: Any = mapping
    for parent in parents:
        section = section[int(parent)] if isinstance(section, list) else section.setdefault(parent, {})
    section[last] = value
    return mapping


def test_minimal_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(MINIMAL)
    recipe = load_recipe(path)
    assert recipe.model.architecture == "trail_unet"
    assert recipe.model.channels == ("science", "bad")
    assert recipe.data.train == (str(tmp_path / "tiles/train-*.h5"),)
    assert recipe.data.validation == (str(tmp_path / "tiles/a.h5"), "/elsewhere/b.h5")
    assert recipe.stages[0].loss == {"bce": 1.0}
    assert Recipe.from_mapping(yaml.safe_load(yaml.safe_dump(recipe.to_mapping()))) == recipe


def test_simulated_recipe() -> None:
    scenes = {"train": {"seed": 1, "count": 9, "trails": 20}, "validation": {"seed": 2, "count": 3}}
    mapping = _changed("data", {"simulate": scenes})
    recipe = Recipe.from_mapping(mapping)
    assert recipe.data.simulate is not None
    assert recipe.data.simulate.tile_size == 256
    scenes["validation"]["seed"] = 1
    with pytest.raises(RecipeError, match="seed"):
        Recipe.from_mapping(mapping)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("optimiser", {}, "unknown key 'optimiser'; did you mean 'optimizer'"),
        ("stages.0.epoch", 3, r"stages\[0\]: unknown key 'epoch'; did you mean 'epochs'"),
        ("optimizer.learning_rate", "fast", "optimizer.learning_rate .*'fast'"),
        ("optimizer.learning_rate", "1e-3", "optimizer.learning_rate .*1.0e-3"),
        ("optimizer.learning_rate", 0.0, r"optimizer.learning_rate .*0.0"),
        ("optimizer.learning_rate", 10**400, r"optimizer.learning_rate .*1000"),
        ("optimizer.weight_decay", float("nan"), "optimizer.weight_decay .*finite"),
        ("optimizer.betas", [0.9], "optimizer.betas"),
        ("optimizer.betas", [0.9, 1.0], "optimizer.betas"),
        ("optimizer.clip", 0.0, "optimizer.clip"),
        ("seed", 1.5, "seed .*1.5"),
        ("seed", True, "seed .*True"),
        ("precision", "int8", "precision .*'auto', 'bfloat16' or 'float32'"),
        ("stages", [], "stages .*at least one"),
        ("stages", {"epochs": 3}, "stages "),
        ("stages.0.steps", 10, r"stages\[0\].epochs or 'steps'"),
        ("stages.0.loss", {"hinge": 1.0}, r"stages\[0\].loss .*'hinge'"),
        ("stages.0.mixture", {"missing": 1.0}, r"stages\[0\].mixture .*'missing'"),
        ("data.mixture", {"hard": 1.0}, r"data.mixture .*'hard'"),
        ("data.balance", 1.5, "data.balance .*1.5"),
        ("stages.0.min_snr", [20.0, -1.0], r"stages\[0\].min_snr .*-1.0"),
        ("stages.0.min_snr", 20.0, r"stages\[0\].min_snr .*20.0"),
        ("stages.0.train_parts", ["decode"], r"stages\[0\].train_parts .*'decode'.* stem, .*decoder"),
        ("stages.0.mine_every", 2, r"stages\[0\].mine_every .*'hard'"),
        ("stages.0.hard_fraction", 0.0, r"stages\[0\].hard_fraction .*0.0"),
        ("augmentation.template_dropout", 2.0, "augmentation.template_dropout .*2.0"),
        ("data.mixture", {"missed": 0.0}, "data.mixture .*positive"),
        ("data.mixture", {"missed": "all"}, "data.mixture .*numbers"),
        ("data.mixture", ["missed"], "data.mixture "),
        ("data.train", [], "data.train and 'simulate'"),
        ("data.train", [3], r"data.train\[0\] .*3"),
        ("data.simulate", {"train": {"seed": 1}}, "data.simulate.validation is missing"),
        ("data.simulate", {"train": {"count": 1}, "validation": {}}, "data.simulate.train .*'seed'"),
        ("data.inject", {}, "data.inject needs 'simulate'"),
        ("model", None, "model must be a section"),
        ("model.architecture", "resnet", "model.architecture .*trail_unet"),
        ("model.channels", ["science", "color"], r"model.channels .*'color'"),
        ("model.channels", ["science", "science"], "model.channels .*twice"),
        ("model.channels", [], "model.channels"),
        ("model.hyperparameters", {"depth": 4}, "model.hyperparameters .*'depth'"),
        ("model.name", "../up", "model.name .*'../up'"),
        ("model.name", "x" * 101, "model.name"),
        ("augmentation.noise", -1.0, "augmentation.noise .*-1.0"),
        ("augmentation.symmetries", 1, "augmentation.symmetries .*1"),
        ("validation.keep", "all", "validation.keep .*'best', 'objects' or 'last'"),
        ("validation.keep", "objects", "validation.keep .*'objects_every'"),
        ("validation.objects_every", 0, "validation.objects_every"),
        ("validation.object_scenes", 1, "validation.object_scenes"),
        ("ema", 1.0, "ema .*1.0"),
    ],
)
def test_refuses(path: str, value: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=f"^f.yaml: {message}"):
        Recipe.from_mapping(_changed(path, value), "f.yaml")


SIMULATED = {
    "data": {
        "simulate": {"train": {"seed": 1, "count": 2}, "validation": {"seed": 2, "count": 2}},
        "inject": {},
    },
    "stages": [{"epochs": 1}],
}


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        ({"inject": {"snr": [9.0, 3.0]}}, {}, "data.inject .*9.0"),
        ({"inject": {"length": [0.0, 3.0]}}, {}, "data.inject .*length"),
        ({"mixture": {"missed": 1}}, {}, "data.mixture .*'inject'"),
        ({"train": ["a.h5"]}, {}, "data.train .*'backgrounds'"),
        ({"backgrounds": ["a"], "inject": None}, {}, "data.backgrounds needs 'inject'"),
        ({"simulated_fraction": 0.5}, {}, "data.simulated_fraction .*'backgrounds'"),
        ({"backgrounds": ["a"], "simulated_fraction": 1.0}, {}, "data.simulated_fraction"),
        ({}, {"stages": [{"epochs": 1, "mixture": {"missed": 1}}]}, r"stages\[0\].mixture .*'data.inject'"),
        ({}, {"augmentation": {"blur": 1.0}}, "augmentation.blur .*'data.inject'"),
    ],
)
def test_refuses_with_fresh_trails(data: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    Recipe.from_mapping(SIMULATED)
    with pytest.raises(RecipeError, match=f"^f.yaml: {message}"):
        Recipe.from_mapping(SIMULATED | changes | {"data": {**SIMULATED["data"], **data}}, "f.yaml")


SHIPPED = sorted((Path(__file__).parents[2] / "config" / "train").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes(path: Path) -> None:
    recipe = load_recipe(path)
    # The name by which the command finds it is that of the model.
    assert recipe.model.name == path.stem
    names = [stage.name for stage in recipe.stages]
    assert len(set(names)) == len(names)


def test_staged_recipe_uses_every_feature() -> None:
    recipe = load_recipe(next(path for path in SHIPPED if path.stem == "staged"))
    assert recipe.data.simulate is None
    assert [stage.mines for stage in recipe.stages] == [False, False, True, False]
    assert recipe.stages[0].min_snr == (15.0, 0.0)
    assert recipe.stages[-1].train_parts


def test_refuses_files(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="missing.yaml"):
        load_recipe(tmp_path / "missing.yaml")
    path = tmp_path / "broken.yaml"
    path.write_text("data: [")
    with pytest.raises(RecipeError, match="broken.yaml"):
        load_recipe(path)
    path.write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(RecipeError, match="broken.yaml"):
        load_recipe(path)
    path.write_text("just words")
    with pytest.raises(RecipeError, match="broken.yaml"):
        load_recipe(path)


def test_find_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.touch()
    assert find_recipe(path) == path
    assert find_recipe("sky") == find_recipe("sky.yaml")
    for name in ("nothing", "../models/sky"):
        with pytest.raises(RecipeError, match=f"{name} .*sky"):
            find_recipe(name)
