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

"""Tables of known objects in a Butler repository."""

from __future__ import annotations

__all__ = ("KNOWN_OBJECTS_TYPE", "KnownObjects", "list_known_objects", "put_known_objects")

from typing import NamedTuple

import astropy.table
import numpy as np

from lsst.daf.butler import Butler, DatasetType, MissingDatasetTypeError
from lsst.daf.butler.registry import CollectionTypeError, ConflictingDefinitionError

from .visit_record import RepositoryError

KNOWN_OBJECTS_TYPE = "known_objects"
"""Dataset type of tables of known objects, which has no dimensions."""


class KnownObjects(NamedTuple):
    """Summary of a table in a repository."""

    run: str
    """Name of its RUN collection."""

    objects: int
    """Number of objects."""

    rows: int
    """Number of positions."""

    first: float
    """Time of the first position, MJD, TAI."""

    last: float
    """Time of the last position, MJD, TAI."""


def put_known_objects(repo: str, table: astropy.table.Table, run: str) -> KnownObjects:
    """Put a table of known objects into a repository.

    Parameters
    ----------
    repo
        The repository.
    table
        Columns of `~lsst.meas.trails.core.association.known_objects.KNOWN_OBJECT_COLUMNS`.
    run
        Name of the RUN collection, created if missing; it holds one table.

    Raises
    ------
    RepositoryError
        Raised if the repository does not exist, or the collection is not a RUN or holds a table.
    """
    butler = _open(repo, writeable=True)
    try:
        butler.collections.register(run)
        butler.registry.registerDatasetType(
            DatasetType(KNOWN_OBJECTS_TYPE, butler.dimensions.conform([]), "ArrowAstropy")
        )
        butler.put(table, KNOWN_OBJECTS_TYPE, {}, run=run)
    except ConflictingDefinitionError as error:
        raise RepositoryError(
            f"Run {run!r} of {repo} already holds {KNOWN_OBJECTS_TYPE}; choose another --run."
        ) from error
    except CollectionTypeError as error:
        raise RepositoryError(f"{run!r} is not a RUN collection; choose another --run.") from error
    return _summary(run, table)


def list_known_objects(repo: str) -> list[KnownObjects]:
    """Return the tables of known objects in a repository, by run.

    Raises
    ------
    RepositoryError
        Raised if the repository does not exist.
    """
    butler = _open(repo, writeable=False)
    try:
        refs = butler.query_datasets(
            KNOWN_OBJECTS_TYPE, collections="*", find_first=False, explain=False, limit=None
        )
    except MissingDatasetTypeError:
        return []
    return [_summary(ref.run, butler.get(ref)) for ref in sorted(refs, key=lambda ref: ref.run)]


def _open(repo: str, *, writeable: bool) -> Butler:
    try:
        return Butler.from_config(repo, writeable=writeable)
    except FileNotFoundError as error:
        raise RepositoryError(f"There is no Butler repository at {repo}.") from error


def _summary(run: str, table: astropy.table.Table) -> KnownObjects:
    time = np.asarray(table["mjdTai"], dtype=np.float64)
    objects = len(set(map(str, table["designation"])))
    return KnownObjects(run, objects, len(table), float(np.min(time)), float(np.max(time)))
