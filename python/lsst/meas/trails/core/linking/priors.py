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

"""Densities of detections in position, length and magnitude."""

from __future__ import annotations

__all__ = ("Priors",)

import dataclasses
from typing import Self

import numpy as np
import numpy.typing as npt

from .detections import Detections
from .visits import ARCSEC, Visit

type _Floats = npt.NDArray[np.float64]
type _Ints = npt.NDArray[np.int64]

_LENGTHS = np.geomspace(0.1, 1000.0, 41)
"""Edges of the histogram of lengths, arcsec."""

_MAGS = np.arange(10.0, 32.5, 0.5)
"""Edges of the histogram of magnitudes."""

_NEIGHBORS = 8
"""Number of neighbors that measure the density of a visit."""

_LONELY = 1e-7
"""Density around the only detection of a visit, per square arcsec: one per square degree."""


@dataclasses.dataclass(frozen=True, eq=False)
class Priors:
    """Density of unrelated detections at the parameters of a detection.

    Parameters
    ----------
    sky
        Logarithm of the density around each detection in its visit, per square arcsec, shape (n,).
    length
        Logarithm of the density of lengths per arcsec, in each bin of the histogram.
    mag
        Logarithm of the density of magnitudes, in each bin of the histogram.
    """

    sky: _Floats
    length: _Floats
    mag: _Floats

    @classmethod
    def measure(cls, detections: Detections, visits: list[Visit]) -> Self:
        """Measure the densities of a night."""
        return cls(
            sky=_log_sky_density(detections, visits),
            length=_log_histogram(detections.length, _LENGTHS),
            mag=_log_histogram(detections.mag, _MAGS),
        )

    def log_density(self, detections: Detections, rows: _Ints, with_mag: npt.NDArray[np.bool_]) -> _Floats:
        """Return the logarithm of the density at some detections.

        Parameters
        ----------
        detections
            The detections.
        rows
            Rows of the detections, shape (m,).
        with_mag
            Whether the density is per magnitude, shape (m,).

        Returns
        -------
        density
            Per square arcsec, arcsec of length, degree of angle and magnitude, shape (m,).
        """
        density = self.sky[rows] + self.length[_bin(detections.length[rows], _LENGTHS)] - np.log(180.0)
        return density + np.where(with_mag, self.mag[_bin(detections.mag[rows], _MAGS)], 0.0)


def _bin(values: _Floats, edges: _Floats) -> _Ints:
    """Return the bins of values; values beyond the edges and NaN are in the outer bins."""
    return np.clip(np.searchsorted(edges, values) - 1, 0, len(edges) - 2)


def _log_histogram(values: _Floats, edges: _Floats) -> _Floats:
    """Return the logarithm of a smoothed density in bins."""
    values = values[np.isfinite(values)]
    counts = np.bincount(_bin(values, edges), minlength=len(edges) - 1).astype(np.float64)
    # A triangle over five bins, and a small constant for empty ones.
    smooth = np.convolve(counts, np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9.0, mode="same") + 0.1
    return np.log(smooth / (smooth.sum() * np.diff(edges)))


def _log_sky_density(detections: Detections, visits: list[Visit]) -> _Floats:
    """Return the logarithm of the density of the nearest neighbors, per square arcsec."""
    density = np.full(len(detections), np.log(_LONELY))
    for visit in visits:
        count = min(_NEIGHBORS, visit.stop - visit.start - 1)
        if count < 1:
            continue
        place = detections.place[visit.start : visit.stop]
        distance = visit.tree.query(place, k=[count + 1])[0][:, 0] / ARCSEC
        area = np.pi * np.square(np.maximum(distance, 1.0))
        density[visit.start : visit.stop] = np.log(count / area)
    return density
