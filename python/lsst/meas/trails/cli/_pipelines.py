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

"""Repositories that the shipped pipelines can be run in at once."""

from __future__ import annotations

__all__ = ("open_for_pipelines",)

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

PIPELINES = (
    "DetectTrails",
    "DetectTrailsInDifference",
    "DetectTrailsWithTemplate",
    "EvaluateSimulatedTrails",
    "EvaluateTrails",
    "MakeTrainingSet",
)
"""Names of the shipped pipelines."""


def open_for_pipelines(repo: str) -> Butler:
    """Open a Butler repository, or create one that knows the dataset types
    of the shipped pipelines.

    In a repository that is there already, whose dataset types are somebody's
    to decide on, nothing is registered: `pipetask run
    --register-dataset-types` does that when asked.

    Parameters
    ----------
    repo
        The repository.

    Raises
    ------
    lsst.meas.trails.repository.visit_record.RepositoryError
        Raised if there is something else, or it cannot be opened.
    """
    from lsst.meas.trails.repository.butler import open_or_create

    # Of a new one, whatever happens, there is no half.
    butler = open_or_create(repo, _register)
    if not list(butler.registry.queryDatasetTypes()):
        _register(butler)
    return butler


def _register(butler: Butler) -> None:
    """Register the dataset types of the shipped pipelines."""
    from lsst.daf.butler import DatasetType
    from lsst.meas.trails.repository.butler import DIFFERENCE_DATASET_TYPE
    from lsst.pipe.base import Pipeline

    # Tasks ask for any kind of visit image; what is stored is this one.
    dimensions = butler.dimensions.conform(["instrument", "visit", "detector"])
    butler.registry.registerDatasetType(DatasetType(DIFFERENCE_DATASET_TYPE, dimensions, "DifferenceImage"))
    for name in PIPELINES:
        uri = f"resource://lsst.meas.trails/resources/pipelines/{name}.yaml"
        graph = Pipeline.from_uri(uri).to_graph(registry=butler.registry)
        graph.register_dataset_types(butler)
