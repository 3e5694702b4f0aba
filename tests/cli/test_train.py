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

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from lsst.meas.trails.cli.model import model
from lsst.meas.trails.cli.train import train

SCENES = {"count": 1, "shape": [96, 128], "trails": 4.0, "length": [20.0, 40.0], "snr": [30.0, 60.0]}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Return a recipe that trains a small network for a moment."""
    path = tmp_path / "recipe.yaml"
    small = {"widths": [4, 8], "blocks": [1, 0], "decoder_blocks": [0], "dilations": [1]}
    mapping = {
        "model": {"name": "tiny", "hyperparameters": small},
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
    path.write_text(yaml.safe_dump(mapping))
    return path


def test_from_recipe_to_model(recipe: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = [str(output), "--config", str(recipe)]
    stopped = CliRunner().invoke(train, [*arguments, "--stop-after", "1"])
    assert stopped.exit_code == 0, stopped.output
    assert "Stopped after 1 steps" in stopped.output
    tiles = {path: path.stat().st_mtime_ns for path in output.glob("tiles/*/*.h5")}
    assert len(tiles) == 3

    result = CliRunner().invoke(train, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip().endswith("tiny.json")
    assert {path: path.stat().st_mtime_ns for path in output.glob("tiles/*/*.h5")} == tiles
    steps = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps] == [1, 2, 2]

    described = CliRunner().invoke(model, ["describe", str(output / "tiny.json")])
    assert described.exit_code == 0, described.output
    assert "trail_unet" in described.output
    as_json = CliRunner().invoke(model, ["describe", "--json", str(output / "tiny")])
    training = json.loads(as_json.stdout)["training"]
    assert training["steps"] == training["files"] == 2
    # The recipe as it was written, from which the same tiles come again.
    assert training["recipe"]["data"]["simulate"]["train"] == {"seed": 1, **SCENES, "count": 2}
    assert yaml.safe_load((output / "recipe.yaml").read_text()) == training["recipe"]


def test_trails_found_in_validation_scenes(recipe: Path, tmp_path: Path) -> None:
    mapping = yaml.safe_load(recipe.read_text())
    mapping["validation"] = {"objects_every": 1, "object_scenes": 2, "keep": "objects"}
    recipe.write_text(yaml.safe_dump(mapping))
    result = CliRunner().invoke(train, [str(tmp_path / "out"), "--config", str(recipe)])
    assert result.exit_code == 1
    assert "object_scenes is 2" in result.output
    mapping["data"]["simulate"]["validation"]["count"] = 2
    recipe.write_text(yaml.safe_dump(mapping))
    result = CliRunner().invoke(train, [str(tmp_path / "out"), "--config", str(recipe)])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    # Two steps do not teach what a trail is.
    assert lines[-1]["kind"] == "validation"
    assert {lines[-1][f"completeness_at_{rate}"] for rate in (1, 10, 100)} == {0.0}


def test_begins_with_the_weights_of_a_model(recipe: Path, tmp_path: Path) -> None:
    arguments = ["--config", str(recipe), "--tiles", str(tmp_path / "tiles")]
    assert CliRunner().invoke(train, [str(tmp_path / "first"), *arguments]).exit_code == 0
    assert len(list(tmp_path.glob("tiles/*/*.h5"))) == 3
    assert not (tmp_path / "first" / "tiles").exists()

    mapping = yaml.safe_load(recipe.read_text())
    mapping["model"]["channels"] = ["science"]
    mapping["stages"] = [{"steps": 5, "name": "warm"}, {"steps": 1, "name": "end", "batch_size": 2}]
    recipe.write_text(yaml.safe_dump(mapping))
    start = ["--start", str(tmp_path / "first" / "tiny.json"), "--from-stage", "end"]
    result = CliRunner().invoke(train, [str(tmp_path / "second"), *arguments, *start])
    assert result.exit_code == 0, result.output
    steps = [json.loads(line) for line in (tmp_path / "second" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps] == [6, 6]
    training = json.loads((tmp_path / "second" / "tiny.json").read_text())["training"]
    assert (training["start"]["name"], training["start"]["stage"]) == ("tiny", "end")

    def fails(options: list[str], message: str) -> None:
        result = CliRunner().invoke(train, [str(tmp_path / "third"), *arguments, *options])
        assert result.exit_code != 0
        assert message in result.output
        assert not (tmp_path / "third").exists()

    fails(start[2:], "--from-stage needs --start")
    fails([*start[:3], "start"], "'start'; its stages are warm, end")
    fails(["--start", "nothing"], "There is no file nothing")
    # Measured on what the model it begins with was trained on.
    scenes = mapping["data"]["simulate"]
    scenes["train"], scenes["validation"] = scenes["validation"], scenes["train"]
    recipe.write_text(yaml.safe_dump(mapping))
    fails(start, "data.simulate.validation has the seed 1")
    scenes["train"], scenes["validation"] = (
        scenes["validation"] | {"seed": 7},
        scenes["validation"] | {"seed": 8},
    )
    scenes["calibration"] = {"seed": 2, "count": 1}
    recipe.write_text(yaml.safe_dump(mapping))
    fails(start, "data.simulate.calibration has the seed 2")


def test_other_scenes_are_another_run(recipe: Path, tmp_path: Path) -> None:
    """Also where the number of tiles drawn does not tell."""
    arguments = [str(tmp_path / "out"), "--config", str(recipe), "--stop-after", "1"]
    mapping = yaml.safe_load(recipe.read_text())
    mapping["data"]["tiles_per_epoch"] = 4
    recipe.write_text(yaml.safe_dump(mapping))
    assert CliRunner().invoke(train, arguments).exit_code == 0
    mapping["data"]["simulate"]["train"]["count"] = 1
    recipe.write_text(yaml.safe_dump(mapping))
    result = CliRunner().invoke(train, arguments)
    assert result.exit_code == 1
    assert "another recipe" in result.output


def test_problems_are_said_in_a_line(recipe: Path, tmp_path: Path) -> None:
    def fails(change: dict, message: str) -> None:
        mapping = yaml.safe_load(recipe.read_text())
        mapping.update(change)
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump(mapping))
        result = CliRunner().invoke(train, [str(tmp_path / "out"), "--config", str(path)])
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
        assert message in result.output

    fails({"epochs": 3}, "changed.yaml: unknown key 'epochs'")
    scenes = {"train": {"seed": 1, **SCENES}, "validation": {"seed": 2, **SCENES, "trials": 3}}
    fails(
        {"data": {"simulate": scenes}},
        "data.simulate.validation: unknown key 'trials'; did you mean 'trails'",
    )
    fails({"data": {"train": "nowhere/*.h5"}}, "nowhere/*.h5")
    missing = CliRunner().invoke(train, [str(tmp_path / "out"), "--config", "nothing"])
    assert "nothing is neither a file nor a recipe" in missing.output
    unknown = CliRunner().invoke(model, ["describe", "nothing"])
    assert "nothing" in str(unknown.exception)


def test_training_and_validation_share_no_file(recipe: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert (
        CliRunner().invoke(train, [str(output), "--config", str(recipe), "--stop-after", "1"]).exit_code == 0
    )
    mapping = yaml.safe_load(recipe.read_text())
    mapping["data"] = {"train": "out/tiles/*/*.h5", "validation": "out/tiles/validation-*/*.h5"}
    recipe.write_text(yaml.safe_dump(mapping))
    result = CliRunner().invoke(train, [str(tmp_path / "other"), "--config", str(recipe)])
    assert result.exit_code == 1
    assert "is among the training and the validation files" in result.output
