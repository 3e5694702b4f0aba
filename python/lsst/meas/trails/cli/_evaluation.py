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

"""Evaluation read from a Butler repository."""

from __future__ import annotations

__all__ = ("Evaluation", "read_evaluation")

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import astropy.table

    from lsst.daf.butler import Butler

METRICS_TYPE = "trail_metrics"
MATCHES_TYPE = "matched_injected_trail_detector"
SEARCH_TYPE = "trail_search_detector"

_PACKAGES = (
    "meas_trails",
    "daf_butler",
    "pipe_base",
    "images",
    "astropy",
    "numpy",
    "scipy",
    "sep",
    "torch",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Output of pipelines/EvaluateTrails.yaml in a collection."""

    butler: Butler
    """Butler that reads the collection."""

    collection: str
    instrument: str

    metrics: astropy.table.Table
    """The `trail_metrics`."""

    def tables(self, dataset_type: str) -> Iterator[astropy.table.Table]:
        """Yield the tables of all detectors, with a column ``instrument``."""
        import numpy as np

        for ref in self._refs(dataset_type):
            table = self.butler.get(ref)
            table["instrument"] = np.full(len(table), self.instrument)
            yield table

    def _refs(self, dataset_type: str) -> list[Any]:
        from lsst.daf.butler import EmptyQueryResultError, MissingDatasetTypeError

        try:
            refs = self.butler.query_datasets(dataset_type, instrument=self.instrument, limit=None)
        except (EmptyQueryResultError, MissingDatasetTypeError):
            return []
        return sorted(refs, key=lambda ref: (ref.dataId["visit"], ref.dataId["detector"]))

    def models(self) -> astropy.table.Table:
        """Return the models of the candidates, and their numbers of detectors."""
        import astropy.table

        from ..repository.candidates import CATALOG_TYPE

        counts: dict[tuple[str, str, str], int] = {}
        for ref in self._refs(CATALOG_TYPE):
            meta = self.butler.get(ref, parameters={"strip_astropy_meta_yaml": False}).meta
            model = meta.get("trailModel", {})
            key = tuple(str(model.get(name, "unknown")) for name in ("name", "version", "sha256"))
            counts[key] = counts.get(key, 0) + 1  # type: ignore[index, arg-type]
        rows = [(*key, count) for key, count in sorted(counts.items())]
        names = ("model", "version", "sha256", "detectors")
        return astropy.table.Table(rows=rows or None, names=names, dtype=(str, str, str, int))

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


def read_evaluation(repo: str, collection: str, instrument: str | None = None) -> Evaluation:
    """Read the metrics of a collection.

    Parameters
    ----------
    repo
        The Butler repository.
    collection
        The collection.
    instrument
        Instrument, needed if there are several.

    Raises
    ------
    RepositoryError
        Raised if the repository, collection or evaluation does not exist.
    click.ClickException
        Raised if there are several evaluations, or none of the instrument.
    """
    from ..repository.query import query_collection

    hint = "run pipelines/EvaluateTrails.yaml first"
    butler, refs = query_collection(repo, collection, METRICS_TYPE, hint=hint)
    by_instrument = {str(ref.dataId["instrument"]): ref for ref in refs}
    if instrument is None and len(by_instrument) > 1:
        names = ", ".join(sorted(by_instrument))
        raise click.ClickException(
            f"{collection!r} has evaluations of {names}: select one with --instrument."
        )
    if instrument is not None and instrument not in by_instrument:
        names = ", ".join(sorted(by_instrument))
        raise click.ClickException(
            f"{collection!r} has no evaluation of instrument {instrument!r}; select one of {names}."
        )
    name = instrument or next(iter(by_instrument))
    return Evaluation(butler, collection, name, butler.get(by_instrument[name]))
