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

"""Output of an evaluation in a collection: metrics, match tables, provenance."""

from __future__ import annotations

__all__ = ("KNOWN_TYPE", "MATCHES_TYPE", "METRICS_TYPE", "SEARCH_TYPE", "EvaluationResult", "read_evaluation")

import dataclasses
from collections.abc import Iterator

import astropy.table
import numpy as np

from lsst.daf.butler import Butler, DatasetRef, EmptyQueryResultError, MissingDatasetTypeError

from .candidates import CATALOG_TYPE, read_catalog
from .query import query_collection
from .visit_record import RepositoryError

METRICS_TYPE = "trail_metrics"
MATCHES_TYPE = "matched_injected_trail_detector"
SEARCH_TYPE = "trail_search_detector"
KNOWN_TYPE = "trail_known_object_detector"

_PACKAGES = ("meas_trails", "daf_butler", "pipe_base", "images", "astropy", "numpy", "scipy", "sep", "torch")


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Output of pipelines/EvaluateTrails.yaml in a collection."""

    butler: Butler
    """Butler that reads the collection."""

    collection: str
    """Name of the collection."""

    instrument: str
    """Name of the instrument."""

    metrics: astropy.table.Table
    """The `trail_metrics`."""

    def tables(self, dataset_type: str) -> Iterator[astropy.table.Table]:
        """Yield the tables of all detectors, with a column ``instrument``."""
        for ref in self._refs(dataset_type):
            table = self.butler.get(ref)
            table["instrument"] = np.full(len(table), self.instrument)
            yield table

    def _refs(self, dataset_type: str) -> list[DatasetRef]:
        try:
            refs = self.butler.query_datasets(dataset_type, instrument=self.instrument, limit=None)
        except (EmptyQueryResultError, MissingDatasetTypeError):
            return []
        return sorted(refs, key=lambda ref: (ref.dataId["visit"], ref.dataId["detector"]))

    def models(self) -> astropy.table.Table:
        """Return the models of the candidates, with the number of detectors of each, and with a template."""
        names = ("name", "version", "sha256")
        counts: dict[tuple[str, ...], list[int]] = {}
        for ref in self._refs(CATALOG_TYPE):
            meta = read_catalog(self.butler, ref).meta
            model = meta.get("trailModel", {})
            count = counts.setdefault(tuple(str(model.get(name, "unknown")) for name in names), [0, 0])
            count[0] += 1
            count[1] += meta.get("templateCoverage", 0.0) > 0.0
        rows = [(*key, *count) for key, count in sorted(counts.items())]
        columns = ("model", *names[1:], "detectors", "withTemplate")
        return astropy.table.Table(rows=rows or None, names=columns, dtype=(str, str, str, int, int))

    def configurations(self) -> dict[str, str]:
        """Return the configuration of every task of the collection, by its label."""
        found = {}
        for dataset_type in self.butler.registry.queryDatasetTypes("*_config"):
            ref = self.butler.find_dataset(dataset_type.name)
            if ref is not None:
                found[dataset_type.name.removesuffix("_config")] = str(self.butler.get(ref).saveToString())
        return found

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that the tasks ran with."""
        known = {str(dataset_type.name) for dataset_type in self.butler.registry.queryDatasetTypes()}
        ref = self.butler.find_dataset("packages") if "packages" in known else None
        if ref is None:
            return {}
        packages = self.butler.get(ref)
        return {name: str(packages[name]) for name in ("python", *_PACKAGES) if name in packages}


def read_evaluation(repo: str, collection: str, instrument: str | None = None) -> EvaluationResult:
    """Read the evaluation of a collection.

    Parameters
    ----------
    repo, collection
        The repository and the collection.
    instrument
        Instrument, needed if there are several.

    Raises
    ------
    RepositoryError
        Raised if the repository, collection or evaluation does not exist, or the collection has evaluations
        of several instruments.
    """
    hint = "run pipelines/EvaluateTrails.yaml first"
    butler, refs = query_collection(repo, collection, METRICS_TYPE, hint=hint)
    by_instrument = {str(ref.dataId["instrument"]): ref for ref in refs}
    if instrument is None and len(by_instrument) == 1:
        (instrument,) = by_instrument
    if instrument not in by_instrument:
        names = ", ".join(sorted(by_instrument))
        wanted = "" if instrument is None else f", not of {instrument!r}"
        raise RepositoryError(
            f"{collection!r} has evaluations of {names}{wanted}; select one with --instrument."
        )
    return EvaluationResult(butler, collection, instrument, butler.get(by_instrument[instrument]))
