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

"""Rates of false candidates by score, with their errors."""

from __future__ import annotations

__all__ = ("SCORES", "FalseRates", "ScoreMeasurement", "measure_score")

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..core.operating_point import DETECTOR_PIXELS, FALSE_RATES, SNR50_LIMIT, found_at_threshold
from .candidate_sample import LEAST_SCORE, CandidateSample

type _Floats = npt.NDArray[np.float64]

SCORES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Scores at which the expected number of false candidates is stated."""


class FalseRates:
    """False candidates per detector by score.

    Parameters
    ----------
    scores
        Scores of the false candidates, shape (n,).
    group
        Number of the visit of each, same shape.
    group_pixels
        Size of each visit, pixels, shape (g,).
    """

    def __init__(self, scores: _Floats, group: npt.NDArray[np.int64], group_pixels: _Floats) -> None:
        order = np.argsort(-scores, kind="stable")
        self._scores, self._group = scores[order], group[order]
        self._area = np.asarray(group_pixels, dtype=np.float64) / DETECTOR_PIXELS

    def at(self, score: float) -> float:
        """Return the number of false candidates per detector with at least a score."""
        return float(np.count_nonzero(self._scores >= score) / self._area.sum())

    def error(self, score: float) -> float:
        """Return the standard error of `at`.

        It is the larger of the Poisson error and that of a sum over visits, whose seeing and crowding
        differ.
        """
        groups = len(self._area)
        counts = np.bincount(self._group[self._scores >= score], minlength=groups)
        expected = counts.sum() * self._area / self._area.sum()
        scatter = float(np.sum(np.square(counts - expected))) * groups / (groups - 1 or 1)
        return float(np.sqrt(max(scatter, float(counts.sum()))) / self._area.sum())

    def score_for(self, rate: float) -> float:
        """Return the score that a number of false candidates per detector is expected to reach.

        The expected fraction of candidates beyond the k-th highest of n scores is k / n: for k expected
        candidates in the sample it is the k-th highest score, interpolated, and 0 if there are fewer.
        """
        place = rate * float(self._area.sum()) - 1.0
        if place >= len(self._scores) or len(self._scores) == 0:
            return 0.0
        place = min(max(place, 0.0), len(self._scores) - 1.0)
        return float(np.interp(place, np.arange(len(self._scores)), self._scores))


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreMeasurement:
    """Thresholds, rates and completeness of a score on real images."""

    thresholds: tuple[float, float]
    """Grow and seed threshold."""

    at_false: dict[str, float]
    """Score for 1, 10 and 100 false candidates per detector: stated by the model, or measured."""

    rates: dict[str, tuple[float, float]]
    """Measured false candidates per detector at these scores, and their standard errors."""

    found: dict[str, float]
    """Completeness of faint trails at these scores."""

    false_at_score: dict[str, float]
    """False candidates per detector at the scores of `SCORES`."""

    metrics: dict[str, float | None]
    """Completeness and SNR50 at measured rates, size of the sample, calibration error."""

    n_false: int
    """Number of false candidates."""

    n_trails: int
    """Number of injected trails."""

    n_pixels: float
    """Size of the images, pixels."""


def measure_score(
    sample: CandidateSample, score: _Floats, prior: float, at_false: Mapping[str, float] | None = None
) -> ScoreMeasurement:
    """Measure a score on the candidates of real images.

    Parameters
    ----------
    sample
        The candidates.
    score
        Score of each.
    prior
        Density of trails for which the score is a probability, relative to that of the sample.
    at_false
        Scores for 1, 10 and 100 false candidates per detector that a model states; measured by default.
    """
    rates = FalseRates(score[sample.is_false], sample.group[sample.is_false], sample.group_pixels)
    if at_false is None:
        at_false = {str(rate): rates.score_for(rate) for rate in FALSE_RATES}
    faint = sample.snr <= SNR50_LIMIT
    _, metrics = sample.measure(score)
    metrics["calibration_megapixels"] = sample.n_pixels / 1e6
    metrics["calibration_trails"] = float(len(sample.snr))
    metrics["score_calibration_error"] = sample.calibration_error(score, prior, LEAST_SCORE)
    return ScoreMeasurement(
        thresholds=sample.thresholds,
        at_false={name: float(value) for name, value in at_false.items()},
        rates={name: (rates.at(value), rates.error(value)) for name, value in at_false.items()},
        found={
            name: float(np.mean(found_at_threshold(value, score, sample.candidate_of[faint])))
            for name, value in at_false.items()
        },
        false_at_score={f"{value:g}": rates.at(value) for value in SCORES},
        metrics=metrics,
        n_false=int(np.count_nonzero(sample.is_false)),
        n_trails=len(sample.snr),
        n_pixels=sample.n_pixels,
    )
