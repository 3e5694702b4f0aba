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

"""Repositories with the dataset types of the shipped pipelines."""

from __future__ import annotations

__all__ = ("open_for_pipelines",)

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

PIPELINES = (
    "DetectTrails",
    "DetectTrailsInDifference",
    "EvaluateSimulatedTrails",
    "EvaluateTrails",
    "LinkTrails",
    "MakeTrainingSet",
)
"""Names of the shipped pipelines."""


def open_for_pipelines(repo: str) -> Butler:
    """Open a Butler repository, or create one with the pipelines' dataset types.

    Existing repositories with dataset types stay as they are: use `pipetask run --register-dataset-types`.

    Raises
    ------
    lsst.meas.trails.repository.visit_record.RepositoryError
        Raised if the repository cannot be opened or created.
    """
    from ..repository.butler import open_or_create

    butler = open_or_create(repo, _register)
    if not list(butler.registry.queryDatasetTypes()):
        _register(butler)
    return butler


def _register(butler: Butler) -> None:
    """Register the dataset types of the shipped pipelines."""
    from lsst.daf.butler import DatasetType
    from lsst.pipe.base import Pipeline

    from ..repository.butler import DIFFERENCE_DATASET_TYPE

    # Tasks accept any kind of visit image; this storage class is registered.
    dimensions = butler.dimensions.conform(["instrument", "visit", "detector"])
    butler.registry.registerDatasetType(DatasetType(DIFFERENCE_DATASET_TYPE, dimensions, "DifferenceImage"))
    for name in PIPELINES:
        uri = f"resource://lsst.meas.trails/resources/pipelines/{name}.yaml"
        graph = Pipeline.from_uri(uri).to_graph(registry=butler.registry)
        graph.register_dataset_types(butler)
