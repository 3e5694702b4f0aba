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

"""Score thresholds, completeness and SNR50 of a detector."""

from __future__ import annotations

__all__ = (
    "DETECTOR_PIXELS",
    "FALSE_RATES",
    "LONG",
    "SNR50_LIMIT",
    "found_at_threshold",
    "measure_detection",
    "score_threshold",
    "snr50",
)

import numpy as np
import numpy.typing as npt

from .logistic import fit_logistic

type _Reals = npt.NDArray[np.floating]
type _Mask = npt.NDArray[np.bool_]

DETECTOR_PIXELS = 16.4e6
"""Pixels of a detector, the unit of rates of false detections."""

FALSE_RATES = (1, 10, 100)
"""False detections per detector at which completeness is measured."""

LONG = 20.0
"""Least length of long trails, which are also measured separately, pixels."""

SNR50_LIMIT = 30.0
"""Largest SNR of the trails to which SNR50 is fitted, so that bright trails that a model misses are seen in
the bins and do not shift the limit.
"""

_STEEPNESS = (1.0, 40.0)
"""Least and greatest slope of the logit of completeness in ln(SNR)."""


def score_threshold(scores: _Reals, is_false: _Mask, n_pixels: float, false_per_detector: float) -> float:
    """Return the lowest threshold with at most a rate of false detections.

    Parameters
    ----------
    scores
        Scores of all candidates, not negative.
    is_false
        Candidates that are false.
    n_pixels
        Area searched, pixels.
    false_per_detector
        Rate, per `DETECTOR_PIXELS`.

    Returns
    -------
    threshold
        Least score of the candidates to keep; 0 if all can be kept.
    """
    allowed = int(np.floor(false_per_detector * n_pixels / DETECTOR_PIXELS))
    false_scores = np.sort(np.asarray(scores)[np.asarray(is_false, dtype=bool)])[::-1]
    return float(np.nextafter(false_scores[allowed], np.inf)) if len(false_scores) > allowed else 0.0


def found_at_threshold(threshold: float, scores: _Reals, candidate_of: npt.NDArray[np.int64]) -> _Mask:
    """Return the true trails that are found at a threshold, shape (m,).

    Parameters
    ----------
    threshold
        Score threshold.
    scores
        Scores of all candidates.
    candidate_of
        Candidate of each trail or -1; see `~lsst.meas.trails.core.matching.Matches`.
    """
    found = candidate_of >= 0
    result = np.zeros(len(candidate_of), dtype=bool)
    result[found] = np.asarray(scores)[candidate_of[found]] >= threshold
    return result


def snr50(snr: _Reals, found: _Mask) -> float:
    """Return the SNR at which half of the trails are found.

    Parameters
    ----------
    snr
        SNR of the trails.
    found
        Trails that were found.

    Returns
    -------
    snr50
        SNR at which the best-fitting logistic curve of completeness against the logarithm of SNR crosses one
        half; NaN for fewer than ten trails, or if all or none were found.
    """
    snr, found = np.asarray(snr, dtype=np.float64), np.asarray(found, dtype=bool)
    usable = np.isfinite(snr) & (snr > 0.0)
    if np.count_nonzero(usable) < 10 or np.all(found[usable]) or not np.any(found[usable]):
        return float("nan")
    x = np.log(snr[usable])
    middle, scale = np.mean(x), float(np.std(x)) or 1.0
    # The bounds make the fit converge even if the two classes separate.
    steepness = _STEEPNESS[0] * scale, _STEEPNESS[1] * scale
    (slope,), intercept = fit_logistic(
        ((x - middle) / scale)[:, None],
        found[usable],
        start=(np.clip(4.0 * scale, *steepness), 0.0),
        bounds=(steepness, (None, None)),
    )
    return float(np.exp(np.clip(middle - scale * intercept / slope, x.min(), x.max())))


def measure_detection(
    scores: _Reals,
    is_false: _Mask,
    candidate_of: npt.NDArray[np.int64],
    snr: _Reals,
    length: _Reals,
    n_pixels: float,
) -> tuple[dict[str, float], dict[str, float | None]]:
    """Measure completeness and SNR50 at fixed rates of false detections.

    Parameters
    ----------
    scores
        Scores of all candidates, shape (n,).
    is_false
        Candidates that are false, same shape.
    candidate_of
        Candidate of each trail or -1, shape (m,).
    snr, length
        SNR and length of the trails, shape (m,).
    n_pixels
        Area searched, pixels.

    Returns
    -------
    thresholds
        Score threshold by rate of `FALSE_RATES`, as text.
    metrics
        ``completeness_at_R`` and ``snr50_at_R`` of all trails and ``snr50_long_at_R`` of trails of at least
        `LONG` pixels; `None` if it cannot be measured.
    """
    thresholds: dict[str, float] = {}
    metrics: dict[str, float | None] = {}
    snr = np.asarray(snr)
    faint = snr <= SNR50_LIMIT
    long = faint & (np.asarray(length) >= LONG)
    for rate in FALSE_RATES:
        threshold = score_threshold(scores, is_false, n_pixels, rate)
        thresholds[str(rate)] = threshold
        found = found_at_threshold(threshold, scores, candidate_of)
        for name, value in (
            (f"completeness_at_{rate}", float(np.mean(found)) if len(found) else float("nan")),
            (f"snr50_at_{rate}", snr50(snr[faint], found[faint])),
            (f"snr50_long_at_{rate}", snr50(snr[long], found[long])),
        ):
            metrics[name] = value if np.isfinite(value) else None
    return thresholds, metrics
