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
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from lsst.meas.trails.nn.model_file import load_model, save_model
from lsst.meas.trails.training import log as training_report
from lsst.meas.trails.training.checkpoint import CheckpointError, read_checkpoint
from lsst.meas.trails.training.dataset import TrailTileDataset
from lsst.meas.trails.training.initial_weights import InitialWeights
from lsst.meas.trails.training.log import read_metrics
from lsst.meas.trails.training.losses import BlendedLoss
from lsst.meas.trails.training.nonfinite import TrainingError
from lsst.meas.trails.training.recipe import Recipe
from lsst.meas.trails.training.trainer import CHECKPOINT_NAME, train
from lsst.meas.trails.training.validation import evaluate_network

from support.networks import TINY

CHANNELS = ("science", "bad")


def _recipe(**changes: Any) -> Recipe:
    mapping: dict[str, Any] = {
        "model": {"name": "tiny", "hyperparameters": {key: list(value) for key, value in TINY.items()}},
        "data": {"train": ["unused.h5"]},
        "stages": [{"epochs": 3, "batch_size": 4, "loss": {"bce": 1.0, "dice": 0.5}}],
        "optimizer": {"learning_rate": 0.01},
        "augmentation": {"noise": 0.2, "masked_columns": 0.2},
        "ema": 0.9,
        "precision": "float32",
        "threads": 1,
    }
    return Recipe.from_mapping(mapping | changes)


def _dataset(path: Path, recipe: Recipe) -> TrailTileDataset:
    return TrailTileDataset([path], CHANNELS, seed=recipe.seed, augmentation=recipe.augmentation)


def _losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(folder) if line["kind"] == "train"]


def test_learns_bright_lines(make_tiles: Callable[..., Path], tmp_path: Path) -> None:
    recipe = _recipe(
        stages=[
            {
                "name": "warm",
                "steps": 10,
                "batch_size": 4,
                "loss": {"bce": {"weight": 1, "positive_weight": 5}},
            },
            {"name": "main", "epochs": 20, "batch_size": 8, "loss": {"bce": 1.0, "dice": [0.0, 1.0]}},
        ],
        data={"train": ["unused.h5"], "tiles_per_epoch": 24, "mixture": {"missed": 3, "empty": 1}},
        validation={"every": 7},
        precision="bfloat16",
    )
    validation = TrailTileDataset([make_tiles("validation.h5", seed=2)], CHANNELS)
    folder = tmp_path / "run"
    result = train(
        recipe,
        _dataset(make_tiles("train.h5", count=16), recipe),
        validation,
        folder,
        progress=False,
    )
    # 6 steps an epoch, then 3.
    assert result.steps == 10 + 20 * 3
    # Lines with 8 sigma per pixel; only their rim can be missed.
    assert result.metrics["pixel_average_precision"] > 0.9
    assert result.metrics["pixel_auc"] > 0.98

    assert result.model_path is not None
    model = load_model(result.model_path)
    metrics, _ = evaluate_network(model.network, validation, _blend(recipe), bfloat16=True)
    stored = model.specification.metrics
    # The specification has the metrics of the stored weights.
    assert stored["loss"] == pytest.approx(metrics["loss"], rel=1.0e-6)
    assert 0.0 < model.specification.thresholds["grow"] <= model.specification.thresholds["seed"] < 1.0
    assert model.specification.fwhm_range == pytest.approx((4.0, 4.0), abs=0.05)
    assert model.specification.training["recipe"]["seed"] == recipe.seed
    assert str(tmp_path) not in model.specification.to_json()

    lines = read_metrics(folder)
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 71))
    assert lines[0]["stage"] == "warm"
    assert lines[-1]["kind"] == "validation"
    assert "Model written" in (folder / "train.log").read_text()
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def _blend(recipe: Recipe) -> BlendedLoss:
    return BlendedLoss(recipe.stages[-1].loss)


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the drawing, which takes longer than these runs."""
    monkeypatch.setattr(training_report, "plot_curves", lambda *_: None)


@pytest.mark.usefixtures("no_curves")
def test_stopped_and_resumed_is_the_same(make_tiles: Callable[..., Path], tmp_path: Path) -> None:
    recipe = _recipe()
    path, other = make_tiles(), make_tiles("validation.h5", seed=2)

    def run(folder: str, **options: Any) -> Any:
        validation = TrailTileDataset([other], CHANNELS)
        return train(recipe, _dataset(path, recipe), validation, tmp_path / folder, progress=False, **options)

    whole = run("whole")
    # Two steps an epoch: in its midst, at its end, and at the next.
    for stop in (3, 4, 5):
        name = f"stopped-{stop}"
        assert run(name, stop_after=stop).model_path is None
        assert len(_losses(tmp_path / name)) == stop
        # A run that was killed leaves metrics beyond its checkpoint.
        with (tmp_path / name / "metrics.jsonl").open("a") as stream:
            stream.write(json.dumps({"kind": "train", "step": stop + 1, "loss": 99.0}) + '\n{"kind": "tr')
        parts = run(name)
        assert _losses(tmp_path / name) == _losses(tmp_path / "whole")
        assert parts.metrics == whole.metrics
        first, second = (load_model(result.model_path).network.state_dict() for result in (whole, parts))
        assert all(torch.equal(first[key], second[key]) for key in first)

    # A finished run does no further steps.
    again = run(name)
    assert again.metrics == whole.metrics
    assert _losses(tmp_path / name) == _losses(tmp_path / "whole")


@pytest.mark.usefixtures("no_curves")
def test_checkpoint_of_another_run_is_refused(make_tiles: Callable[..., Path], tmp_path: Path) -> None:
    recipe = _recipe()
    dataset = _dataset(make_tiles(), recipe)
    folder = tmp_path / "run"
    train(recipe, dataset, None, folder, progress=False, stop_after=2)
    other = recipe.replace(seed=2)
    with pytest.raises(CheckpointError, match=f"{CHECKPOINT_NAME}: .*another recipe"):
        train(other, dataset, None, folder, progress=False)
    # Threads do not change the result.
    train(recipe.replace(threads=2), dataset, None, folder, progress=False, stop_after=3)
    assert train(other, dataset, None, folder, progress=False, resume=False).steps == 6

    path = folder / CHECKPOINT_NAME
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=f"{CHECKPOINT_NAME}: .*remove it"):
        train(other, dataset, None, folder, progress=False)


def test_damaged_tile_is_named(
    make_tiles: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _recipe()
    path = make_tiles()
    dataset = _dataset(path, recipe)
    plain = TrailTileDataset.__getitem__

    def damaged(self: TrailTileDataset, key: Any) -> Any:
        inputs, target, valid = plain(self, key)
        return (inputs * math.nan if key.tile == 5 else inputs), target, valid

    monkeypatch.setattr(TrailTileDataset, "__getitem__", damaged)
    with pytest.raises(TrainingError, match=r"the input is not finite in .*tiles\.h5, tile 5\."):
        train(recipe, dataset, None, tmp_path / "run", progress=False)
    assert "tiles.h5, tile 5" in (tmp_path / "run" / "train.log").read_text()


def test_nan_pixels_in_a_file_are_only_bad_pixels(make_tiles: Callable[..., Path], tmp_path: Path) -> None:
    path = make_tiles()
    with h5py.File(path, "r+") as file:
        file["image"][3] = np.nan
        file["variance"][4] = np.inf
    recipe = _recipe()
    result = train(recipe, _dataset(path, recipe), None, tmp_path / "run", progress=False)
    assert result.model_path is not None
    assert np.isfinite(_losses(tmp_path / "run")).all()


def test_divergence_stops(make_tiles: Callable[..., Path], tmp_path: Path) -> None:
    recipe = _recipe(stages=[{"steps": 50, "batch_size": 4, "loss": {"bce": {"positive_weight": 1.0e38}}}])
    with pytest.raises(TrainingError, match="not finite at step .*tiles .* are finite"):
        train(recipe, _dataset(make_tiles(), recipe), None, tmp_path / "run", progress=False)


@pytest.mark.usefixtures("no_curves")
def test_any_dataset(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    inputs = torch.from_numpy(rng.normal(size=(6, 2, 32, 32)).astype(np.float32))
    target, valid = torch.zeros(6, 1, 16, 16), torch.ones(6, 1, 16, 16)
    target[:, :, 4:8] = 1.0
    dataset = TensorDataset(inputs, target, valid)
    result = train(_recipe(ema=0.0), dataset, dataset, tmp_path / "run", progress=False)
    assert result.steps == 3
    # The precision is undefined without trails.
    trailless = TensorDataset(inputs, torch.zeros_like(target), valid)
    result = train(_recipe(), dataset, trailless, tmp_path / "trailless", progress=False)
    assert math.isnan(result.metrics["pixel_average_precision"])
    assert result.model_path is not None
    stored = load_model(result.model_path).specification.metrics
    assert stored["pixel_average_precision"] is None
    assert stored["loss"] == result.metrics["loss"]
    empty = TensorDataset(inputs[:0], target[:0], valid[:0])
    with pytest.raises(TrainingError, match="to train on"):
        train(_recipe(), empty, None, tmp_path / "run", progress=False)
    with pytest.raises(TrainingError, match="to validate on"):
        train(_recipe(), dataset, empty, tmp_path / "run", progress=False)


def test_networks_of_full_resolution(make_tiles: Callable[..., Path], tmp_path: Path) -> None:
    """Train a network of Asteroid_detection_CNN, with tiles of 128 pixels."""
    recipe = _recipe(
        model={"name": "old", "architecture": "UNetResSE", "hyperparameters": {"width": 8}},
        stages=[{"steps": 2, "batch_size": 2}],
    )
    assert recipe.model.output_stride == 1
    dataset = TrailTileDataset([make_tiles(count=4, size=128)], CHANNELS, stride=recipe.model.output_stride)
    result = train(recipe, dataset, dataset, tmp_path / "run", progress=False)
    assert result.steps == 2
    assert result.model_path is not None
    assert load_model(result.model_path).network.tile_size == 128


@pytest.mark.usefixtures("no_curves")
def test_learning_rate_rises_and_falls_in_every_stage(
    make_tiles: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = _recipe(
        stages=[
            {"steps": 10, "batch_size": 1},
            {"steps": 5, "batch_size": 1, "learning_rate": 0.001},
        ],
        optimizer={"learning_rate": 0.01, "warmup": 0.2, "final": 0.1},
    )
    train(recipe, _dataset(make_tiles(), recipe), None, tmp_path / "run", progress=False)
    rates = [line["learning_rate"] for line in read_metrics(tmp_path / "run")]
    for stage, peak in ((rates[:10], 0.01), (rates[10:], 0.001)):
        rise = len(stage) // 5
        assert stage[0] == pytest.approx(0.01 * peak)
        assert stage[rise] == max(stage) == pytest.approx(peak)
        assert all(a > b for a, b in zip(stage[rise:], stage[rise + 1 :]))
    # Half way down the cosine.
    assert rates[6] == pytest.approx(0.01 * (0.1 + 0.9 * 0.5))
    assert 0.001 < rates[9] < 0.0015


@pytest.mark.usefixtures("no_curves")
def test_a_stage_is_a_run_of_its_own(make_tiles: Callable[..., Path], tmp_path: Path) -> None:
    """Continuing, stopping and resuming, and starting from the weights give the same result."""
    mixed = {"missed": 1, "hard": 1}
    stages = [
        {"name": "first", "epochs": 2, "batch_size": 4},
        {
            "name": "second",
            "epochs": 3,
            "batch_size": 4,
            "mixture": mixed,
            "mine_every": 2,
            "hard_fraction": 0.3,
            "mining_tiles": 6,
        },
    ]
    recipe = _recipe(stages=stages)
    path = make_tiles()

    def run(folder: str, recipe: Recipe, **options: Any) -> Any:
        return train(recipe, _dataset(path, recipe), None, tmp_path / folder, progress=False, **options)

    run("whole", recipe)
    lines = read_metrics(tmp_path / "whole")
    losses = _losses(tmp_path / "whole")
    assert [(line["step"], line["tiles"]) for line in lines if line["kind"] == "mining"] == [(4, 2), (8, 2)]

    # At the end of the first stage, after the search that follows it, in an
    # epoch with hard tiles, and before the second search.
    for stop in (4, 5, 8, 9):
        assert run(f"stopped-{stop}", recipe, stop_after=stop).model_path is None
        run(f"stopped-{stop}", recipe)
        assert read_metrics(tmp_path / f"stopped-{stop}") == lines

    run("alone", _recipe(stages=stages[:1]))
    assert _losses(tmp_path / "alone") == losses[:4]
    average = read_checkpoint(tmp_path / "alone" / CHECKPOINT_NAME).average
    exact = load_model(tmp_path / "alone" / "tiny.json")
    exact.network.load_state_dict(average)
    save_model(tmp_path / "exact", exact.network, exact.specification, dtype="float32")
    start = InitialWeights(load_model(tmp_path / "exact"), "second")
    result = run("started", recipe, start=start)
    assert _losses(tmp_path / "started") == losses[4:]
    assert result.model_path is not None

    training = load_model(result.model_path).specification.training
    assert training["steps"] == 6
    assert training["start"]["stage"] == "second"
    assert training["start"]["weights_sha256"] == start.model.specification.weights_sha256
    assert training["start"]["training"]["recipe"]["stages"][0]["name"] == "first"
    saved = read_checkpoint(tmp_path / "started" / CHECKPOINT_NAME).scalars
    assert saved["start"] == training["start"]
    with pytest.raises(CheckpointError, match="initial weights"):
        run("started", recipe)
    with pytest.raises(CheckpointError, match="initial weights"):
        run("started", recipe, start=InitialWeights(start.model))


@pytest.mark.usefixtures("no_curves")
def test_frozen_parts_stay(make_tiles: Callable[..., Path], tmp_path: Path) -> None:
    stages = [
        {"name": "all", "epochs": 1, "batch_size": 4},
        {"name": "some", "epochs": 2, "batch_size": 4, "train_parts": ["up", "head.bias"]},
        {"name": "again", "epochs": 1, "batch_size": 4},
    ]
    recipe = _recipe(stages=stages)
    dataset = _dataset(make_tiles(), recipe)
    averages, weights = [], []
    # In the midst of the stage too, so that it is the same after a stop.
    for stop in (2, 3, 6, 8):
        train(recipe, dataset, None, tmp_path / "run", progress=False, stop_after=stop)
        saved = read_checkpoint(tmp_path / "run" / CHECKPOINT_NAME)
        averages.append(saved.average)
        weights.append(saved.weights)
    train(recipe, dataset, None, tmp_path / "whole", progress=False)
    assert _losses(tmp_path / "run") == _losses(tmp_path / "whole")

    def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
        return {name for name in before if not torch.equal(before[name], after[name])}

    some = changed(averages[0], weights[2])
    assert some == changed(averages[0], averages[2])
    # Weights and statistics.
    assert {"up.0.conv.weight", "up.0.norm.running_mean", "up.1.norm.bias", "head.bias"} <= some
    assert {name.partition(".")[0] for name in some} == {"up", "head"}
    assert "head.weight" not in some
    assert "stem.norm.running_var" in changed(weights[2], weights[3])


@pytest.mark.usefixtures("no_curves")
def test_hard_tiles_need_tile_files(tmp_path: Path) -> None:
    dataset = TensorDataset(torch.zeros(4, 2, 32, 32), torch.zeros(4, 1, 16, 16), torch.ones(4, 1, 16, 16))
    recipe = _recipe(stages=[{"steps": 1, "mixture": {"hard": 1}}])
    with pytest.raises(TrainingError, match="tile files"):
        train(recipe, dataset, None, tmp_path / "run", progress=False)
