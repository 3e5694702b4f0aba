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

"""Histograms of trail and background pixels, and the measures from them."""

from __future__ import annotations

__all__ = ("BINS", "PixelHistogram")

import dataclasses

import numpy as np
import numpy.typing as npt

type _Mask = npt.NDArray[np.bool_]
type _Floats = npt.NDArray[np.float64]
type _Counts = npt.NDArray[np.int64]

BINS = 640
"""Bins of a histogram."""

_LOGIT_RANGE = 16.0
"""Logits, ln(p / (1 - p)), beyond this are in the first and the last bin."""


def _no_counts() -> _Counts:
    return np.zeros(BINS, dtype=np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class PixelHistogram:
    """Histograms of the logits of trail and of background pixels.

    Histograms of several detectors can be added. Bins of 0.05 in the logit make areas under curves exact to
    about 1e-3.

    Parameters
    ----------
    true, false
        Trail pixels and background pixels in each bin, shape (`BINS`,).
    """

    true: _Counts = dataclasses.field(default_factory=_no_counts)
    false: _Counts = dataclasses.field(default_factory=_no_counts)

    @classmethod
    def from_pixels(
        cls, probability: npt.NDArray[np.floating], truth: _Mask, ignored: _Mask
    ) -> PixelHistogram:
        """Return the histograms of an image.

        Parameters
        ----------
        probability
            Probabilities, shape (ny, nx); non-finite pixels do not count.
        truth
            Pixels that belong to trails.
        ignored
            Pixels that do not count.
        """
        counted = ~ignored & np.isfinite(probability)
        p = np.asarray(probability[counted], dtype=np.float64)
        tiny = 1.0 / (1.0 + np.exp(_LOGIT_RANGE))
        p = np.clip(p, tiny, 1.0 - tiny)
        return cls.from_logits(np.log(p) - np.log1p(-p), truth[counted])

    @classmethod
    def from_logits(cls, logit: npt.NDArray[np.floating], truth: _Mask) -> PixelHistogram:
        """Return the histograms of pixels with given logits, shape (n,)."""
        scaled = (logit + _LOGIT_RANGE) * (BINS / (2.0 * _LOGIT_RANGE))
        bins = np.clip(scaled, 0, BINS - 1).astype(np.int64)
        return cls(
            true=np.bincount(bins[truth], minlength=BINS), false=np.bincount(bins[~truth], minlength=BINS)
        )

    def __add__(self, other: PixelHistogram) -> PixelHistogram:
        return PixelHistogram(self.true + other.true, self.false + other.false)

    @property
    def rates(self) -> tuple[_Floats, _Floats]:
        """Numbers of trail and background pixels above the `thresholds`."""
        true = np.concatenate([[0], np.cumsum(self.true[::-1])]).astype(np.float64)
        false = np.concatenate([[0], np.cumsum(self.false[::-1])]).astype(np.float64)
        return true, false

    @property
    def thresholds(self) -> _Floats:
        """Probabilities falling from 1 to 0, shape (`BINS` + 1,)."""
        edges = np.linspace(_LOGIT_RANGE, -_LOGIT_RANGE, BINS + 1)
        thresholds = 1.0 / (1.0 + np.exp(-edges))
        thresholds[0], thresholds[-1] = 1.0, 0.0
        return thresholds

    @property
    def auc(self) -> float:
        """Area under the ROC curve; NaN without pixels of both kinds."""
        true, false = self.rates
        if true[-1] == 0.0 or false[-1] == 0.0:
            return float("nan")
        return float(np.trapezoid(true / true[-1], false / false[-1]))

    @property
    def average_precision(self) -> float:
        """Precision averaged over recall; NaN without trail pixels."""
        true, false = self.rates
        if true[-1] == 0.0:
            return float("nan")
        precision = true / np.maximum(true + false, 1.0)
        return float(np.sum(np.diff(true) * precision[1:]) / true[-1])

    def at(self, threshold: float) -> dict[str, float]:
        """Return ``precision``, ``recall``, ``f1`` and ``iou`` at a threshold.

        The threshold is rounded to the edge of a bin; undefined values are NaN.
        """
        return self._measures(int(np.argmin(np.abs(self.thresholds - threshold))))

    def best(self) -> tuple[float, dict[str, float]]:
        """Return the threshold with the greatest F1 and its measures."""
        true, false = self.rates
        if true[-1] == 0.0:
            return float("nan"), dict.fromkeys(("precision", "recall", "f1", "iou"), float("nan"))
        index = int(np.argmax(2.0 * true / (true[-1] + true + false)))
        return float(self.thresholds[index]), self._measures(index)

    def threshold_at_precision(self, precision: float) -> float:
        """Return the lowest threshold with at least a precision, or 1."""
        true, false = self.rates
        reached = np.flatnonzero((true > 0.0) & (true >= precision * (true + false)))
        return float(self.thresholds[reached[-1]]) if len(reached) else 1.0

    def _measures(self, index: int) -> dict[str, float]:
        true, false = self.rates
        hits, wrong, total = float(true[index]), float(false[index]), float(true[-1])
        nan = float("nan")
        return {
            "precision": hits / (hits + wrong) if hits + wrong > 0.0 else nan,
            "recall": hits / total if total > 0.0 else nan,
            "f1": 2.0 * hits / (total + hits + wrong) if total > 0.0 else nan,
            "iou": hits / (total + wrong) if total > 0.0 else nan,
        }
