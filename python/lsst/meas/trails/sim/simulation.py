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

"""Simulated visits, and their way into a Butler repository."""

from __future__ import annotations

__all__ = ("SimulatedImage", "Simulation", "image_truth")

import concurrent.futures
import dataclasses
import functools
import json
import multiprocessing
from collections.abc import Iterator
from typing import Any

import astropy.table
import numpy as np

from lsst.daf.butler import Butler, DatasetRef
from lsst.images import Box, DetectorFrame, DifferenceImage, SkyProjection, VisitImage

from ..core.injection.population import TrailPopulation
from ..core.photometry import AB_ZEROPOINT_NJY
from ..repository.butler import (
    DIFFERENCE_DATASET_TYPE,
    IMAGE_DATASET_TYPE,
    TEMPLATE_DATASET_TYPE,
    TRUTH_DATASET_TYPE,
    Dataset,
    RepositoryError,
    VisitRecord,
    find_existing,
    image_region,
    put_datasets,
    register_instrument,
    register_visit,
)
from ..repository.visit_image import (
    make_difference_image,
    make_summary_stats,
    make_visit_image,
    pixel_psf,
    sample_psf,
)
from .detector import make_detector
from .difference import subtract_template, template_planes
from .instrument import DETECTOR_SHAPE, N_DETECTORS, TrailSimCam, physical_filter_of
from .observation import MAX_VISITS, VisitPlan, make_obs_info, make_sky_projection, plan_visit
from .psf import draw_seeing, make_psf
from .reference_image import ReferenceImage, ReferenceImageError
from .scene import SceneConfig, simulate_scene
from .template import TemplateConfig

_IDENTITY = "source_type"
"""Column of a truth table whose description says what decides the image: of
all that a table may say of itself, a Butler keeps only descriptions and units
of columns.
"""

# Streams of random numbers of a visit, beside that of its pointing.
_VISIT_STREAM, _DETECTOR_STREAM = 0, 1

_COORDINATES = ("", "0", "1")


@dataclasses.dataclass(frozen=True, eq=False)
class SimulatedImage:
    """An image and what is in it.

    Parameters
    ----------
    image
        The image.
    truth
        One row a trail or satellite, in the image's own coordinates; the
        columns of `~lsst.meas.trails.core.injection.truth.TRUTH_COLUMNS`,
        ``source_type``, ``visit``, ``detector``, ``physical_filter`` and
        ``band``.
    template
        The template, if it was asked for.
    difference
        The image without the template, if it was asked for.
    """

    image: VisitImage
    truth: astropy.table.Table
    template: VisitImage | None = None
    difference: DifferenceImage | None = None


@dataclasses.dataclass(frozen=True)
class Simulation:
    """A set of simulated visits.

    Equal simulations make equal pixels; an image does not depend on how many
    others there are.

    Parameters
    ----------
    seed
        Seed of all random numbers, not negative.
    visits
        Number of visits.
    detectors
        Number of detectors, counted from 0.
    shape
        Shape (ny, nx) of the images in pixels; that of a full detector by
        default.
    trails
        Asteroid trails per image.
    band
        Band of the filter; r by default, or that of the example.
    reference_image
        A file to take the PSF, WCS, detector, noise and observation
        information from.
    template
        Whether each image gets a template; the image is the same with it.
    difference
        Whether each image gets a difference image, from which that template
        has been subtracted.

    Raises
    ------
    ValueError
        Raised if a number is out of range or there is no such band.
    ReferenceImageError
        Raised if the file cannot serve as an example.
    """

    seed: int
    visits: int = 1
    detectors: int = 1
    shape: tuple[int, int] | None = None
    trails: float = 20.0
    band: str | None = None
    reference_image: str | None = None
    template: bool = False
    difference: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError("A seed cannot be negative.")
        if not 1 <= self.visits <= MAX_VISITS:
            raise ValueError(f"The number of visits must be between 1 and {MAX_VISITS}.")
        if not 1 <= self.detectors <= N_DETECTORS:
            raise ValueError(f"The number of detectors must be between 1 and {N_DETECTORS}.")
        if self.band is not None:
            physical_filter_of(self.band)
        if self.reference is not None:
            self.reference.bbox(self.shape)
            if self.band not in (None, self.reference.band):
                raise ReferenceImageError(
                    f"The band of {self.reference_image} is {self.reference.band}, not {self.band}."
                )

    @property
    def reference(self) -> ReferenceImage | None:
        """The example, if there is one (`ReferenceImage` | `None`)."""
        return None if self.reference_image is None else _read_reference_image(self.reference_image)

    @property
    def bbox(self) -> Box:
        """Box of the images (`lsst.images.Box`)."""
        if self.reference is not None:
            return self.reference.bbox(self.shape)
        return Box.from_shape(self.shape or DETECTOR_SHAPE)

    def plan(self, index: int) -> VisitPlan:
        """Plan a visit.

        Parameters
        ----------
        index
            Number of the visit in the simulation, from 0.
        """
        if self.reference is not None:
            return self.reference.plan(self.seed, index)
        return plan_visit(self.seed, index, self.band or "r")

    def data_ids(self) -> list[dict[str, Any]]:
        """Return the data IDs of all images."""
        return [
            {"instrument": TrailSimCam.getName(), "visit": self.plan(index).visit, "detector": detector}
            for index in range(self.visits)
            for detector in range(self.detectors)
        ]

    def record(self, index: int) -> VisitRecord:
        """Return what a repository has to know of a visit."""
        plan = self.plan(index)
        regions = {
            detector: image_region(self._sky_projection(plan, detector), self.bbox)
            for detector in range(self.detectors)
        }
        if self.reference is not None:
            obs_info = self.reference.make_obs_info(plan, 0)
        else:
            obs_info = make_obs_info(plan, 0)
        return VisitRecord.from_obs_info(obs_info, band=plan.band, regions=regions)

    def image(self, index: int, detector: int) -> SimulatedImage:
        """Simulate one image.

        Parameters
        ----------
        index
            Number of the visit in the simulation, from 0.
        detector
            Number of the detector.
        """
        plan, bbox, reference_image = self.plan(index), self.bbox, self.reference
        shape = (bbox.y.size, bbox.x.size)
        visit_rng = self._rng(index, _VISIT_STREAM)
        rng = self._rng(index, _DETECTOR_STREAM, detector)
        seeing = draw_seeing(visit_rng)
        population = TrailPopulation(number=self.trails)
        scene_config = SceneConfig.varied(
            shape,
            visit_rng,
            trails=population,
            template=TemplateConfig() if self.template or self.difference else None,
        )
        sky_projection = self._sky_projection(plan, detector)
        if reference_image is not None:
            scene_config = dataclasses.replace(
                scene_config, sky_noise=reference_image.sky_noise, gain=reference_image.gain
            )
            psf = reference_image.psf
            obs_info = reference_image.make_obs_info(plan, detector)
            camera_detector = reference_image.make_detector(plan, detector)
        else:
            psf = make_psf(seeing, rng, bbox)
            obs_info = make_obs_info(plan, detector)
            camera_detector = make_detector(plan.visit, detector, shape)
        scene = simulate_scene(scene_config, sample_psf(psf, bbox), rng, bbox)
        summarize = functools.partial(
            make_summary_stats,
            sky_projection=sky_projection,
            bbox=bbox,
            exposure_time=plan.exposure_time,
            zenith_distance=90.0 - plan.altitude,
            zeropoint=AB_ZEROPOINT_NJY if reference_image is None else reference_image.zeropoint,
            # The noise of the sky is that of the electrons it is made of.
            background=scene_config.sky_noise**2 * scene_config.gain,
        )
        make = functools.partial(
            make_visit_image,
            sky_projection=sky_projection,
            obs_info=obs_info,
            detector=camera_detector,
            band=plan.band,
            bbox=bbox,
        )
        template, difference = None, None
        if scene.template_psf is not None:
            as_template = template_planes(scene.planes, sample_psf(scene.template_psf, bbox))
            if self.template:
                template = make(as_template, psf=scene.template_psf)
            if self.difference:
                subtracted = subtract_template(scene.planes, as_template)
                pixels = make(
                    subtracted.planes,
                    psf=pixel_psf(subtracted.planes.psf, bbox),
                    summary_stats=summarize(subtracted.planes),
                )
                difference = make_difference_image(pixels, subtracted.template_kernel)
        truth = image_truth(scene.truth, bbox, sky_projection)
        for name, value in (
            ("visit", np.int64(plan.visit)),
            ("detector", np.int32(detector)),
            ("physical_filter", plan.physical_filter),
            ("band", plan.band),
        ):
            truth[name] = np.full(len(truth), value)
        return SimulatedImage(
            image=make(scene.planes, psf=psf, summary_stats=summarize(scene.planes)),
            truth=truth,
            template=template,
            difference=difference,
        )

    @property
    def _description(self) -> str:
        """What decides the pixels of an image of this simulation, beside its
        visit and detector.
        """
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("visits", "detectors")
        }
        return f"Kind of the object; simulated with {json.dumps(values, sort_keys=True)}."

    def _present(self, butler: Butler, run: str) -> set[tuple[str, int, int]]:
        """Return which datasets of this simulation are in a run already, by
        name, visit and detector.

        Raises
        ------
        RepositoryError
            Raised if a dataset is there that another simulation made, or all
            images are.
        """
        names = (IMAGE_DATASET_TYPE, TRUTH_DATASET_TYPE, TEMPLATE_DATASET_TYPE, DIFFERENCE_DATASET_TYPE)
        existing = find_existing(butler, run, names, self.data_ids())
        keys = {(r.datasetType.name, int(r.dataId["visit"]), int(r.dataId["detector"])): r for r in existing}
        images = [key for key in keys if key[0] == IMAGE_DATASET_TYPE]
        foreign = [key for key in keys if not self._made(butler, keys.get((TRUTH_DATASET_TYPE, *key[1:])))]
        if foreign or len(images) == self.visits * self.detectors:
            name, visit, detector = (foreign or images)[0]
            raise RepositoryError(
                f"Run {run!r} holds {len(existing)} of the datasets already, such as "
                f"{name} of visit {visit}, detector {detector}. "
                "Choose another --run or another --seed."
            )
        return set(keys)

    def _made(self, butler: Butler, truth: DatasetRef | None) -> bool:
        """Return whether an image is of this simulation, by its truth table,
        which is put before all else.
        """
        return truth is not None and butler.get(truth)[_IDENTITY].description == self._description

    def register(self, butler: Butler, run: str) -> None:
        """Make a repository ready for the images.

        Parameters
        ----------
        butler
            Butler of the repository.
        run
            Name of the run collection that the images will go to.

        Raises
        ------
        RepositoryError
            Raised if the run has all images already, or one of another
            simulation, or the repository has different visits under the same
            numbers.
        """
        self._present(butler, run)
        register_instrument(butler, TrailSimCam())
        for index in range(self.visits):
            try:
                register_visit(butler, self.record(index))
            except RepositoryError as error:
                raise RepositoryError(
                    f"{error} Simulations of the same --seed must agree in --size, --band and "
                    "--reference-image: choose another --seed."
                ) from error

    def put(self, butler: Butler, run: str, index: int, detector: int) -> dict[str, Any]:
        """Simulate one image and put it, with its truth, into a repository.

        Parameters
        ----------
        butler
            Butler of a repository that is ready for it.
        run
            Name of the run collection.
        index
            Number of the visit in the simulation, from 0.
        detector
            Number of the detector.

        Returns
        -------
        summary
            What was put: ``visit``, ``detector``, ``trails``, ``satellites``,
            ``fwhm`` in arcsec, ``mag_lim``.

        Raises
        ------
        RepositoryError
            Raised if it cannot be put.
        """
        simulated = self.image(index, detector)
        simulated.truth[_IDENTITY].description = self._description
        visit = self.plan(index).visit
        # Where there is an image, there is what belongs to it.
        datasets = [Dataset(TRUTH_DATASET_TYPE, "ArrowAstropy", simulated.truth)]
        if simulated.template is not None:
            datasets.append(Dataset(TEMPLATE_DATASET_TYPE, "VisitImage", simulated.template))
        if simulated.difference is not None:
            datasets.append(Dataset(DIFFERENCE_DATASET_TYPE, "DifferenceImage", simulated.difference))
        datasets.append(Dataset(IMAGE_DATASET_TYPE, "VisitImage", simulated.image))
        data_id = {"instrument": TrailSimCam.getName(), "visit": visit, "detector": detector}
        names = [dataset.name for dataset in datasets]
        present = {ref.datasetType.name for ref in find_existing(butler, run, names, [data_id])}
        if IMAGE_DATASET_TYPE not in present:
            # A process that was killed may have left what comes before it.
            datasets = [dataset for dataset in datasets if dataset.name not in present]
        put_datasets(butler, run, data_id, datasets)
        is_trail = simulated.truth["source_type"] == "Trail"
        stats = simulated.image.summary_stats
        return {
            "visit": visit,
            "detector": detector,
            "trails": int(np.count_nonzero(is_trail)),
            "satellites": int(np.count_nonzero(~is_trail)),
            "fwhm": 2.355 * stats.psfSigma * stats.pixelScale,
            "mag_lim": stats.magLim,
        }

    def run(self, butler: Butler, run: str, jobs: int = 1) -> Iterator[dict[str, Any]]:
        """Simulate everything and put it into a repository.

        Images that are in the run already are left out: a run that was
        stopped is completed.

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
            What was put, image by image (see `put`).

        Raises
        ------
        RepositoryError
            Raised if all images are there already, or one that another
            simulation made, or one cannot be put.
        """
        present = {key[1:] for key in self._present(butler, run) if key[0] == IMAGE_DATASET_TYPE}
        self.register(butler, run)
        units = [
            (index, detector)
            for index in range(self.visits)
            for detector in range(self.detectors)
            if (self.plan(index).visit, detector) not in present
        ]
        jobs = min(jobs, len(units))
        if jobs <= 1:
            for index, detector in units:
                yield self.put(butler, run, index, detector)
            return
        # The first creates what all of them share.
        yield self.put(butler, run, *units[0])
        with concurrent.futures.ProcessPoolExecutor(
            jobs, mp_context=multiprocessing.get_context("spawn")
        ) as executor:
            futures = [executor.submit(self.put, butler, run, *unit) for unit in units[1:]]
            try:
                for future in concurrent.futures.as_completed(futures):
                    yield future.result()
            finally:
                executor.shutdown(cancel_futures=True)

    def _sky_projection(self, plan: VisitPlan, detector: int) -> SkyProjection[DetectorFrame]:
        if self.reference is not None:
            return self.reference.make_sky_projection(plan, detector)
        return make_sky_projection(plan, detector, (self.bbox.y.size, self.bbox.x.size))

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


def image_truth(
    truth: astropy.table.Table, bbox: Box, sky_projection: SkyProjection[Any]
) -> astropy.table.Table:
    """Convert a truth table from array coordinates to those of an image.

    Parameters
    ----------
    truth
        Table with ``x``, ``y``, ``ra``, ``dec``, also with suffixes ``0`` and
        ``1`` for the ends.
    bbox
        Box of the image.
    sky_projection
        Mapping of the image's own coordinates to the sky.

    Returns
    -------
    truth
        A copy with positions in the image's own coordinates and on the sky.
    """
    result = truth.copy()
    for suffix in _COORDINATES:
        result[f"x{suffix}"] += bbox.x.start
        result[f"y{suffix}"] += bbox.y.start
        if len(result):
            sky = sky_projection.pixel_to_sky(
                x=np.array(result[f"x{suffix}"]), y=np.array(result[f"y{suffix}"])
            )
            result[f"ra{suffix}"][:] = sky.ra.deg
            result[f"dec{suffix}"][:] = sky.dec.deg
    return result


@functools.lru_cache(maxsize=2)
def _read_reference_image(path: str) -> ReferenceImage:
    return ReferenceImage.read(path)
