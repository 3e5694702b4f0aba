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

"""LinkTrailsTask: tracklets from the candidates of a night."""

from __future__ import annotations

__all__ = ("LinkTrailsConfig", "LinkTrailsConnections", "LinkTrailsTask")

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import astropy.table
import numpy as np

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import Field, RangeField
from lsst.pipe.base import (
    InvalidQuantumError,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
)

from ..core.linking.link import link_candidates
from ..core.linking.neo_score import NeoScoreError, add_neo_scores
from ..core.linking.options import LinkOptions
from ..repository.candidates import score_of_false_rate
from ._quantum_task import Arguments, QuantumTask

_VISIT = ("instrument", "visit")
_NIGHT = ("instrument", "day_obs")
_DEFAULT = LinkOptions()


class LinkTrailsConnections(PipelineTaskConnections, dimensions=_NIGHT):
    """Inputs and outputs of LinkTrailsTask."""

    candidates = cT.Input(
        doc="Trail candidates of each visit of the night.",
        name="trail_candidate",
        storageClass="ArrowAstropy",
        dimensions=_VISIT,
        multiple=True,
        deferLoad=True,
    )
    associated = cT.Input(
        doc="The same candidates with known objects, used instead where they exist.",
        name="trail_candidate_associated",
        storageClass="ArrowAstropy",
        dimensions=_VISIT,
        multiple=True,
        deferLoad=True,
        minimum=0,
    )
    trail_tracklet = cT.Output(
        doc="Tracklets: candidates of different visits that belong together.",
        name="trail_tracklet",
        storageClass="ArrowAstropy",
        dimensions=_NIGHT,
    )
    trail_tracklet_member = cT.Output(
        doc="Candidates of each tracklet, with the order of their ends and their residuals.",
        name="trail_tracklet_member",
        storageClass="ArrowAstropy",
        dimensions=_NIGHT,
    )


class LinkTrailsConfig(PipelineTaskConfig, pipelineConnections=LinkTrailsConnections):
    """Configuration of LinkTrailsTask."""

    falsePerDetector = Field[float](
        doc="Number of false candidates per detector, in the calibration of the model, whose score is the "
        "lowest score of a candidate. A score of 0.5 if the model has no calibration at this number.",
        default=10.0,
    )
    minScore = RangeField(
        dtype=float,
        doc="Lowest score of a candidate, instead of falsePerDetector.",
        default=None,
        optional=True,
        min=0.0,
        max=1.0,
        inclusiveMax=True,
    )
    maxTimeGap = RangeField(
        dtype=float, doc="Longest time between two linked visits, minutes.", default=_DEFAULT.max_gap, min=0.0
    )
    maxRate = RangeField(
        dtype=float, doc="Largest rate of motion, degrees per day.", default=_DEFAULT.max_rate, min=0.0
    )
    maxChi2 = RangeField(
        dtype=float,
        doc="Largest chi-square of a pair, for two lengths, two angles and a magnitude.",
        default=_DEFAULT.max_chi2,
        min=0.0,
    )
    maxChance = RangeField(
        dtype=float,
        doc="Largest probability that a tracklet is chance.",
        default=_DEFAULT.max_chance,
        min=0.0,
        max=1.0,
        inclusiveMax=True,
    )
    magnitudeAllowance = RangeField(
        dtype=float,
        doc="Standard deviation of the change of brightness between visits, magnitudes.",
        default=_DEFAULT.mag_floor,
        min=0.0,
    )
    colorAllowance = RangeField(
        dtype=float,
        doc="Additional standard deviation between visits in different bands, about the mean colors of "
        "asteroids, magnitudes.",
        default=_DEFAULT.color_allowance,
        min=0.0,
    )
    addDigest2 = Field[bool](
        doc="Compute digest2Neo, the score as a near-Earth object; needs the packages of the extra digest2.",
        default=False,
    )
    observatoryCode = Field[str](
        doc="Code of the observatory at the Minor Planet Center, for digest2.", default="X05"
    )


class LinkTrailsTask(QuantumTask):
    """Link the candidates of a night to tracklets."""

    ConfigClass: ClassVar[type[LinkTrailsConfig]] = LinkTrailsConfig
    _DefaultName: ClassVar[str] = "linkTrails"

    config: LinkTrailsConfig

    def run_arguments(self, inputs: Arguments, context: QuantumContext) -> Arguments:
        associated = {handle.dataId["visit"]: handle for handle in inputs.get("associated", ())}
        handles = sorted(inputs["candidates"], key=lambda handle: handle.dataId["visit"])
        return {"catalogs": [associated.get(handle.dataId["visit"], handle) for handle in handles]}

    def run(self, *, catalogs: Sequence[Any]) -> Struct:
        """Link candidates.

        Parameters
        ----------
        catalogs
            Candidates of each visit, or deferred handles of them, in any order. Columns of known objects are
            optional.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``trail_tracklet``
                `astropy.table.Table`; see `~lsst.meas.trails.core.linking.columns.TRACKLET_COLUMNS`.
            ``trail_tracklet_member``
                `astropy.table.Table`; see `~lsst.meas.trails.core.linking.columns.TRACKLET_MEMBER_COLUMNS`.

        Raises
        ------
        lsst.pipe.base.InvalidQuantumError
            Raised if a column is missing, a candidate is in two catalogs, or digest2 is asked for but not
            installed.
        """
        options = LinkOptions(
            max_gap=self.config.maxTimeGap,
            max_rate=self.config.maxRate,
            max_chi2=self.config.maxChi2,
            max_chance=self.config.maxChance,
            mag_floor=self.config.magnitudeAllowance,
            color_allowance=self.config.colorAllowance,
        )
        try:
            result = link_candidates(self._selected(catalogs), options)
            if self.config.addDigest2:
                code = self.config.observatoryCode
                add_neo_scores(result.tracklets, result.members, result.positions, code)
        except (ValueError, NeoScoreError) as error:
            raise InvalidQuantumError(str(error)) from error
        self.metadata["nVisits"] = len(catalogs)
        self.metadata["nCandidates"] = result.candidates
        self.metadata["nLinkable"] = result.detections
        self.metadata["nStationary"] = result.stationary
        self.metadata["nPairs"] = result.pairs
        self.metadata["nChancePairs"] = result.chance.decoys
        self.metadata["nTracklets"] = len(result.tracklets)
        self.metadata["nExpectedFalse"] = result.expected_false
        self.log.info(
            "%d tracklets of %d candidates in %d visits; %.1f are expected to be chance.",
            len(result.tracklets),
            result.detections,
            len(catalogs),
            result.expected_false,
        )
        return Struct(trail_tracklet=result.tracklets, trail_tracklet_member=result.members)

    def _selected(self, catalogs: Sequence[Any]) -> Iterator[astropy.table.Table]:
        """Read the catalogs one after another, without candidates of low score."""
        for catalog in catalogs:
            # Without the parameter, the Butler drops the metadata of a table.
            parameters = {"strip_astropy_meta_yaml": False}
            table = catalog.get(parameters=parameters) if hasattr(catalog, "dataId") else catalog
            limit = self.config.minScore
            if limit is None:
                limit = score_of_false_rate(table, self.config.falsePerDetector)
            yield table[np.asarray(table["score"]) >= limit] if "score" in table.colnames else table
