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

"""Calibration of a model's thresholds and score on scenes with known trails.

These scenes must not be used for training or tests.
"""

from __future__ import annotations

__all__ = (
    "COUNTING_THRESHOLDS",
    "THRESHOLDS",
    "Calibration",
    "ValidationScene",
    "calibrate",
    "classify",
    "fit_calibration",
    "loaded_model",
    "mean_completeness",
    "search_planes",
    "search_scene",
)

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import astropy.table
import numpy as np
import numpy.typing as npt

from ..core.background import SkySubtracted, fit_background
from ..core.candidates.find import CandidateOptions, find_candidates
from ..core.geometry import Trails
from ..core.matching import classify_candidates
from ..core.operating_point import FALSE_RATES
from ..core.planes import ImagePlanes
from ..nn.candidate_score import SecondStageScore, second_stage
from ..nn.model_file import TrailModel, load_model
from ..nn.predict import predict_probability
from .candidate_sample import CandidateSample, SearchedScene

THRESHOLDS = ((0.015, 0.03), (0.03, 0.06), (0.08, 0.16), (0.25, 0.4))
"""Pairs of grow and seed thresholds to choose from."""

COUNTING_THRESHOLDS = (0.15, 0.3)
"""Grow and seed thresholds that count trails during training, fixed so that counts are comparable."""


@dataclasses.dataclass(frozen=True, eq=False)
class ValidationScene:
    """Image with known content.

    Parameters
    ----------
    planes
        The image.
    trails
        The asteroid trails in it, array coordinates.
    snr
        Their optimal SNR on visible pixels.
    satellites
        Satellite streaks, which count neither as true nor as false.
    """

    planes: ImagePlanes
    trails: Trails
    snr: npt.NDArray[np.float64]
    satellites: Trails


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Result of a calibration.

    Parameters
    ----------
    thresholds
        The pair with the highest completeness, averaged over the rates of false detections, as ``grow`` and
        ``seed``.
    score
        The ``score`` of a model specification.
    metrics
        Completeness and SNR50 by false detections per detector.
    """

    thresholds: dict[str, float]
    score: dict[str, object]
    metrics: dict[str, float | None]


def search_scene(
    model: TrailModel,
    scene: ValidationScene,
    *,
    threads: int | None = None,
    device: str = "auto",
    thresholds: Sequence[tuple[float, float]] = THRESHOLDS,
) -> SearchedScene:
    """Search a scene with several thresholds.

    Parameters
    ----------
    model
        The network.
    scene
        The scene.
    threads, device
        Threads and device of the network.
    thresholds
        Pairs of grow and seed thresholds.
    """
    tables = search_planes(model, scene.planes, threads=threads, device=device, thresholds=thresholds)
    for table in tables.values():
        classify(table, scene.trails, scene.satellites)
    return SearchedScene(tables, scene.snr, scene.trails.length, scene.planes.image.size)


def search_planes(
    model: TrailModel,
    planes: ImagePlanes,
    *,
    threads: int | None = None,
    device: str = "auto",
    thresholds: Sequence[tuple[float, float]] = THRESHOLDS,
) -> dict[tuple[float, float], astropy.table.Table]:
    """Return the candidates of an image by thresholds.

    Parameters
    ----------
    model
        The network.
    planes
        The image.
    threads, device, thresholds
        As in `search_scene`.
    """
    background = fit_background(planes.image, planes.bad())
    probability = predict_probability(model, planes, background=background, threads=threads, device=device)
    sky = SkySubtracted.from_planes(planes, background)
    stage = second_stage(model)
    score = None if stage is None else SecondStageScore(stage)
    return {
        (grow, seed): find_candidates(probability, sky, score, CandidateOptions(grow=grow, seed=seed))
        for grow, seed in thresholds
    }


def classify(table: astropy.table.Table, trails: Trails, satellites: Trails) -> None:
    """Add the columns of a `SearchedScene` to a table of candidates.

    Parameters
    ----------
    table
        The candidates; gets the columns ``is_true``, ``trail`` and ``ignored``.
    trails
        True trails, array coordinates.
    satellites
        Satellite streaks and other known lines, which count neither as true nor as false.
    """
    sorting = classify_candidates(
        Trails.from_table(table, length="trailLengthPix", angle="trailAnglePix"),
        trails,
        satellites,
        rank=np.asarray(table["score"]),
        streak_flag=np.asarray(table["streakFlag"]),
    )
    matches = sorting.matches
    table["is_true"] = matches.is_true
    table["trail"] = np.where(matches.is_true, matches.truth_of, -1)
    # Second candidates on a trail, and satellites, are not errors of the score.
    table["ignored"] = ~matches.is_true & ~sorting.is_false


def calibrate(
    model: TrailModel,
    scenes: Iterable[ValidationScene],
    *,
    threads: int | None = None,
    thresholds: Sequence[tuple[float, float]] = THRESHOLDS,
) -> Calibration:
    """Choose a model's thresholds, fit its score and measure the completeness.

    Parameters
    ----------
    model
        The network.
    scenes
        Scenes that neither trained nor selected the network. For the metrics, the score is fitted on the even
        scenes and measured on the odd ones, and vice versa.
    threads
        Threads for the network.
    thresholds
        Pairs of grow and seed thresholds to choose from.

    Raises
    ------
    ValueError
        Raised if the scenes have no trails or no false candidates.
    """
    searched = (search_scene(model, scene, threads=threads, thresholds=thresholds) for scene in scenes)
    return fit_calibration(searched, thresholds)


def fit_calibration(
    searched: Iterable[SearchedScene], thresholds: Sequence[tuple[float, float]] = THRESHOLDS
) -> Calibration:
    """Choose thresholds, fit the score and measure the completeness on searched scenes.

    Parameters
    ----------
    searched
        The scenes, in order.
    thresholds
        Pairs of grow and seed thresholds that they were searched with.

    Raises
    ------
    ValueError
        Raised if the scenes have no trails or no false candidates.
    """
    searched = list(searched)
    results, problems = [], []
    for pair in thresholds:
        try:
            results.append(_calibration(CandidateSample(searched, pair)))
        except ValueError as error:
            # Thresholds may be too high for any false candidate, or so low that everything is one component.
            problems.append(str(error))
    if not results:
        raise ValueError(problems[0] if problems else "There are no thresholds; pass at least one pair.")
    return max(results, key=lambda result: mean_completeness(result.metrics))


def mean_completeness(metrics: Mapping[str, float | None]) -> float:
    """Return the mean completeness over the rates of false detections."""
    return float(np.mean([metrics[f"completeness_at_{rate}"] or 0.0 for rate in FALSE_RATES]))


def _calibration(sample: CandidateSample) -> Calibration:
    """Fit the score and measure completeness."""
    score = sample.cross_validated(2)
    at_rate, metrics = sample.measure(score)
    metrics["calibration_megapixels"] = sample.n_pixels / 1e6
    metrics["calibration_trails"] = float(len(sample.snr))
    metrics["score_calibration_error"] = sample.calibration_error(score)
    return Calibration(
        thresholds=dict(zip(("grow", "seed"), sample.thresholds, strict=True)),
        score={**sample.fit().to_mapping(), "at_false_per_detector": at_rate},
        metrics=metrics,
    )


@functools.lru_cache(maxsize=1)
def loaded_model(model_path: Path, weights: str) -> TrailModel:
    """Load a model once per process; the checksum of its weights tells two versions of a file apart."""
    return load_model(model_path)
