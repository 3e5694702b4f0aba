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

"""MatchTrailsTask: matches of candidates with the truth of a detector."""

from __future__ import annotations

__all__ = ("MatchTrailsConfig", "MatchTrailsConnections", "MatchTrailsTask")

from typing import TYPE_CHECKING, Any, ClassVar, cast

import astropy.table
import numpy as np

import lsst.pipe.base.connectionTypes as cT
from lsst.images import Image, Mask
from lsst.pex.config import ChoiceField, Field, ListField, RangeField
from lsst.pipe.base import InvalidQuantumError, PipelineTaskConfig, QuantumContext, Struct

from ..core.matching import MatchCriteria
from ..core.operating_point import FALSE_RATES
from ..evaluation.columns import TRUTH_NEEDED
from ..evaluation.match_table import ImageContext, MatchOptions, match_table, search_table
from ._connections import DETECTOR, ImageConnections, image_input, mask_input, table_input, table_output
from ._input_image import InputImageConfig, read_input_image
from ._method_detections import detect_with_methods
from ._quantum_task import Arguments, QuantumTask
from ._stack_sources import read_sources
from ._truth_measurements import candidate_snr, compare_pixels

if TYPE_CHECKING:
    from lsst.daf.butler import DataCoordinate


class MatchTrailsConnections(
    ImageConnections,
    dimensions=DETECTOR,
    defaultTemplates={
        "injected_prefix": "injected_",
        "stack_sources": "source_detector",
        "stack_trails": "long_trailed_source_detector",
    },
):
    """Inputs and outputs of MatchTrailsTask."""

    image = image_input(doc="Image that the candidates were found in.", name="{injected_prefix}{input_image}")
    candidates = table_input(doc="Trail candidates.", name="trail_candidate_detector", deferLoad=True)
    truth = table_input(
        doc="Truth table of the injected or simulated trails in the image.",
        name="{injected_prefix}{input_image}_catalog",
    )
    known_truth = table_input(
        doc="Truth table of a simulated image before the injection.",
        name="simulated_trail_catalog",
        minimum=0,
    )
    truth_pixels = mask_input(
        doc="Mask with the pixels of the injected trails in plane TRAIL; drawn from the truth if missing.",
        name="{injected_prefix}trail_mask",
        minimum=0,
    )
    trail_probability = cT.Input(
        doc="Probability that each pixel belongs to a trail.",
        name="trail_probability",
        storageClass="ImageV2",
        dimensions=DETECTOR,
        minimum=0,
    )
    stack_catalog = table_input(
        doc="The stack's detections in the image, such as source_detector or dia_source_detector.",
        name="{injected_prefix}{stack_sources}",
        minimum=0,
    )
    stack_trails_catalog = table_input(
        doc="The stack's long trails in the image, which it removes from its detections: "
        "long_trailed_source_detector or long_trailed_dia_source.",
        name="{injected_prefix}{stack_trails}",
        minimum=0,
    )
    known_catalog = table_input(
        doc="The stack's detections in the image before the injection.", name="{stack_sources}", minimum=0
    )
    matches = table_output(
        doc="Trails with their candidates, and unmatched candidates.", name="matched_injected_trail_detector"
    )
    search = table_output(
        doc="Search totals in one row: area, pixels by probability, counts.", name="trail_search_detector"
    )

    def __init__(self, *, config: MatchTrailsConfig) -> None:
        super().__init__(config=config)
        # Without an injection the known truth is the truth itself, and the
        # sources before and after it are the same.
        if self.known_truth.name == self.truth.name:
            del self.known_truth
        if self.known_catalog.name == self.stack_catalog.name:
            del self.known_catalog
        # Without a prefix this is the mask of the network, not the truth.
        if self.truth_pixels.name == "trail_mask":
            del self.truth_pixels


class MatchTrailsConfig(InputImageConfig, PipelineTaskConfig, pipelineConnections=MatchTrailsConnections):
    """Configuration of MatchTrailsTask."""

    maxDistance = RangeField(
        dtype=float,
        doc="Largest distance of a candidate's midpoint from the line of its trail, pixels.",
        default=MatchCriteria.max_distance,
        min=0.0,
    )
    maxAngle = RangeField(
        dtype=float,
        doc="Largest angle between a candidate and its trail, degrees.",
        default=MatchCriteria.max_angle,
        min=0.0,
        max=90.0,
        inclusiveMax=True,
    )
    minAngleLength = RangeField(
        dtype=float,
        doc="Shortest candidates and trails whose angles are compared, pixels.",
        default=MatchCriteria.min_angle_length,
        min=0.0,
    )
    minOverlap = RangeField(
        dtype=float,
        doc="Smallest fraction of a trail that its candidate covers; smaller candidates are fragments.",
        default=MatchCriteria.min_overlap,
        min=0.0,
        max=1.0,
    )
    minVisibleFraction = RangeField(
        dtype=float,
        doc="Trails with a smaller fraction of their flux on unmasked pixels of the image do not count.",
        default=MatchOptions.min_visible_fraction,
        min=0.0,
        max=1.0,
        inclusiveMax=True,
    )
    densityRadius = RangeField(
        dtype=float,
        doc="Radius within which the density of sources is measured, pixels.",
        default=MatchOptions.density_radius,
        min=10.0,
    )
    foundDistance = RangeField(
        dtype=float,
        doc="Largest distance of a detection of the stack from the line of its trail, pixels.",
        default=4.0,
        min=0.0,
    )
    baselineThresholds = ListField[int](
        doc="Significances of the sep baselines, sigma: any of 3, 4 and 5.",
        default=[3, 4, 5],
        itemCheck=lambda threshold: threshold in (3, 4, 5),
    )
    truthFraction = RangeField(
        dtype=float,
        doc="Smallest surface brightness of a trail's pixels relative to its ridge; used without a mask.",
        default=0.25,
        min=0.0,
        max=1.0,
    )
    truthSource = ChoiceField[str](
        doc="Origin of the truth.",
        allowed={"injected": "Trails that were injected.", "known": "Trails of a simulated image."},
        default="injected",
    )
    adcnnMetrics = Field[bool](doc="Also measure detections as Asteroid_detection_CNN does.", default=True)

    def options(self) -> MatchOptions:
        """Return the options of the matching."""
        return MatchOptions(
            criteria=MatchCriteria(
                max_distance=self.maxDistance,
                max_angle=self.maxAngle,
                min_angle_length=self.minAngleLength,
                min_overlap=self.minOverlap,
            ),
            min_visible_fraction=self.minVisibleFraction,
            density_radius=self.densityRadius,
        )


class MatchTrailsTask(QuantumTask):
    """Match the candidates of a detector with the true trails."""

    ConfigClass: ClassVar[type[MatchTrailsConfig]] = MatchTrailsConfig
    _DefaultName: ClassVar[str] = "matchTrails"

    config: MatchTrailsConfig

    def run_arguments(self, inputs: Arguments, context: QuantumContext) -> Arguments:
        # Without the parameter the Butler drops the metadata of the table,
        # which hold the thresholds of the model.
        candidates = inputs["candidates"].get(parameters={"strip_astropy_meta_yaml": False})
        data_id = cast("DataCoordinate", context.quantum.dataId)
        visit, detector = int(data_id["visit"]), int(data_id["detector"])
        return inputs | {"candidates": candidates, "visit": visit, "detector": detector}

    def run(
        self,
        *,
        image: Any,
        candidates: astropy.table.Table,
        truth: astropy.table.Table,
        known_truth: astropy.table.Table | None = None,
        truth_pixels: Mask | None = None,
        trail_probability: Image | None = None,
        stack_catalog: astropy.table.Table | None = None,
        stack_trails_catalog: astropy.table.Table | None = None,
        known_catalog: astropy.table.Table | None = None,
        visit: int = 0,
        detector: int = 0,
    ) -> Struct:
        """Match candidates with the truth.

        Parameters
        ----------
        image
            The image; see `InjectTrailsTask.run`.
        candidates
            A `trail_candidate_detector`.
        truth
            Truth table.
        known_truth
            Truth table of the image before the injection.
        truth_pixels
            Mask with the plane ``TRAIL`` of the trails of ``truth``.
        trail_probability
            Output of `TrailSegmentationTask`; without it no pixels are compared.
        stack_catalog, known_catalog
            The stack's detections in the image, and in the image before the injection.
        stack_trails_catalog
            The stack's long trails in the image, which ``stack_catalog`` lacks.
        visit, detector
            Data ID of the image.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``matches``
                `astropy.table.Table` with the columns of
                `~lsst.meas.trails.evaluation.columns.MATCH_COLUMNS`.
            ``search``
                `astropy.table.Table` of one row with the columns of
                `~lsst.meas.trails.evaluation.columns.SEARCH_COLUMNS`.

        Raises
        ------
        lsst.pipe.base.UpstreamFailureNoWorkFound
            Raised if the image cannot be used.
        lsst.pipe.base.InvalidQuantumError
            Raised if the inputs belong to different images, or a table lacks columns.
        """
        input_image = read_input_image(image, psf_spacing=self.config.psfSpacing)
        try:
            everything = _joined(truth, known_truth, self.config.truthSource)
            in_array = input_image.to_array_coordinates(everything)
            methods = detect_with_methods(
                input_image,
                in_array,
                thresholds=self.config.baselineThresholds,
                distance=self.config.foundDistance,
                stack_catalog=stack_catalog,
                stack_trails_catalog=stack_trails_catalog,
                known_catalog=known_catalog,
            )
            pixels, adcnn = compare_pixels(
                input_image,
                in_array,
                trail_probability,
                truth_pixels,
                masked_source=self.config.truthSource,
                truth_fraction=self.config.truthFraction,
                adcnn=self.config.adcnnMetrics,
            )
            known = None if known_catalog is None else read_sources(known_catalog, input_image)
            sources = known or methods.sources
            context = ImageContext(
                shape=input_image.planes.shape,
                origin=input_image.origin,
                pixel_scale=input_image.pixel_scale,
                exposure_time=input_image.exposure_time,
                sources=sources.positions + np.array(input_image.origin),
                visit=visit,
                detector=detector,
                band=input_image.visit_image.band,
            )
            matches = match_table(
                candidates,
                everything,
                context,
                options=self.config.options(),
                extra={**methods.columns, **adcnn},
                snr_psf=candidate_snr(input_image, candidates),
            )
        except ValueError as error:
            raise InvalidQuantumError(f"Visit {visit}, detector {detector}: {error}") from error
        at_rate = candidates.meta.get("scoreAtFalsePerDetector", {})
        thresholds = {f"modelThreshold{rate}": float(at_rate.get(str(rate), np.nan)) for rate in FALSE_RATES}
        search = search_table(
            matches,
            context,
            n_searched=int(np.count_nonzero(~input_image.planes.bad())),
            measured={**thresholds, **methods.totals, **pixels, "nSources": len(sources)},
        )
        for name in ("nTrails", "nCounted", "nCandidates", "nFalse", "nDuplicates", "nSatellite"):
            self.metadata[name] = int(search[name][0])
        self.metadata["nFound"] = int(np.count_nonzero(matches["isCounted"] & matches["isCandidate"]))
        self.log.info(
            "Found %d of %d trails at any score; %d candidates are false, %d are duplicates, %d are on "
            "satellites.",
            *(self.metadata[name] for name in ("nFound", "nCounted", "nFalse", "nDuplicates", "nSatellite")),
        )
        return Struct(matches=matches, search=search)


def _joined(
    truth: astropy.table.Table, known_truth: astropy.table.Table | None, source: str
) -> astropy.table.Table:
    """Return the truth tables of an image joined, with the origin of each row."""
    tables = []
    for table, name in ((truth, source), (known_truth, "known")):
        if table is None:
            continue
        if missing := [column for column in TRUTH_NEEDED if column not in table.colnames]:
            raise ValueError(f"The truth table has no column {', '.join(missing)}.")
        copy = astropy.table.Table(table[list(TRUTH_NEEDED)], copy=True)
        copy["source_type"] = np.asarray(copy["source_type"]).astype("U16")
        copy["truthSource"] = np.full(len(copy), name, dtype="U8")
        tables.append(copy)
    return astropy.table.vstack(tables, metadata_conflicts="silent")
