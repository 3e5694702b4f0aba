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
    "SearchedScene",
    "ValidationScene",
    "calibrate",
    "fit_calibration",
    "search_scene",
)

import dataclasses
from collections.abc import Iterable, Sequence

import astropy.table
import numpy as np
import numpy.typing as npt

from ..core.background import SkySubtracted, fit_background
from ..core.candidates.find import CandidateOptions, find_candidates
from ..core.candidates.score import ScoreModel, candidate_features
from ..core.geometry import Trails
from ..core.matching import classify_candidates
from ..core.operating_point import FALSE_RATES, measure_detection
from ..core.planes import ImagePlanes
from ..evaluation.calibration import calibration_error
from ..nn.model_file import TrailModel
from ..nn.predict import predict_probability

THRESHOLDS = ((0.03, 0.06), (0.06, 0.12), (0.12, 0.25), (0.25, 0.4))
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


@dataclasses.dataclass(frozen=True, eq=False)
class SearchedScene:
    """Candidates of a scene, compared with its content."""

    tables: dict[tuple[float, float], astropy.table.Table]
    """Candidates by thresholds, with the columns ``is_true``, ``trail`` and ``ignored``."""

    snr: npt.NDArray[np.float64]
    """Optimal SNR of the trails."""

    length: npt.NDArray[np.float64]
    """Length of the trails, pixels."""

    n_pixels: int
    """Size of the scene."""


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
    planes = scene.planes
    background = fit_background(planes.image, planes.bad())
    probability = predict_probability(model, planes, background=background, threads=threads, device=device)
    sky = SkySubtracted.from_planes(planes, background)
    tables = {}
    for grow, seed in thresholds:
        table = find_candidates(probability, sky, options=CandidateOptions(grow=grow, seed=seed))
        tables[grow, seed] = _classified(table, scene)
    return SearchedScene(tables, scene.snr, scene.trails.length, planes.image.size)


def _classified(table: astropy.table.Table, scene: ValidationScene) -> astropy.table.Table:
    """Return candidates with the trails that they are."""
    sorting = classify_candidates(
        Trails.from_table(table, length="trailLengthPix", angle="trailAnglePix"),
        scene.trails,
        scene.satellites,
        rank=np.asarray(table["score"]),
        streak_flag=np.asarray(table["streakFlag"]),
    )
    matches = sorting.matches
    table["is_true"] = matches.is_true
    table["trail"] = np.where(matches.is_true, matches.truth_of, -1)
    # Second candidates on a trail, and satellites, are not errors of the score.
    table["ignored"] = ~matches.is_true & ~sorting.is_false
    return table


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
    samples = {pair: _Sample(pair) for pair in thresholds}
    for number, scene in enumerate(searched):
        for pair, sample in samples.items():
            sample.add(scene.tables[pair], scene, half=number % 2)
    results, problems = [], []
    for sample in samples.values():
        try:
            results.append(sample.calibrate())
        except ValueError as error:
            # Thresholds may be too high for any false candidate, or so low that everything is one component.
            problems.append(str(error))
    if not results:
        raise ValueError(problems[0] if problems else "There are no thresholds; pass at least one pair.")
    return max(results, key=_merit)


def _merit(calibration: Calibration) -> float:
    """Return the mean completeness over the rates of false detections."""
    return float(np.mean([calibration.metrics[f"completeness_at_{rate}"] or 0.0 for rate in FALSE_RATES]))


class _Sample:
    """Candidates of many scenes, found with one pair of thresholds."""

    def __init__(self, thresholds: tuple[float, float]) -> None:
        self._thresholds = thresholds
        self._tables: list[astropy.table.Table] = []
        self._snr: list[npt.NDArray[np.float64]] = []
        self._length: list[npt.NDArray[np.float64]] = []
        self._trails = 0
        self._n_pixels = 0

    def add(self, table: astropy.table.Table, scene: SearchedScene, half: int) -> None:
        """Add the candidates of a scene."""
        table["half"] = np.full(len(table), half)
        # Number trails over all scenes, so that the tables can be joined.
        table["trail"] = np.where(table["is_true"], np.asarray(table["trail"]) + self._trails, -1)
        self._tables.append(table)
        self._snr.append(scene.snr)
        self._length.append(scene.length)
        self._trails += len(scene.snr)
        self._n_pixels += scene.n_pixels

    def calibrate(self) -> Calibration:
        """Fit the score and measure completeness."""
        if not self._tables:
            raise ValueError("There are no scenes to calibrate on; raise their count.")
        joined = astropy.table.vstack(self._tables, metadata_conflicts="silent")
        features = candidate_features(joined)
        is_true = np.asarray(joined["is_true"])
        usable = ~np.asarray(joined["ignored"])
        half = np.asarray(joined["half"])
        score = np.zeros(len(joined))
        for part in (0, 1):
            learn = usable & (half == part)
            score[half != part] = ScoreModel.fit(features[learn], is_true[learn])(features[half != part])
        final = ScoreModel.fit(features[usable], is_true[usable])
        candidate_of = np.full(self._trails, -1, dtype=np.int64)
        mine = np.flatnonzero(is_true)
        candidate_of[np.asarray(joined["trail"])[mine]] = mine
        at_rate, metrics = measure_detection(
            score,
            usable & ~is_true,
            candidate_of,
            np.concatenate(self._snr),
            np.concatenate(self._length),
            self._n_pixels,
        )
        metrics["calibration_megapixels"] = self._n_pixels / 1e6
        metrics["calibration_trails"] = float(self._trails)
        metrics["score_calibration_error"] = calibration_error(score[usable], is_true[usable])
        grow, seed = self._thresholds
        return Calibration(
            thresholds={"grow": grow, "seed": seed},
            score={**final.to_mapping(), "at_false_per_detector": at_rate},
            metrics=metrics,
        )
