# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""Pixel-level measures of a network, accumulated batch by batch."""

from __future__ import annotations

__all__ = ("PixelScores",)

import dataclasses

import numpy as np
import numpy.typing as npt
import torch

_LOGIT_RANGE = 16.0
_BINS = 3200


def _no_counts() -> npt.NDArray[np.int64]:
    return np.zeros(_BINS, dtype=np.int64)


@dataclasses.dataclass
class PixelScores:
    """Histograms of the logits of trail and background pixels.

    Bins of 0.01 in the logit make the measures exact to about three digits
    at a memory that does not grow with the number of pixels.
    """

    positive: npt.NDArray[np.int64] = dataclasses.field(default_factory=_no_counts)
    """Number of trail pixels in each bin."""

    negative: npt.NDArray[np.int64] = dataclasses.field(default_factory=_no_counts)
    """Number of background pixels in each bin."""

    def add(self, logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> None:
        """Add the pixels of a batch, all of the same shape; pixels whose
        ``valid`` is 0 do not count.
        """
        scaled = (logits.float() + _LOGIT_RANGE) * (_BINS / (2.0 * _LOGIT_RANGE))
        bins = scaled.clamp(0, _BINS - 1).to(torch.int64)
        seen, trail = valid > 0.0, target > 0.5
        for counts, chosen in ((self.positive, seen & trail), (self.negative, seen & ~trail)):
            counts += torch.bincount(bins[chosen].flatten(), minlength=_BINS).cpu().numpy()

    def _rates(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Numbers of true and false positives with falling threshold."""
        true = np.cumsum(self.positive[::-1]).astype(np.float64)
        false = np.cumsum(self.negative[::-1]).astype(np.float64)
        return true, false

    @property
    def auc(self) -> float:
        """Area under the ROC curve (`float`); NaN without both classes."""
        true, false = self._rates()
        if true[-1] == 0.0 or false[-1] == 0.0:
            return float("nan")
        return float(
            np.trapezoid(np.concatenate(([0.0], true / true[-1])), np.concatenate(([0.0], false / false[-1])))
        )

    @property
    def average_precision(self) -> float:
        """Average precision, the sum of the precision over the steps in
        recall (`float`); NaN without trail pixels.
        """
        true, false = self._rates()
        if true[-1] == 0.0:
            return float("nan")
        precision = true / np.maximum(true + false, 1.0)
        return float(np.sum(np.diff(true, prepend=0.0) * precision) / true[-1])

    def threshold_at_precision(self, precision: float) -> float:
        """Return the lowest probability above which at least this fraction
        of the pixels belong to trails; 1 if there is none.
        """
        true, false = self._rates()
        reached = np.flatnonzero((true > 0.0) & (true >= precision * (true + false)))
        if len(reached) == 0:
            return 1.0
        edge = _LOGIT_RANGE - (reached[-1] + 1) * (2.0 * _LOGIT_RANGE / _BINS)
        return float(1.0 / (1.0 + np.exp(-edge)))
