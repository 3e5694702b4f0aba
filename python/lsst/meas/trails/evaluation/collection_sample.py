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
"""What was found in a collection: the columns that its numbers need, in memory."""

from __future__ import annotations

__all__ = ("COLUMNS", "ERRORS", "PULLS", "QUANTITIES", "CollectionSample", "Quantity")

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import astropy.table
import numpy as np
import numpy.typing as npt

from ..core.operating_point import DETECTOR_PIXELS, score_threshold
from ..core.pixel_histogram import PixelHistogram
from .match_table import METHODS

type _Floats = npt.NDArray[np.float64]
type _Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What completeness and purity are counted against.

    Parameters
    ----------
    label
        Name with the unit, for axes.
    truth
        Column of the true value.
    candidate
        Column of the value of a candidate.
    edges
        Edges of the bins.
    log
        Whether the axis is logarithmic.
    """

    label: str
    truth: str
    candidate: str
    edges: tuple[float, ...]
    log: bool = False


QUANTITIES: dict[str, Quantity] = {
    "snr": Quantity("optimal SNR", "snrOptimal", "snr", (2, 3, 4, 5, 6, 7, 8, 10, 14, 20, 30, 60), True),
    "snrPointSource": Quantity(
        "point-source SNR", "snrPointSource", "snrPsf", (1, 2, 3, 4, 5, 6, 8, 10, 14, 20, 30, 60), True
    ),
    "magnitude": Quantity(
        "magnitude of the whole trail (AB)", "trueMag", "trailMag", (18, 19, 20, 21, 22, 23, 24, 25, 26)
    ),
    "length": Quantity(
        "length (pixels)", "trueLength", "trailLengthPix", (4, 6, 9, 14, 20, 30, 45, 62, 90, 150, 250), True
    ),
    "rate": Quantity(
        "rate (deg/day)", "trueRate", "trailRate", (0.5, 1, 1.5, 2.3, 3.3, 5, 7.5, 10, 15, 25, 40), True
    ),
    "angle": Quantity(
        "angle from +x (degrees)",
        "trueAngle",
        "trailAnglePix",
        (0, 22.5, 45, 67.5, 90, 112.5, 135, 157.5, 180),
    ),
    "density": Quantity(
        "sources per square arcminute",
        "sourceDensity",
        "sourceDensity",
        (1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 80, 160, 320),
        True,
    ),
    "distance": Quantity(
        "distance to the nearest source (arcsec)",
        "sourceDistance",
        "sourceDistance",
        (0, 0.5, 1, 2, 3, 4, 6, 8, 12, 20),
    ),
}  # fmt: skip
"""The quantities, by their names in the table of metrics."""

ERRORS = ("dAlong", "dAcross", "dMidpoint", "dLength", "dAngle", "dMag", "dRate")
"""Columns of differences from the truth."""

PULLS = ("pullX", "pullY", "pullLength", "pullAngle", "pullFlux")
"""Columns of differences over their errors."""

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
"""Columns of `matched_injected_trail_detector` that a summary needs."""


class CollectionSample:
    """All that a summary needs of a collection.

    Parameters
    ----------
    matches
        Tables of `matched_injected_trail_detector`, read one after the other;
        only the columns `COLUMNS` of trails and of candidates that are false
        are kept, 32-bit: 170 bytes a row.
    searches
        Their `trail_search_detector`, in the same order.

    Raises
    ------
    ValueError
        Raised if there are none, or not as many of one as of the other.
    """

    def __init__(
        self, matches: Iterable[astropy.table.Table], searches: Iterable[astropy.table.Table]
    ) -> None:
        parts: list[dict[str, npt.NDArray[np.generic]]] = []
        sizes = []
        for table in matches:
            # Repeated candidates and satellites count neither way.
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
                f"There are {len(parts)} tables of matches and {len(rows)} of searches: a summary needs as "
                "many of one as of the other, and at least one."
            )
        self._columns = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
        self._group = np.repeat(np.arange(len(parts)), sizes)
        self.search = astropy.table.vstack(rows, metadata_conflicts="silent")
        """One row a detector (`astropy.table.Table`)."""

    @property
    def n_detectors(self) -> int:
        """Number of detectors (`int`)."""
        return len(self.search)

    def numbers(self, name: str) -> _Floats:
        """Return a column of numbers."""
        return np.asarray(self._columns[name], dtype=np.float64)

    @functools.cached_property
    def counted(self) -> npt.NDArray[np.int64]:
        """Rows of the trails that count."""
        return np.flatnonzero(self._columns["isCounted"])

    @functools.cached_property
    def candidates(self) -> npt.NDArray[np.int64]:
        """Rows of the candidates that are trails that count, or false."""
        has = np.asarray(self._columns["isCandidate"], dtype=bool)
        counts = np.asarray(self._columns["isCounted"], dtype=bool)
        return np.flatnonzero(has & (counts | np.asarray(self._columns["isFalse"], dtype=bool)))

    @functools.cached_property
    def trail_score(self) -> _Floats:
        """Score of the candidate of each trail that counts, -inf without."""
        score = self.numbers("score")[self.counted]
        return np.where(np.asarray(self._columns["isCandidate"])[self.counted], score, -np.inf)

    @functools.cached_property
    def false_score(self) -> _Floats:
        """Scores of the false candidates."""
        return self.numbers("score")[np.asarray(self._columns["isFalse"], dtype=bool)]

    @functools.cached_property
    def is_true(self) -> _Bools:
        """Which of `candidates` are trails."""
        return np.asarray(self._columns["isCounted"], dtype=bool)[self.candidates]

    @functools.cached_property
    def trail_group(self) -> npt.NDArray[np.int64]:
        """Number of the detector of each trail that counts."""
        return self._group[self.counted]

    @functools.cached_property
    def false_group(self) -> npt.NDArray[np.int64]:
        """Number of the detector of each false candidate."""
        return self._group[np.asarray(self._columns["isFalse"], dtype=bool)]

    @functools.cached_property
    def candidate_group(self) -> npt.NDArray[np.int64]:
        """Number of the detector of each of `candidates`."""
        return self._group[self.candidates]

    @property
    def pixels(self) -> _Floats:
        """Area of each detector, pixels."""
        return np.asarray(self.search["nPixels"], dtype=np.float64)

    @property
    def square_degrees(self) -> float:
        """Area of the sky that was searched (`float`)."""
        return float(np.sum(self.search["skyArea"]))

    @property
    def per_square_degree(self) -> float:
        """False detections per square degree of one per detector of
        `DETECTOR_PIXELS` (`float`).
        """
        return float(np.sum(self.pixels)) / DETECTOR_PIXELS / self.square_degrees

    def threshold(self, rate: float) -> float:
        """Return the score with no more than a rate of false candidates per
        detector.
        """
        everything = np.ones(len(self.false_score), dtype=bool)
        return score_threshold(self.false_score, everything, float(np.sum(self.pixels)), rate)

    def methods(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Return, by name, which trails that count other detectors find; only
        of those that are known for every one of them.
        """
        found = {}
        for key, name in METHODS.items():
            values = self.numbers(f"foundBy{key}")[self.counted]
            if len(values) and np.all(values >= 0):
                found[name] = values > 0
        return found

    @functools.cached_property
    def histograms(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Pixels by probability, of trails and others, shape (detectors,
        bins).
        """
        return (
            np.asarray(self.search["pixelTrue"], dtype=np.int64),
            np.asarray(self.search["pixelFalse"], dtype=np.int64),
        )

    def histogram(self, groups: Sequence[int] | npt.NDArray[np.int64] | None = None) -> PixelHistogram:
        """Return the pixels of some detectors together, or of all."""
        true, false = self.histograms
        if groups is None:
            return PixelHistogram(true.sum(axis=0), false.sum(axis=0))
        weight = np.bincount(groups, minlength=self.n_detectors)
        return PixelHistogram(weight @ true, weight @ false)
