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

"""TrailCandidateTask: from trail probabilities to a candidate catalog."""

from __future__ import annotations

__all__ = ("TrailCandidateConfig", "TrailCandidateConnections", "TrailCandidateTask")

import logging
from typing import Any, ClassVar

import astropy.table

import lsst.pipe.base.connectionTypes as cT
from lsst.daf.butler import DimensionPacker
from lsst.images import Image
from lsst.pex.config import RangeField
from lsst.pipe.base import (
    InputQuantizedConnection,
    Instrument,
    InvalidQuantumError,
    OutputQuantizedConnection,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
)

from ..core.background import SkySubtracted
from ..core.candidates.find import CandidateOptions, find_candidates
from ..core.candidates.score import ScoreModel
from ..core.catalog.columns import candidate_catalog
from ._ids import first_candidate_id, max_candidates, pack_data_id
from ._input_image import check_covers, model_summary, open_image
from ._thresholds import check_thresholds, choose_thresholds

_LOG = logging.getLogger(__name__)


class TrailCandidateConnections(
    PipelineTaskConnections,
    dimensions=("instrument", "visit", "detector"),
    defaultTemplates={"input_image": "preliminary_visit_image"},
):
    """Inputs and outputs of TrailCandidateTask."""

    image = cT.Input(
        doc="Calibrated image that the probabilities belong to.",
        name="{input_image}",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
        deferLoad=True,
    )
    trail_probability = cT.Input(
        doc="Probability of each pixel that it belongs to a trail.",
        name="trail_probability",
        storageClass="ImageV2",
        dimensions=("instrument", "visit", "detector"),
    )
    trail_candidate_detector = cT.Output(
        doc="Trail candidates of one detector.",
        name="trail_candidate_detector",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
    )


class TrailCandidateConfig(PipelineTaskConfig, pipelineConnections=TrailCandidateConnections):
    """Configuration of TrailCandidateTask."""

    packer = Instrument.make_dimension_packer_config_field()
    seedThreshold = RangeField(
        dtype=float,
        doc="Probability that a component must reach somewhere; the model's own if unset.",
        optional=True,
        default=None,
        min=0.0,
        max=1.0,
    )
    growThreshold = RangeField(
        dtype=float,
        doc="Probability of the pixels that belong to a component; the model's own if unset.",
        optional=True,
        default=None,
        min=0.0,
        max=1.0,
        inclusiveMin=False,
    )
    minArea = RangeField(dtype=int, doc="Smallest component, pixels.", default=12, min=1)
    maxGap = RangeField(
        dtype=float,
        doc="Largest gap between collinear fragments of one trail, pixels.",
        default=12.0,
        min=0.0,
    )
    minScore = RangeField(
        dtype=float, doc="Candidates with a lower score are not written.", default=0.01, min=0.0, max=1.0
    )
    psfSpacing = RangeField(
        dtype=float, doc="Distance at which the PSF model is sampled, pixels.", default=512.0, min=16.0
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        # Any instrument has it; its own default may need an obs package.
        self.packer.name = "observation"

    def validate(self) -> None:
        super().validate()
        check_thresholds(self.growThreshold, self.seedThreshold)


class TrailCandidateTask(PipelineTask):
    """Find, fit and score trail candidates in a probability image."""

    ConfigClass: ClassVar[type[TrailCandidateConfig]] = TrailCandidateConfig
    _DefaultName: ClassVar[str] = "trailCandidate"

    config: TrailCandidateConfig

    def runQuantum(
        self,
        butlerQC: QuantumContext,
        inputRefs: InputQuantizedConnection,
        outputRefs: OutputQuantizedConnection,
    ) -> None:
        inputs = butlerQC.get(inputRefs)
        image_id = pack_data_id(self.config.packer, butlerQC)
        outputs = self.run(
            **inputs,
            visit=image_id.visit,
            detector=image_id.detector,
            packed=image_id.packed,
            packer=image_id.packer,
        )
        butlerQC.put(outputs, outputRefs)

    def run(
        self,
        *,
        image: Any,
        trail_probability: Image,
        visit: int = 0,
        detector: int = 0,
        packed: int = 0,
        packer: DimensionPacker | None = None,
    ) -> Struct:
        """Find the trail candidates of a detector.

        Parameters
        ----------
        image
            The image; see `TrailSegmentationTask.run`.
        trail_probability
            Output of `TrailSegmentationTask` for it.
        visit, detector
            Written to the catalog.
        packed
            Packed data ID of the image, for the identifiers.
        packer
            The packer that packed it; without one identifiers count from 0.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``trail_candidate_detector``
                `astropy.table.Table` with the columns of
                `~lsst.meas.trails.core.catalog.columns.CANDIDATE_COLUMNS`.

        Raises
        ------
        lsst.pipe.base.UpstreamFailureNoWorkFound
            Raised if an input cannot be used.
        lsst.pipe.base.InvalidQuantumError
            Raised if the probability image is of another image, the model's
            score or a threshold cannot be used, or data IDs leave no room for
            identifiers.
        """
        opened = open_image(image, psf_spacing=self.config.psfSpacing)
        planes = opened.planes
        check_covers(trail_probability, opened, "probability image")
        summary = model_summary(trail_probability)
        candidates = find_candidates(
            trail_probability.array,
            SkySubtracted.from_planes(planes),
            score=_score_model(summary),
            options=self._options(summary),
        )
        candidates = self._limit(candidates, packer)
        first = 0 if packer is None else first_candidate_id(packer, packed, len(candidates))
        catalog = candidate_catalog(
            candidates,
            first_id=first,
            visit=visit,
            detector=detector,
            band=opened.visit_image.band,
            midpoint_mjd_tai=opened.midpoint_mjd_tai,
            exposure_time=opened.exposure_time,
            pixel_to_sky=opened.pixel_to_sky,
            origin=opened.origin,
            flux_per_njy=opened.flux_per_njy,
        )
        catalog.meta["trailModel"] = {key: summary[key] for key in ("name", "version", "sha256")}
        catalog.meta["scoreAtFalsePerDetector"] = dict(summary["score"].get("at_false_per_detector", {}))
        catalog.meta["scoreCalibrated"] = bool(summary["score"])
        catalog.meta["imageShape"] = list(planes.shape)
        self.metadata["nCandidates"] = len(catalog)
        self.metadata["nStreaks"] = int(catalog["streakFlag"].sum())
        self.metadata["nFitFailed"] = int(catalog["fitFailedFlag"].sum())
        self.log.info(
            "%d candidates, %d of them on satellite streaks.", len(catalog), self.metadata["nStreaks"]
        )
        return Struct(trail_candidate_detector=catalog)

    def _limit(self, candidates: astropy.table.Table, packer: DimensionPacker | None) -> astropy.table.Table:
        """Return the best candidates, as many as there are identifiers for:
        a ruined image must not stop its visit.
        """
        most = len(candidates) if packer is None else max_candidates(packer)
        if len(candidates) > most:
            self.log.warning(
                "There are %d candidates, and identifiers for %d: only the best are kept.",
                len(candidates),
                most,
            )
        return candidates[:most]

    def _options(self, summary: dict[str, Any]) -> CandidateOptions:
        grow, seed = choose_thresholds(
            self.config.growThreshold, self.config.seedThreshold, summary["thresholds"]
        )
        return CandidateOptions(
            grow=grow,
            seed=seed,
            min_area=self.config.minArea,
            max_gap=self.config.maxGap,
            min_score=self.config.minScore,
        )


def _score_model(summary: dict[str, Any]) -> ScoreModel | None:
    """Return the calibrated score of a model, if it has one."""
    if not summary["score"]:
        _LOG.warning(
            "Model %s has no calibrated score: the probability of a candidate's best pixels stands for it.",
            summary["name"],
        )
        return None
    try:
        return ScoreModel.from_mapping(summary["score"])
    except (TypeError, ValueError) as error:
        raise InvalidQuantumError(
            f"The score of model {summary['name']!r} cannot be used: {error}"
        ) from error
