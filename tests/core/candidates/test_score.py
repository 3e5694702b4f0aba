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
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsst.meas.trails.core.candidates.score import FEATURES, ScoreModel, candidate_features


def candidates(**changes: float) -> dict[str, npt.NDArray[np.float64]]:
    """Return the columns of one candidate, a good trail."""
    columns = {
        "topProbability": 0.9,
        "peakProbability": 0.95,
        "trailLengthPix": 40.0,
        "snr": 20.0,
        "trailChi2": 1000.0,
        "trailNdata": 1000.0,
        "deltaChi2": 400.0,
        "wideSignificance": 0.5,
        "coreSignificance": -0.3,
        "lengthSignificance": 12.0,
        "componentWidth": 2.0,
        "psfFwhm": 4.0,
        "trail_flag": 0.0,
    }
    return {name: np.array([value]) for name, value in {**columns, **changes}.items()}


def feature(name: str, **changes: float) -> float:
    return float(candidate_features(candidates(**changes))[0, FEATURES.index(name)])


def test_features_of_a_good_trail() -> None:
    assert candidate_features(candidates()).shape == (1, len(FEATURES))
    assert feature("logit_top") == pytest.approx(np.log(9.0))
    assert feature("logit_peak") == pytest.approx(np.log(19.0))
    assert feature("log_length") == pytest.approx(np.log(10.0))
    assert feature("log_snr") == pytest.approx(np.log(20.0))
    # The trail improves chi-square by its SNR squared and leaves 1 per pixel.
    assert feature("log_gain") == pytest.approx(0.0)
    assert feature("log_chi2") == pytest.approx(0.0)
    assert feature("width") == pytest.approx(0.5)
    assert feature("failed") == 0.0


number = st.floats() | st.sampled_from([0.0, 1.0, np.nan, np.inf, -np.inf])


@settings(max_examples=50)
@given(
    probability=st.floats(0.0, 1.0),
    length=st.floats(0.0, 1e5),
    width=st.floats(0.0, 1e4),
    fwhm=st.floats(0.0, 100.0),
    fit=st.tuples(*[number] * 6),
    n_data=st.integers(0, 10**6),
)
def test_features_are_finite_whatever_the_fit(
    probability: float, length: float, width: float, fwhm: float, fit: tuple[float, ...], n_data: int
) -> None:
    names = (
        "snr",
        "trailChi2",
        "deltaChi2",
        "wideSignificance",
        "coreSignificance",
        "lengthSignificance",
    )
    features = candidate_features(
        candidates(
            topProbability=probability,
            peakProbability=probability,
            trailLengthPix=length,
            componentWidth=width,
            psfFwhm=fwhm,
            trailNdata=n_data,
            **dict(zip(names, fit, strict=True)),
        )
    )
    assert np.all(np.isfinite(features))


def sample(count: int, seed: int = 1) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return features of different scales, and true coefficients for them."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** np.arange(len(FEATURES)) / 100.0
    features = rng.standard_normal((count, len(FEATURES))) * scale + 3.0 * scale
    coefficients = np.linspace(-1.5, 1.5, len(FEATURES)) / scale
    return features, coefficients


def test_a_known_logistic_model_is_recovered() -> None:
    features, coefficients = sample(20000)
    logit = (features - features.mean(axis=0)) @ coefficients - 0.7
    probability = 1.0 / (1.0 + np.exp(-logit))
    is_trail = np.random.default_rng(2).random(len(features)) < probability
    model = ScoreModel.fit(features, is_trail)
    # Coefficients of standardized features of 20 000 candidates have an error of
    # about 1 / sqrt(20000 p (1 - p)) = 0.025: four sigma.
    np.testing.assert_allclose(model.coefficients, coefficients * features.std(axis=0), atol=0.1)
    assert model.intercept == pytest.approx(-0.7, abs=0.1)
    scores = model(features)
    assert np.abs(scores - probability).mean() < 0.01
    # The score is the fraction of trails among candidates near that score.
    for low in np.arange(0.0, 1.0, 0.2):
        near = (scores >= low) & (scores < low + 0.2)
        error = 3.0 * 0.5 / np.sqrt(np.count_nonzero(near))
        assert np.mean(is_trail[near]) == pytest.approx(np.mean(scores[near]), abs=error)


def test_separable_and_constant_features() -> None:
    """The penalty keeps coefficients finite."""
    features = np.zeros((50, len(FEATURES)))
    features[:, 0] = np.arange(50) >= 25
    model = ScoreModel.fit(features, features[:, 0] > 0.5)
    scores = model(features)
    assert np.all(np.isfinite(model.coefficients))
    assert scores[:25].max() < 0.2
    assert scores[25:].min() > 0.8


@pytest.mark.parametrize(
    "is_trail", [np.zeros(5, dtype=bool), np.ones(5, dtype=bool), np.zeros(0, dtype=bool)]
)
def test_nothing_to_learn_from(is_trail: npt.NDArray[np.bool_]) -> None:
    with pytest.raises(ValueError, match=f"{len(is_trail)} candidates"):
        ScoreModel.fit(np.zeros((len(is_trail), len(FEATURES))), is_trail)


@pytest.fixture
def model() -> ScoreModel:
    features, coefficients = sample(500)
    logit = (features - features.mean(axis=0)) @ coefficients
    return ScoreModel.fit(features, logit > 0.0)


def test_round_trip_through_json(model: ScoreModel) -> None:
    again = ScoreModel.from_mapping(json.loads(json.dumps(model.to_mapping())))
    features, _ = sample(100, seed=5)
    np.testing.assert_array_equal(again(features), model(features))


def test_scores_lie_between_zero_and_one(model: ScoreModel) -> None:
    features = np.array([[1e30] * len(FEATURES), [-1e30] * len(FEATURES)])
    assert np.all((model(features) >= 0.0) & (model(features) <= 1.0))
    assert model(np.zeros((0, len(FEATURES)))).shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ["beauty"]}, "beauty"),
        ({"features": None}, "None"),
        ({"features": list(FEATURES[::-1])}, "failed"),
        ({"mean": [1.0]}, "mean"),
        ({"scale": [0.0] * len(FEATURES)}, "scale"),
        ({"scale": [-1.0] * len(FEATURES)}, "scale"),
        ({"scale": "wide"}, "scale"),
        ({"coefficients": [np.nan] * len(FEATURES)}, "coefficients"),
        ({"coefficients": None}, "coefficients"),
        ({"coefficients": [[1.0], [2.0, 3.0]]}, "coefficients"),
        ({"intercept": None}, "intercept"),
        ({"intercept": "high"}, "intercept"),
        ({"intercept": np.inf}, "intercept"),
        ({"intercept": [1.0]}, "intercept"),
    ],
)
def test_other_mappings_are_refused(model: ScoreModel, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScoreModel.from_mapping({**model.to_mapping(), **change})


@pytest.mark.parametrize("missing", ["features", "mean", "scale", "coefficients", "intercept"])
def test_missing_parts_are_named(model: ScoreModel, missing: str) -> None:
    mapping = model.to_mapping()
    del mapping[missing]
    with pytest.raises(ValueError, match=missing):
        ScoreModel.from_mapping(mapping)
