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

"""Counts of found trails and false candidates over many detectors."""

from __future__ import annotations

__all__ = ("Tally", "tally")

import dataclasses
from collections.abc import Sequence

import astropy.table
import numpy as np

from ..core.operating_point import DETECTOR_PIXELS


@dataclasses.dataclass(frozen=True)
class Tally:
    """Counts over many detectors."""

    trails: int
    """Trails in the sample."""

    found: int
    """Trails in the sample that were found."""

    false: int
    """False candidates."""

    false_per_detector: float
    """False candidates per detector of 16.4 megapixels; NaN without pixels."""

    @property
    def completeness(self) -> float:
        """Fraction of the trails that were found; NaN without trails."""
        return self.found / self.trails if self.trails else float("nan")


def tally(
    matches: Sequence[astropy.table.Table], n_pixels: int, *, min_snr: float = 0.0, min_length: float = 0.0
) -> Tally:
    """Count the found trails of many detectors.

    Parameters
    ----------
    matches
        Output of `~lsst.meas.trails.evaluation.match_table.match_table` for each detector.
    n_pixels
        Area of all detectors, pixels.
    min_snr, min_length
        Trails must have a higher optimal SNR, and a greater length in pixels.
    """
    trails = found = false = 0
    for table in matches:
        sample = np.asarray(table["isTrail"])
        sample = sample & (np.asarray(table["snrOptimal"]) > min_snr)
        sample = sample & (np.asarray(table["trueLength"]) > min_length)
        trails += int(np.count_nonzero(sample))
        found += int(np.count_nonzero(sample & np.asarray(table["isCandidate"])))
        false += int(np.count_nonzero(table["isFalse"]))
    rate = false * DETECTOR_PIXELS / n_pixels if n_pixels else float("nan")
    return Tally(trails, found, false, rate)
