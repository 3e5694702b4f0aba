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

"""TrailCandidateTask: candidate catalog of a trail probability image."""

from __future__ import annotations

__all__ = ("TrailCandidateConfig", "TrailCandidateConnections", "TrailCandidateTask")

import dataclasses
import logging
from typing import TYPE_CHECKING, Any, ClassVar

import astropy.table
import numpy as np

import lsst.pipe.base.connectionTypes as cT
from lsst.daf.butler import DimensionPacker
from lsst.images import Image
from lsst.pex.config import Field, RangeField
from lsst.pipe.base import InvalidQuantumError, PipelineTaskConfig, QuantumContext, Struct

from ..core.background import SkySubtracted
from ..core.candidates.find import CandidateOptions, find_candidates
from ..core.candidates.score import CandidateScore, ScoreModel
from ..core.catalog.columns import candidate_catalog, empty_catalog
from ..core.planes import ImagePlanes
from ..nn.candidate_score import SECOND_STAGE, SecondStageScore, candidate_score
from ._connections import DETECTOR, TemplateConnections, table_output
from ._exposure_midpoints import find_midpoints
from ._ids import DataIdConfig, first_candidate_id, max_candidates, pack_data_id
from ._input_image import InputImage, InputImageConfig, check_covers, read_input_image, read_template
from ._models import MODEL_DATASET_TYPE, MODEL_STORAGE_CLASS, butler_model, named_model
from ._quantum_task import Arguments, QuantumTask
from ._thresholds import TrailPixels, TrailPixelsConfig
from ._trail_images import ModelSummary, model_summary

if TYPE_CHECKING:
    from lsst.daf.butler import DeferredDatasetHandle

    from ..nn.model_file import TrailModel

_LOG = logging.getLogger(__name__)


class TrailCandidateConnections(TemplateConnections, dimensions=DETECTOR):
    """Inputs and outputs of TrailCandidateTask."""

    trail_probability = cT.Input(
        doc="Probability that each pixel belongs to a trail.",
        name="trail_probability",
        storageClass="ImageV2",
        dimensions=DETECTOR,
    )
    trail_model = cT.PrerequisiteInput(
        doc="Model that TrailSegmentationTask used, if it is a dataset.",
        name=MODEL_DATASET_TYPE,
        storageClass=MODEL_STORAGE_CLASS,
        dimensions=(),
        deferLoad=True,
        minimum=0,
    )
    trail_candidate_schema = cT.InitOutput(
        doc="Columns of the trail candidates: a table without rows.",
        name="trail_candidate_schema",
        storageClass="ArrowAstropy",
    )
    trail_candidate_detector = table_output(
        doc="Trail candidates of one detector.", name="trail_candidate_detector"
    )

    def __init__(self, *, config: TrailCandidateConfig | None = None) -> None:
        super().__init__(config=config)
        if config is not None and not config.useTemplate:
            del self.template


class TrailCandidateConfig(
    TrailPixelsConfig,
    DataIdConfig,
    InputImageConfig,
    PipelineTaskConfig,
    pipelineConnections=TrailCandidateConnections,
):
    """Configuration of TrailCandidateTask."""

    maxGap = RangeField(
        dtype=float,
        doc="Largest gap between collinear fragments of one trail, pixels.",
        default=12.0,
        min=0.0,
    )
    minScore = RangeField(
        dtype=float, doc="Lowest score of a candidate in the catalog.", default=0.01, min=0.0, max=1.0
    )
    useTemplate = Field[bool](
        doc="Use the template of an image if the model did, and its second stage looks at it. Set it as for "
        "TrailSegmentationTask.",
        default=True,
    )
    shutterBeamFile = Field[str](
        dtype=str,
        doc="Path or URI of the shutter's beam table of the obs package, for lsst.ip.isr.shutterTiming; "
        "without it, the motion of the shutter is taken from the header of an image of LSSTCam alone.",
        default="",
    )


class TrailCandidateTask(QuantumTask):
    """Find, fit and score trail candidates in a probability image."""

    ConfigClass: ClassVar[type[TrailCandidateConfig]] = TrailCandidateConfig
    _DefaultName: ClassVar[str] = "trailCandidate"

    config: TrailCandidateConfig

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trail_candidate_schema = empty_catalog()

    def run_arguments(self, inputs: Arguments, context: QuantumContext) -> Arguments:
        _, packer, packed, visit, detector = pack_data_id(self.config, context)
        return inputs | {"visit": visit, "detector": detector, "packed": packed, "packer": packer}

    def run(
        self,
        *,
        image: object,
        trail_probability: Image,
        template: object = None,
        trail_model: DeferredDatasetHandle | None = None,
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
            Output of `TrailSegmentationTask` for the image.
        template
            Template of the same sky; see `TrailSegmentationTask.run`.
        trail_model
            Deferred handle of a model in the Butler.
        visit, detector
            Columns of the catalog.
        packed
            Packed data ID of the image, for the identifiers.
        packer
            Packer of ``packed``; without one, identifiers count from 0.

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
            Raised if the probability image belongs to another image, the score of the model or a threshold
            cannot be used, the second stage of the model or the template that it needs is missing, or data
            IDs leave no bits for identifiers.
        """
        input_image = read_input_image(image, psf_spacing=self.config.psfSpacing)
        planes = input_image.planes
        check_covers(trail_probability, input_image, "probability image")
        summary = model_summary(trail_probability)
        score = _candidate_score(summary, trail_model)
        if (
            isinstance(score, SecondStageScore)
            and score.needs_template
            and summary["template_coverage"] > 0.0
        ):
            planes = _with_template(input_image, template)
        candidates = find_candidates(
            trail_probability.array,
            SkySubtracted.from_planes(planes),
            score=score,
            options=self._options(summary),
        )
        candidates = self._limit(candidates, packer)
        first = 0 if packer is None else first_candidate_id(packer, packed, len(candidates))
        x, y = (np.asarray(candidates[n]) + start for n, start in zip("xy", input_image.origin, strict=True))
        midpoints = find_midpoints(input_image, x, y, self.config.shutterBeamFile)
        catalog = candidate_catalog(
            candidates,
            first_id=first,
            visit=visit,
            detector=detector,
            band=input_image.visit_image.band,
            midpoint_mjd_tai=midpoints.mjd_tai,
            exposure_time=input_image.exposure_time,
            assumed=input_image.assumed,
            pixel_to_sky=input_image.pixel_to_sky,
            origin=input_image.origin,
            flux_per_njy=input_image.flux_per_njy_at(x, y),
            model=f"{summary['name']} {summary['version']} {summary['sha256'][:8]}",
        )
        catalog.meta["trailModel"] = {key: summary[key] for key in ("name", "version", "sha256")}
        catalog.meta["templateCoverage"] = summary["template_coverage"]
        catalog.meta["scoreAtFalsePerDetector"] = summary["score"].get("at_false_per_detector", {})
        catalog.meta["snr50"] = dict(summary.get("snr50", {}))
        catalog.meta["scoreCalibrated"] = bool(summary["score"])
        catalog.meta["timeUncertainty"] = midpoints.uncertainty
        catalog.meta["imageShape"] = list(planes.shape)
        catalog.meta["psfFwhm"] = _seeing(input_image)
        # Written when a FITS file is ingested; see lsst.meas.trails.ingest.
        catalog.meta["assumedZeroPoint"] = input_image.visit_image.metadata.get("zeroPointAssumed") is True
        self.metadata["nCandidates"] = len(catalog)
        self.metadata["nStreaks"] = int(catalog["streakFlag"].sum())
        self.metadata["timeSource"] = midpoints.source
        self.metadata["nFitFailed"] = int(catalog["trail_flag"].sum())
        self.log.info(
            "%d candidates, %d of them on satellite streaks.", len(catalog), self.metadata["nStreaks"]
        )
        return Struct(trail_candidate_detector=catalog)

    def _limit(self, candidates: astropy.table.Table, packer: DimensionPacker | None) -> astropy.table.Table:
        """Return the best candidates, as many as have identifiers.

        An unusable image with too many candidates must not stop the processing of its visit.
        """
        most = len(candidates) if packer is None else max_candidates(packer)
        if len(candidates) > most:
            self.log.warning(
                "There are %d candidates but only %d identifiers: keeping the best.", len(candidates), most
            )
        return candidates[:most]

    def _options(self, summary: ModelSummary) -> CandidateOptions:
        thresholds = summary["thresholds"]
        pixels = self.config.trail_pixels(
            TrailPixels(thresholds["grow"], thresholds["seed"], summary["min_area"])
        )
        return CandidateOptions(
            grow=pixels.grow,
            seed=pixels.seed,
            min_area=pixels.min_area,
            max_gap=self.config.maxGap,
            min_score=self.config.minScore,
        )


def _seeing(image: InputImage) -> float:
    """Return the FWHM of the PSF at the center of an image, arcseconds."""
    ny, nx = image.planes.shape
    return image.planes.psf.fwhm(0.5 * (nx - 1), 0.5 * (ny - 1)) * image.pixel_scale


def _candidate_score(
    summary: ModelSummary, trail_model: DeferredDatasetHandle | None
) -> CandidateScore | None:
    """Return the calibrated score of a model, `None` if it has none."""
    name, values = summary["name"], summary["score"]
    if not values:
        _LOG.warning(
            "Model %s has no calibrated score: using the probability of the best pixels of a candidate.", name
        )
        return None
    try:
        if values.get("kind") != SECOND_STAGE:
            return ScoreModel.from_mapping(values)
        return candidate_score(_used_model(summary, trail_model))
    except (TypeError, ValueError) as error:
        raise InvalidQuantumError(f"The score of model {name!r} cannot be used: {error}") from error


def _used_model(summary: ModelSummary, trail_model: DeferredDatasetHandle | None) -> TrailModel:
    """Return the model of a probability image, for its second stage."""
    if (source := summary.get("source")) is not None:
        model = named_model(source)
    elif trail_model is not None:
        model = butler_model(trail_model)
    else:
        raise ValueError(f"its second stage is in the dataset {MODEL_DATASET_TYPE}, which is not an input")
    if model.checksum != summary["sha256"]:
        raise ValueError("it is not the model of the probability image any more; segment the image again")
    return model


def _with_template(image: InputImage, template: object) -> ImagePlanes:
    """Return the planes of an image with its template."""
    if template is None:
        raise InvalidQuantumError(
            "The second stage needs the template that the network saw; set the configuration useTemplate."
        )
    return dataclasses.replace(image.planes, template=read_template(template, image))
