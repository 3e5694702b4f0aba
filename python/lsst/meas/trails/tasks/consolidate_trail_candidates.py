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

"""ConsolidateTrailCandidatesTask: candidate catalog of a visit."""

from __future__ import annotations

__all__ = (
    "ConsolidateTrailCandidatesConfig",
    "ConsolidateTrailCandidatesConnections",
    "ConsolidateTrailCandidatesTask",
)

from collections.abc import Sequence
from typing import ClassVar

import astropy.table

import lsst.pipe.base.connectionTypes as cT
from lsst.pipe.base import PipelineTaskConfig, PipelineTaskConnections, QuantumContext, Struct

from ..core.catalog.columns import empty_catalog
from ._quantum_task import Arguments, QuantumTask


class ConsolidateTrailCandidatesConnections(PipelineTaskConnections, dimensions=("instrument", "visit")):
    """Inputs and outputs of ConsolidateTrailCandidatesTask."""

    catalogs = cT.Input(
        doc="Trail candidates of each detector.",
        name="trail_candidate_detector",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
        deferLoad=True,
    )
    trail_candidate = cT.Output(
        doc="Trail candidates of a visit.",
        name="trail_candidate",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit"),
    )


class ConsolidateTrailCandidatesConfig(
    PipelineTaskConfig, pipelineConnections=ConsolidateTrailCandidatesConnections
):
    """Configuration of ConsolidateTrailCandidatesTask, which has no fields."""


class ConsolidateTrailCandidatesTask(QuantumTask):
    """Join the candidate catalogs of the detectors of a visit."""

    ConfigClass: ClassVar[type[ConsolidateTrailCandidatesConfig]] = ConsolidateTrailCandidatesConfig
    _DefaultName: ClassVar[str] = "consolidateTrailCandidates"

    config: ConsolidateTrailCandidatesConfig

    def run_arguments(self, inputs: Arguments, context: QuantumContext) -> Arguments:
        # Without the parameter, the Butler drops the metadata of a table.
        parameters = {"strip_astropy_meta_yaml": False}
        return {"catalogs": [handle.get(parameters=parameters) for handle in inputs["catalogs"]]}

    def run(self, *, catalogs: Sequence[astropy.table.Table]) -> Struct:
        """Join catalogs.

        Parameters
        ----------
        catalogs
            Candidates of each detector.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``trail_candidate``
                `astropy.table.Table` with all rows, ordered by detector. Its metadata name the model if it
                is the same for all detectors, and have the highest scores of the models at each number of
                false candidates.
        """
        ordered = sorted(
            (table for table in catalogs if len(table)), key=lambda table: int(table["detector"][0])
        )
        if ordered:
            joined = astropy.table.vstack(ordered, metadata_conflicts="silent")
        else:
            joined = catalogs[0].copy() if catalogs else empty_catalog()
        joined.meta.clear()
        models = [table.meta.get("trailModel") for table in catalogs]
        if models and models[0] is not None and all(model == models[0] for model in models):
            joined.meta["trailModel"] = models[0]
        if scores := [table.meta.get("scoreAtFalsePerDetector", {}) for table in catalogs]:
            rates = [rate for rate in scores[0] if all(rate in known for known in scores)]
            joined.meta["scoreAtFalsePerDetector"] = {r: max(known[r] for known in scores) for r in rates}
        if known := [table.meta["timeUncertainty"] for table in catalogs if "timeUncertainty" in table.meta]:
            joined.meta["timeUncertainty"] = max(known)
        joined.meta["nDetectors"] = len(catalogs)
        joined.meta["nDetectorsWithTemplate"] = sum(
            table.meta.get("templateCoverage", 0.0) > 0.0 for table in catalogs
        )
        self.metadata["nCandidates"] = len(joined)
        self.log.info("%d candidates in %d detectors.", len(joined), len(catalogs))
        return Struct(trail_candidate=joined)
