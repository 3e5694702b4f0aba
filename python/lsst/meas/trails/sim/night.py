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

"""Simulated candidate catalogs of a night, without images."""

from __future__ import annotations

__all__ = ("LinkTruth", "NightConfig", "link_truth", "simulate_night")

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import astropy.table
import numpy as np
import numpy.typing as npt

from ..core.geometry import wrap_angle
from ..core.linking.detections import LINKING_COLUMNS
from ..core.motion import east_north, motion, move, separation, sky_vectors, tangent_offsets, vectors_to_sky
from ..core.photometry import flux_to_mag, mag_to_flux
from .detector import PIXEL_SCALE, focal_plane_offset
from .instrument import DETECTOR_SHAPE, N_DETECTORS

type _Floats = npt.NDArray[np.float64]
type _Ints = npt.NDArray[np.int64]

_FIELD_RADIUS = 2.2
"""Radius around the center of a field in which objects are drawn, degrees."""

_FALSE_LENGTHS = (1.2, 30.0)
"""Shortest and longest false candidate, arcsec: 6 to 150 pixels; uniform in the logarithm."""

_POSITION_ERROR = 0.15
"""Error of midpoints, arcsec."""

_END_ERROR = 0.3
"""Error of lengths, and of either end across the trail, arcsec."""


@dataclasses.dataclass(frozen=True)
class NightConfig:
    """Configuration of the candidates of a night.

    The fields are rows of tiles that overlap a little. A block of fields is visited one after another, then
    again from the first.
    """

    seed: int = 1
    """Seed of all random numbers."""

    fields: int = 1
    """Number of fields."""

    repeat: int = 2
    """Number of visits of each field."""

    gap: float = 30.0
    """Time from a visit of a field to the next, minutes."""

    cadence: float = 38.0
    """Time from a visit to the next, seconds."""

    detectors: int = N_DETECTORS
    """Number of detectors, counted from 0."""

    false: float = 10.0
    """Mean number of false candidates per detector."""

    clustered: float = 0.0
    """Part of the false candidates that lie around bright stars, at the angles of their spikes."""

    stationary: float = 0.0
    """Part of the false candidates that repeat at the same place in every visit."""

    objects: float = 3.0
    """Moving objects per square degree."""

    rates: tuple[float, float] = (0.96, 24.0)
    """Lowest and highest rate of motion, degrees per day; uniform in the logarithm."""

    found: float = 1.0
    """Probability that an object in the field is found."""

    exposure_time: float = 30.0
    """Seconds."""

    bands: str = "r"
    """Bands of the visits of a field, one after another."""

    ra: float = 352.0
    """Right ascension of the first field, degrees."""

    dec: float = -20.0
    """Declination of the first field, degrees."""

    start: float = 60_000.1
    """Middle of the first exposure, MJD, TAI."""


def simulate_night(config: NightConfig = NightConfig()) -> Iterator[astropy.table.Table]:
    """Yield the candidates of each visit.

    Parameters
    ----------
    config
        The night.

    Yields
    ------
    catalog
        The columns of candidate catalogs that linking reads, and ``object``: number of the moving object,
        -1 for a false candidate.
    """
    rng = np.random.default_rng(config.seed)
    block = max(1, round(config.gap * 60.0 / config.cadence))
    numbers = itertools.count()
    next_id = 1
    for index in range(-(-config.fields // block)):
        count = min(block, config.fields - index * block)
        centers = _field_centers(config, index, count)
        # A block that is not full lasts as long as a full one.
        start = config.start + index * config.repeat * block * config.cadence / 86400.0
        objects = _Objects.draw(config, centers, start, numbers, rng)
        sources = [_Sources.draw(config, rng) for _ in range(count)]
        for repetition, field in itertools.product(range(config.repeat), range(count)):
            time = start + (repetition * block + field) * config.cadence / 86400.0
            columns = _candidates(
                config, (centers[0][field], centers[1][field]), time, objects, sources[field], rng
            )
            visit = (index * config.repeat + repetition) * block + field + 1
            columns |= {
                "visit": np.full(len(columns["ra"]), visit),
                "trailCandidateId": next_id + np.arange(len(columns["ra"])),
                "band": np.full(len(columns["ra"]), config.bands[repetition % len(config.bands)]),
            }
            next_id += len(columns["ra"])
            yield _catalog(config, columns, time)


@dataclasses.dataclass(frozen=True)
class LinkTruth:
    """Comparison of tracklets with the truth of a night."""

    twice: int
    """Number of objects with candidates in two or more visits."""

    linked: int
    """Number of these with a tracklet of at least two candidates of them and no other."""

    false: int
    """Number of tracklets with candidates that are not of one object."""


def link_truth(
    tracklets: astropy.table.Table, members: astropy.table.Table, catalogs: Sequence[astropy.table.Table]
) -> LinkTruth:
    """Compare tracklets with the truth.

    Parameters
    ----------
    tracklets, members
        Result of linking.
    catalogs
        Catalogs with ``trailCandidateId``, ``visit`` and ``object``: number of the object, -1 for false
        candidates.
    """
    identifier, visit, number = (
        np.concatenate([np.asarray(catalog[name], dtype=np.int64) for catalog in catalogs])
        for name in ("trailCandidateId", "visit", "object")
    )
    order = np.argsort(identifier)
    place = order[np.searchsorted(identifier, np.asarray(members["trailCandidateId"]), sorter=order)]
    of_member = number[place]
    _, tracklet = np.unique(members["trackletId"], return_inverse=True)
    low, high = np.full(len(tracklets), np.iinfo(np.int64).max), np.full(len(tracklets), -1)
    np.minimum.at(low, tracklet, of_member)
    np.maximum.at(high, tracklet, of_member)
    pure = (low == high) & (low >= 0)
    seen = np.unique(np.stack([number, visit])[:, number >= 0], axis=1)
    objects, counts = np.unique(seen[0], return_counts=True)
    twice = objects[counts >= 2]
    return LinkTruth(len(twice), int(np.isin(twice, low[pure]).sum()), int(np.count_nonzero(~pure)))


def _field_centers(config: NightConfig, block: int, count: int) -> tuple[_Floats, _Floats]:
    """Return the centers of the fields of a block: rows of seven, 3 degrees apart."""
    row, column = np.divmod(np.arange(count), 7)
    dec = config.dec + 3.0 * row
    stretch = max(np.cos(np.deg2rad(config.dec)), 0.05)
    return np.mod(config.ra + (21.0 * block + 3.0 * column) / stretch, 360.0), dec


@dataclasses.dataclass(frozen=True, eq=False)
class _Objects:
    """Moving objects: positions and motions at an epoch."""

    number: _Ints
    ra: _Floats
    dec: _Floats
    rate: _Floats
    angle: _Floats
    mag: _Floats
    epoch: float

    @classmethod
    def draw(
        cls,
        config: NightConfig,
        centers: tuple[_Floats, _Floats],
        epoch: float,
        numbers: Iterator[int],
        rng: np.random.Generator,
    ) -> _Objects:
        """Draw objects around fields."""
        places = []
        for index, (ra, dec) in enumerate(zip(*centers, strict=True)):
            count = rng.poisson(config.objects * np.pi * _FIELD_RADIUS**2)
            distance, bearing = _FIELD_RADIUS * np.sqrt(rng.random(count)), rng.uniform(0.0, 360.0, count)
            found = np.stack(move(ra, dec, distance, bearing, 1.0))
            # Circles overlap: each place belongs to its nearest field.
            nearest = np.argmin(
                [separation(found[0], found[1], *field) for field in zip(*centers, strict=True)], axis=0
            )
            places.append(found[:, nearest == index])
        ra, dec = np.concatenate(places, axis=1)
        count = len(ra)
        return cls(
            number=np.fromiter(itertools.islice(numbers, count), dtype=np.int64, count=count),
            ra=ra,
            dec=dec,
            rate=np.exp(rng.uniform(np.log(config.rates[0]), np.log(config.rates[1]), count)),
            angle=rng.uniform(0.0, 360.0, count),
            mag=_draw_mags(count, rng),
            epoch=epoch,
        )

    def candidates(
        self, config: NightConfig, center: tuple[float, float], time: float, rng: np.random.Generator
    ) -> dict[str, _Floats]:
        """Return the objects in a field at a time."""
        ra, dec = move(self.ra, self.dec, self.rate, self.angle, time - self.epoch)
        _, back = motion(ra, dec, *move(self.ra, self.dec, self.rate, self.angle, time - self.epoch - 0.001))
        east, north = tangent_offsets(ra, dec, *center)
        detector = _detectors(config, east, north)
        use = (detector >= 0) & (rng.random(len(ra)) < config.found)
        return {
            "object": self.number[use],
            "detector": detector[use],
            "ra": ra[use],
            "dec": dec[use],
            "length": self.rate[use] * 3600.0 * config.exposure_time / 86400.0,
            "angle": np.mod(back[use] + 180.0, 360.0),
            "mag": self.mag[use] + rng.normal(0.0, 0.1, int(use.sum())),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class _Sources:
    """Bright stars and stationary false sources of a field: offsets from its center, degrees."""

    stars: _Floats
    offsets: _Floats
    length: _Floats
    angle: _Floats
    mag: _Floats

    @classmethod
    def draw(cls, config: NightConfig, rng: np.random.Generator) -> _Sources:
        """Draw the sources of a field."""
        count = round(config.stationary * config.false * config.detectors)
        length, angle, mag = _draw_shapes(count, rng)
        stars = _draw_offsets(config, max(1, round(0.5 * config.detectors)), rng)
        return cls(stars, _draw_offsets(config, count, rng), length, angle, mag)

    def candidates(
        self, config: NightConfig, center: tuple[float, float], rng: np.random.Generator
    ) -> dict[str, _Floats]:
        """Return the false candidates of a visit."""
        mean = config.false * config.detectors * (1.0 - config.stationary)
        near, free = rng.poisson(mean * config.clustered), rng.poisson(mean * (1.0 - config.clustered))
        length, angle, mag = _draw_shapes(near + free, rng)
        angle[:near] = 45.0 + 90.0 * rng.integers(0, 2, near) + rng.normal(0.0, 2.0, near)
        star = self.stars[:, rng.integers(0, self.stars.shape[1], near)]
        offsets = np.concatenate(
            [
                star + rng.normal(0.0, 30.0 / 3600.0, (2, near)),
                _draw_offsets(config, free, rng),
                self.offsets,
            ],
            axis=1,
        )
        toward, (east, north) = sky_vectors(*center), east_north(*center)
        radians = np.deg2rad(offsets)
        ra, dec = vectors_to_sky(toward + radians[0][:, None] * east + radians[1][:, None] * north)
        detector = _detectors(config, *offsets)
        use = detector >= 0
        return {
            "object": np.full(int(use.sum()), -1),
            "detector": detector[use],
            "ra": ra[use],
            "dec": dec[use],
            "length": np.concatenate([length, self.length])[use],
            "angle": np.concatenate([angle, self.angle])[use],
            "mag": np.concatenate([mag, self.mag])[use],
        }


def _candidates(
    config: NightConfig,
    center: tuple[float, float],
    time: float,
    objects: _Objects,
    sources: _Sources,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the candidates of a visit, true and false, with errors of measurement."""
    true, false = objects.candidates(config, center, time, rng), sources.candidates(config, center, rng)
    columns: dict[str, Any] = {name: np.concatenate([true[name], false[name]]) for name in true}
    count = len(columns["ra"])
    length = columns.pop("length")
    columns["trailLengthErr"] = np.hypot(_END_ERROR, 0.02 * length)
    columns["trailAngleErr"] = np.rad2deg(np.arctan2(_END_ERROR, length))
    columns["trailLength"] = np.maximum(length + rng.normal(0.0, columns["trailLengthErr"]), 0.5)
    angle = columns.pop("angle") + rng.normal(0.0, columns["trailAngleErr"])
    # The order of the ends says nothing about time.
    columns["angle"] = angle + 180.0 * rng.integers(0, 2, count)
    shift, bearing = _POSITION_ERROR / 3600.0 * rng.normal(size=(2, count)), np.array([[90.0], [0.0]])
    for offset, direction in zip(shift, bearing, strict=True):
        columns["ra"], columns["dec"] = move(columns["ra"], columns["dec"], offset, direction, 1.0)
    return columns


def _catalog(config: NightConfig, columns: dict[str, Any], time: float) -> astropy.table.Table:
    """Return the catalog of a visit."""
    count = len(columns["ra"])
    angle, half = columns.pop("angle"), 0.5 * columns["trailLength"] / 3600.0
    for end, turn in (("0", 180.0), ("1", 0.0)):
        columns[f"ra{end}"], columns[f"dec{end}"] = move(
            columns["ra"], columns["dec"], half, angle + turn, 1.0
        )
    flux = mag_to_flux(columns.pop("mag"))
    columns |= {
        "midpointMjdTai": np.full(count, time),
        "exposureTime": np.full(count, config.exposure_time),
        "raErr": np.full(count, _POSITION_ERROR / 3600.0),
        "decErr": np.full(count, _POSITION_ERROR / 3600.0),
        "trailAngle": wrap_angle(angle),
        "trailFlux": flux,
        "trailFluxErr": 0.1 * flux,
        "trailMag": flux_to_mag(flux),
        "score": np.full(count, 0.5),
        **dict.fromkeys(("streakFlag", "trail_flag", "trail_flag_edge"), np.zeros(count, dtype=bool)),
    }
    return astropy.table.Table({name: columns[name] for name in (*LINKING_COLUMNS, "object")})


def _draw_shapes(count: int, rng: np.random.Generator) -> tuple[_Floats, _Floats, _Floats]:
    """Draw lengths, angles and magnitudes of false candidates, more of them short."""
    length = _FALSE_LENGTHS[0] * np.power(_FALSE_LENGTHS[1] / _FALSE_LENGTHS[0], rng.random(count))
    return length, rng.uniform(0.0, 180.0, count), _draw_mags(count, rng)


def _draw_mags(count: int, rng: np.random.Generator) -> _Floats:
    """Draw magnitudes from 19 to 23.5, more of them faint."""
    return 23.5 + np.log10(rng.uniform(10.0 ** (-0.3 * 4.5), 1.0, count)) / 0.3


def _draw_offsets(config: NightConfig, count: int, rng: np.random.Generator) -> _Floats:
    """Draw offsets from the boresight on the detectors, degrees, shape (2, count)."""
    centers = np.array([focal_plane_offset(detector, DETECTOR_SHAPE) for detector in range(config.detectors)])
    size = np.array(DETECTOR_SHAPE[::-1])
    offsets = centers[rng.integers(0, config.detectors, count)] + size * rng.uniform(-0.5, 0.5, (count, 2))
    return offsets.T * PIXEL_SCALE / 3600.0


def _detectors(config: NightConfig, east: _Floats, north: _Floats) -> _Ints:
    """Return the detector at offsets from the boresight, -1 for none."""
    size = np.array(DETECTOR_SHAPE[::-1]) * PIXEL_SCALE / 3600.0
    detector = np.full(len(east), -1, dtype=np.int64)
    for number in range(config.detectors):
        x, y = np.array(focal_plane_offset(number, DETECTOR_SHAPE)) * PIXEL_SCALE / 3600.0
        detector[(np.abs(east - x) <= 0.5 * size[0]) & (np.abs(north - y) <= 0.5 * size[1])] = number
    return detector
