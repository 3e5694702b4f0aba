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

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsst.meas.trails.core.pixel_histogram import PixelHistogram
from lsst.meas.trails.nn.model_file import load_model, rounded
from lsst.meas.trails.nn.networks.network import TrailNetwork
from lsst.meas.trails.training.export import export_trained
from lsst.meas.trails.training.recipe import Recipe

from support.networks import TINY, random_network


@pytest.fixture
def export(make_tiles: Callable[..., Path], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that exports a network and loads the model."""
    recipe = Recipe.from_mapping(
        {
            "model": {"name": "tiny", "hyperparameters": {key: list(value) for key, value in TINY.items()}},
            "data": {"train": str(make_tiles())},
            "stages": [{"steps": 1}],
        }
    )

    def call(scores: PixelHistogram | None, **options: Any) -> Any:
        def measure(network: TrailNetwork) -> tuple[dict[str, float], PixelHistogram | None]:
            measured.append(network)
            return {"loss": 0.5, "pixel_auc": float("nan")}, scores

        measured: list[TrailNetwork] = []
        path, _ = export_trained(
            tmp_path, random_network(), recipe, files=recipe.data.train, training=options, measure=measure
        )
        assert path == tmp_path / "tiny.json"
        return load_model(path), measured[0]

    return call


def test_specification(export: Callable[..., Any], tmp_path: Path) -> None:
    model, measured = export(None, steps=7, start={"name": "first"})
    specification = model.specification
    assert specification.metrics == {"loss": 0.5, "pixel_auc": None}
    assert specification.thresholds == {"seed": 0.5, "grow": 0.2}
    assert specification.fwhm_range == pytest.approx((4.0, 4.0), abs=0.05)
    training = specification.training
    assert (training["steps"], training["files"]) == (7, 1)
    assert training["start"] == {"name": "first"}
    assert training["recipe"]["data"]["train"] == ["tiles.h5"]
    assert str(tmp_path) not in specification.to_json()
    # Metrics belong to the weights as stored.
    expected = rounded(random_network()).state_dict()
    assert all((tensor == expected[name]).all() for name, tensor in measured.state_dict().items())


def test_thresholds_by_precision(export: Callable[..., Any]) -> None:
    logits = np.linspace(-4.0, 4.0, 1001).astype(np.float32)
    rng = np.random.default_rng(1)
    scores = PixelHistogram.from_logits(logits, rng.random(1001) < 1.0 / (1.0 + np.exp(3.0 - logits)))
    thresholds = export(scores)[0].specification.thresholds
    assert 0.01 < thresholds["grow"] < thresholds["seed"] < 0.99
    assert thresholds["seed"] == pytest.approx(scores.threshold_at_precision(0.6))
    assert thresholds["grow"] == pytest.approx(scores.threshold_at_precision(0.3))
