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

"""Images with known and unknown trails, for ``known_objects.py images``."""

from __future__ import annotations

__all__ = ("Objects", "ephemerides", "measure_images")

import collections
import dataclasses
from collections.abc import Callable

import astropy.table
import numpy as np
import numpy.typing as npt
from known_objects import FALSE, UNCERTAINTIES, UNKNOWN, count_labels

from lsst.images import VisitImage
from lsst.meas.trails.core.association.designation import pack_designation, ss_object_id
from lsst.meas.trails.core.association.expected import BAND_COLORS
from lsst.meas.trails.core.association.known_objects import KNOWN_OBJECT_COLUMNS
from lsst.meas.trails.core.catalog.columns import table_of
from lsst.meas.trails.core.geometry import Trail, Trails
from lsst.meas.trails.core.matching import match_trails
from lsst.meas.trails.core.motion import motion, move, sky_vectors
from lsst.meas.trails.core.photometry import flux_to_mag
from lsst.meas.trails.core.render import optimal_snr, render_trail
from lsst.meas.trails.sim.simulation import Simulation
from lsst.meas.trails.tasks import (
    AssociateTrailsTask,
    InjectTrailsTask,
    TrailCandidateTask,
    TrailSegmentationTask,
)
from lsst.meas.trails.tasks._input_image import InputImage, read_input_image

KNOWN, HIDDEN, NEW = 60, 20, 20
"""Known objects, those of them that are not visible, and unknown trails, in all images together."""

type _Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Objects:
    """Moving objects on an image; all arrays have shape (n,)."""

    names: list[str]
    """Designations, empty for unknown objects."""

    trails: Trails
    """True trails, image coordinates, fluxes in image units."""

    ra: _Floats
    """Right ascensions at the middle of the exposure, degrees."""

    dec: _Floats
    """Declinations at the middle of the exposure, degrees."""

    rate: _Floats
    """Rates, degrees per day."""

    angle: _Floats
    """Directions of motion, degrees East of North."""

    mag: _Floats
    """Magnitudes in the band of the image."""

    visible: npt.NDArray[np.bool_]
    """Whether they are on the image."""


def draw_objects(image: InputImage, first: int, count: tuple[int, int, int], seed: int) -> Objects:
    """Draw objects.

    Parameters
    ----------
    image
        The image.
    first
        Number of the first designation.
    count
        Number of visible known, invisible known, and unknown objects.
    seed
        Seed of the random numbers.
    """
    random = np.random.default_rng([seed, first])
    total = sum(count)
    ny, nx = image.planes.shape
    days = image.exposure_time / 86400.0
    # Most of the trails are longer than the shortest ones that the network finds.
    rate = random.uniform(0.1, 30.0, total)
    length = rate * days * 3600.0 / image.pixel_scale
    x, y = random.uniform(0.0, nx - 1.0, total), random.uniform(0.0, ny - 1.0, total)
    angle = random.uniform(0.0, 180.0, total)
    snr = np.exp(random.uniform(np.log(8.0), np.log(80.0), total))
    hidden = slice(count[0], count[0] + count[1])
    snr[hidden] = random.uniform(0.5, 3.0, count[1])
    typical = np.full_like(image.planes.variance, np.median(image.planes.variance))
    flux = np.zeros(total)
    for i in range(total):
        stamp = render_trail(image.planes.psf, Trail(x[i], y[i], length[i], angle[i]))
        flux[i] = snr[i] / optimal_snr(stamp, typical, 1.0)
    trails = Trails(x + image.origin[0], y + image.origin[1], length, angle, flux)
    ends = [image.pixel_to_sky(*trails.ends[:2]), image.pixel_to_sky(*trails.ends[2:])]
    if random.random() < 0.5:
        ends.reverse()
    measured, _ = motion(*ends[0], *ends[1], days)
    ra, dec = image.pixel_to_sky(trails.x, trails.y)
    visible = np.ones(total, dtype=bool)
    visible[hidden] = False
    names = [f"2026 A{'ABCDEFGHJK'[(first + i) // 100]}{(first + i) % 100 + 1}" for i in range(total)]
    names[count[0] + count[1] :] = [""] * count[2]
    direction = motion(ra, dec, *ends[1])[1]
    mag = flux_to_mag(flux / image.flux_per_njy)
    return Objects(names, trails, ra, dec, measured, direction, mag, visible)


def ephemerides(
    objects: Objects, image: InputImage, uncertainty: float, seed: int
) -> dict[str, astropy.table.Table]:
    """Return the same ephemeris of the known objects as each kind of table.

    Parameters
    ----------
    objects
        The objects.
    image
        The image.
    uncertainty
        Uncertainty in each of two directions, arcseconds; predicted positions are off by it.
    seed
        Seed of the random numbers.
    """
    random = np.random.default_rng([seed, int(10.0 * uncertainty)])
    known = np.array([name != "" for name in objects.names])
    names = [name for name in objects.names if name]
    count = len(names)
    off = random.normal(0.0, uncertainty / 3600.0, (2, count))
    distance, toward = np.hypot(*off), np.rad2deg(np.arctan2(*off))
    ra, dec = move(objects.ra[known], objects.dec[known], distance, toward, 1.0)
    rate = objects.rate[known] * (1.0 + random.normal(0.0, 0.003, count))
    angle = objects.angle[known] + random.normal(0.0, 0.1, count)
    mag = objects.mag[known] - BAND_COLORS[str(image.visit_image.band)] + random.normal(0.0, 0.3, count)
    east, north = rate * np.sin(np.deg2rad(angle)), rate * np.cos(np.deg2rad(angle))
    middle = image.midpoint_mjd_tai
    ids = [ss_object_id(name) for name in names]
    distance_au, start = 0.3, 0.37
    velocity = distance_au * np.deg2rad(rate)[:, None] * sky_vectors(*move(ra, dec, 90.0, angle, 1.0))
    place = distance_au * sky_vectors(ra, dec) - start * velocity
    observer = np.array([[0.9, 0.017, 1e-4], [-0.4, 0.0155, -2e-4], [-0.17, 0.0067, 5e-5]])
    polynomials = {
        "ObjID": names,
        "tmin": np.full(count, middle - start),
        "tmax": np.full(count, middle + 1.0 - start),
        "trailedSourceMagTrue": mag,
        "Err(arcsec)": np.full(count, uncertainty),
        "ssObjectId": ids,
    }
    for i, axis in enumerate("xyz"):
        path = np.stack([place[:, i], velocity[:, i], np.zeros(count)], axis=-1)
        polynomials[f"obs_{axis}_poly"] = np.tile(observer[i], (count, 1))
        polynomials[f"obj_{axis}_poly"] = observer[i] + path
    rates = {
        "ObjID": names,
        "packed_desig": [pack_designation(name) for name in names],
        "fieldMJD_TAI": np.full(count, middle),
        "RATrue_deg": ra,
        "DecTrue_deg": dec,
        "RARateCosDec_deg_day": east,
        "DecRate_deg_day": north,
        "trailedSourceMagTrue": mag,
    }
    own = {
        "designation": names,
        "ssObjectId": ids,
        "mjdTai": np.full(count, middle),
        "ra": ra,
        "dec": dec,
        "rateRa": east,
        "rateDec": north,
        "vmag": mag,
        "positionErr": np.full(count, uncertainty),
    }
    return {
        "preloaded_ss_object": astropy.table.Table(polynomials),
        "preloaded_ss_object_visit": astropy.table.Table(rates),
        "known_objects": table_of(own, KNOWN_OBJECT_COLUMNS),
    }


def find(
    simulated: VisitImage, objects: Objects, image: InputImage, model: str
) -> tuple[VisitImage, astropy.table.Table]:
    """Inject the visible objects into an image, and return it with its candidates."""
    config = InjectTrailsTask.ConfigClass()
    config.drawPopulation = False
    config.allowCrossing = True
    chosen = objects.visible
    trails = objects.trails[chosen]
    catalog = astropy.table.Table(
        {
            "injection_id": np.flatnonzero(chosen),
            "ra": objects.ra[chosen],
            "dec": objects.dec[chosen],
            "source_type": ["Trail"] * len(trails),
            # The magnitude of source_injection is per pixel of length.
            "mag": objects.mag[chosen] + 2.5 * np.log10(trails.length),
            "trail_length": trails.length,
            "beta": trails.angle,
        }
    )
    injected = InjectTrailsTask(config=config).run(image=simulated, injection_catalogs=[catalog])
    segment = TrailSegmentationTask.ConfigClass()
    segment.model = model
    probability = TrailSegmentationTask(config=segment).run(image=injected.injected_image).trail_probability
    candidates = TrailCandidateTask(config=TrailCandidateTask.ConfigClass()).run(
        image=injected.injected_image, trail_probability=probability
    )
    return injected.injected_image, candidates.trail_candidate_detector


def true_labels(candidates: astropy.table.Table, objects: Objects) -> npt.NDArray[np.int64]:
    """Return the number of the object of each candidate by the true positions."""
    numbers = np.flatnonzero(objects.visible)
    found = Trails.from_table(candidates, length="trailLengthPix", angle="trailAnglePix", flux="trailFlux")
    score = np.asarray(candidates["score"])
    truth = match_trails(found, objects.trails[numbers], rank=score).truth_of
    labels = np.full(len(candidates), FALSE)
    on_trail = truth >= 0
    labels[on_trail] = numbers[truth[on_trail]]
    unknown = np.array([name == "" for name in objects.names])
    labels[on_trail] = np.where(unknown[labels[on_trail]], UNKNOWN, labels[on_trail])
    return labels


def measure_images(
    detectors: int, size: tuple[int, int], seed: int, model: str, say: Callable[[str], None]
) -> tuple[dict[str, collections.Counter[str]], bool, collections.Counter[str]]:
    """Count the labels of candidates in simulated images.

    Parameters
    ----------
    detectors, size, seed
        Number, shape and seed of the images.
    model
        Name or file of the model.
    say
        Function that prints progress.

    Returns
    -------
    counts
        Counts for each uncertainty and ephemeris.
    same
        Whether all ephemerides of one uncertainty gave the same labels.
    missed
        Known objects without a candidate, by reason, at the smallest uncertainty.
    """
    simulation = Simulation(seed=seed, detectors=detectors, shape=size, trails=0.0)
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    missed: collections.Counter[str] = collections.Counter()
    same, first = True, 0
    for detector in range(detectors):
        simulated = simulation.image(0, detector).image
        image = read_input_image(simulated)
        shares = [len(range(detector, total, detectors)) for total in (KNOWN - HIDDEN, HIDDEN, NEW)]
        objects = draw_objects(image, first, (shares[0], shares[1], shares[2]), seed)
        first += sum(shares)
        injected, candidates = find(simulated, objects, image, model)
        labels = true_labels(candidates, objects)
        visible = np.flatnonzero(objects.visible[: shares[0] + shares[1]])
        say(
            f"Detector {detector}: {len(candidates)} candidates; {len(np.intersect1d(labels, visible))} of "
            f"{len(visible)} visible known objects are among them."
        )
        for uncertainty in UNCERTAINTIES:
            given = []
            for name, table in ephemerides(objects, image, uncertainty, seed + detector).items():
                config = AssociateTrailsTask.ConfigClass()
                config.defaultPositionErr = uncertainty
                task = AssociateTrailsTask(config=config)
                result = task.run(image=injected, candidates=candidates, **{name: table})
                found = [str(value) for value in result.trail_candidate_associated_detector["designation"]]
                numbers = np.array([objects.names.index(value) if value else -1 for value in found])
                counts[f"{uncertainty:g} arcsec, {name}"] += count_labels(labels, numbers)
                given.append(found)
                if uncertainty == UNCERTAINTIES[0] and name == "known_objects":
                    known = result.trail_known_object_detector
                    missed.update(str(value) for value in known["missedReason"][~known["isFound"]])
            same &= all(labeled == given[0] for labeled in given)
    return dict(counts), same, missed
