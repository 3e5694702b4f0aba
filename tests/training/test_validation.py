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

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lsst.meas.trails.nn.networks.network import TrailNetwork
from lsst.meas.trails.nn.networks.registry import Inner, NetworkPlan
from lsst.meas.trails.training import calibration
from lsst.meas.trails.training.calibration import ValidationScene
from lsst.meas.trails.training.checkpoint import read_checkpoint
from lsst.meas.trails.training.dataset import TrailTileDataset
from lsst.meas.trails.training.log import read_metrics
from lsst.meas.trails.training.nonfinite import TrainingError
from lsst.meas.trails.training.recipe import ModelRecipe, Recipe
from lsst.meas.trails.training.trainer import CHECKPOINT_NAME, train
from lsst.meas.trails.training.validation import ObjectValidation

from .test_calibration import make_scene
from support.networks import TINY

RECIPE = ModelRecipe(hyperparameters=dict(TINY), channels=("science",))


class _Plan(NetworkPlan):
    """Geometry of the network."""

    stride, output_stride, receptive_radius = 2, 2, 4

    def __init__(self, in_channels: int, **_: Any) -> None:
        self.in_channels = in_channels


class _Significance(TrailNetwork):
    """Network that finds bright sources of any shape."""

    def __init__(self, scale: float, threshold: float = 0.6) -> None:
        super().__init__(_Plan(1))
        self.scale = torch.nn.Parameter(torch.tensor(scale))
        self.threshold = threshold

    def forward(self, x: torch.Tensor, inner: Inner | None = None) -> torch.Tensor:
        smooth = torch.nn.functional.avg_pool2d(x, 5, stride=1, padding=2)
        logits = self.scale * (torch.nn.functional.max_pool2d(smooth, 2) - self.threshold)
        y, x_ = (slice(part.start // 2, part.stop // 2) for part in inner) if inner else (slice(None),) * 2
        return logits[:, :, y, x_]


def test_what_is_found_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    # No other engine can run a network that is not registered.
    in_torch = functools.partial(calibration.predict_probability, engine="torch")
    monkeypatch.setattr(calibration, "predict_probability", in_torch)
    made: list[int] = []

    def scene(number: int) -> ValidationScene:
        made.append(number)
        return make_scene(number)[0]

    validation = ObjectValidation(scene, 12)
    found = validation.measure(_Significance(8.0), RECIPE, threads=1)
    assert set(found) == {f"{name}_at_{rate}" for name in ("completeness", "snr50") for rate in (1, 10, 100)}
    # 12 trails of SNR 10-30 on blank sky, in an area that allows no false detection.
    assert found["completeness_at_1"] == found["completeness_at_10"] > 0.8
    assert found["completeness_at_100"] >= found["completeness_at_10"]
    # A network without detections finds nothing.
    blind = validation.measure(_Significance(-8.0), RECIPE, threads=1)
    assert blind["completeness_at_100"] == 0.0
    assert np.isnan(blind["snr50_at_100"])
    assert made == list(range(12))


class _Fixed(ObjectValidation):
    """An object validation with predetermined results."""

    def __init__(self, found: list[float]) -> None:
        super().__init__(lambda number: make_scene(number)[0], 2)
        self.found = iter(found)

    def measure(self, network: TrailNetwork, recipe: ModelRecipe, *, threads: int) -> dict[str, float]:
        found = next(self.found)
        return {
            "completeness_at_1": 0.0,
            "completeness_at_10": found,
            "completeness_at_100": 1.0,
            "snr50_at_10": float("nan"),
        }


def _recipe(**validation: Any) -> Recipe:
    return Recipe.from_mapping(
        {
            "model": {"name": "tiny", "hyperparameters": {key: list(value) for key, value in TINY.items()}},
            "data": {"train": ["unused.h5"]},
            "stages": [{"epochs": 5, "batch_size": 8}],
            "validation": validation,
            "precision": "float32",
            "threads": 1,
        }
    )


def test_the_weights_that_find_most_are_kept(make_tiles: Callable[..., Path], tmp_path: Path) -> None:
    recipe = _recipe(every=3, objects_every=2, keep="objects")
    dataset = TrailTileDataset([make_tiles()], ("science", "bad"), seed=1)
    # Epochs 1 and 3, and 4 as the last; tiles are measured in 2 and 4.
    objects = _Fixed([0.25, 0.5, 0.375])
    train(recipe, dataset, dataset, tmp_path / "run", progress=False, objects=objects)
    lines = [line for line in read_metrics(tmp_path / "run") if line["kind"] == "validation"]
    assert [(line["epoch"], "loss" in line, line.get("completeness_at_10")) for line in lines] == [
        (1, False, 0.25),
        (2, True, None),
        (3, False, 0.5),
        (4, True, 0.375),
    ]
    assert lines[0]["snr50_at_10"] is None
    saved = read_checkpoint(tmp_path / "run" / CHECKPOINT_NAME)
    assert saved.scalars["best_metrics"]["completeness_at_10"] == 0.5
    assert not torch.equal(saved.best["stem.conv.weight"], saved.average["stem.conv.weight"])
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "completeness_at_10 0.5000" in (tmp_path / "run" / "train.log").read_text()

    with pytest.raises(TrainingError, match="objects_every"):
        train(recipe, dataset, None, tmp_path / "other", progress=False)
