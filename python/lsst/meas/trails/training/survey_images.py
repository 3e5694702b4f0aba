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

"""Real images, and the search for the trails in them: as they are, and with injected trails."""

from __future__ import annotations

__all__ = (
    "PRIOR_DENSITY",
    "ImageSource",
    "InjectionOptions",
    "SurveyError",
    "SurveyImage",
    "search_survey",
    "search_survey_image",
)

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import astropy.table
import numpy as np

from ..core.geometry import Trails
from ..core.injection.gain import GainMap
from ..core.injection.inject import inject_trails
from ..core.injection.population import TrailPopulation, draw_trails
from ..core.operating_point import DETECTOR_PIXELS
from ..core.planes import ImagePlanes
from ..core.processes import run_all
from ..core.render import optimal_snr, render_trail
from ..nn.hardware import available_cores
from ..nn.model_file import TrailModel, load_model
from .calibration import THRESHOLDS, classify, loaded_model, search_planes
from .candidate_sample import SearchedScene

_LOG = logging.getLogger(__name__)

type Thresholds = tuple[float, float]
"""Grow and seed threshold."""

PRIOR_DENSITY = 10.0
"""Trails per million pixels for which the score is a probability, as in the calibration of shipped models."""


class SurveyError(ValueError):
    """Raised if images cannot be used for a calibration; the message has a remedy."""


@dataclasses.dataclass(frozen=True, eq=False)
class SurveyImage:
    """A real image, and what is known about its content."""

    planes: ImagePlanes
    """The image."""

    gains: GainMap = GainMap.uniform(np.inf)
    """Electrons per image unit, for the noise of injected trails."""

    known: Trails = dataclasses.field(default_factory=Trails.empty)
    """Lines that are neither true nor false: known objects, labeled trails, satellites; array coordinates."""


class ImageSource(Protocol):
    """Image that a process can read; it must be picklable."""

    @property
    def visit(self) -> int:
        """Number of the visit."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx) of the image, pixels."""
        ...

    @property
    def label(self) -> str:
        """Name of the image for messages and provenance."""
        ...

    def read(self) -> SurveyImage:
        """Read the image.

        Raises
        ------
        SurveyError
            Raised if the image cannot be used; it is left out.
        """
        ...


@dataclasses.dataclass(frozen=True)
class InjectionOptions:
    """Trails that are injected into each image."""

    number: float = PRIOR_DENSITY * DETECTOR_PIXELS / 1e6
    """Trails per detector of `DETECTOR_PIXELS`."""

    length: tuple[float, float] = (6.0, 150.0)
    """Shortest and longest trail, pixels."""

    snr: tuple[float, float] = (3.0, 3000.0)
    """Least and greatest optimal SNR. Completeness is that of the faint ones, but a score that never saw the
    bright ones would reject them.
    """

    snr_index: float = -1.35
    """Exponent of the power law of SNRs; 61% are below 30."""

    seed: int = 1
    """Seed of the trails."""

    def population(self, planes: ImagePlanes) -> TrailPopulation:
        """Return the population of an image; its trails keep a distance of several PSFs."""
        ny, nx = planes.shape
        return TrailPopulation(
            number=self.number,
            density_area=DETECTOR_PIXELS,
            length=self.length,
            brightness=self.snr,
            brightness_index=self.snr_index,
            separation=max(30.0, 4.0 * planes.psf.fwhm(0.5 * nx, 0.5 * ny)),
        )


def search_survey_image(
    model: TrailModel,
    image: SurveyImage,
    injection: InjectionOptions,
    rng: np.random.Generator,
    *,
    thresholds: Sequence[Thresholds] = THRESHOLDS,
    threads: int | None = 1,
    device: str = "cpu",
    group: int | None = None,
) -> SearchedScene:
    """Search an image as it is, and again with injected trails.

    Parameters
    ----------
    model
        The network.
    image
        The image.
    injection, rng
        Trails to inject, and random numbers.
    thresholds
        Pairs of grow and seed thresholds.
    threads, device
        Threads and device of the network.
    group
        Visit of the image.

    Returns
    -------
    searched
        The candidates of the image as it is, false or ignored, and those of the injected image that match an
        injected trail.
    """
    planes = image.planes
    as_is = search_planes(model, planes, threads=threads, device=device, thresholds=thresholds)
    trails = draw_trails(injection.population(planes), planes, rng)
    bad = planes.bad()
    snr = np.array(
        [optimal_snr(render_trail(planes.psf, trail), planes.variance, trail.flux, bad) for trail in trails]
    )
    lit = inject_trails(planes, trails, rng, image.gains)
    injected = search_planes(model, lit, threads=threads, device=device, thresholds=thresholds)
    tables = {}
    for pair in thresholds:
        classify(as_is[pair], Trails.empty(), image.known)
        classify(injected[pair], trails, image.known)
        found = injected[pair][injected[pair]["is_true"]]
        tables[pair] = astropy.table.vstack([as_is[pair], found], metadata_conflicts="silent")
    return SearchedScene(tables, snr, trails.length, planes.image.size, group)


def search_survey(
    model_path: Path,
    images: Sequence[ImageSource],
    *,
    injection: InjectionOptions = InjectionOptions(),
    thresholds: Sequence[Thresholds] = THRESHOLDS,
    processes: int | None = None,
) -> Iterator[SearchedScene | str]:
    """Search images with a model, each as it is and with injected trails.

    Parameters
    ----------
    model_path
        The model's JSON file.
    images
        The images.
    injection
        Trails to inject.
    thresholds
        Pairs of grow and seed thresholds.
    processes
        Processes, of one thread each; by default one per core. Each holds one image: 0.1 GB per megapixel.

    Yields
    ------
    searched
        The candidates of each image, in order, or why it was left out.
    """
    weights = load_model(model_path).specification.weights_sha256
    tasks = [
        (_search, (model_path, weights, image, injection, index, tuple(thresholds)))
        for index, image in enumerate(images)
    ]
    yield from run_all(tasks, processes or available_cores())


def _search(
    model_path: Path,
    weights: str,
    source: ImageSource,
    injection: InjectionOptions,
    index: int,
    thresholds: Sequence[Thresholds],
) -> SearchedScene | str:
    """Read and search one image."""
    try:
        image = source.read()
    except SurveyError as error:
        _LOG.warning("%s is left out: %s", source.label, error)
        return f"{source.label}: {error}"
    rng = np.random.default_rng([injection.seed, index])
    model = loaded_model(model_path, weights)
    return search_survey_image(model, image, injection, rng, thresholds=thresholds, group=source.visit)
