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

"""Labels of candidates in a Butler repository: `trail_label`, one per detector."""

from __future__ import annotations

__all__ = ("LABEL_TYPE", "collect_labels", "read_labels")

from collections.abc import Sequence
from pathlib import Path

import astropy.table
import numpy as np

from lsst.daf.butler import Butler, DatasetRef, MissingDatasetTypeError

from ..core.catalog.labels import check_labels, empty_labels, known_object_labels, read_label_file
from .butler import Dataset, find_existing, put_datasets
from .candidates import CATALOG_TYPE
from .observations import ASSOCIATED_TYPE
from .opening import open_butler
from .query import query_collection
from .visit_record import RepositoryError

LABEL_TYPE = "trail_label"
"""Dataset type of the labels of a detector."""

_STORAGE_CLASS = "ArrowAstropy"


def collect_labels(
    repo: str, collection: str, files: Sequence[Path], run: str, *, overwrite: bool = False
) -> astropy.table.Table:
    """Put files of labels into a repository.

    All files are checked before anything is written.

    Parameters
    ----------
    repo, collection
        The repository, and the collection of the labeled candidates.
    files
        Files that were downloaded from the page of ``meas-trails vet``.
    run
        RUN collection for the labels; created if missing.
    overwrite
        Whether to replace the labels of the same detectors in the run.

    Returns
    -------
    labels
        All labels of the files, with the columns of `~lsst.meas.trails.core.catalog.labels.LABEL_COLUMNS`.

    Raises
    ------
    lsst.meas.trails.core.catalog.labels.LabelError
        Raised if a file cannot be used; the message has its name and row.
    RepositoryError
        Raised if the repository or collection does not exist, or the run has labels of the detectors.
    """
    tables = {str(path): read_label_file(path) for path in files}
    visits = sorted({int(visit) for table in tables.values() for visit in table["visit"]})
    if not visits:
        raise RepositoryError(f"{', '.join(tables)}: there are no labels to collect.")
    where = f"visit IN ({', '.join(map(str, visits))})"
    butler, refs = query_collection(
        repo, collection, CATALOG_TYPE, where=where, hint="pass the page's collection"
    )
    catalogs = [butler.get(ref) for ref in refs]
    labels = check_labels(tables, astropy.table.vstack(catalogs, metadata_conflicts="silent"))
    groups = []
    for ref, catalog in zip(refs, catalogs, strict=True):
        rows = labels[np.isin(labels["trailCandidateId"], catalog["trailCandidateId"])]
        if len(rows):
            groups.append((dict(ref.dataId.required), rows))
    with open_butler(repo, writeable=True) as writer:
        _put(writer, run, groups, overwrite)
    return labels


def _put(
    butler: Butler,
    run: str,
    groups: Sequence[tuple[dict[str, int | str], astropy.table.Table]],
    overwrite: bool,
) -> None:
    """Put the labels of detectors; after an error earlier labels are in place again."""
    existing = find_existing(butler, run, [LABEL_TYPE], [data_id for data_id, _ in groups])
    if existing and not overwrite:
        _, visit, detector = min(existing)
        raise RepositoryError(
            f"The run {run!r} has labels of {len(existing)} of the detectors, such as visit {visit}, "
            f"detector {detector}; pass --overwrite to replace them, or another --run."
        )
    earlier = [(dict(ref.dataId.required), butler.get(ref)) for ref in existing.values()]
    put: list[DatasetRef] = []
    try:
        butler.pruneDatasets(existing.values(), disassociate=True, unstore=True, purge=True)
        for data_id, rows in groups:
            put += put_datasets(butler, run, data_id, [Dataset(LABEL_TYPE, _STORAGE_CLASS, rows)])
    except BaseException:
        butler.pruneDatasets(put, disassociate=True, unstore=True, purge=True)
        for data_id, rows in earlier:
            if butler.find_dataset(LABEL_TYPE, data_id, collections=run) is None:
                put_datasets(butler, run, data_id, [Dataset(LABEL_TYPE, _STORAGE_CLASS, rows)])
        raise


def read_labels(butler: Butler, *, where: str = "", known_objects: bool = True) -> astropy.table.Table:
    """Read the labels in the collections of a Butler.

    Parameters
    ----------
    butler
        Butler with default collections.
    where
        Condition of a Butler query.
    known_objects
        Whether candidates that AssociateTrailsTask recognized as known objects are labeled trail. A label
        that a person gave to such a candidate takes precedence.

    Returns
    -------
    labels
        Columns of `~lsst.meas.trails.core.catalog.labels.LABEL_COLUMNS`, and ``instrument``; no rows without
        labels.
    """
    labels = _read(butler, LABEL_TYPE, where)
    if known_objects:
        known = _read(butler, ASSOCIATED_TYPE, where)
        known = known[~np.isin(known["trailCandidateId"], labels["trailCandidateId"])]
        labels = astropy.table.vstack([labels, known], metadata_conflicts="silent")
    return labels


def _read(butler: Butler, dataset_type: str, where: str) -> astropy.table.Table:
    """Return the labels of all datasets of a type, with a column ``instrument``."""
    try:
        refs = butler.query_datasets(dataset_type, where=where, limit=None, explain=False)
    except MissingDatasetTypeError:
        refs = []
    table = empty_labels()
    table["instrument"] = np.array([], dtype=str)
    tables = [table]
    for ref in sorted(refs, key=lambda ref: tuple(ref.dataId.required.values())):
        table = butler.get(ref)
        if dataset_type == ASSOCIATED_TYPE:
            table = known_object_labels(table)
        table["instrument"] = np.full(len(table), str(ref.dataId["instrument"]))
        tables.append(table)
    return astropy.table.vstack(tables, metadata_conflicts="silent")
