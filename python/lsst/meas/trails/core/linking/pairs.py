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

"""Search for pairs of detections of different visits that agree with a motion along a great circle."""

from __future__ import annotations

__all__ = ("Pairs", "find_pairs", "log_odds_of_both")

import dataclasses

import numpy as np
import numpy.typing as npt

from .detections import Detections
from .options import LinkOptions
from .priors import Priors
from .visits import ARCSEC, Visit

type _Mask = npt.NDArray[np.bool_]
type _Floats = npt.NDArray[np.float64]
type _Ints = npt.NDArray[np.int64]

_DAY = 86400.0

_SLACK = 5.0 * ARCSEC
"""Largest error of a position, radians."""

_OUTLIERS = 0.1
"""Part of the lengths that are wrong by more than their errors."""

_OUTLIER_ERROR = 0.5
"""Relative error of these lengths."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of detections; all arrays have shape (n,).

    Parameters
    ----------
    first, second
        Rows of the earlier and the later detection.
    sense_first, sense_second
        1 if end 0 of the detection comes first in time, -1 if end 1 does.
    chi2, ndof
        Chi-square of lengths, angles and magnitudes, and its degrees of freedom.
    log_ratio
        Natural logarithm of the likelihood ratio of one object to chance.
    """

    first: _Ints
    second: _Ints
    sense_first: _Ints
    sense_second: _Ints
    chi2: _Floats
    ndof: _Ints
    log_ratio: _Floats

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: npt.NDArray[np.bool_ | np.integer]) -> Pairs:
        """Return some of the pairs."""
        return Pairs(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    @classmethod
    def joined(cls, parts: list[Pairs]) -> Pairs:
        """Return the pairs of several parts."""
        if not parts:
            none = np.zeros(0, dtype=np.int64)
            return cls(none, none, none, none, np.zeros(0), none, np.zeros(0))
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def find_pairs(
    detections: Detections,
    visits: list[Visit],
    priors: Priors,
    options: LinkOptions = LinkOptions(),
    *,
    rotation: float = 0.0,
    first_visits: _Mask | None = None,
) -> Pairs:
    """Return the pairs of detections that may be one moving object.

    Parameters
    ----------
    detections
        The detections, in order of visits.
    visits
        Their visits.
    priors
        Densities of detections, for the likelihood ratio.
    options
        Limits.
    rotation
        Angle by which the direction of every detection is rotated, degrees: other angles than 0 give pairs
        that agree by chance.
    first_visits
        Restricts the visits of the earlier detections, one per visit.

    Returns
    -------
    pairs
        All pairs with a chi-square below the limit; a detection may be in several.

    Notes
    -----
    Length and angle of each detection predict its place at the time of every later and earlier visit, in
    both senses. The search is within the error of this place (Kubica et al. 2007, Icarus 189, 151, for
    tracklets of points). The residuals of a pair are its two lengths and two angles against rate and bearing
    from one midpoint to the other. One wrong length does not hide a pair, as the other detection predicts its
    place.
    """
    direction = _rotated(detections, rotation)
    parts = []
    for number, visit in enumerate(visits):
        if first_visits is not None and not first_visits[number]:
            continue
        found = []
        for other in visits[number + 1 :]:
            dt = other.time - visit.time
            if dt * 1440.0 > options.max_gap:
                break
            found += _search(detections, direction, visit, other, dt, options)
            found += [(a, b) for b, a in _search(detections, direction, other, visit, -dt, options)]
        if found:
            first, second = (np.concatenate(column) for column in zip(*found, strict=True))
            # Most pairs are found from both of their detections.
            key = np.unique(first * len(detections) + second)
            first, second = np.divmod(key, len(detections))
            parts.append(_evaluate(detections, direction, priors, options, first, second))
    return Pairs.joined(parts)


def _rotated(detections: Detections, rotation: float) -> _Floats:
    """Return the directions, rotated about the midpoints."""
    if rotation == 0.0:
        return detections.direction
    angle = np.deg2rad(rotation)
    normal = np.cross(detections.place, detections.direction)
    return np.cos(angle) * detections.direction + np.sin(angle) * normal


def _search(
    detections: Detections, direction: _Floats, visit: Visit, other: Visit, dt: float, options: LinkOptions
) -> list[tuple[_Ints, _Ints]]:
    """Return rows of a visit and rows of another visit near the places that the former predict."""
    # An object that moves at the largest rate reaches only some of the visits.
    largest = options.max_rate * 3600.0 * ARCSEC * abs(dt)
    if np.linalg.norm(visit.center - other.center) > visit.radius + other.radius + 2.0 * largest + _SLACK:
        return []
    rows = slice(visit.start, visit.stop)
    place, along = detections.place[rows], direction[rows]
    arc = detections.rate[rows] * ARCSEC * dt
    rate_error = detections.length_error[rows] / detections.exposure_time[rows] * _DAY * ARCSEC
    error = np.hypot(rate_error * dt, arc * np.deg2rad(detections.angle_error[rows]))
    radius = np.sqrt(options.max_chi2) * error + _SLACK
    found = []
    for sense in (1.0, -1.0):
        target = place * np.cos(arc)[:, None] + along * (sense * np.sin(arc))[:, None]
        near = np.flatnonzero(np.linalg.norm(target - other.center, axis=1) <= other.radius + radius)
        if len(near) == 0:
            continue
        lists = other.tree.query_ball_point(target[near], radius[near], return_sorted=False)
        counts = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        if counts.any():
            second = np.concatenate(lists).astype(np.int64) + other.start
            found.append((np.repeat(near, counts) + visit.start, second))
    return found


def _evaluate(
    detections: Detections,
    direction: _Floats,
    priors: Priors,
    options: LinkOptions,
    first: _Ints,
    second: _Ints,
) -> Pairs:
    """Return the pairs whose lengths, angles and magnitudes agree with their positions."""
    d = detections
    dt = d.time[second] - d.time[first]
    exposure = d.exposure_time[first], d.exposure_time[second]
    possible = (dt * _DAY >= 0.5 * (exposure[0] + exposure[1])) & (dt * 1440.0 <= options.max_gap)
    possible &= (d.known[first] == d.known[second]) | (d.known[first] < 0) | (d.known[second] < 0)
    first, second = first[possible], second[possible]
    # Arc between the midpoints, and the direction along it at both ends.
    a, b = d.place[first], d.place[second]
    moving = np.any(a != b, axis=1)
    first, second, a, b = first[moving], second[moving], a[moving], b[moving]
    dt = d.time[second] - d.time[first]
    arc = 2.0 * np.arcsin(np.clip(0.5 * np.linalg.norm(b - a, axis=1), 0.0, 1.0))
    along_a, along_b = _bearing(a, b - a), _bearing(b, b - a)
    u_a, u_b = direction[first], direction[second]
    sense = np.where(np.sum(u_a * along_a, axis=1) >= 0.0, 1, -1)
    sense_b = np.where(np.sum(u_b * along_b, axis=1) >= 0.0, 1, -1)
    angle_a = _angle(a, u_a * sense[:, None], along_a)
    angle_b = _angle(b, u_b * sense_b[:, None], along_b)
    separation = arc / ARCSEC
    exposure_a, exposure_b = d.exposure_time[first] / _DAY / dt, d.exposure_time[second] / _DAY / dt
    length_a = d.length[first] - separation * exposure_a
    length_b = d.length[second] - separation * exposure_b
    place_var = np.square(d.position_error[first]) + np.square(d.position_error[second])
    log_length = _log_robust(
        length_a, d.length_error[first], place_var * exposure_a**2, separation * exposure_a
    )
    log_length += _log_robust(
        length_b, d.length_error[second], place_var * exposure_b**2, separation * exposure_b
    )
    best = _log_robust(0.0, d.length_error[first], place_var * exposure_a**2, separation * exposure_a)
    best += _log_robust(0.0, d.length_error[second], place_var * exposure_b**2, separation * exposure_b)
    chi2_length = 2.0 * (best - log_length)
    bearing_var = place_var / np.square(separation) * np.rad2deg(1.0) ** 2
    chi2_angle, det_angle = _quadratic(
        angle_a,
        angle_b,
        np.square(d.angle_error[first]) + bearing_var,
        np.square(d.angle_error[second]) + bearing_var,
        bearing_var,
    )
    other_band = d.band[first] != d.band[second]
    mag_var = np.square(d.mag_error[first]) + np.square(d.mag_error[second]) + options.mag_floor**2
    mag_var += np.where(other_band, options.color_allowance**2, 0.0)
    with_mag = np.isfinite(d.mag[first]) & np.isfinite(d.mag[second])
    chi2_mag = np.where(with_mag, np.square(d.mag[first] - d.mag[second]) / mag_var, 0.0)
    chi2 = chi2_length + chi2_angle + chi2_mag
    # The sense that ephemerides give excludes the opposite.
    consistent = (sense * d.sense[first] >= 0) & (sense_b * d.sense[second] >= 0)
    keep = (chi2 <= options.max_chi2) & consistent
    # Probability of the second detection per arcsec^2, arcsec, degree and magnitude, given the first.
    normal = log_length - 0.5 * (chi2_angle + chi2_mag) - np.log(2.0 * np.pi) - 0.5 * np.log(det_angle)
    normal += np.where(with_mag, -0.5 * np.log(2.0 * np.pi * mag_var), 0.0)
    normal += np.log(exposure_a / (separation * np.deg2rad(1.0)))
    ratio = normal - priors.log_density(d, second, with_mag)
    odds = log_odds_of_both(d.log_odds[first], d.log_odds[second])
    return Pairs(first, second, sense, sense_b, chi2, 4 + with_mag.astype(np.int64), ratio + odds).take(keep)


def _bearing(place: _Floats, chord: _Floats) -> _Floats:
    """Return the tangential unit vectors of chords at places."""
    tangent = chord - np.sum(chord * place, axis=1)[:, None] * place
    return tangent / np.linalg.norm(tangent, axis=1)[:, None]


def _angle(place: _Floats, direction: _Floats, reference: _Floats) -> _Floats:
    """Return the angle from a reference to a direction, both tangential, in degrees."""
    sine = np.sum(np.cross(reference, direction) * place, axis=1)
    return np.rad2deg(np.arctan2(sine, np.sum(reference * direction, axis=1)))


def _log_robust(residual: _Floats | float, error: _Floats, variance: _Floats, expected: _Floats) -> _Floats:
    """Return the logarithm of the density of residuals of lengths.

    Neighbors on the line of a trail lengthen some trails, and noise shortens some: the density has tails.
    """
    core = np.square(error) + variance
    tail = core + np.square(_OUTLIER_ERROR * expected)
    square = np.square(residual)
    return np.logaddexp(
        np.log(1.0 - _OUTLIERS) - 0.5 * (square / core + np.log(2.0 * np.pi * core)),
        np.log(_OUTLIERS) - 0.5 * (square / tail + np.log(2.0 * np.pi * tail)),
    )


def _quadratic(
    x: _Floats, y: _Floats, var_x: _Floats, var_y: _Floats, covariance: _Floats
) -> tuple[_Floats, _Floats]:
    """Return the chi-square of two residuals and the determinant of their covariance matrix."""
    determinant = var_x * var_y - covariance**2
    return (x * x * var_y + y * y * var_x - 2.0 * x * y * covariance) / determinant, determinant


def log_odds_of_both(a: _Floats, b: _Floats) -> _Floats:
    """Return the log-odds that two independent candidates are both trails."""
    return -np.log(np.exp(-a) + np.exp(-b) + np.exp(-a - b))
