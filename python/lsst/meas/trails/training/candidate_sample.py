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

"""Candidates of many searched images, to fit and to measure a score."""

from __future__ import annotations

__all__ = ("LEAST_SCORE", "CandidateSample", "SearchedScene")

import dataclasses
from collections.abc import Iterable
from typing import Any

import astropy.table
import numpy as np
import numpy.typing as npt

from ..core.candidates.score import LOGIT_COLUMN, ScoreModel, candidate_features
from ..core.operating_point import SNR50_LIMIT, measure_detection
from ..evaluation.calibration import calibration_error
from ..nn.candidate_score import LogitCalibration, TableScore

type _Floats = npt.NDArray[np.float64]
type _Ints = npt.NDArray[np.int64]
type _Mask = npt.NDArray[np.bool_]

LEAST_SCORE = 0.01
"""Lowest score of the candidates of a catalog, whose calibration error is measured."""


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

    group: int | None = None
    """Visit of the scene; scenes of a visit are fitted together. By default each scene is a visit."""


class CandidateSample:
    """Candidates of many scenes, found with one pair of thresholds.

    Parameters
    ----------
    scenes
        The scenes, in order.
    thresholds
        The pair, of those that the scenes were searched with.

    Raises
    ------
    ValueError
        Raised if there are no scenes.
    """

    def __init__(self, scenes: Iterable[SearchedScene], thresholds: tuple[float, float]) -> None:
        tables, groups, snrs, lengths, pixels = [], [], [], [], []
        trails = 0
        for number, scene in enumerate(scenes):
            table = scene.tables[thresholds]
            # Number trails over all scenes, so that the tables can be joined.
            trail = np.where(table["is_true"], np.asarray(table["trail"]) + trails, -1)
            columns = {name: np.asarray(table[name]) for name in table.colnames}
            tables.append(columns | {"trail": trail, "scene": np.full(len(table), number)})
            trails += len(scene.snr)
            groups.append(number if scene.group is None else scene.group)
            snrs.append(scene.snr)
            lengths.append(scene.length)
            pixels.append(scene.n_pixels)
        if not tables:
            raise ValueError("There are no scenes to calibrate on; raise their count.")
        joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
        self.thresholds = thresholds
        self.table: dict[str, npt.NDArray[Any]] = joined
        """Columns of all candidates."""
        self.is_true: _Mask = joined["is_true"].astype(bool)
        """Candidates that are trails."""
        self.is_false: _Mask = ~self.is_true & ~joined["ignored"].astype(bool)
        """Candidates that are neither trails, nor second candidates on one, nor satellites."""
        _, scene_group = np.unique(groups, return_inverse=True)
        self.group: _Ints = scene_group[joined["scene"]]
        """Number of the visit of each candidate."""
        self.group_pixels: _Floats = np.bincount(scene_group, weights=np.array(pixels, dtype=np.float64))
        """Size of each visit, pixels."""
        self.snr: _Floats = np.concatenate(snrs)
        """SNR of the trails."""
        self.length: _Floats = np.concatenate(lengths)
        """Length of the trails, pixels."""
        self.candidate_of: _Ints = np.full(trails, -1, dtype=np.int64)
        """Candidate of each trail, or -1."""
        mine = np.flatnonzero(self.is_true)
        self.candidate_of[joined["trail"][mine]] = mine

    @property
    def n_pixels(self) -> float:
        """Size of all scenes, pixels."""
        return float(self.group_pixels.sum())

    def scored(self, model: TableScore) -> _Floats:
        """Return the scores of all candidates by a model, as in a catalog."""
        return model.of_table(self.table)

    def fit(self, which: _Mask | None = None, prior: float = 1.0) -> TableScore:
        """Fit a score to the candidates: to the log-odds of a second stage, or to features.

        Parameters
        ----------
        which
            The candidates to use, all by default; ignored ones are never used.
        prior
            Density of trails for which the score is a probability, relative to that of the scenes.

        Raises
        ------
        ValueError
            Raised if none or all of the candidates are trails.
        """
        usable = self.is_true | self.is_false
        if which is not None:
            usable &= which
        logits = self.table[LOGIT_COLUMN]
        model: TableScore
        if np.all(np.isfinite(logits)):
            model = LogitCalibration.fit(logits[usable], self.is_true[usable])
        else:
            model = ScoreModel.fit(candidate_features(self.table)[usable], self.is_true[usable])
        # Another share of trails shifts the log-odds of a logistic regression.
        return dataclasses.replace(model, intercept=model.intercept + float(np.log(prior)))

    def cross_validated(self, folds: int, prior: float = 1.0) -> _Floats:
        """Return the score of each candidate by a model that was fitted to other visits.

        Parameters
        ----------
        folds
            Number of parts of the visits; each is scored by a model of the others.
        prior
            As in `fit`.

        Raises
        ------
        ValueError
            Raised if none or all of the candidates of a fit are trails.
        """
        part = self.group % folds
        score = np.zeros(len(part))
        for number in range(folds):
            mine = part == number
            score[mine] = self.scored(self.fit(~mine, prior))[mine]
        return score

    def calibration_error(self, score: _Floats, prior: float = 1.0, least: float = 0.0) -> float:
        """Return the expected calibration error of a score.

        Parameters
        ----------
        score
            Score of each candidate.
        prior
            As in `fit`.
        least
            Lowest score of the candidates to use.
        """
        usable = (self.is_true | self.is_false) & (score >= least)
        weight = np.where(self.is_true, prior, 1.0)
        return calibration_error(score[usable], self.is_true[usable], weight=weight[usable])

    def measure(self, score: _Floats) -> tuple[dict[str, float], dict[str, float | None]]:
        """Return thresholds and completeness at fixed rates of false candidates.

        Parameters
        ----------
        score
            Score of each candidate.

        Returns
        -------
        thresholds, metrics
            As of `~lsst.meas.trails.core.operating_point.measure_detection`, for trails up to `SNR50_LIMIT`.
        """
        faint = self.snr <= SNR50_LIMIT
        return measure_detection(
            score, self.is_false, self.candidate_of[faint], self.snr[faint], self.length[faint], self.n_pixels
        )
