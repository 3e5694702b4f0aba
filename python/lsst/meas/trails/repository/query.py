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

"""Queries for the datasets of a collection."""

from __future__ import annotations

__all__ = ("query_collection",)

from lsst.daf.butler import (
    Butler,
    ButlerUserError,
    DatasetRef,
    EmptyQueryResultError,
    MissingDatasetTypeError,
)

from .opening import find_collections, open_butler
from .visit_record import RepositoryError


def query_collection(
    repo: str, collection: str, dataset_type: str, *, where: str = "", hint: str
) -> tuple[Butler, list[DatasetRef]]:
    """Return the datasets of a type in a collection, by instrument, visit and detector.

    Parameters
    ----------
    repo
        Folder, URI or label of the repository.
    collection
        Names or patterns of collections, separated by commas; the first with a dataset counts.
    dataset_type
        Name of the dataset type.
    where
        Condition of a Butler query, without the instrument; may be empty.
    hint
        Remedy for the message, used if the collection has no dataset of the type.

    Returns
    -------
    butler
        Read-only Butler of the collection.
    refs
        References of the datasets, at least one.

    Raises
    ------
    RepositoryError
        Raised if the repository, collection or dataset does not exist.
    """
    butler = open_butler(repo)
    butler = butler.clone(collections=find_collections(butler, collection))
    try:
        full = where
        if where and "instrument" not in where:
            # A Butler rejects a condition on visits without the instrument.
            instruments = [repr(record.name) for record in butler.query_dimension_records("instrument")]
            full = f"instrument IN ({', '.join(instruments)}) AND ({where})"
        refs = butler.query_datasets(dataset_type, where=full, limit=None)
    except (EmptyQueryResultError, MissingDatasetTypeError) as error:
        condition = f" where {where}" if where else ""
        raise RepositoryError(f"{collection!r} has no {dataset_type}{condition}; {hint}.") from error
    except ButlerUserError as error:
        raise RepositoryError(f"Cannot query where {where}: {error}") from error
    order = ("instrument", "visit", "detector")
    return butler, sorted(refs, key=lambda ref: [ref.dataId[n] for n in order if n in ref.dimensions.names])
