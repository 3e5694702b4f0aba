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

"""Candidate catalogs of a collection, with the truth of their images."""

from __future__ import annotations

__all__ = (
    "CATALOG_TYPE",
    "DetectorResult",
    "detector_results",
    "image_type_of",
    "linkable_catalogs",
    "read_catalog",
    "score_of_false_rate",
)

import dataclasses
from collections.abc import Iterator

import astropy.table
import numpy as np

from lsst.daf.butler import Butler, DataCoordinate, DataId, DatasetRef

from .butler import IMAGE_DATASET_TYPE, TRUTH_DATASET_TYPE
from .query import query_collection

CATALOG_TYPE = "trail_candidate_detector"
"""Dataset type of the candidate catalog of a detector."""

_VISIT_TYPE, _ASSOCIATED_TYPE = "trail_candidate", "trail_candidate_associated"

_PROBABILITY_TYPE = "trail_probability"


@dataclasses.dataclass(frozen=True, eq=False)
class DetectorResult:
    """Candidates of one detector and their origin."""

    butler: Butler
    """Butler of the collection."""

    data_id: dict[str, int | str]
    """Data ID of the detector."""

    candidates: astropy.table.Table
    """The `trail_candidate_detector`."""

    image_type: str
    """Dataset type of the searched image."""

    truth: astropy.table.Table | None
    """Truth table of the image, `None` if unknown or not requested."""

    physical_filter: str = ""
    """Butler name of the filter."""

    @property
    def n_pixels(self) -> int:
        """Area of the image, pixels."""
        ny, nx = self.candidates.meta["imageShape"]
        return int(ny) * int(nx)

    @property
    def label(self) -> str:
        """Data ID for messages."""
        return f"visit {self.data_id['visit']}, detector {self.data_id['detector']}"

    @property
    def default_min_score(self) -> float:
        """Score at which the model has 10 false candidates per detector.

        Measured on the calibration scenes; 0.5 without a calibration.
        """
        return score_of_false_rate(self.candidates)


def detector_results(
    repo: str,
    collection: str,
    *,
    visit: int | None = None,
    detector: int | None = None,
    with_truth: bool = True,
) -> Iterator[DetectorResult]:
    """Iterate over the candidate catalogs of a collection.

    Parameters
    ----------
    repo, collection
        The repository and the collection.
    visit, detector
        Restriction to one visit or detector.
    with_truth
        Whether to read the truth tables.

    Raises
    ------
    RepositoryError
        Raised if the repository, collection or catalog does not exist.
    """
    conditions = {"visit": visit, "detector": detector}
    where = " AND ".join(f"{name} = {value}" for name, value in conditions.items() if value is not None)
    hint = "choose another visit or detector" if where else "run pipelines/DetectTrails.yaml first"
    butler, refs = query_collection(repo, collection, CATALOG_TYPE, where=where, hint=hint)
    known = {dataset_type.name for dataset_type in butler.registry.queryDatasetTypes()}
    for ref in refs:
        candidates = read_catalog(butler, ref)
        image_type = image_type_of(candidates)
        truth_types = (f"{image_type}_catalog", TRUTH_DATASET_TYPE) if with_truth else ()
        yield DetectorResult(
            butler=butler,
            data_id=dict(ref.dataId.required),
            candidates=candidates,
            image_type=image_type,
            truth=_read_truth(butler, ref.dataId, [name for name in truth_types if name in known]),
            physical_filter=str(ref.dataId["physical_filter"]),
        )


def read_catalog(
    butler: Butler, dataset: DatasetRef | str, data_id: DataId | None = None
) -> astropy.table.Table:
    """Read a table with its metadata, such as the model, which the Butler drops by default."""
    table: astropy.table.Table = butler.get(dataset, data_id, parameters={"strip_astropy_meta_yaml": False})
    return table


def linkable_catalogs(
    repo: str, collection: str, *, min_score: float | None = None
) -> Iterator[astropy.table.Table]:
    """Iterate over the candidates of a collection for linking.

    Parameters
    ----------
    repo, collection
        The repository and the collection.
    min_score
        Lowest score of a candidate; by default that of 10 false candidates per detector.

    Yields
    ------
    catalog
        Candidates of a visit, with known objects where there are any, or of a detector if the collection has
        no catalogs of visits.

    Raises
    ------
    RepositoryError
        Raised if the repository, collection or catalog does not exist.
    """
    butler, refs = query_collection(
        repo, collection, CATALOG_TYPE, hint="run pipelines/DetectTrails.yaml first"
    )
    known = {dataset_type.name for dataset_type in butler.registry.queryDatasetTypes()}
    visits: dict[int, DatasetRef] = {}
    # Candidates with known objects come last and replace the others.
    for name in (_VISIT_TYPE, _ASSOCIATED_TYPE):
        if name in known:
            found = butler.query_datasets(name, explain=False, limit=None)
            visits |= {int(ref.dataId["visit"]): ref for ref in found}
    for ref in visits.values() or refs:
        catalog = read_catalog(butler, ref)
        lowest = score_of_false_rate(catalog) if min_score is None else min_score
        yield catalog[np.asarray(catalog["score"]) >= lowest]


def score_of_false_rate(candidates: astropy.table.Table, false_per_detector: float = 10.0) -> float:
    """Return the score at which the model of a catalog has a number of false candidates per detector.

    Measured on the calibration scenes; 0.5 if it was not.
    """
    scores = candidates.meta.get("scoreAtFalsePerDetector", {})
    return float(scores.get(f"{false_per_detector:g}", 0.5))


def image_type_of(candidates: astropy.table.Table) -> str:
    """Return the dataset type of the searched image, from the provenance of the candidates."""
    inputs = [
        str(value)
        for key, value in candidates.meta.items()
        if key.startswith("LSST.BUTLER.INPUT.") and key.endswith(".DATASETTYPE")
    ]
    return next((name for name in inputs if name != _PROBABILITY_TYPE), IMAGE_DATASET_TYPE)


def _read_truth(
    butler: Butler, data_id: DataCoordinate, dataset_types: list[str]
) -> astropy.table.Table | None:
    """Return the joined truth tables of an image: injected and simulated trails."""
    refs = [butler.find_dataset(name, data_id) for name in dataset_types]
    tables = [butler.get(ref) for ref in refs if ref is not None]
    return astropy.table.vstack(tables, metadata_conflicts="silent") if tables else None
