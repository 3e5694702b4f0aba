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

"""Trails, candidates and pixels of a whole collection, for its summary."""

from __future__ import annotations

__all__ = ("COLUMNS", "CollectionSample")

import functools
from collections.abc import Callable, Iterable, Sequence

import astropy.table
import numpy as np
import numpy.typing as npt

from ..core.operating_point import score_threshold
from ..core.pixel_histogram import PixelHistogram
from .columns import METHODS
from .intervals import bootstrap_interval
from .quantities import ERRORS, PULLS, QUANTITIES

type _Floats = npt.NDArray[np.float64]
type _Bools = npt.NDArray[np.bool_]
type _Ints = npt.NDArray[np.int64]

_FLAGS = ("isTrail", "isCounted", "isCandidate", "isFalse")
_NUMBERS = tuple(
    dict.fromkeys(
        [
            *(quantity.truth for quantity in QUANTITIES.values()),
            *(quantity.candidate for quantity in QUANTITIES.values()),
            *ERRORS,
            *PULLS,
            "score",
            "adcnnScore",
            *(f"foundBy{key}" for key in METHODS),
        ]
    )
)
COLUMNS = (*_FLAGS, *_NUMBERS)
"""Columns of `matched_injected_trail_detector` that a summary reads."""


class CollectionSample:
    """Counted trails and candidates of a collection.

    Parameters
    ----------
    matches
        Tables of `matched_injected_trail_detector`, read one after another; only `COLUMNS` of trails and
        false candidates are kept, with 32 bits: 170 bytes per row.
    searches
        The `trail_search_detector` of each, in the same order.

    Raises
    ------
    ValueError
        Raised if there are no tables, or different numbers of the two kinds.
    """

    def __init__(
        self, matches: Iterable[astropy.table.Table], searches: Iterable[astropy.table.Table]
    ) -> None:
        parts: list[dict[str, npt.NDArray[np.generic]]] = []
        sizes = []
        for table in matches:
            # Duplicates and satellites count neither as found nor as false.
            kept = np.asarray(table["isTrail"]) | np.asarray(table["isFalse"])
            part: dict[str, npt.NDArray[np.generic]] = {
                name: np.asarray(table[name])[kept].astype(bool) for name in _FLAGS
            }
            part |= {name: np.asarray(table[name])[kept].astype(np.float32) for name in _NUMBERS}
            parts.append(part)
            sizes.append(int(np.count_nonzero(kept)))
        rows = list(searches)
        if not parts or len(parts) != len(rows):
            raise ValueError(
                f"A summary needs one search table per match table, not {len(parts)} match tables and "
                f"{len(rows)} search tables."
            )
        self._columns = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
        self._group = np.repeat(np.arange(len(parts)), sizes)
        self.search = astropy.table.vstack(rows, metadata_conflicts="silent")
        """One row per detector."""

    @property
    def n_detectors(self) -> int:
        """Number of detectors."""
        return len(self.search)

    def numbers(self, name: str) -> _Floats:
        """Return a column of numbers of all rows."""
        return np.asarray(self._columns[name], dtype=np.float64)

    def _flags(self, name: str) -> _Bools:
        return np.asarray(self._columns[name], dtype=bool)

    @functools.cached_property
    def counted(self) -> _Ints:
        """Rows of the counted trails."""
        return np.flatnonzero(self._flags("isCounted"))

    @functools.cached_property
    def candidates(self) -> _Ints:
        """Rows of the candidates that match a counted trail or are false."""
        return np.flatnonzero(
            self._flags("isCandidate") & (self._flags("isCounted") | self._flags("isFalse"))
        )

    @functools.cached_property
    def trail_score(self) -> _Floats:
        """Score of the candidate of each counted trail, -inf without one."""
        score = self.numbers("score")[self.counted]
        return np.where(self._flags("isCandidate")[self.counted], score, -np.inf)

    @functools.cached_property
    def false_score(self) -> _Floats:
        """Scores of the false candidates."""
        return self.numbers("score")[self._flags("isFalse")]

    @functools.cached_property
    def is_true(self) -> _Bools:
        """Whether each of `candidates` is a trail."""
        return self._flags("isCounted")[self.candidates]

    @functools.cached_property
    def trail_group(self) -> _Ints:
        """Detector number of each counted trail."""
        return self._group[self.counted]

    @functools.cached_property
    def candidate_group(self) -> _Ints:
        """Detector number of each of `candidates`."""
        return self._group[self.candidates]

    @functools.cached_property
    def _false_group(self) -> _Ints:
        """Detector number of each false candidate."""
        return self._group[self._flags("isFalse")]

    @functools.cached_property
    def pixels(self) -> _Floats:
        """Area of each detector, pixels."""
        return np.asarray(self.search["nPixels"], dtype=np.float64)

    @property
    def square_degrees(self) -> float:
        """Searched area of the sky, square degrees."""
        return float(np.sum(self.search["skyArea"]))

    def threshold(self, rate: float, weight: _Floats | None = None) -> float:
        """Return the score threshold for a rate of false candidates.

        Parameters
        ----------
        rate
            False candidates per detector of `~lsst.meas.trails.core.operating_point.DETECTOR_PIXELS`.
        weight
            Number of times that each detector counts; once by default.
        """
        scores, pixels = self.false_score, float(np.sum(self.pixels))
        if weight is not None:
            scores = np.repeat(scores, weight[self._false_group].astype(int))
            pixels = float(weight @ self.pixels)
        return score_threshold(scores, np.ones(len(scores), dtype=bool), pixels, rate)

    def bootstrap(
        self, statistic: Callable[[_Floats], npt.ArrayLike], resamples: int
    ) -> tuple[_Floats, _Floats]:
        """Return the bootstrap interval of a statistic over the detectors.

        Parameters
        ----------
        statistic
            Function of the number of times that each detector counts.
        resamples
            Number of bootstrap samples.
        """

        def of_groups(groups: _Ints) -> npt.ArrayLike:
            return statistic(np.bincount(groups, minlength=self.n_detectors).astype(np.float64))

        return bootstrap_interval(of_groups, self.n_detectors, resamples=resamples)

    def methods(self) -> dict[str, _Bools]:
        """Return the counted trails that each other method finds, by its name.

        Methods that are not known for every counted trail are left out.
        """
        found = {}
        for key, name in METHODS.items():
            values = self.numbers(f"foundBy{key}")[self.counted]
            if len(values) and np.all(values >= 0):
                found[name] = values > 0
        return found

    @functools.cached_property
    def _histograms(self) -> tuple[_Ints, _Ints]:
        """Histograms of trail pixels and others, shape (detectors, bins)."""
        return (
            np.asarray(self.search["pixelTrue"], dtype=np.int64),
            np.asarray(self.search["pixelFalse"], dtype=np.int64),
        )

    def histogram(self, groups: Sequence[int] | _Ints | None = None) -> PixelHistogram:
        """Return the summed pixel histogram of some detectors, or of all."""
        true, false = self._histograms
        if groups is None:
            return PixelHistogram(true.sum(axis=0), false.sum(axis=0))
        weight = np.bincount(groups, minlength=self.n_detectors)
        return PixelHistogram(weight @ true, weight @ false)
