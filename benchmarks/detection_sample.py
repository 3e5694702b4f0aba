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

"""What a detector found over many images: FROC, completeness, errors.

Everything is counted at a rate of false detections per detector, so that
detectors with different scores can be compared; intervals are those of
`lsst.meas.trails.evaluation.intervals`.
"""

from __future__ import annotations

__all__ = ("DetectionSample", "ImageSearch", "OperatingPoint", "Reliability", "search_result")

import dataclasses
import functools
from collections.abc import Sequence

import astropy.table
import numpy as np
import numpy.typing as npt

from lsst.meas.trails.core.geometry import Trails, angle_difference
from lsst.meas.trails.core.matching import MatchCriteria, classify_candidates
from lsst.meas.trails.core.operating_point import LONG, score_threshold, snr50
from lsst.meas.trails.evaluation.intervals import CONFIDENCE, binomial_interval, bootstrap_interval

type _Floats = npt.NDArray[np.float64]
type _Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSearch:
    """What a detector found in one image of known content.

    Parameters
    ----------
    rank
        Rank of each candidate, not negative, shape (n,).
    is_true, is_false
        Candidates that are the match of a trail, and those that are on
        nothing, shape (n,); the others repeat a trail or are on a satellite.
    trail_rank
        Rank of the candidate of each trail, -inf of those without, shape
        (m,).
    snr, length
        Of the trails, shape (m,).
    midpoint_error, angle_error, length_error
        Distance of the midpoints (pixels), angle between the lines (degrees)
        and relative error of the length, without signs, NaN for trails
        without a candidate, shape (m,).
    n_pixels
        Area of the image, pixels.
    """

    rank: _Floats
    is_true: _Bools
    is_false: _Bools
    trail_rank: _Floats
    snr: _Floats
    length: _Floats
    midpoint_error: _Floats
    angle_error: _Floats
    length_error: _Floats
    n_pixels: int


def search_result(
    candidates: Trails,
    rank: npt.ArrayLike,
    truth: astropy.table.Table,
    n_pixels: int,
    *,
    streak_flag: npt.ArrayLike | None = None,
    criteria: MatchCriteria = MatchCriteria(),
) -> ImageSearch:
    """Compare candidates with the truth of their image.

    Parameters
    ----------
    candidates
        What was found, in the coordinates of the truth.
    rank
        Score or rank of each.
    truth
        Trails and satellites, columns of
        `~lsst.meas.trails.core.injection.truth.TRUTH_COLUMNS` and ``source_type``.
    n_pixels
        Area of the image, pixels.
    streak_flag
        Candidates that are flagged as a streak across the image; none by
        default.
    criteria
        When a candidate is a trail.
    """
    kind = np.asarray(truth["source_type"]).astype(str)
    trails = Trails.from_table(truth[kind == "Trail"])
    rank = np.asarray(rank, dtype=np.float64)
    sorting = classify_candidates(
        candidates,
        trails,
        Trails.from_table(truth[kind == "Satellite"]),
        rank=rank,
        streak_flag=np.zeros(len(rank), dtype=bool) if streak_flag is None else np.asarray(streak_flag),
        criteria=criteria,
    )
    candidate_of = sorting.matches.candidate_of
    found = candidate_of >= 0
    trail_rank = np.full(len(trails), -np.inf)
    trail_rank[found] = rank[candidate_of[found]]
    midpoint, angle, length = (np.full(len(trails), np.nan) for _ in range(3))
    mine, known = candidates[candidate_of[found]], trails[found]
    midpoint[found] = np.hypot(mine.x - known.x, mine.y - known.y)
    angle[found] = angle_difference(mine.angle, known.angle)
    length[found] = np.abs(mine.length / known.length - 1.0)
    return ImageSearch(
        rank=rank,
        is_true=sorting.matches.is_true,
        is_false=sorting.is_false,
        trail_rank=trail_rank,
        snr=np.asarray(truth["snr_optimal"], dtype=np.float64)[kind == "Trail"],
        length=trails.length,
        midpoint_error=midpoint,
        angle_error=angle,
        length_error=length,
        n_pixels=n_pixels,
    )


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """What is found at a rate of false detections, with intervals of 95%.

    Parameters
    ----------
    rate
        False detections per detector.
    threshold
        The rank from which on candidates are kept.
    completeness, snr50, snr50_long
        Fraction of the trails that is found; SNR at which half of them are,
        and half of those of 20 pixels and more.  Each is a value, the lower
        and the upper end of its interval; NaN for what cannot be measured.
    """

    rate: float
    threshold: float
    completeness: tuple[float, float, float]
    snr50: tuple[float, float, float]
    snr50_long: tuple[float, float, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """Is a score the probability that it says?

    Parameters
    ----------
    score
        Mean score of the candidates of each bin, NaN of empty ones.
    fraction
        Fraction of them that are trails.
    low, high
        Interval of the fraction.
    count
        Candidates in the bin.
    error
        Expected calibration error: the mean difference of score and
        fraction over all candidates.
    """

    score: _Floats
    fraction: _Floats
    low: _Floats
    high: _Floats
    count: npt.NDArray[np.int64]
    error: float


class DetectionSample:
    """What one detector found in many images.

    Parameters
    ----------
    searches
        One for each image.

    Raises
    ------
    ValueError
        Raised if there are none.
    """

    def __init__(self, searches: Sequence[ImageSearch]) -> None:
        if not searches:
            raise ValueError("There are no images to count over.")
        self._searches = list(searches)

    @functools.cached_property
    def all(self) -> ImageSearch:
        """The images as a single one (`ImageSearch`)."""
        return self._join(range(len(self._searches)))

    def _join(self, images: Sequence[int] | npt.NDArray[np.int64]) -> ImageSearch:
        parts = [self._searches[int(i)] for i in images]
        names = [field.name for field in dataclasses.fields(ImageSearch) if field.name != "n_pixels"]
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return ImageSearch(**arrays, n_pixels=sum(part.n_pixels for part in parts))

    @property
    def megapixels(self) -> float:
        """Area that was searched (`float`)."""
        return self.all.n_pixels / 1e6

    def found_at(self, rate: float) -> _Bools:
        """Return which trails are found at a rate of false detections per
        detector, shape (m,).
        """
        return self.all.trail_rank >= _threshold(self.all, rate)

    def operating_points(
        self, rates: Sequence[float], *, confidence: float = CONFIDENCE, resamples: int = 200
    ) -> list[OperatingPoint]:
        """Return what is found at some rates of false detections.

        Parameters
        ----------
        rates
            False detections per detector.
        confidence
            Probability of the intervals.
        resamples
            Bootstrap samples of the images; each has a threshold of its own,
            so that the intervals hold the uncertainty of the rate too.
        """
        values = _detection_numbers(self.all, rates)
        low, high = bootstrap_interval(
            lambda images: _detection_numbers(self._join(images), rates),
            len(self._searches),
            confidence=confidence,
            resamples=resamples,
        )
        triples = np.stack([values, low, high], axis=-1)
        return [
            OperatingPoint(
                float(rate),
                _threshold(self.all, rate),
                *((float(a), float(b), float(c)) for a, b, c in triples[i]),
            )
            for i, rate in enumerate(rates)
        ]

    def completeness(
        self, rate: float, by: str, edges: Sequence[float]
    ) -> tuple[_Floats, _Floats, _Floats, npt.NDArray[np.int64]]:
        """Return completeness in bins.

        Parameters
        ----------
        rate
            False detections per detector.
        by
            ``snr`` or ``length``.
        edges
            Edges of the bins.

        Returns
        -------
        fraction, low, high
            Fraction that is found and its interval, NaN of empty bins, shape
            (len(edges) - 1,).
        count
            Trails in each bin.
        """
        values = {"snr": self.all.snr, "length": self.all.length}[by]
        found = self.found_at(rate)
        count = np.histogram(values, edges)[0].astype(np.int64)
        hits = np.histogram(values[found], edges)[0]
        low, high = binomial_interval(hits, count)
        fraction = np.where(count > 0, hits / np.maximum(count, 1), np.nan)
        return fraction, low, high, count

    def froc(self, rates: npt.ArrayLike) -> _Floats:
        """Return completeness at rates of false detections per detector;
        beyond the rate of the lowest threshold it stays as it is.
        """
        return np.array([np.mean(self.found_at(float(rate))) for rate in np.atleast_1d(rates)])

    def median_errors(self, rate: float, min_snr: float = 10.0) -> tuple[_Floats, int]:
        """Return the median errors of trails that are found.

        Parameters
        ----------
        rate
            False detections per detector.
        min_snr
            Least SNR of the trails.

        Returns
        -------
        errors
            Medians of the distance of the midpoint (pixels), the angle
            between the lines (degrees) and the relative error of the length;
            NaN where no trail was found.
        count
            Number of the trails.
        """
        chosen = self.found_at(rate) & (self.all.snr > min_snr)
        if not np.any(chosen):
            return np.full(3, np.nan), 0
        errors = [self.all.midpoint_error, self.all.angle_error, self.all.length_error]
        return np.array([np.median(error[chosen]) for error in errors]), int(np.count_nonzero(chosen))

    def reliability(self, bins: int = 10) -> Reliability:
        """Compare scores with the fraction of trails at each score; repeated
        candidates and those on satellites are left out.

        Parameters
        ----------
        bins
            Number of bins over [0, 1].

        Raises
        ------
        ValueError
            Raised if a rank is above 1, and thus no probability.
        """
        usable = self.all.is_true | self.all.is_false
        score, is_true = self.all.rank[usable], self.all.is_true[usable]
        if np.any(score > 1.0):
            raise ValueError("Only a score within [0, 1] can be compared with a fraction.")
        index = np.minimum((score * bins).astype(int), bins - 1)
        count = np.bincount(index, minlength=bins)
        hits = np.bincount(index, weights=is_true, minlength=bins).astype(np.int64)
        some = np.maximum(count, 1)
        mean = np.where(count > 0, np.bincount(index, weights=score, minlength=bins) / some, np.nan)
        fraction = np.where(count > 0, hits / some, np.nan)
        low, high = binomial_interval(hits, count)
        total = max(int(count.sum()), 1)
        error = float(np.nansum(count * np.abs(mean - fraction)) / total) if len(score) else float("nan")
        return Reliability(mean, fraction, low, high, count.astype(np.int64), error)


def _threshold(search: ImageSearch, rate: float) -> float:
    return score_threshold(search.rank, search.is_false, search.n_pixels, rate)


def _detection_numbers(search: ImageSearch, rates: Sequence[float]) -> _Floats:
    """Return completeness, SNR50 and SNR50 of long trails at each rate, shape
    (len(rates), 3).
    """
    long = search.length >= LONG
    numbers = []
    for rate in rates:
        found = search.trail_rank >= _threshold(search, rate)
        completeness = float(np.mean(found)) if len(found) else np.nan
        numbers.append((completeness, snr50(search.snr, found), snr50(search.snr[long], found[long])))
    return np.array(numbers)
