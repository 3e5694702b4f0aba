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

"""Uniform motions along great circles, fitted to many groups of detections at once."""

from __future__ import annotations

__all__ = ("Motions", "fit_motions")

import dataclasses

import numpy as np
import numpy.typing as npt

from .detections import Detections
from .visits import ARCSEC

type _Floats = npt.NDArray[np.float64]
type _Ints = npt.NDArray[np.int64]

_DAY = 86400.0


@dataclasses.dataclass(frozen=True, eq=False)
class Motions:
    """Motions of n groups, and the residuals of their m detections.

    Parameters
    ----------
    epoch
        Mean of the times of the first and the last detection, days, shape (n,).
    place
        Unit vectors of the positions at the epoch, shape (n, 3).
    velocity
        Tangential motion at the epoch, arcsec per day, shape (n, 3).
    rate_error
        Error of the rate, arcsec per day, shape (n,).
    along, cross
        Offsets of the midpoints from the motion, arcsec, shape (m,); ``cross`` is positive to the North of
        an eastward motion.
    length
        Length of the trails minus rate times exposure time, arcsec, shape (m,).
    angle
        Position angle of the trails minus that of the motion, degrees in [-180, 180], shape (m,).
    end_cross
        RMS offset of the two ends from the great circle, arcsec, shape (m,).
    """

    epoch: _Floats
    place: _Floats
    velocity: _Floats
    rate_error: _Floats
    along: _Floats
    cross: _Floats
    length: _Floats
    angle: _Floats
    end_cross: _Floats

    @property
    def rate(self) -> _Floats:
        """Rates, arcsec per day."""
        return np.asarray(np.linalg.norm(self.velocity, axis=1))


def fit_motions(detections: Detections, group: _Ints, sense: _Ints) -> Motions:
    """Fit a uniform motion along a great circle to each group of detections.

    Parameters
    ----------
    detections
        Detections in order of group and time, at least two of different times and positions per group.
    group
        Group of each detection, from 0, shape (m,).
    sense
        1 if end 0 of the detection comes first in time, -1 if end 1 does, shape (m,).

    Notes
    -----
    In coordinates whose equator runs through the first and the last position, longitude and latitude are
    fitted as linear functions of time, with weights from the errors of the positions.
    """
    d = detections
    count = np.bincount(group)
    last = np.cumsum(count) - 1
    first = last - count + 1
    a, b = d.place[first], d.place[last]
    x, z = _unit(a + b), _unit(np.cross(a, b))
    frame = np.stack([x, np.cross(z, x), z], axis=1)
    epoch = 0.5 * (d.time[first] + d.time[last])
    t = d.time - epoch[group]
    weight = 1.0 / np.square(d.position_error)
    local = np.einsum("mij,mj->mi", frame[group], d.place)
    lon = np.arctan2(local[:, 1], local[:, 0]) / ARCSEC
    lat = np.arcsin(np.clip(local[:, 2], -1.0, 1.0)) / ARCSEC
    lon0, lon_rate, rate_error = _fit_lines(lon, t, weight, group)
    lat0, lat_rate, _ = _fit_lines(lat, t, weight, group)

    def motion_at(lon: _Floats, lat: _Floats, number: _Ints) -> tuple[_Floats, _Floats]:
        """Return position and velocity of groups at longitude and latitude."""
        u, v = lon * ARCSEC, lat * ARCSEC
        zero = np.zeros_like(u)
        place = np.stack([np.cos(v) * np.cos(u), np.cos(v) * np.sin(u), np.sin(v)], axis=1)
        east = np.stack([-np.sin(u), np.cos(u), zero], axis=1)
        north = np.stack([-np.sin(v) * np.cos(u), -np.sin(v) * np.sin(u), np.cos(v)], axis=1)
        velocity = east * lon_rate[number, None] + north * lat_rate[number, None]
        axes = frame[number]
        return np.einsum("mij,mi->mj", axes, place), np.einsum("mij,mi->mj", axes, velocity)

    place, velocity = motion_at(lon0, lat0, np.arange(len(count)))
    _, tangent = motion_at(lon, lat, group)
    rate = np.hypot(lon_rate, lat_rate)
    tangent /= rate[group, None]
    direction = d.direction * sense[:, None]
    turn = np.sum(np.cross(direction, tangent) * d.place, axis=1)
    # The ends, at the start and the end of the exposure, relative to the great circle.
    cross = lat - lat0[group] - lat_rate[group] * t
    slope = -0.5 * d.length * turn
    return Motions(
        epoch=epoch,
        place=place,
        velocity=velocity,
        rate_error=rate_error,
        along=lon - lon0[group] - lon_rate[group] * t,
        cross=cross,
        length=d.length - rate[group] * d.exposure_time / _DAY,
        angle=np.rad2deg(np.arctan2(turn, np.sum(direction * tangent, axis=1))),
        end_cross=np.sqrt(np.square(cross) + np.square(slope)),
    )


def _fit_lines(
    values: _Floats, t: _Floats, weight: _Floats, group: _Ints
) -> tuple[_Floats, _Floats, _Floats]:
    """Return values at zero and slopes of straight lines, and the errors of the slopes."""

    def total(terms: _Floats) -> _Floats:
        return np.bincount(group, weights=terms)

    norm = total(weight)
    mean_t, mean = total(weight * t) / norm, total(weight * values) / norm
    dt = t - mean_t[group]
    spread = total(weight * dt * dt)
    slope = total(weight * dt * (values - mean[group])) / spread
    return mean - slope * mean_t, slope, 1.0 / np.sqrt(spread)


def _unit(vectors: _Floats) -> _Floats:
    """Return vectors of unit length."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
