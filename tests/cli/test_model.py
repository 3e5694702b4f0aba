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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from lsst.meas.trails.cli import main
from lsst.meas.trails.nn.candidate_score import second_stage
from lsst.meas.trails.nn.hardware import precision_name
from lsst.meas.trails.nn.model_file import ModelSpecification, load_model, save_model
from lsst.meas.trails.nn.networks.registry import create_network
from lsst.meas.trails.training import rank, run
from lsst.meas.trails.training.calibration import Calibration
from lsst.meas.trails.training.candidate_sample import SearchedScene
from lsst.meas.trails.training.recipe import Recipe

from support.second_stages import random_samples

SMALL: dict[str, Any] = {"widths": [4, 8], "blocks": [1, 0], "decoder_blocks": [0], "dilations": [1]}
RECIPE: dict[str, Any] = {
    "model": {"name": "tiny", "hyperparameters": SMALL},
    "data": {
        "simulate": {
            "train": {"seed": 1, "count": 1},
            "validation": {"seed": 2, "count": 1},
            "calibration": {"seed": 3, "count": 2, "shape": [96, 128], "trails": 6.0, "snr": [30.0, 60.0]},
        }
    },
    "stages": [{"steps": 1}],
}


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    """Return a model that says what it was trained on."""
    specification = ModelSpecification(
        name="tiny",
        version="1",
        architecture="trail_unet",
        hyperparameters=SMALL,
        channels=("science", "bad"),
        training={"recipe": Recipe.from_mapping(RECIPE).to_mapping(), "steps": 1},
        metrics={"loss": 0.5},
    )
    save_model(tmp_path / "tiny", specification.create_network(), specification)
    return tmp_path / "tiny.json"


def _calibrate(model_path: Path, recipe: dict[str, Any]) -> Result:
    config = model_path.with_name("recipe.yaml")
    config.write_text(yaml.safe_dump(recipe))
    return CliRunner().invoke(
        main, ["model", "calibrate", str(model_path), "--config", str(config), "--threads", "1"]
    )


def _calibrated_on(section: dict[str, Any] | None) -> dict[str, Any]:
    """Return the recipe with other scenes to calibrate on."""
    return RECIPE | {"data": {"simulate": RECIPE["data"]["simulate"] | {"calibration": section}}}


def test_calibrate_rewrites_the_specification(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[SearchedScene] = []

    def fit_calibration(scenes: Iterable[SearchedScene]) -> Calibration:
        seen[:] = scenes
        return Calibration(
            thresholds={"grow": 0.15, "seed": 0.3},
            score={"coefficients": [1.0, 2.0]},
            metrics={"completeness_at_10": 0.625, "snr50_at_10": None, "calibration_trails": 12.0},
        )

    monkeypatch.setattr(run, "fit_calibration", fit_calibration)
    before = load_model(model_path).specification
    result = _calibrate(model_path, RECIPE)
    assert result.exit_code == 0, result.output
    assert [scene.n_pixels for scene in seen] == [96 * 128] * 2
    snr = np.concatenate([scene.snr for scene in seen])
    # On visible pixels a trail may be fainter than it was drawn.
    assert len(snr) > 0
    assert 25.0 < np.median(snr) <= 60.0

    after = load_model(model_path).specification
    assert after == before.replace(
        thresholds={"grow": 0.15, "seed": 0.3},
        score={"coefficients": [1.0, 2.0]},
        metrics={
            "loss": 0.5,
            "completeness_at_10": 0.625,
            "snr50_at_10": None,
            "calibration_trails": 12.0,
        },
        training={
            **before.training,
            "calibration_precision": precision_name("auto", "cpu"),
            "calibration_scenes": RECIPE["data"]["simulate"]["calibration"],
        },
    )
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["thresholds", "grow", "0.150,", "seed", "0.300"] in lines
    assert ["completeness_at_10", "0.6250"] in lines
    assert ["snr50_at_10", "not", "recorded"] in lines
    # That of the training is not news.
    assert not any(line[0] == "loss" for line in lines)
    files = sorted(path.name for path in model_path.parent.iterdir())
    assert files == ["recipe.yaml", "tiny.json", "tiny.safetensors"]


def test_calibrate_refuses(model_path: Path) -> None:
    text = model_path.read_text()

    def fails(recipe: dict[str, Any], message: str) -> None:
        result = _calibrate(model_path, recipe)
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
        assert message in " ".join(result.output.split())

    fails(_calibrated_on(None), "recipe.yaml: data.simulate.calibration is missing")
    fails(RECIPE | {"data": {"train": ["a.h5"]}}, "recipe.yaml: data.simulate.calibration is missing")
    fails(_calibrated_on({"seed": 3, "count": 1, "trial": 1}), "did you mean 'trails'")
    # A recipe that is sound in itself, but not that of the model.
    scenes = {"train": {"seed": 8, "count": 1}, "validation": {"seed": 9, "count": 1}}
    for seed, role in ((1, "train"), (2, "validation")):
        changed = {"simulate": scenes | {"calibration": {"seed": seed, "count": 1}}}
        fails(RECIPE | {"data": changed}, f"has the seed {seed} of the model's own {role} scenes")
    assert model_path.read_text() == text

    data = json.loads(text)
    data["training"] = {}
    model_path.write_text(json.dumps(data))
    fails(RECIPE, "recipe")


@pytest.mark.parametrize("command", ["calibrate", "rank"])
def test_commands_take_only_the_file_of_a_model(model_path: Path, command: str) -> None:
    for name in ("direct", str(model_path.with_suffix(".safetensors")), str(model_path.with_suffix(""))):
        result = CliRunner().invoke(main, ["model", command, name, "--config", "sky"])
        assert result.exit_code == 2
        assert "MODEL" in result.output


def test_rank_adds_a_second_stage(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def simulate(model: object, scenes: object, index: int, thresholds: object, path: Path) -> None:
        random_samples(30, seed=index).write(path)

    monkeypatch.setattr(rank, "simulate_stamp_file", simulate)
    config = model_path.with_name("recipe.yaml")
    arguments = ["model", "rank", str(model_path), "--config", str(config), "--threads", "1"]
    config.write_text(yaml.safe_dump(RECIPE))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "second_stage is missing" in " ".join(result.output.split())
    network = {"widths": [4], "dense": 8, "dense_numbers": 4}
    section = {"scenes": {"seed": 77, "count": 2}, "network": network, "epochs": 1, "batch_size": 16}
    config.write_text(yaml.safe_dump(RECIPE | {"second_stage": section}))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert second_stage(load_model(model_path)) is not None
    assert len(list((model_path.parent / "tiles").glob("candidates-*/*"))) == 2


@pytest.fixture
def checkpoint_path(tmp_path: Path) -> Path:
    """Return an untrained checkpoint of Asteroid_detection_CNN."""
    network = create_network("UNetResSE", in_channels=1, width=8)
    averages = {name: 2.0 * parameter.detach() for name, parameter in network.named_parameters()}
    torch.save({"state": network.state_dict(), "ema": averages}, tmp_path / "ckpt_best.pt")
    return tmp_path / "ckpt_best.pt"


def test_convert(checkpoint_path: Path) -> None:
    output = checkpoint_path.with_name("old.json")

    def convert(*options: str) -> Result:
        return CliRunner().invoke(
            main, ["model", "convert", str(checkpoint_path), "-o", str(output), *options]
        )

    result = convert()
    assert result.exit_code == 0, result.output
    assert "UNetResSE of width 8" in result.stdout
    first = load_model(output)
    assert first.specification.hyperparameters["concatenation"] == "up-skip"

    result = convert("--ema")
    assert result.exit_code == 1
    assert f"{output} exists; pass --overwrite" in result.stderr
    assert load_model(output).checksum == first.checksum

    result = convert("--ema", "--overwrite", "--concatenation", "skip-up")
    assert result.exit_code == 0, result.output
    second = load_model(output)
    torch.testing.assert_close(second.network.head.weight, 2.0 * first.network.head.weight)  # type: ignore[union-attr, operator]
    assert second.specification.hyperparameters["concatenation"] == "skip-up"
    assert second.specification.training["checkpoint_weights"] == "ema"

    result = CliRunner().invoke(main, ["model", "describe", str(output)])
    assert result.exit_code == 0, result.output
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert ["normalization", "medmad_clip_k5"] in [[part.strip() for part in line] for line in lines]
    assert "tiles of 128 pixels only" in " ".join(result.stdout.split())


def test_convert_refuses(checkpoint_path: Path) -> None:
    result = CliRunner().invoke(main, ["model", "convert", str(checkpoint_path), "-o", str(checkpoint_path)])
    assert result.exit_code == 2
    assert "does not end in .json" in result.output
    checkpoint_path.write_bytes(checkpoint_path.read_bytes()[:-100])
    output = checkpoint_path.with_name("old.json")
    result = CliRunner().invoke(main, ["model", "convert", str(checkpoint_path), "-o", str(output)])
    assert result.exit_code == 1
    assert f"{checkpoint_path}: " in result.output
    assert not output.exists()


def test_calibrate_a_converted_checkpoint(checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = checkpoint_path.with_name("old.json")
    CliRunner().invoke(main, ["model", "convert", str(checkpoint_path), "-o", str(output)])

    def fit_calibration(scenes: Iterable[SearchedScene]) -> Calibration:
        assert len(list(scenes)) == 2
        return Calibration(thresholds={"grow": 0.15, "seed": 0.3}, score={"coefficients": [1.0]}, metrics={})

    monkeypatch.setattr(run, "fit_calibration", fit_calibration)
    result = _calibrate(output, RECIPE)
    assert result.exit_code == 0, result.output
    specification = load_model(output).specification
    assert specification.thresholds == {"grow": 0.15, "seed": 0.3}
    assert specification.training["checkpoint"] == "ckpt_best.pt"
