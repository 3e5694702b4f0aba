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

import pytest
import yaml

from lsst.meas.trails.training.recipe import Recipe, RecipeError, build_section, load_recipe

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
    with pytest.raises(RecipeError, match=r"need seeds of their own"):
        Recipe.from_mapping(mapping)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("optimiser", {}, "unknown key 'optimiser'; did you mean 'optimizer'"),
        ("stages.0.epoch", 3, r"f.yaml: stages\[0\]: unknown key 'epoch'; did you mean 'epochs'"),
        ("optimizer.learning_rate", "fast", "optimizer.learning_rate must be a number, not 'fast'"),
        ("optimizer.learning_rate", "1e-3", "write 1.0e-3"),
        (
            "optimizer.learning_rate",
            0.0,
            r"optimizer.learning_rate must be positive and at most 1 \(it is 0.0\)",
        ),
        ("optimizer.weight_decay", float("nan"), "optimizer.weight_decay must be finite"),
        ("optimizer.betas", [0.9], "optimizer.betas must"),
        ("seed", 1.5, "seed must be a whole number, not 1.5"),
        ("seed", True, "seed must be a whole number, not True"),
        ("precision", "int8", "precision must be 'auto', 'bfloat16' or 'float32'"),
        ("stages", [], "stages must hold at least one stage"),
        ("stages", {"epochs": 3}, "stages must be a list"),
        ("stages.0.steps", 10, r"stages\[0\].epochs or 'steps' is needed, and not both"),
        ("stages.0.loss", {"hinge": 1.0}, r"stages\[0\].loss is refused: There is no loss 'hinge'"),
        ("stages.0.mixture", {"missing": 1.0}, r"stages\[0\].mixture holds unknown classes"),
        ("data.mixture", {"hard": 1.0}, r"data.mixture holds unknown classes \['hard'\]"),
        ("data.balance", 1.5, "data.balance must lie in 0..1"),
        ("stages.0.min_snr", [20.0, -1.0], r"stages\[0\].min_snr must hold numbers that are not negative"),
        ("stages.0.min_snr", 20.0, r"stages\[0\].min_snr must be a list"),
        (
            "stages.0.train_parts",
            ["decode"],
            r"stages\[0\].train_parts holds \['decode'\].*it has stem, .*decoder",
        ),
        ("stages.0.mine_every", 2, r"stages\[0\].mine_every needs 'hard' in this stage's 'mixture'"),
        ("stages.0.hard_fraction", 0.0, r"stages\[0\].hard_fraction must be positive"),
        ("augmentation.template_dropout", 2.0, "augmentation.template_dropout must lie in 0..1"),
        ("data.mixture", {"missed": 0.0}, "data.mixture must hold a positive number"),
        ("data.mixture", {"missed": "all"}, "data.mixture must hold numbers"),
        ("data.train", [], "data.train and 'simulate' exclude each other, and one is needed"),
        ("data.train", [3], r"data.train\[0\] must be text"),
        ("data.simulate", {"train": {"seed": 1}}, "the key 'validation' is missing"),
        ("model", None, "model: must be a section"),
        ("model.architecture", "resnet", "model.architecture must be one of .*trail_unet"),
        ("model.channels", ["science", "color"], r"model.channels holds unknown names \['color'\]"),
        ("model.channels", ["science", "science"], "names a channel twice"),
        ("model.hyperparameters", {"depth": 4}, "model.hyperparameters is refused by .*no hyperparameter"),
        ("model.name", "../up", "model.name must be usable in a file name"),
        ("augmentation.noise", -1.0, "augmentation.noise must lie in 0..10"),
        ("augmentation.symmetries", 1, "augmentation.symmetries must be true or false"),
        ("validation.keep", "all", "validation.keep must be 'best', 'objects' or 'last'"),
        ("validation.keep", "objects", "validation.keep needs 'objects_every' for that"),
        ("validation.objects_every", 0, "validation.objects_every must be at least 1"),
        ("validation.object_scenes", 1, "validation.object_scenes must lie in 2..1000"),
        ("ema", 1.0, "ema must be at least 0 and less than 1"),
    ],
)
def test_refuses(path: str, value: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        Recipe.from_mapping(_changed(path, value), "f.yaml")
    assert str(caught.value).startswith("f.yaml: ")


SHIPPED = sorted((Path(__file__).parents[2] / "config" / "train").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes(path: Path) -> None:
    recipe = load_recipe(path)
    # The name by which the command finds it is that of the model.
    assert recipe.model.name == path.stem
    names = [stage.name for stage in recipe.stages]
    assert len(set(names)) == len(names)


def test_staged_recipe_shows_what_there_is() -> None:
    recipe = load_recipe(next(path for path in SHIPPED if path.stem == "staged"))
    assert recipe.data.simulate is None
    assert [stage.mines for stage in recipe.stages] == [False, False, True, False]
    assert recipe.stages[0].min_snr == (15.0, 0.0)
    assert recipe.stages[-1].train_parts


def test_refuses_files(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="missing.yaml: cannot be read"):
        load_recipe(tmp_path / "missing.yaml")
    path = tmp_path / "broken.yaml"
    path.write_text("data: [")
    with pytest.raises(RecipeError, match="broken.yaml: is not valid YAML"):
        load_recipe(path)
    path.write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(RecipeError, match="is not valid YAML"):
        load_recipe(path)
    path.write_text("just words")
    with pytest.raises(RecipeError, match="must be a section"):
        load_recipe(path)


def test_sections_of_other_rooms() -> None:
    section = build_section(_Scenes, {"size": [3, 4], "trails": 5}, "scenes", "f.yaml")
    assert section == _Scenes(size=(3, 4), trails=5.0)
    with pytest.raises(RecipeError, match="f.yaml: scenes.size must have 2 entries, not 3"):
        build_section(_Scenes, {"size": [3, 4, 5]}, "scenes", "f.yaml")
    with pytest.raises(RecipeError, match="f.yaml: scenes: Too many trails"):
        build_section(_Scenes, {"size": [3, 4], "trails": 1000}, "scenes", "f.yaml")


@dataclasses.dataclass(frozen=True)
class _Scenes:
    size: tuple[int, int]
    trails: float = 1.0

    def __post_init__(self) -> None:
        if self.trails > 100.0:
            raise ValueError("Too many trails.")
