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

"""Butler repositories of visit images from outside the stack."""

from __future__ import annotations

__all__ = (
    "DIFFERENCE_DATASET_TYPE",
    "IMAGE_DATASET_TYPE",
    "TEMPLATE_DATASET_TYPE",
    "TRUTH_DATASET_TYPE",
    "Dataset",
    "RepositoryError",
    "check_dataset_types",
    "find_existing",
    "open_or_create",
    "put_datasets",
    "register_instrument",
    "register_visit",
)

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from lsst.daf.butler import (
    Butler,
    DatasetRef,
    DatasetType,
    MissingCollectionError,
    MissingDatasetTypeError,
    Timespan,
)
from lsst.daf.butler.registry import CollectionTypeError, ConflictingDefinitionError
from lsst.pipe.base import Instrument
from lsst.resources import ResourcePath, ResourcePathExpression
from lsst.sphgeom import ConvexPolygon

from .creation import create_repository
from .opening import check_run_name, locate, opening_problem
from .visit_record import RepositoryError, VisitRecord

_LOG = logging.getLogger(__name__)

IMAGE_DATASET_TYPE = "preliminary_visit_image"
"""Dataset type of visit images."""

TEMPLATE_DATASET_TYPE = "template_detector"
"""Dataset type of templates, as in the stack."""

DIFFERENCE_DATASET_TYPE = "difference_image"
"""Dataset type of difference images, as in the stack."""

TRUTH_DATASET_TYPE = "simulated_trail_catalog"
"""Dataset type of the true trails of simulated images."""

_VISIT_SYSTEM = (0, "one-to-one")

MIN_UNIVERSE = 6
"""Oldest dimension universe with the records of visits that are registered."""

_DIMENSIONS = ("instrument", "visit", "detector")

_SHARED_FIELDS = (
    "instrument",
    "physical_filter",
    "day_obs",
    "seq_num",
    "exposure_time",
    "target_name",
    "observation_reason",
    "science_program",
    "azimuth",
    "zenith_angle",
)
"""Fields of the dimension records of exposures and visits."""


class Dataset(NamedTuple):
    """Dataset type, storage class and content of a dataset to put."""

    name: str
    storage_class: str
    content: object


def open_or_create(
    repo: ResourcePathExpression, prepare: Callable[[Butler], None] = lambda butler: None
) -> Butler:
    """Open a repository for writing; create it if it does not exist.

    Parameters
    ----------
    repo
        Folder, URI or known label of the repository.
    prepare
        Called with a new repository; creation and preparation are atomic.

    Returns
    -------
    butler
        Butler without default collections.

    Raises
    ------
    RepositoryError
        Raised if the repository cannot be opened for writing or created, or the folder holds other files.
    """
    location = locate(repo)
    try:
        if isinstance(location, ResourcePath):
            root = ResourcePath(location, forceDirectory=None if location.getExtension() == ".yaml" else True)
            configured = root if not root.isdir() else root.join("butler.yaml", forceDirectory=False)
            if not configured.exists():
                create_repository(root, prepare)
                _LOG.info("Created the repository %s.", root)
            location = root
        butler = Butler.from_config(location, writeable=True)
    except RepositoryError:
        raise
    except Exception as error:
        raise RepositoryError(opening_problem(repo, error)) from error
    if butler.dimensions.version < MIN_UNIVERSE:
        raise RepositoryError(
            f"The repository {repo} has dimension universe {butler.dimensions.version}; at least "
            f"{MIN_UNIVERSE} is needed: use a repository of its own, in a new folder."
        )
    return butler


def check_dataset_types(butler: Butler, storage_classes: Mapping[str, str]) -> None:
    """Check that images of a detector can be put, before the work on them.

    Parameters
    ----------
    butler
        Butler of the repository.
    storage_classes
        Storage class of the datasets to put, by the name of the dataset type.

    Raises
    ------
    RepositoryError
        Raised if the repository has a dataset type of other dimensions, or of a storage class that this
        process cannot write.
    """
    for name, storage_class in storage_classes.items():
        try:
            known = butler.get_dataset_type(name)
        except MissingDatasetTypeError:
            continue
        if set(known.dimensions.required) != set(_DIMENSIONS):
            raise RepositoryError(
                f"The repository has {name} by {', '.join(known.dimensions.required)}, not by "
                f"{', '.join(_DIMENSIONS)}; use a repository of its own, in a new folder."
            )
        wanted = butler.storageClasses.getStorageClass(storage_class)
        try:
            possible = known.storageClass.can_convert(wanted)
        except Exception:
            # Its Python type cannot be imported.
            possible = False
        if not possible:
            raise RepositoryError(
                f"The repository keeps {name} as {known.storageClass_name}, which cannot be written from "
                f"{storage_class} here, without the full stack; use a repository of its own, in a new folder."
            )


def register_instrument(butler: Butler, instrument: Instrument) -> None:
    """Insert an instrument, its detectors and filters if they are missing.

    Raises
    ------
    RepositoryError
        Raised if the repository has a different instrument of that name.
    """
    try:
        instrument.register(butler.registry)
    except ConflictingDefinitionError as error:
        raise RepositoryError(
            f"The repository has a different instrument {instrument.getName()!r}: {error}"
        ) from error


def register_visit(butler: Butler, record: VisitRecord) -> None:
    """Insert the dimension records of a visit if they are missing.

    An existing visit may get additional detectors.

    Parameters
    ----------
    butler
        Butler of a repository with the instrument, filter and detectors of the visit.
    record
        The visit.

    Raises
    ------
    RepositoryError
        Raised if the repository has a different visit of this number, or lacks the filter or a detector.
    """
    registry = butler.registry
    system_id, system_name = _VISIT_SYSTEM
    shared = {name: getattr(record, name) for name in _SHARED_FIELDS}
    shared |= {"id": record.visit, "timespan": Timespan(record.begin, record.end)}
    exposure = {
        **shared,
        "obs_id": record.name,
        "group": record.group,
        "dark_time": record.dark_time,
        "observation_type": "science",
        "seq_start": record.seq_num,
        "seq_end": record.seq_num,
        "tracking_ra": record.tracking_ra,
        "tracking_dec": record.tracking_dec,
        "sky_angle": record.sky_angle,
        "has_simulated": record.has_simulated,
        "can_see_sky": True,
    }
    # Older universes have fewer fields.
    fields = butler.dimensions["exposure"].RecordClass.fields.names
    exposure = {name: value for name, value in exposure.items() if name in fields}
    visit = {**shared, "name": record.name}
    data_id = {"instrument": record.instrument, "visit": record.visit}
    old_region = _visit_region(butler, record)
    new_region = _hull(
        record.regions.values() if old_region is None else (*record.regions.values(), old_region)
    )
    try:
        with registry.transaction():
            registry.syncDimensionData("day_obs", {"instrument": record.instrument, "id": record.day_obs})
            registry.syncDimensionData("group", {"instrument": record.instrument, "name": record.group})
            registry.syncDimensionData(
                "visit_system", {"instrument": record.instrument, "id": system_id, "name": system_name}
            )
            registry.syncDimensionData("exposure", exposure)
            # Only the region may change.
            if old_region is not None:
                registry.syncDimensionData("visit", {**visit, "region": old_region})
            if old_region != new_region:
                registry.syncDimensionData("visit", {**visit, "region": new_region}, update=True)
            registry.syncDimensionData("visit_definition", {**data_id, "exposure": record.visit})
            registry.syncDimensionData("visit_system_membership", {**data_id, "visit_system": system_id})
            for detector, region in record.regions.items():
                registry.syncDimensionData(
                    "visit_detector_region", {**data_id, "detector": detector, "region": region}
                )
    except ConflictingDefinitionError as error:
        raise RepositoryError(
            f"The repository has a different visit {record.visit} of {record.instrument}."
        ) from error
    except Exception as error:
        raise RepositoryError(
            f"Cannot register visit {record.visit} of {record.instrument} with filter "
            f"{record.physical_filter!r} and detectors {', '.join(map(str, record.regions))}: {error}"
        ) from error


def find_existing(
    butler: Butler, run: str, names: Iterable[str], data_ids: Iterable[Mapping[str, object]]
) -> dict[tuple[str, int, int], DatasetRef]:
    """Return the datasets in a run by dataset type name, visit and detector.

    Parameters
    ----------
    butler
        Butler of the repository.
    run
        Name of the run collection, which may not exist.
    names
        Names of the dataset types, which may not exist.
    data_ids
        Data IDs of instrument, visit and detector.

    Raises
    ------
    RepositoryError
        Raised if the collection is not a RUN, or cannot be named so.
    """
    check_run_name(run)
    try:
        kind = butler.collections.get_info(run).type.name
    except MissingCollectionError:
        return {}
    if kind != "RUN":
        raise RepositoryError(f"The collection {run!r} is of type {kind}; choose a RUN with --run.")
    wanted = {(d["instrument"], d["visit"], d["detector"]) for d in data_ids}
    return {
        (ref.datasetType.name, int(ref.dataId["visit"]), int(ref.dataId["detector"])): ref
        for dataset_type in butler.registry.queryDatasetTypes(list(names), missing=[])
        for ref in butler.query_datasets(dataset_type, collections=run, limit=None, explain=False)
        if (ref.dataId["instrument"], ref.dataId["visit"], ref.dataId["detector"]) in wanted
    }


def put_datasets(
    butler: Butler, run: str, data_id: Mapping[str, str | int], datasets: Sequence[Dataset]
) -> list[DatasetRef]:
    """Put the datasets of one image atomically.

    Parameters
    ----------
    butler
        Butler of a repository with the visit.
    run
        Name of the run collection; created if missing.
    data_id
        Instrument, visit and detector.
    datasets
        The datasets.

    Raises
    ------
    RepositoryError
        Raised if a dataset exists, has a type of different definition, or cannot be written.
    """
    where = f"visit {data_id['visit']}, detector {data_id['detector']} into run {run!r}"
    refs: list[DatasetRef] = []
    try:
        check_dataset_types(butler, {dataset.name: dataset.storage_class for dataset in datasets})
        butler.collections.register(run)
        dimensions = butler.dimensions.conform(_DIMENSIONS)
        types = {
            dataset.name: DatasetType(dataset.name, dimensions, dataset.storage_class) for dataset in datasets
        }
        for name, dataset_type in types.items():
            try:
                butler.registry.registerDatasetType(dataset_type)
            except ConflictingDefinitionError:
                # A convertible storage class is accepted.
                types[name] = butler.get_dataset_type(name)
        for dataset in datasets:
            refs.append(butler.put(dataset.content, types[dataset.name], dict(data_id), run=run))
        return refs
    except BaseException as error:
        # A Butler transaction does not remove the files of previous puts.
        butler.pruneDatasets(refs, disassociate=True, unstore=True, purge=True)
        if isinstance(error, ConflictingDefinitionError):
            message = f"Cannot put {where}: the dataset exists already; choose another run with --run."
        elif isinstance(error, CollectionTypeError):
            message = f"The collection {run!r} is not a RUN: {error}"
        elif isinstance(error, RepositoryError):
            raise
        elif isinstance(error, Exception):
            message = f"Cannot put {where}: {error}"
        else:
            raise
        raise RepositoryError(message) from error


def _visit_region(butler: Butler, record: VisitRecord) -> ConvexPolygon | None:
    known = butler.query_dimension_records(
        "visit", instrument=record.instrument, visit=record.visit, explain=False
    )
    region = known[0].region if known else None
    return region if isinstance(region, ConvexPolygon) else None


def _hull(regions: Iterable[ConvexPolygon]) -> ConvexPolygon:
    vertices = [vertex for region in regions for vertex in region.getVertices()]
    if not vertices:
        raise RepositoryError("A visit must have at least one detector.")
    return ConvexPolygon.convexHull(vertices)
