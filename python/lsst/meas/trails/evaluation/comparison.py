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

"""Candidates beside the truth, one detector or a collection of them."""

from __future__ import annotations

__all__ = ("DetectorComparison", "Tally", "compare_detector", "tally")

import dataclasses
from collections.abc import Iterable

import astropy.table
import numpy as np
import numpy.typing as npt

from ..core.geometry import Trails
from ..core.matching import MatchCriteria, Matches, classify_candidates
from ..core.operating_point import DETECTOR_PIXELS


@dataclasses.dataclass(frozen=True, eq=False)
class DetectorComparison:
    """What was found on one detector.

    Parameters
    ----------
    truth
        Asteroid trails that are there.
    candidates
        Candidates above the threshold.
    matches
        Which candidate is which trail.
    on_satellite
        Candidates on a satellite streak that are no trail's match, shape
        (n,): neither found nor false.
    n_pixels
        Area of the image, pixels.
    """

    truth: astropy.table.Table
    candidates: astropy.table.Table
    matches: Matches
    on_satellite: npt.NDArray[np.bool_]
    n_pixels: int

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """Which trails were found, shape (m,)."""
        return self.matches.candidate_of >= 0

    @property
    def false(self) -> npt.NDArray[np.bool_]:
        """Which candidates are false, shape (n,)."""
        return self.matches.is_false & ~self.on_satellite


def compare_detector(
    candidates: astropy.table.Table,
    truth: astropy.table.Table,
    n_pixels: int,
    *,
    min_score: float = 0.0,
    criteria: MatchCriteria = MatchCriteria(),
) -> DetectorComparison:
    """Compare the candidates of one detector with its truth.

    Parameters
    ----------
    candidates
        A `trail_candidate_detector`.
    truth
        Truth table of the same detector, in the same coordinates.
    n_pixels
        Area of the image, pixels.
    min_score
        Candidates with a lower score are left out.
    criteria
        When a candidate is a trail.
    """
    candidates = candidates[np.asarray(candidates["score"]) >= min_score]
    kind = np.asarray(truth["source_type"]).astype(str)
    # A candidate on any other distractor is false.
    satellites = truth[kind == "Satellite"]
    truth = truth[kind == "Trail"]
    found = Trails.from_table(candidates, length="trailLengthPix", angle="trailAnglePix", flux="trailFlux")
    sorting = classify_candidates(
        found,
        Trails.from_table(truth),
        Trails.from_table(satellites),
        rank=np.asarray(candidates["score"], dtype=np.float64),
        streak_flag=np.asarray(candidates["streakFlag"], dtype=bool),
        criteria=criteria,
    )
    return DetectorComparison(
        truth=truth,
        candidates=candidates,
        matches=sorting.matches,
        on_satellite=sorting.on_satellite,
        n_pixels=n_pixels,
    )


@dataclasses.dataclass(frozen=True)
class Tally:
    """Counts over many detectors.

    Parameters
    ----------
    trails, found
        Trails in the sample, and those of them that were found.
    false
        False candidates.
    false_per_detector
        The same per detector of 16.4 megapixels.
    detectors
        Number of images.
    """

    trails: int
    found: int
    false: int
    false_per_detector: float
    detectors: int

    @property
    def completeness(self) -> float:
        """Fraction of the trails that were found; NaN of none."""
        return self.found / self.trails if self.trails else float("nan")


def tally(
    comparisons: Iterable[DetectorComparison],
    *,
    min_snr: float = 0.0,
    min_length: float = 0.0,
) -> Tally:
    """Count what was found over many detectors.

    Parameters
    ----------
    comparisons
        One for each detector.
    min_snr
        Trails of a lower optimal SNR do not count as trails.
    min_length
        Neither do shorter ones, pixels.
    """
    trails = found = false = pixels = detectors = 0
    for comparison in comparisons:
        sample = (np.asarray(comparison.truth["snr_optimal"]) > min_snr) & (
            np.asarray(comparison.truth["trail_length"]) > min_length
        )
        trails += int(np.count_nonzero(sample))
        found += int(np.count_nonzero(sample & comparison.found))
        false += int(np.count_nonzero(comparison.false))
        pixels += comparison.n_pixels
        detectors += 1
    rate = false * DETECTOR_PIXELS / pixels if pixels else float("nan")
    return Tally(trails=trails, found=found, false=false, false_per_detector=rate, detectors=detectors)
