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

"""Simulated visits and their repository datasets."""

from __future__ import annotations

__all__ = ("Simulation",)

import dataclasses
import functools
import json
from collections.abc import Iterator

import numpy as np
from astro_metadata_translator import ObservationInfo

from lsst.daf.butler import Butler
from lsst.images import Box, DetectorFrame, SkyProjection

from ..core.injection.population import TrailPopulation
from ..core.photometry import AB_ZEROPOINT_NJY
from ..core.processes import run_all
from ..repository.butler import (
    DIFFERENCE_DATASET_TYPE,
    IMAGE_DATASET_TYPE,
    TEMPLATE_DATASET_TYPE,
    TRUTH_DATASET_TYPE,
    Dataset,
    check_dataset_types,
    find_existing,
    put_datasets,
    register_instrument,
    register_visit,
)
from ..repository.visit_image import sample_psf
from ..repository.visit_record import RepositoryError, VisitRecord, image_region
from .detector import make_detector, move_detector
from .image import ImageSummary, SimulatedImage, assemble_image
from .instrument import DETECTOR_SHAPE, N_DETECTORS, TrailSimCam, physical_filter_of
from .observation import (
    MAX_VISITS,
    VisitPlan,
    check_cadence,
    make_obs_info,
    make_sky_projection,
    plan_visit,
    repeat_plan,
)
from .reference_image import ReferenceImage, ReferenceImageError
from .repeated_field import RepeatedField
from .scene import simulate_scene
from .visit import SKIES, VisitConditions

_IDENTITY = "source_type"
"""Column of a truth table whose description identifies the simulation.

A Butler preserves descriptions and units of columns, but no other metadata.
"""

_VISIT_STREAM, _DETECTOR_STREAM = 0, 1  # random numbers of a visit, in addition to its pointing


@dataclasses.dataclass(frozen=True)
class Simulation:
    """A set of simulated visits.

    Equal simulations have equal pixels. An image does not depend on the number of visits and detectors, or on
    its template and difference image.

    Visits of a repeated field have the same pointing, stars and galaxies; its objects, which depend on the
    detectors and visits, move on. Noise, PSF, defects and templates are new in each visit.

    Raises
    ------
    ValueError
        Raised if a number is out of range or the band is unknown.
    ReferenceImageError
        Raised if the file cannot serve as a reference image.
    """

    seed: int
    """Seed of all random numbers, not negative."""

    visits: int = 1
    """Number of visits, or of fields if they are repeated."""

    detectors: int = 1
    """Number of detectors, counted from 0."""

    shape: tuple[int, int] | None = None
    """Shape (ny, nx) of the images in pixels; a full detector by default."""

    trails: float = 20.0
    """Asteroid trails per image."""

    sky: str = "narrow"
    """Distributions of stars, galaxies, seeing and noise, one of `~lsst.meas.trails.sim.visit.SKIES`."""

    snr: tuple[float, float] = (3.0, 30.0)
    """Range of the optimal SNR of the trails."""

    snr_index: float | None = None
    """Exponent of a power law of SNRs; they are uniform by default."""

    band: str | None = None
    """Band of the filter; r or the band of the reference image by default."""

    reference_image: str | None = None
    """File to take PSF, WCS, detector, noise and observation information from."""

    template: bool = False
    """Whether each image gets a template."""

    difference: bool = False
    """Whether each image gets a difference image."""

    repeat: int = 1
    """Number of visits of each field."""

    cadence: float = 30.0
    """Time from one visit of a field to the next, minutes."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"The seed must not be negative: {self.seed}.")
        for name, limit in (("visits", MAX_VISITS), ("detectors", N_DETECTORS)):
            number = getattr(self, name)
            if not 1 <= number <= limit:
                raise ValueError(f"The number of {name} must be between 1 and {limit}, not {number}.")
        if self.sky not in SKIES:
            raise ValueError(f"Unknown sky {self.sky!r}; use one of {', '.join(SKIES)}.")
        _ = self.population  # raises if the SNRs are not in order
        check_cadence(self.visits, self.repeat, self.cadence)
        if self.band is not None:
            physical_filter_of(self.band)
        if self._reference is not None:
            self._reference.bbox(self.shape)
            if self.band not in (None, self._reference.band):
                raise ReferenceImageError(
                    f"The band of {self.reference_image} is {self._reference.band}, not {self.band}."
                )

    @property
    def population(self) -> TrailPopulation:
        """Population of the trails of an image."""
        return TrailPopulation(number=self.trails, brightness=self.snr, brightness_index=self.snr_index)

    @property
    def _reference(self) -> ReferenceImage | None:
        return None if self.reference_image is None else _read_reference_image(self.reference_image)

    @property
    def bbox(self) -> Box:
        """Box of the images."""
        if self._reference is not None:
            return self._reference.bbox(self.shape)
        return Box.from_shape(self.shape or DETECTOR_SHAPE)

    @property
    def indices(self) -> range:
        """Numbers of the visits in the simulation: all fields once, then all fields again."""
        return range(self.visits * self.repeat)

    def plan(self, index: int) -> VisitPlan:
        """Plan the visit of an index from 0."""
        repetition, field = divmod(index, self.visits) if self.repeat > 1 else (0, index)
        if self._reference is not None:
            plan = self._reference.plan(self.seed, field)
        else:
            plan = plan_visit(self.seed, field, self.band or "r")
        return plan if repetition == 0 else repeat_plan(plan, index, repetition * self.cadence)

    def data_ids(self) -> list[dict[str, str | int]]:
        """Return the data IDs of all images."""
        return [
            self._data_id(self.plan(index).visit, detector)
            for index in self.indices
            for detector in range(self.detectors)
        ]

    @staticmethod
    def _data_id(visit: int, detector: int) -> dict[str, str | int]:
        return {"instrument": TrailSimCam.getName(), "visit": visit, "detector": detector}

    def record(self, index: int) -> VisitRecord:
        """Return the dimension records of a visit."""
        plan = self.plan(index)
        regions = {
            detector: image_region(self._sky_projection(plan, detector), self.bbox)
            for detector in range(self.detectors)
        }
        return VisitRecord.from_obs_info(self._obs_info(plan, 0), band=plan.band, regions=regions)

    def image(self, index: int, detector: int) -> SimulatedImage:
        """Simulate one image of a visit, whose index starts at 0."""
        plan, bbox, source = self.plan(index), self.bbox, self._reference
        shape = (bbox.y.size, bbox.x.size)
        visit_rng, rng = self._rng(index, _VISIT_STREAM), self._rng(index, _DETECTOR_STREAM, detector)
        conditions = VisitConditions.draw(
            self.sky, shape, visit_rng, trails=self.population, template=self.template or self.difference
        )
        config = conditions.config
        if source is not None:
            config = dataclasses.replace(config, sky_noise=source.sky_noise, gain=source.gain)
        psf = conditions.make_psf(rng, bbox) if source is None else source.psf
        grid, sky_projection = sample_psf(psf, bbox), self._sky_projection(plan, detector)
        if self.repeat == 1:
            scene = simulate_scene(config, grid, rng, bbox)
        else:
            field = self.repeated_field(index % self.visits)
            scene = field.scene(config, grid, rng, bbox, plan, detector, sky_projection)
        return assemble_image(
            scene,
            plan,
            psf=psf,
            sky_projection=sky_projection,
            obs_info=self._obs_info(plan, detector),
            detector=make_detector(plan.visit, detector, shape)
            if source is None
            else move_detector(source.detector, plan.visit, detector),
            bbox=bbox,
            zeropoint=AB_ZEROPOINT_NJY if source is None else source.zeropoint,
            # The sky level is the number of electrons whose noise is sky_noise.
            background=config.sky_noise**2 * config.gain,
            with_template=self.template,
            with_difference=self.difference,
        )

    def repeated_field(self, field: int) -> RepeatedField:
        """Return the common properties of the visits of a field."""
        plans = [self.plan(field + repetition * self.visits) for repetition in range(self.repeat)]
        maps = [self._sky_projection(plans[0], detector) for detector in range(self.detectors)]
        return RepeatedField.draw(
            self.seed, field, plans, maps, self.bbox, trails=self.population, sky=self.sky,
            reference=self._reference,
        )  # fmt: skip

    @property
    def _description(self) -> str:
        """Parameters that determine the pixels of an image, as a sentence."""
        values = dataclasses.asdict(self)
        if self.repeat == 1:
            for name in ("visits", "detectors", "repeat", "cadence"):
                del values[name]
        return f"Kind of the object; simulated with {json.dumps(values, sort_keys=True)}."

    def _find_images(self, butler: Butler, run: str) -> set[tuple[int, int]]:
        """Return the visits and detectors whose images are in a run.

        Raises
        ------
        RepositoryError
            Raised if the run holds all images or a dataset of another simulation.
        """
        names = (IMAGE_DATASET_TYPE, TRUTH_DATASET_TYPE, TEMPLATE_DATASET_TYPE, DIFFERENCE_DATASET_TYPE)
        existing = find_existing(butler, run, names, self.data_ids())
        images = [key for key in existing if key[0] == IMAGE_DATASET_TYPE]
        # The truth table, which is put first, identifies the simulation.
        truths = [key for key in existing if key[0] == TRUTH_DATASET_TYPE]
        own = {
            key[1:] for key in truths if butler.get(existing[key])[_IDENTITY].description == self._description
        }
        foreign = [key for key in existing if key[1:] not in own]
        if foreign or len(images) == len(self.indices) * self.detectors:
            name, visit, detector = (foreign or images)[0]
            raise RepositoryError(
                f"Run {run!r} holds {len(existing)} of the datasets already, such as "
                f"{name} of visit {visit}, detector {detector}; choose another --run or another --seed."
            )
        return {key[1:] for key in images}

    def register(self, butler: Butler, run: str) -> None:
        """Insert the instrument and the visits into a repository.

        Parameters
        ----------
        butler
            Butler of the repository.
        run
            Name of the run collection for the images.

        Raises
        ------
        RepositoryError
            Raised if the run holds all images or a dataset of another simulation, or the repository has
            different visits of the same numbers.
        """
        names = {TRUTH_DATASET_TYPE: "ArrowAstropy", IMAGE_DATASET_TYPE: "VisitImage"}
        names |= {TEMPLATE_DATASET_TYPE: "VisitImage"} if self.template else {}
        names |= {DIFFERENCE_DATASET_TYPE: "DifferenceImage"} if self.difference else {}
        check_dataset_types(butler, names)
        self._find_images(butler, run)
        register_instrument(butler, TrailSimCam())
        for index in self.indices:
            try:
                register_visit(butler, self.record(index))
            except RepositoryError as error:
                raise RepositoryError(
                    f"{error} Simulations with equal --seed need equal --size, --band and --reference-image; "
                    "choose another --seed."
                ) from error

    def put(self, butler: Butler, run: str, index: int, detector: int) -> ImageSummary:
        """Simulate one image and put it, with its truth, into a repository.

        Parameters
        ----------
        butler
            Butler of a repository with the visit (see `register`).
        run
            Name of the run collection.
        index
            Number of the visit in the simulation, from 0.
        detector
            Detector number.

        Raises
        ------
        RepositoryError
            Raised if the image cannot be put.
        """
        simulated = self.image(index, detector)
        simulated.truth[_IDENTITY].description = self._description
        # An existing image has all its companions: it is put last.
        datasets = [Dataset(TRUTH_DATASET_TYPE, "ArrowAstropy", simulated.truth)]
        if simulated.template is not None:
            datasets.append(Dataset(TEMPLATE_DATASET_TYPE, "VisitImage", simulated.template))
        if simulated.difference is not None:
            datasets.append(Dataset(DIFFERENCE_DATASET_TYPE, "DifferenceImage", simulated.difference))
        datasets.append(Dataset(IMAGE_DATASET_TYPE, "VisitImage", simulated.image))
        visit = self.plan(index).visit
        data_id = self._data_id(visit, detector)
        names = [dataset.name for dataset in datasets]
        existing = {name for name, _, _ in find_existing(butler, run, names, [data_id])}
        if IMAGE_DATASET_TYPE not in existing:
            # A killed process may have left companions of the image.
            datasets = [dataset for dataset in datasets if dataset.name not in existing]
        put_datasets(butler, run, data_id, datasets)
        return simulated.summary(visit, detector)

    def run(self, butler: Butler, run: str, jobs: int = 1) -> Iterator[ImageSummary]:
        """Simulate all images and put them into a repository.

        Existing images are skipped, which completes an interrupted run.

        Parameters
        ----------
        butler
            Butler of the repository.
        run
            Name of the run collection.
        jobs
            Number of processes.

        Yields
        ------
        summary
            Summary of each image.

        Raises
        ------
        RepositoryError
            Raised if the run holds all images or a dataset of another simulation, or an image cannot be put.
        """
        existing = self._find_images(butler, run)
        self.register(butler, run)
        units = [
            (index, detector)
            for index in self.indices
            for detector in range(self.detectors)
            if (self.plan(index).visit, detector) not in existing
        ]
        tasks = [(self.put, (butler, run, *unit)) for unit in units]
        # The first image creates the collection and the dataset types.
        yield from run_all(tasks[:1], 1)
        yield from run_all(tasks[1:], jobs if len(tasks) > 1 else 1)

    def _obs_info(self, plan: VisitPlan, detector: int) -> ObservationInfo:
        make = make_obs_info if self._reference is None else self._reference.make_obs_info
        return make(plan, detector)

    def _sky_projection(self, plan: VisitPlan, detector: int) -> SkyProjection[DetectorFrame]:
        if self._reference is not None:
            return self._reference.make_sky_projection(plan, detector)
        return make_sky_projection(plan, detector, (self.bbox.y.size, self.bbox.x.size))

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


_read_reference_image = functools.lru_cache(maxsize=2)(ReferenceImage.read)
