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

"""Ingestion of FITS images into a Butler repository."""

from __future__ import annotations

__all__ = ("ingest_fits",)

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.images import VisitImage

from ..repository.butler import (
    IMAGE_DATASET_TYPE,
    Dataset,
    RepositoryError,
    check_dataset_types,
    find_existing,
    put_datasets,
    register_instrument,
    register_visit,
)
from ..repository.visit_record import VisitRecord, image_region
from .image import ORIGIN_KEY, IngestSummary, image_origin, make_fits_image
from .instrument import FitsCam
from .observation import FitsObservation, FitsOptions

if TYPE_CHECKING:
    from lsst.daf.butler import Butler


def ingest_fits(
    butler: Butler, run: str, observations: Sequence[FitsObservation], options: FitsOptions | None = None
) -> Iterator[IngestSummary]:
    """Put FITS images into a repository as ``preliminary_visit_image``.

    Images of the same files with the same options that are in the run already are skipped, which completes an
    interrupted run.

    Parameters
    ----------
    butler
        Butler of the repository.
    run
        Name of the run collection.
    observations
        The images, from `~lsst.meas.trails.ingest.observation.inspect_all`.
    options
        Values that replace header values.

    Yields
    ------
    summary
        Summary of each image, after it was put.

    Raises
    ------
    FitsIngestError
        Raised if the pixels of a file cannot be used. Previous images stay in the repository.
    RepositoryError
        Raised if the run has all images or a different image of the same visit and detector, before any image
        is put, or if an image cannot be put.
    """
    check_dataset_types(butler, {IMAGE_DATASET_TYPE: "VisitImage"})
    existing = _find_ingested(butler, run, observations, options or FitsOptions())
    for observation in observations:
        if observation in existing:
            continue
        image, summary = make_fits_image(observation, options)
        _register(butler, observation, image)
        put_datasets(butler, run, observation.data_id, [Dataset(IMAGE_DATASET_TYPE, "VisitImage", image)])
        yield summary


def _find_ingested(
    butler: Butler, run: str, observations: Sequence[FitsObservation], options: FitsOptions
) -> list[FitsObservation]:
    """Return the images that are in a run already.

    Raises
    ------
    RepositoryError
        Raised if the run has all images, or a different image of the same visit and detector.
    """
    existing = find_existing(butler, run, [IMAGE_DATASET_TYPE], [o.data_id for o in observations])
    by_key = {(observation.visit, observation.detector): observation for observation in observations}
    found = []
    for (_, visit, detector), ref in existing.items():
        observation = by_key[visit, detector]
        complete = len(existing) == len(observations)
        if complete or butler.get(ref).metadata.get(ORIGIN_KEY) != image_origin(observation, options):
            raise RepositoryError(
                f"{observation.path}: run {run!r} has an image of visit {visit}, detector {detector}; choose "
                "another --run, or pass --visit or --detector if it is another image."
            )
        found.append(observation)
    return found


def _register(butler: Butler, observation: FitsObservation, image: VisitImage) -> None:
    """Insert the dimension records of an image."""
    instrument = FitsCam()
    register_instrument(butler, instrument)
    try:
        instrument.register_image(
            butler.registry, observation.detector, observation.filter.name, observation.filter.band
        )
    except ConflictingDefinitionError as error:
        raise RepositoryError(
            f"{observation.path}: the repository has filter {observation.filter.name!r} with another band "
            f"than {observation.filter.band!r}; pass the same --band as before."
        ) from error
    regions = {observation.detector: image_region(observation.sky_projection, observation.bbox)}
    record = VisitRecord.from_obs_info(image.obs_info, band=observation.filter.band, regions=regions)
    try:
        register_visit(butler, record)
    except RepositoryError as error:
        raise RepositoryError(
            f"{observation.path}: {error} Pass another --visit if it is another exposure."
        ) from error
