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

"""Predicted trails from a table of known objects at any times."""

from __future__ import annotations

__all__ = ("predict_from_known_objects",)

import logging

import astropy.table
import numpy as np
import numpy.typing as npt

from ..motion import motion, move, separation, sky_vectors, vectors_to_sky
from .known_objects import KNOWN_OBJECT_COLUMNS
from .predict import Exposure, PredictedTrails, numbers, texts

_LOG = logging.getLogger(__name__)

type _Floats = npt.NDArray[np.float64]
type _Ints = npt.NDArray[np.int64]


def predict_from_known_objects(
    table: astropy.table.Table,
    exposure: Exposure,
    *,
    default_err: float,
    max_extrapolation: float = 1.0 / 24.0,
    max_interval: float = 1.0,
    source: str = "known_objects",
) -> PredictedTrails:
    """Predict trails from a table of known objects.

    Parameters
    ----------
    table
        Columns of `~lsst.meas.trails.core.association.known_objects.KNOWN_OBJECT_COLUMNS`, rows in any order.
    exposure
        The exposure.
    default_err
        Uncertainty of positions without one, arcseconds.
    max_extrapolation
        Longest time from the nearest row of an object to the exposure, if the exposure is not between two
        rows, days.
    max_interval
        Longest time between two rows of an object that give its motion, days.
    source
        Name of the ephemeris.

    Returns
    -------
    predicted
        Trails of the objects that have suitable rows.

    Raises
    ------
    ValueError
        Raised if a column is missing.

    Notes
    -----
    Between two rows with rates, the position is a cubic Hermite polynomial; between two rows without rates it
    moves along a great circle at constant rate. Beyond the rows it moves with the rates of the nearest row,
    or with the motion between the nearest two.
    """
    if missing := [name for name in KNOWN_OBJECT_COLUMNS if name not in table.colnames]:
        raise ValueError(f"The ephemeris {source} has no column {', '.join(missing)}.")
    time = numbers(table, "mjdTai")
    near = np.flatnonzero(np.abs(time - exposure.midpoint) <= max_interval)
    if near.size == 0:
        return PredictedTrails.join(())
    rows = table[near]
    names = texts(rows, "designation")
    order = np.lexsort((numbers(rows, "mjdTai"), names))
    rows, names = rows[order], names[order]
    time, rates = numbers(rows, "mjdTai"), _rates(rows)
    starts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
    sizes = np.diff(np.append(starts, len(rows)))
    earlier = np.add.reduceat((time <= exposure.midpoint).astype(np.int64), starts)
    # The rows before and after the exposure; the same one beyond the rows.
    before = starts + np.maximum(earlier - 1, 0)
    after = starts + np.minimum(earlier, sizes - 1)
    enclosed = (earlier > 0) & (earlier < sizes) & (time[after] - time[before] <= max_interval)
    nearest = np.where(
        np.abs(time[before] - exposure.midpoint) <= np.abs(time[after] - exposure.midpoint), before, after
    )
    reachable = np.abs(time[nearest] - exposure.midpoint) <= max_extrapolation
    has_rate = np.isfinite(rates[0])
    curved = enclosed & has_rate[before] & has_rate[after]
    # Another row of the same object for its motion, on the same side of the exposure.
    forward = (earlier < sizes) & (nearest == after)
    other = np.clip(np.where(forward, nearest + 1, nearest - 1), starts, starts + sizes - 1)
    beyond = (other != nearest) & (np.abs(time[other] - time[nearest]) <= max_interval)
    other = np.where(enclosed, after + before - nearest, other)
    paired = enclosed | (reachable & beyond)
    straight = ~curved & ((reachable & has_rate[nearest] & ~enclosed) | paired)
    if unused := int(np.sum(~curved & ~straight)):
        _LOG.info("%d objects of %s have no motion or no position near the exposure.", unused, source)
    chosen = np.flatnonzero(curved | straight)
    if chosen.size == 0:
        return PredictedTrails.join(())
    path = _Paths(rows, time, rates, before, after, nearest, other, enclosed, curved)
    half = 0.5 * exposure.days
    begin, middle, end = (path.at(exposure.midpoint + dt, chosen) for dt in (-half, 0.0, half))
    rate = separation(*begin, *end) / exposure.days
    angle = motion(*middle, *end)[1]
    picked = rows[nearest[chosen]]
    return PredictedTrails.make(
        designation=texts(picked, "designation"),
        ss_object_ids=np.asarray(picked["ssObjectId"], dtype=np.int64),
        source=source,
        begin=begin,
        middle=middle,
        end=end,
        rate=rate,
        position_angle=angle,
        mag=numbers(picked, "vmag"),
        position_err=numbers(picked, "positionErr"),
        default_err=default_err,
    )


def _rates(rows: astropy.table.Table) -> tuple[_Floats, _Floats]:
    """Return rates and directions of motion; NaN if they are unknown."""
    east, north = numbers(rows, "rateRa"), numbers(rows, "rateDec")
    return np.hypot(east, north), np.mod(np.rad2deg(np.arctan2(east, north)), 360.0)


class _Paths:
    """Paths of objects through their rows."""

    def __init__(
        self,
        rows: astropy.table.Table,
        time: _Floats,
        rates: tuple[_Floats, _Floats],
        before: _Ints,
        after: _Ints,
        nearest: _Ints,
        other: _Ints,
        enclosed: npt.NDArray[np.bool_],
        curved: npt.NDArray[np.bool_],
    ) -> None:
        self._ra, self._dec = numbers(rows, "ra"), numbers(rows, "dec")
        self._time, self._rates = time, rates
        self._before, self._after, self._nearest, self._other = before, after, nearest, other
        self._enclosed, self._curved = enclosed, curved

    def at(self, moment: float, objects: _Ints) -> tuple[_Floats, _Floats]:
        """Return the positions of objects at a time, degrees."""
        ra, dec = self._straight(moment, objects)
        curved = self._curved[objects]
        if np.any(curved):
            ra[curved], dec[curved] = self._hermite(moment, objects[curved])
        return ra, dec

    def _straight(self, moment: float, objects: _Ints) -> tuple[_Floats, _Floats]:
        start, other = self._nearest[objects], self._other[objects]
        span = self._time[other] - self._time[start]
        rate, angle = motion(
            self._ra[start],
            self._dec[start],
            self._ra[other],
            self._dec[other],
            np.where(span == 0.0, 1.0, span),
        )
        # Beyond the rows the object's own rate is better than a difference.
        own = np.isfinite(self._rates[0][start]) & ~self._enclosed[objects]
        rate = np.where(own, self._rates[0][start], rate)
        angle = np.where(own, self._rates[1][start], angle)
        ra, dec = move(self._ra[start], self._dec[start], rate, angle, moment - self._time[start])
        return np.atleast_1d(ra), np.atleast_1d(dec)

    def _hermite(self, moment: float, objects: _Ints) -> tuple[_Floats, _Floats]:
        first, second = self._before[objects], self._after[objects]
        span = (self._time[second] - self._time[first])[:, None]
        s = (moment - self._time[first])[:, None] / span
        positions = [sky_vectors(self._ra[rows], self._dec[rows]) for rows in (first, second)]
        velocities = [self._velocity(rows) for rows in (first, second)]
        vectors = (
            (1.0 + 2.0 * s) * (1.0 - s) ** 2 * positions[0]
            + s * (1.0 - s) ** 2 * span * velocities[0]
            + s**2 * (3.0 - 2.0 * s) * positions[1]
            + s**2 * (s - 1.0) * span * velocities[1]
        )
        return vectors_to_sky(vectors)

    def _velocity(self, rows: _Ints) -> _Floats:
        """Return velocities of unit vectors, radians per day, shape (n, 3)."""
        # The point a quarter of a circle away is the unit vector of the direction.
        direction = sky_vectors(*move(self._ra[rows], self._dec[rows], 90.0, self._rates[1][rows], 1.0))
        return np.deg2rad(self._rates[0][rows])[:, None] * direction
