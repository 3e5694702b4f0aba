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

"""Score of a candidate: its probability of being a trail.

The score is a logistic regression on features of fit, shape and probability. Its coefficients are calibrated
for a network and are part of the model's specification.
"""

from __future__ import annotations

__all__ = (
    "FEATURES",
    "LOGIT_COLUMN",
    "CandidateScore",
    "FoundCandidates",
    "ScoreModel",
    "candidate_features",
    "log_odds",
)

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol, Self

import astropy.table
import numpy as np
import numpy.typing as npt

from ..background import SkySubtracted
from ..geometry import Trail
from ..logistic import fit_logistic

FEATURES: tuple[str, ...] = (
    "logit_top",
    "logit_peak",
    "log_length",
    "log_snr",
    "log_gain",
    "log_chi2",
    "width",
    "wide",
    "core",
    "length",
    "failed",
)
"""Features, in the order of `candidate_features`."""

FEATURES_VERSION = 2
"""Version of the features.

Increase it with each change of the features of an image, of candidates or of fits: a score calibrated on
other features is wrong.
"""

LOGIT_COLUMN = "secondStageLogit"
"""Column of candidates with the log-odds of a second stage, before calibration; NaN without one."""

_EPSILON = 1e-4


def log_odds(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the log-odds of probabilities, finite for 0 and 1 too."""
    p = np.clip(p, _EPSILON, 1.0 - _EPSILON)
    return np.log(p) - np.log1p(-p)


def candidate_features(table: Mapping[str, npt.ArrayLike]) -> npt.NDArray[np.float64]:
    """Return the features of candidates, shape (n, len(FEATURES)).

    Parameters
    ----------
    table
        One row per candidate, with the columns ``topProbability``, ``peakProbability``, ``trailLengthPix``,
        ``snr``, ``trailChi2``, ``trailNdata``, ``deltaChi2``, ``wideSignificance``, ``coreSignificance``,
        ``lengthSignificance`` (see `~lsst.meas.trails.core.fit.shape_tests.ShapeTests`), ``componentWidth``,
        ``psfFwhm`` and ``trail_flag``.

    Notes
    -----
    ``log_gain`` is the improvement of the chi-square by the trail over a constant background, as a fraction
    of the improvement expected from its flux. It is low for a bright star or galaxy, which a trail fits
    badly.
    """

    def column(name: str) -> npt.NDArray[np.float64]:
        return np.asarray(table[name], dtype=np.float64)

    def significance(name: str) -> npt.NDArray[np.float64]:
        return np.clip(np.nan_to_num(column(f"{name}Significance"), nan=0.0), -1e4, 1e4)

    snr = np.clip(np.nan_to_num(column("snr"), nan=1.0), 1.0, 1e4)
    fwhm = np.maximum(column("psfFwhm"), 0.5)
    reduced = column("trailChi2") / np.maximum(column("trailNdata"), 1.0)
    reduced = np.clip(np.nan_to_num(reduced, nan=10.0), 0.1, 1e3)
    gain = np.clip(np.nan_to_num(column("deltaChi2"), nan=0.0), 1.0, None) / np.square(snr)
    return np.stack(
        [
            log_odds(column("topProbability")),
            log_odds(column("peakProbability")),
            np.log(np.clip(column("trailLengthPix") / fwhm, 0.1, 100.0)),
            np.log(snr),
            np.log(np.clip(gain, 1e-3, 1e3)),
            np.log(reduced),
            np.clip(column("componentWidth") / fwhm, 0.0, 5.0),
            *(np.arcsinh(significance(name)) for name in ("wide", "core", "length")),
            column("trail_flag"),
        ],
        axis=1,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class FoundCandidates:
    """Candidates of an image before they have a score."""

    table: astropy.table.Table
    """One row per candidate, with the columns of `candidate_features` and
    `~lsst.meas.trails.core.candidates.numbers.candidate_numbers`.
    """

    trails: Sequence[Trail]
    """Trail of each candidate: its fit, or the line of a streak without ends."""

    sky: SkySubtracted
    """The image, with its template if there is one."""

    probability: npt.NDArray[np.floating]
    """Probability per pixel that it belongs to a trail, shape (ny, nx)."""


class CandidateScore(Protocol):
    """Score of candidates."""

    def score(self, found: FoundCandidates) -> npt.NDArray[np.float64]:
        """Return the scores of candidates in [0, 1], shape (n,)."""


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreModel:
    """Logistic regression on standardized features.

    Parameters
    ----------
    mean, scale
        Mean and standard deviation of each feature in calibration.
    coefficients
        Weight of each standardized feature.
    intercept
        Log-odds at the mean.
    """

    mean: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    coefficients: npt.NDArray[np.float64]
    intercept: float

    def __call__(self, features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return scores in [0, 1] of features, shape (n, len(FEATURES))."""
        logit = (features - self.mean) / self.scale @ self.coefficients + self.intercept
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -50.0, 50.0))))

    def score(self, found: FoundCandidates) -> npt.NDArray[np.float64]:
        """Return the scores of the candidates of an image."""
        return self.of_table(found.table)

    def of_table(self, table: Mapping[str, npt.ArrayLike]) -> npt.NDArray[np.float64]:
        """Return the scores of candidates, lower for those that resemble a spike."""
        return self(candidate_features(table)) * (1.0 - np.asarray(table["spikeLikeness"], dtype=np.float64))

    @classmethod
    def fit(cls, features: npt.NDArray[np.float64], is_trail: npt.NDArray[np.bool_]) -> Self:
        """Fit the regression by maximum likelihood with a ridge penalty of 1.

        Parameters
        ----------
        features
            Shape (n, len(FEATURES)).
        is_trail
            Whether each candidate is a trail, shape (n,).

        Raises
        ------
        ValueError
            Raised if all or none of the candidates are trails.
        """
        if not np.any(is_trail) or np.all(is_trail):
            raise ValueError(
                f"Cannot calibrate a score: {int(np.sum(is_trail))} of {len(is_trail)} candidates are "
                "trails; train longer, or simulate more scenes."
            )
        mean, scale = features.mean(axis=0), features.std(axis=0)
        scale = np.where(scale > 1e-6, scale, 1.0)
        coefficients, intercept = fit_logistic((features - mean) / scale, is_trail, penalty=1.0)
        return cls(mean=mean, scale=scale, coefficients=coefficients, intercept=intercept)

    def to_mapping(self) -> dict[str, object]:
        """Return the model as numbers and text, for JSON."""
        return {
            "features": list(FEATURES),
            "features_version": FEATURES_VERSION,
            "mean": [float(v) for v in self.mean],
            "scale": [float(v) for v in self.scale],
            "coefficients": [float(v) for v in self.coefficients],
            "intercept": self.intercept,
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> Self:
        """Return the model of a mapping from `to_mapping`.

        Raises
        ------
        ValueError
            Raised if the features differ from `FEATURES`, or a number is missing or not finite.
        """
        features = mapping.get("features")
        if features != list(FEATURES):
            raise ValueError(
                f"The score uses the features {features}, this package computes {list(FEATURES)}; "
                "calibrate the model again."
            )
        version = mapping.get("features_version")
        if version != FEATURES_VERSION:
            raise ValueError(
                f"The score was calibrated on version {version} of the features, this package computes "
                f"version {FEATURES_VERSION}; calibrate the model again."
            )
        values = {
            name: _finite_numbers(name, mapping.get(name), (len(FEATURES),))
            for name in ("mean", "scale", "coefficients")
        }
        if np.any(values["scale"] <= 0.0):
            raise ValueError(f"The scale of the score must be positive, not {mapping['scale']}.")
        return cls(**values, intercept=float(_finite_numbers("intercept", mapping.get("intercept"), ())))


def _finite_numbers(name: str, value: object, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return a part of a mapping as an array of a given shape."""
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.shape != shape or not np.all(np.isfinite(numbers)):
        raise ValueError(f"The {name} of the score must be finite, of shape {shape}, not {value!r}.")
    return numbers
