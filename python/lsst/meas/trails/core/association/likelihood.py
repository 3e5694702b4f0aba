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

"""Likelihood of candidates as trails of known objects, against random candidates.

A candidate is the whole predicted trail, a fragment of it, or the trail merged with a source on its line. A
whole trail has the predicted midpoint, length and angle within the errors of ephemeris and fit; a fragment
lies anywhere on the predicted line and is shorter, a merged one covers it and is longer. All compete with a
random candidate: the density of candidates around it times the distributions of their lengths and
magnitudes, at any angle.
"""

from __future__ import annotations

__all__ = ("AssociationOptions", "CandidateTrails", "ExpectedTrails", "Pairs", "log_normal", "rate_pairs")

import dataclasses
from typing import Self

import astropy.table
import numpy as np
import numpy.typing as npt
import scipy.spatial
import scipy.special

from ..geometry import Trails, angle_difference

type _Floats = npt.NDArray[np.float64]
type _Bools = npt.NDArray[np.bool_]

_FRAGMENT = 0.1
"""Prior probability that a candidate on a predicted trail is only a part of it."""

_MERGED = 0.02
"""Prior probability that a candidate is a trail merged with another source."""

_MAX_MERGED = 2.0
"""Largest length of a merged candidate, in units of the predicted length."""

_MAG_OUTLIERS = (0.1, 1.5)
"""Fraction of magnitudes with larger errors, and their standard deviation, magnitudes."""

_NEIGHBOR_RADIUS = 500.0
"""Radius within which the density of candidates is measured, pixels."""

_UNKNOWN_ERRORS = (2.0, 0.3, 10.0, 0.5)
"""Errors of fits without errors: position in pixels, relative length, angle in degrees, magnitude."""


@dataclasses.dataclass(frozen=True)
class AssociationOptions:
    """Criteria for a match of a candidate with a predicted trail."""

    n_sigma: float = 4.0
    """Largest offset, angle and excess length of a match, standard deviations."""

    position_floor: float = 1.0
    """Error of positions that is added to all others, pixels."""

    length_floor: float = 1.5
    """Error of lengths that is added to all others, pixels."""

    relative_length: float = 0.05
    """Error of lengths relative to the length, added to all others."""

    angle_floor: float = 1.5
    """Error of angles that is added to all others, degrees."""

    mag_err: float = 0.5
    """Standard deviation of predicted magnitudes."""

    max_mag_difference: float = 3.0
    """Largest difference of the magnitudes of a match."""

    min_probability: float = 0.7
    """Smallest probability of a match."""


@dataclasses.dataclass(frozen=True, eq=False)
class CandidateTrails:
    """Candidates with the errors of their fits; not finite errors are unknown.

    All arrays have shape (n,).
    """

    trails: Trails
    """Midpoints, lengths and angles, array coordinates."""

    x_err: _Floats
    """Errors of the midpoints in x, pixels."""

    y_err: _Floats
    """Errors of the midpoints in y, pixels."""

    length_err: _Floats
    """Errors of the lengths, pixels."""

    angle_err: _Floats
    """Errors of the angles, degrees."""

    mag: _Floats
    """Magnitudes; NaN if unknown."""

    mag_err: _Floats
    """Errors of the magnitudes."""

    score: _Floats
    """Calibrated probabilities that the candidates are trails; NaN if unknown."""

    def __len__(self) -> int:
        return len(self.trails)

    @classmethod
    def from_catalog(
        cls, candidates: astropy.table.Table, origin: tuple[int, int], pixel_scale: float
    ) -> Self:
        """Return the candidates of a catalog.

        Parameters
        ----------
        candidates
            Rows of a `trail_candidate_detector`.
        origin
            Coordinates (x, y) of the first pixel of the arrays in the image.
        pixel_scale
            Arcseconds per pixel.
        """
        columns = {
            name: np.asarray(candidates[name], dtype=np.float64)
            for name in (
                *("x", "y", "trailLengthPix", "trailAnglePix", "trailMag", "score"),
                *("xErr", "yErr", "trailLengthErr", "trailAngleErr", "trailFlux", "trailFluxErr"),
            )
        }
        flux, flux_err, score = columns["trailFlux"], columns["trailFluxErr"], columns["score"]
        with np.errstate(divide="ignore", invalid="ignore"):
            mag_err = 2.5 / np.log(10.0) * np.abs(flux_err / flux)
        return cls(
            trails=Trails(
                x=columns["x"] - origin[0],
                y=columns["y"] - origin[1],
                length=columns["trailLengthPix"],
                angle=columns["trailAnglePix"],
                flux=flux,
            ),
            x_err=columns["xErr"],
            y_err=columns["yErr"],
            length_err=columns["trailLengthErr"] / pixel_scale,
            angle_err=columns["trailAngleErr"],
            mag=columns["trailMag"],
            mag_err=mag_err,
            score=score if candidates.meta.get("scoreCalibrated", False) else np.full_like(score, np.nan),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ExpectedTrails:
    """Predicted trails on an image. All arrays have shape (m,)."""

    trails: Trails
    """The whole trails, array coordinates; they may reach beyond the image."""

    visible: Trails
    """Their parts on the image; equal to ``trails`` for those beyond its edge."""

    near_edge: _Bools
    """Whether the edge of the image may cut the trail."""

    position_err: _Floats
    """Standard deviations of the positions in each of two directions, pixels."""

    mag: _Floats
    """Magnitudes of the whole trails in the band of the image; NaN if unknown."""

    detection: _Floats
    """Probabilities that the trails are among the candidates."""

    def __len__(self) -> int:
        return len(self.trails)

    def __getitem__(self, index: slice | npt.NDArray[np.bool_ | np.int64]) -> ExpectedTrails:
        return ExpectedTrails(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Candidates and predicted trails compared pair by pair; all arrays have shape (n, m).

    Offsets are from the middle of the part of the trail on the image.
    """

    along: _Floats
    """Offsets along the predicted line, pixels."""

    cross: _Floats
    """Offsets across the predicted line, pixels."""

    cross_err: _Floats
    """Errors of these by the fit alone, pixels."""

    length_err: _Floats
    """Errors of the difference of lengths, pixels."""

    log_angle: _Floats
    """Logarithms of the likelihood of the angles, per degree."""

    allowed: _Bools
    """Whether the uncertainties allow a match."""

    log_odds: _Floats
    """Logarithms of the odds that a pair is a match, if there were no other pair."""

    log_background: _Floats
    """Logarithms of the density of random candidates, shape (n,)."""


def rate_pairs(
    candidates: CandidateTrails, expected: ExpectedTrails, area: float, options: AssociationOptions
) -> Pairs:
    """Compare all candidates with all predicted trails.

    Parameters
    ----------
    candidates, expected
        Candidates, and predicted trails, in the same coordinates.
    area
        Area of the image, pixels.
    options
        Criteria and errors.
    """
    # Candidates without a place have no finite odds.
    with np.errstate(invalid="ignore"):
        return _rate_pairs(candidates, expected, area, options)


def _rate_pairs(
    candidates: CandidateTrails, expected: ExpectedTrails, area: float, options: AssociationOptions
) -> Pairs:
    found, part = candidates.trails, expected.visible
    radians = np.deg2rad(part.angle)
    cos, sin = np.cos(radians), np.sin(radians)
    dx, dy = np.subtract.outer(found.x, part.x), np.subtract.outer(found.y, part.y)
    along, cross = dx * cos + dy * sin, dy * cos - dx * sin
    x_err, y_err = (_known(err, _UNKNOWN_ERRORS[0])[:, None] for err in (candidates.x_err, candidates.y_err))
    cross_err = np.hypot(np.hypot(x_err * sin, y_err * cos), options.position_floor)
    along_err = np.hypot(np.hypot(x_err * cos, y_err * sin), options.position_floor)
    cross_sigma = np.hypot(cross_err, expected.position_err)
    # An offset of a trail at the edge changes its visible part.
    shift = np.where(expected.near_edge, expected.position_err, 0.0)
    along_sigma = np.hypot(np.hypot(along_err, expected.position_err), shift)

    length, whole = found.length[:, None], part.length[None, :]
    length_err = _known(candidates.length_err, _UNKNOWN_ERRORS[1] * found.length)[:, None]
    length_err = np.hypot(length_err, options.length_floor + options.relative_length * whole)
    length_sigma = np.hypot(length_err, 2.0 * shift)
    turn = angle_difference(found.angle[:, None], part.angle[None, :])
    angle_sigma = _angle_errors(candidates, np.minimum(length, whole), options)

    log_cross = log_normal(cross, cross_sigma)
    log_angle = log_normal(turn, angle_sigma)
    log_whole = log_normal(along, along_sigma) + log_normal(length - whole, length_sigma)
    log_part, room = _fragment_likelihood(along, length, whole, along_sigma, length_sigma)
    # The predicted trail is a part of a merged candidate.
    log_merged, excess = _fragment_likelihood(along, whole, length, along_sigma, length_sigma)
    mergeable = length <= _MAX_MERGED * whole
    mag_whole, _ = _mag_likelihood(candidates, expected, np.zeros(length.shape), options)
    # A fragment has its share of the flux of the visible part.
    share = np.clip(length + 2.0, 2.0, whole + 2.0) / (whole + 2.0)
    mag_part, difference = _mag_likelihood(candidates, expected, -2.5 * np.log10(share), options)
    log_signal = (
        log_cross
        + log_angle
        + np.logaddexp.reduce(
            [
                np.log(1.0 - _FRAGMENT - _MERGED) + log_whole + mag_whole,
                np.log(_FRAGMENT) + log_part + mag_part,
                np.where(mergeable, np.log(_MERGED) + log_merged + mag_whole, -np.inf),
            ]
        )
        + _score_ratio(candidates.score)[:, None]
    )
    background, log_mag = _background(candidates, area)
    known_mag = np.isfinite(difference)
    log_background = background[:, None] + np.where(known_mag, log_mag[:, None], 0.0)
    n = options.n_sigma
    allowed = (
        (np.abs(cross) <= n * cross_sigma)
        & (np.abs(along) <= np.where(mergeable, np.maximum(room, excess), room) + n * along_sigma)
        & (mergeable | (length <= whole + n * length_sigma))
        & (turn <= np.minimum(n * angle_sigma, 90.0))
        & (~known_mag | (np.abs(difference) <= options.max_mag_difference))
    )
    detection = np.clip(expected.detection, 1e-3, 1.0 - 1e-3)
    log_odds = np.log(detection) - np.log1p(-detection) + log_signal - log_background
    allowed &= np.isfinite(log_odds)
    return Pairs(along, cross, cross_err, length_err, log_angle, allowed, log_odds, background)


def _known(errors: _Floats, default: npt.ArrayLike) -> _Floats:
    return np.where(np.isfinite(errors) & (errors > 0.0), errors, default)


def _score_ratio(score: _Floats) -> _Floats:
    """Return the logarithm of the score over its mean.

    Of calibrated candidates with a score, this fraction are trails: the ratio of trails to all candidates.
    """
    known = np.isfinite(score)
    if not np.any(known):
        return np.zeros(score.shape)
    ratio = np.maximum(score, 1e-3) / max(float(np.mean(score[known])), 1e-3)
    return np.where(known, np.log(np.where(known, ratio, 1.0)), 0.0)


def _angle_errors(candidates: CandidateTrails, length: _Floats, options: AssociationOptions) -> _Floats:
    """Return errors of angles, degrees, shape (n, m); a short trail has no meaningful angle."""
    lever = np.rad2deg(np.arctan2(2.0 * options.position_floor, np.maximum(length, 0.1)))
    measured = _known(candidates.angle_err, _UNKNOWN_ERRORS[2])[:, None]
    return np.minimum(np.hypot(np.hypot(measured, lever), options.angle_floor), 90.0)


def _fragment_likelihood(
    along: _Floats, length: _Floats, whole: _Floats, along_sigma: _Floats, length_sigma: _Floats
) -> tuple[_Floats, _Floats]:
    """Return the likelihood of a part of the trail, and half of the range of its midpoint, pixels."""
    room = np.maximum(0.5 * (whole - length), 0.0)
    # The midpoint is uniform over the range, convolved with the error.
    span = np.maximum(room, 0.1 * along_sigma)
    high = scipy.special.ndtr((span - along) / along_sigma)
    low = scipy.special.ndtr((-span - along) / along_sigma)
    with np.errstate(divide="ignore"):
        log_place = np.log(np.maximum(high - low, 0.0) / (2.0 * span))
    log_length = scipy.special.log_ndtr((whole - length) / length_sigma) - np.log(whole + length_sigma)
    return log_place + log_length, room


def _mag_likelihood(
    candidates: CandidateTrails, expected: ExpectedTrails, fainter: _Floats, options: AssociationOptions
) -> tuple[_Floats, _Floats]:
    """Return the likelihood of magnitudes, 0 if one is unknown, and their difference."""
    difference = candidates.mag[:, None] - (expected.mag[None, :] + fainter)
    measured = _known(candidates.mag_err, _UNKNOWN_ERRORS[3])[:, None]
    fraction, spread = _MAG_OUTLIERS
    parts = [
        np.log(weight) + log_normal(difference, np.hypot(measured, sigma))
        for weight, sigma in ((1.0 - fraction, options.mag_err), (fraction, spread))
    ]
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(difference), np.logaddexp(*parts), 0.0), difference


def _background(candidates: CandidateTrails, area: float) -> tuple[_Floats, _Floats]:
    """Return densities of random candidates like each candidate, as logarithms, shapes (n,).

    The first is per pixel of area and of length, and per degree; the second per magnitude.
    """
    trails = candidates.trails
    count = len(trails)
    if count == 0:
        return np.zeros(0), np.zeros(0)
    positions = np.nan_to_num(np.stack([trails.x, trails.y], axis=1))
    tree = scipy.spatial.KDTree(positions)
    neighbors = tree.query_ball_point(positions, _NEIGHBOR_RADIUS, return_length=True)
    circle = np.pi * _NEIGHBOR_RADIUS**2
    density = np.maximum(np.asarray(neighbors) / circle, count / area)
    length = np.maximum(np.nan_to_num(trails.length), 0.5)
    log_length = _density(np.log(length), bandwidth=0.3, low=0.0, high=np.log(1000.0)) - np.log(length)
    log_mag = _density(candidates.mag, bandwidth=0.5, low=12.0, high=28.0)
    return np.log(density) + log_length - np.log(180.0), log_mag


def _density(values: _Floats, *, bandwidth: float, low: float, high: float) -> _Floats:
    """Return the logarithm of a smoothed distribution at its own values, shape (n,).

    One more value, uniform over the range, stands for what few values do not show.
    """
    known = values[np.isfinite(values)]
    uniform = 1.0 / (high - low)
    if known.size == 0:
        return np.full(values.shape, np.log(uniform))
    edges = np.linspace(min(low, known.min()) - bandwidth, max(high, known.max()) + bandwidth, 513)
    centers = 0.5 * (edges[1:] + edges[:-1])
    counts = np.histogram(known, edges)[0]
    used = counts > 0
    kernels = np.exp(log_normal(centers[:, None] - centers[used], bandwidth))
    smooth = (kernels @ counts[used] + uniform) / (known.size + 1.0)
    return np.log(np.interp(np.nan_to_num(values, nan=float(np.median(known))), centers, smooth))


def log_normal(difference: npt.ArrayLike, sigma: npt.ArrayLike) -> _Floats:
    """Return the logarithm of a normal density; importing `scipy.stats` takes most of a second."""
    return np.asarray(-0.5 * np.square(np.divide(difference, sigma)) - np.log(np.sqrt(2.0 * np.pi) * sigma))
