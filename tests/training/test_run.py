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

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import lsst.meas.trails
from lsst.meas.trails.nn.model_file import load_model
from lsst.meas.trails.training import run, scenes
from lsst.meas.trails.training.calibration import Calibration
from lsst.meas.trails.training.log import read_metrics
from lsst.meas.trails.training.recipe import Recipe, RecipeError, load_recipe
from lsst.meas.trails.training.run import train_model

SCENES = {"count": 1, "shape": [96, 128], "trails": 4.0, "length": [20.0, 40.0], "snr": [30.0, 60.0]}
MAPPING: dict[str, Any] = {
    "model": {
        "name": "tiny",
        "hyperparameters": {"widths": [4, 8], "blocks": [1, 0], "decoder_blocks": [0], "dilations": [1]},
    },
    "data": {
        "simulate": {
            "train": {"seed": 1, **SCENES, "count": 2},
            "validation": {"seed": 2, **SCENES},
            "tile_size": 64,
        }
    },
    "stages": [{"steps": 2, "batch_size": 2}],
    "threads": 1,
}


def test_train_model(tmp_path: Path) -> None:
    assert lsst.meas.trails.train_model is train_model
    recipe = Recipe.from_mapping(MAPPING)
    stopped = train_model(recipe, tmp_path / "run", stop_after=1, progress=False)
    assert (stopped.model_path, stopped.steps) == (None, 1)
    # A file, and the seeds of the first run.
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(MAPPING))
    result = train_model(path, tmp_path / "run", progress=False)
    assert (result.model_path, result.steps) == (tmp_path / "run" / "tiny.json", 2)
    trained = load_model(tmp_path / "run" / "tiny").specification.training
    assert (trained["steps"], trained["files"]) == (2, 2)
    # Scenes of the initial model do not validate.
    scenes = MAPPING["data"]["simulate"]
    swapped = {"simulate": scenes | {"train": scenes["validation"], "validation": scenes["train"]}}
    with pytest.raises(RecipeError, match="data.simulate.validation has the seed 1"):
        train_model(
            recipe.from_mapping(MAPPING | {"data": swapped}),
            tmp_path / "other",
            start=tmp_path / "run" / "tiny.json",
        )
    assert not (tmp_path / "other").exists()


def test_models_of_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each section of ``calibrations`` makes a model with the same weights and thresholds of its own."""
    simulate = MAPPING["data"]["simulate"]
    counts = {"image": {"seed": 3, **SCENES}, "pair": {"seed": 4, **SCENES, "count": 2}}

    def fit_calibration(found: Iterable[object]) -> Calibration:
        thresholds = {"grow": 0.1, "seed": 0.1 * (1 + len(list(found)))}
        return Calibration(thresholds=thresholds, score={}, metrics={})

    monkeypatch.setattr(run, "fit_calibration", fit_calibration)
    recipe = Recipe.from_mapping(MAPPING | {"data": {"simulate": simulate | {"calibrations": counts}}})
    train_model(recipe, tmp_path, progress=False)
    assert not (tmp_path / "image.safetensors").exists()
    models = {name: load_model(tmp_path / f"{name}.json").specification for name in ("image", "pair", "tiny")}
    assert {specification.weights_sha256 for specification in models.values()} == {
        models["tiny"].weights_sha256
    }
    for name, seed in (("image", 0.2), ("pair", 0.3)):
        assert models[name].name == name
        assert models[name].thresholds == pytest.approx({"grow": 0.1, "seed": seed})
        assert models[name].training["calibration_scenes"] == counts[name]
    assert "calibration_scenes" not in models["tiny"].training


def test_fresh_trails_until_the_time_is_over(tmp_path: Path) -> None:
    channels = ["science", "bad", "template", "template_missing"]
    scenes = MAPPING["data"]["simulate"]
    mixed = {"template": True, "difference": 0.5}
    mapping = MAPPING | {
        "model": MAPPING["model"] | {"channels": channels},
        "data": {
            "simulate": scenes | {role: scenes[role] | mixed for role in ("train", "validation")},
            "inject": {"trails": 2.0},
            "tiles_per_epoch": 4,
        },
        "augmentation": {"noise": 0.2, "template_dropout": 0.5},
        "stages": [
            {"name": "first", "epochs": 2, "batch_size": 2},
            {"name": "second", "epochs": 3, "batch_size": 2},
        ],
    }
    # A step of each stage takes longer than its time.
    result = train_model(Recipe.from_mapping(mapping), tmp_path / "run", progress=False, minutes=1.0e-9)
    assert (result.model_path, result.steps) == (tmp_path / "run" / "tiny.json", 2)
    specification = load_model(tmp_path / "run" / "tiny").specification
    assert specification.training["steps"] == 2
    assert specification.fwhm_range is not None
    lines = [line for line in read_metrics(tmp_path / "run") if line["kind"] == "train"]
    assert [(line["step"], line["stage"]) for line in lines] == [(1, "first"), (5, "second")]
    # The same recipe with as many trails of the scenes has the same backgrounds.
    files = sorted((tmp_path / "run" / "tiles").glob("*/*"))
    assert [path.suffix for path in files] == [".safetensors"] * 2 + [".h5"]
    times = [path.stat().st_mtime_ns for path in files]
    mapping["data"]["simulate"]["train"]["trails"] = 9.0
    again = train_model(Recipe.from_mapping(mapping), tmp_path / "other", tiles=tmp_path / "run" / "tiles")
    assert again.steps == 10
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "run" / "tiles").glob("*/*"))] == times


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Return the file of a recipe with two training scenes and one validation scene."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(MAPPING))
    return path


def test_tiles_of_an_older_simulator_are_not_used(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenes, "simulate_tile_file", lambda scenes, index, path, size: path.touch())

    def files(version: int) -> set[str]:
        monkeypatch.setattr(scenes, "SCENE_VERSION", version)
        data = run._simulate_tiles(load_recipe(recipe), "recipe", tmp_path, Console(file=io.StringIO())).data
        return {*data.train, *data.validation}

    assert len(files(1)) == 3
    assert files(1) == files(1)
    assert files(1).isdisjoint(files(2))
