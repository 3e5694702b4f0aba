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
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table

from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.candidates.find import CandidateOptions
from lsst.meas.trails.core.candidates.score import ScoreModel
from lsst.meas.trails.core.geometry import Trail, Trails
from lsst.meas.trails.core.injection.inject import inject_trails
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import optimal_snr, render_trail, truth_mask
from lsst.meas.trails.nn.model_file import TrailModel, load_model
from lsst.meas.trails.training import calibration
from lsst.meas.trails.training.calibration import Calibration, ValidationScene, calibrate

from support.second_stages import copy_first_stage

SHAPE = (160, 200)
# A trail, noise that the network takes for one, and part of a satellite's streak.
TRUE, FALSE, SATELLITE = (50.0, 40.0), (50.0, 100.0), (150.0, 80.0)


def make_scene(seed: int) -> tuple[ValidationScene, np.ndarray]:
    """Return a scene with one trail, and a network's probabilities of it."""
    rng = np.random.default_rng(seed)
    planes = ImagePlanes(
        image=np.zeros(SHAPE, dtype=np.float32),
        variance=np.ones(SHAPE, dtype=np.float32),
        mask=np.zeros(SHAPE, dtype=np.uint32),
        psf=PsfGrid.gaussian(4.0),
    )
    snr = rng.uniform(10.0, 30.0)
    length, angle = rng.uniform(20.0, 50.0), rng.uniform(0.0, 180.0)

    def one(place: tuple[float, float], length: float, angle: float, flux: float) -> Trails:
        return Trails(*(np.array([value]) for value in (*place, length, angle, flux)))

    stamp = render_trail(planes.psf, Trail(*TRUE, length, angle))
    trail = one(TRUE, length, angle, snr / optimal_snr(stamp, planes.variance, 1.0))
    false = one(FALSE, length, angle, 1.0)
    satellite = one(SATELLITE, 80.0, 90.0, 2000.0)
    probability = np.zeros(SHAPE, dtype=np.float32)
    # A network is not as sure of one trail as of another.
    for trails, low, high in ((trail, 0.42, 0.95), (false, 0.57, 0.65), (satellite, 0.8, 0.95)):
        probability[truth_mask(planes.psf, trails, SHAPE)] = rng.uniform(low, high)
    planes = inject_trails(planes, trail, None)
    planes = inject_trails(planes, satellite, None)
    planes.image[...] += rng.standard_normal(SHAPE, dtype=np.float32)
    scene = ValidationScene(planes=planes, trails=trail, snr=np.array([snr]), satellites=satellite)
    return scene, probability


@pytest.fixture(scope="module")
def made() -> list[tuple[ValidationScene, np.ndarray]]:
    """Return scenes with probabilities."""
    return [make_scene(seed) for seed in range(24)]


@pytest.fixture(scope="module")
def candidates() -> dict[Any, Table]:
    """Return what was found before, for it is the same in every test."""
    return {}


@pytest.fixture
def scenes(
    made: list[tuple[ValidationScene, np.ndarray]],
    candidates: dict[Any, Table],
    monkeypatch: pytest.MonkeyPatch,
) -> list[ValidationScene]:
    """Return scenes, after the network was replaced by known probabilities."""
    known = {id(scene.planes): probability for scene, probability in made}
    find = calibration.find_candidates

    def find_once(
        probability: np.ndarray, sky: SkySubtracted, score: None, options: CandidateOptions
    ) -> Table:
        key = (id(sky.planes), options)
        if key not in candidates:
            candidates[key] = find(probability, sky, score, options)
        return candidates[key].copy()

    monkeypatch.setattr(calibration, "find_candidates", find_once)
    monkeypatch.setattr(
        calibration, "predict_probability", lambda model, planes, **_: known[id(planes)].copy()
    )
    return [scene for scene, _ in made]


@functools.cache
def first_stage() -> TrailModel:
    """Return a shipped model without its second stage: the score is fitted to these candidates."""
    with tempfile.TemporaryDirectory() as folder:
        return load_model(copy_first_stage(Path(folder)))


def run(scenes: list[ValidationScene], **keywords: Any) -> Calibration:
    keywords.setdefault("thresholds", [(0.2, 0.4)])
    return calibrate(first_stage(), scenes, **keywords)


def test_score_tells_true_from_false(scenes: list[ValidationScene]) -> None:
    result = run(scenes)
    # What a specification keeps can be read again.
    ScoreModel.from_mapping(result.score)
    metrics = result.metrics
    assert set(result.score["at_false_per_detector"]) == {"1", "10", "100"}
    # They are 0.77 megapixels: at 10 a detector, none may be false.
    assert metrics["calibration_megapixels"] == pytest.approx(0.768)
    assert metrics["calibration_trails"] == 24
    assert metrics["completeness_at_10"] > 0.9
    assert metrics["score_calibration_error"] < 0.2
    at_rate = result.score["at_false_per_detector"]
    # At 100 a detector, 4 of the 10 false candidates may be above; at 10 the
    # best of them decides, and it may be noise that happens to look well.
    assert 0.0 < at_rate["100"] < 0.5
    assert at_rate["100"] < at_rate["10"] == at_rate["1"] < 1.0


def test_satellites_are_no_mistakes(scenes: list[ValidationScene]) -> None:
    """Without their truth, satellites are false candidates with the scores of trails."""
    without = [dataclasses.replace(scene, satellites=Trails.empty()) for scene in scenes]
    thresholds = [run(each).score["at_false_per_detector"]["10"] for each in (without, scenes)]
    # Measured: 0.53 and 0.31.
    assert thresholds[0] > thresholds[1] + 0.1


def test_best_thresholds_are_chosen(scenes: list[ValidationScene]) -> None:
    """The trails reach probabilities of 0.42 to 0.95, some below 0.55."""
    few = run(scenes, thresholds=[(0.2, 0.55)])
    assert 0.3 < few.metrics["completeness_at_100"] < 0.95
    result = run(scenes, thresholds=[(0.2, 0.55), (0.2, 0.4)])
    assert result.thresholds == {"grow": 0.2, "seed": 0.4}


def test_nothing_to_learn_from(scenes: list[ValidationScene]) -> None:
    with pytest.raises(ValueError, match="no scenes"):
        run([])
    with pytest.raises(ValueError, match="no thresholds"):
        run(scenes, thresholds=[])
    # No probability is as high: there are no candidates at all.
    with pytest.raises(ValueError, match="0 candidates"):
        run(scenes, thresholds=[(0.2, 0.999)])
