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
"""MatchTrailsTask: the candidates of a detector beside what is truly there."""

from __future__ import annotations

__all__ = ("MatchTrailsConfig", "MatchTrailsConnections", "MatchTrailsTask")

from typing import TYPE_CHECKING, Any, ClassVar, cast

import astropy.table
import numpy as np

import lsst.pipe.base.connectionTypes as cT
from lsst.images import Image, Mask
from lsst.pex.config import ChoiceField, Field, ListField, RangeField
from lsst.pipe.base import (
    InputQuantizedConnection,
    InvalidQuantumError,
    OutputQuantizedConnection,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
)

from ..adcnn.metrics import adcnn_detections, adcnn_match
from ..core.geometry import Trails
from ..core.matching import MatchCriteria
from ..core.pixel_histogram import BINS
from ..core.render import truth_mask
from ..evaluation.match_table import (
    METHODS,
    SEARCH_COLUMNS,
    TRUTH_NEEDED,
    ImageContext,
    MatchOptions,
    match_table,
    table_of,
)
from ._input_image import InputImage, check_covers, read_input_image
from ._stack_sources import StackSources, found_trails, read_sources
from ._trail_images import TRAIL_PLANE, model_summary
from ._truth_measurements import (
    baseline_sources,
    chance_found,
    measure_pixels,
    snr_as_point_source,
    without_trails,
)

if TYPE_CHECKING:
    from lsst.daf.butler import DataCoordinate

_DETECTOR = ("instrument", "visit", "detector")
_SOURCE_SIGMA = 5.0
"""Significance of the stars and galaxies that make a place crowded."""

_PIXEL_ENDS = ("x", "y", "x0", "y0", "x1", "y1")


class MatchTrailsConnections(
    PipelineTaskConnections,
    dimensions=_DETECTOR,
    defaultTemplates={
        "input_image": "preliminary_visit_image",
        "injected_prefix": "injected_",
        "stack_sources": "source_detector",
    },
):
    """Inputs and outputs of MatchTrailsTask."""

    image = cT.Input(
        doc="Image that the candidates were found in.",
        name="{injected_prefix}{input_image}",
        storageClass="VisitImage",
        dimensions=_DETECTOR,
        deferLoad=True,
    )
    candidates = cT.Input(
        doc="Trail candidates.",
        name="trail_candidate_detector",
        storageClass="ArrowAstropy",
        dimensions=_DETECTOR,
        deferLoad=True,
    )
    truth = cT.Input(
        doc="What is truly in the image: the trails that were injected, or simulated.",
        name="{injected_prefix}{input_image}_catalog",
        storageClass="ArrowAstropy",
        dimensions=_DETECTOR,
    )
    known_truth = cT.Input(
        doc="What was in a simulated image before the injection.",
        name="simulated_trail_catalog",
        storageClass="ArrowAstropy",
        dimensions=_DETECTOR,
        minimum=0,
    )
    truth_pixels = cT.Input(
        doc="Mask whose plane TRAIL holds the pixels of the injected trails; drawn where there is none.",
        name="{injected_prefix}trail_mask",
        storageClass="MaskV2",
        dimensions=_DETECTOR,
        minimum=0,
    )
    trail_probability = cT.Input(
        doc="Probability of each pixel that it belongs to a trail.",
        name="trail_probability",
        storageClass="ImageV2",
        dimensions=_DETECTOR,
        minimum=0,
    )
    stack_catalog = cT.Input(
        doc="The stack's own detections in the same image, such as source_detector or dia_source_detector.",
        name="{injected_prefix}{stack_sources}",
        storageClass="ArrowAstropy",
        dimensions=_DETECTOR,
        minimum=0,
    )
    known_catalog = cT.Input(
        doc="The stack's detections in the image before the injection.",
        name="{stack_sources}",
        storageClass="ArrowAstropy",
        dimensions=_DETECTOR,
        minimum=0,
    )
    matches = cT.Output(
        doc="Trails with their candidates, and candidates that are no trails.",
        name="matched_injected_trail_detector",
        storageClass="ArrowAstropy",
        dimensions=_DETECTOR,
    )
    search = cT.Output(
        doc="What was searched, in one row: area, pixels by probability, counts.",
        name="trail_search_detector",
        storageClass="ArrowAstropy",
        dimensions=_DETECTOR,
    )

    def __init__(self, *, config: MatchTrailsConfig) -> None:
        super().__init__(config=config)
        # Nothing was injected: what is known beforehand is the truth itself,
        # and the same sources before and after would leave none.
        if self.known_truth.name == self.truth.name:
            del self.known_truth
        if self.known_catalog.name == self.stack_catalog.name:
            del self.known_catalog
        # Without a prefix, the name is that of what the network itself marks,
        # which must never be taken for the truth.
        if self.truth_pixels.name == "trail_mask":
            del self.truth_pixels


class MatchTrailsConfig(PipelineTaskConfig, pipelineConnections=MatchTrailsConnections):
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
        doc="Candidates and trails that are shorter have no angle to compare, pixels.",
        default=MatchCriteria.min_angle_length,
        min=0.0,
    )
    minOverlap = RangeField(
        dtype=float,
        doc="Smallest part of a trail that its candidate covers; less is a fragment.",
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
        doc="Radius within which sources are counted for their density, pixels.",
        default=MatchOptions.density_radius,
        min=10.0,
    )
    foundDistance = RangeField(
        dtype=float,
        doc="Farthest that a detection of the stack may be from the line of the trail that it is on, pixels.",
        default=4.0,
        min=0.0,
    )
    baselineThresholds = ListField[int](
        doc="Significances at which sep detects beside the network, in sigma, of 3, 4 and 5.",
        default=[3, 4, 5],
        itemCheck=lambda threshold: threshold in (3, 4, 5),
    )
    truthFraction = RangeField(
        dtype=float,
        doc="Pixels brighter than this fraction of a trail's ridge belong to it, where no mask says so.",
        default=0.25,
        min=0.0,
        max=1.0,
    )
    truthSource = ChoiceField[str](
        doc="What the truth is.",
        allowed={"injected": "Trails that were injected.", "known": "Trails of a simulated image."},
        default="injected",
    )
    adcnnMetrics = Field[bool](
        doc="Count also in the manner of Asteroid_detection_CNN?",
        default=True,
    )
    psfSpacing = RangeField(
        dtype=float, doc="Distance at which the PSF model is sampled, pixels.", default=512.0, min=16.0
    )

    def options(self) -> MatchOptions:
        """Return how candidates are matched."""
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


class MatchTrailsTask(PipelineTask):
    """Match the candidates of a detector with what is truly there."""

    ConfigClass: ClassVar[type[MatchTrailsConfig]] = MatchTrailsConfig
    _DefaultName: ClassVar[str] = "matchTrails"

    config: MatchTrailsConfig

    def runQuantum(
        self,
        butlerQC: QuantumContext,
        inputRefs: InputQuantizedConnection,
        outputRefs: OutputQuantizedConnection,
    ) -> None:
        inputs = butlerQC.get(inputRefs)
        # Without the parameter, the Butler leaves out what a table says of
        # itself: the thresholds that the model brought along.
        candidates = inputs.pop("candidates").get(parameters={"strip_astropy_meta_yaml": False})
        data_id = cast("DataCoordinate", butlerQC.quantum.dataId)
        outputs = self.run(
            **inputs, candidates=candidates, visit=int(data_id["visit"]), detector=int(data_id["detector"])
        )
        butlerQC.put(outputs, outputRefs)

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
            What was in the image before, if that is known.
        truth_pixels
            Mask with the plane ``TRAIL`` of the trails of ``truth``.
        trail_probability
            Output of `TrailSegmentationTask`; without it nothing is said of
            pixels.
        stack_catalog, known_catalog
            The stack's detections in the image, and in that before the
            injection.
        visit, detector
            Written to the tables.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``matches``
                `astropy.table.Table` with the columns of
                `~lsst.meas.trails.evaluation.match_table.MATCH_COLUMNS`.
            ``search``
                `astropy.table.Table` of one row with the columns of
                `~lsst.meas.trails.evaluation.match_table.SEARCH_COLUMNS`.

        Raises
        ------
        lsst.pipe.base.UpstreamFailureNoWorkFound
            Raised if the image cannot be used.
        lsst.pipe.base.InvalidQuantumError
            Raised if the inputs are not of one image, or a table lacks
            columns.
        """
        opened = read_input_image(image, psf_spacing=self.config.psfSpacing)
        try:
            everything = _joined(truth, known_truth, self.config.truthSource)
            methods, counts, cleaned = self._methods(opened, everything, stack_catalog, known_catalog)
            pixels, adcnn = self._pixels(opened, everything, truth_pixels, trail_probability)
            known = read_sources(known_catalog, opened) or cleaned
            matches = match_table(
                candidates,
                everything,
                ImageContext(
                    shape=opened.planes.shape,
                    origin=opened.origin,
                    pixel_scale=opened.pixel_scale,
                    exposure_time=opened.exposure_time,
                    sources=known.positions + np.array(opened.origin),
                ),
                options=self.config.options(),
                extra={**methods, **adcnn},
                snr_psf=_candidate_snr(opened, candidates),
                visit=visit,
                detector=detector,
                band=opened.visit_image.band,
            )
        except ValueError as error:
            raise InvalidQuantumError(f"Visit {visit}, detector {detector}: {error}") from error
        counts |= {"nSources": len(known), **pixels}
        counts |= {"visit": visit, "detector": detector}
        search = self._search(opened, candidates, matches, counts)
        for name in ("nTrails", "nCounted", "nCandidates", "nFalse", "nDuplicates", "nSatellite"):
            self.metadata[name] = int(search[name][0])
        self.metadata["nFound"] = int(np.count_nonzero(matches["isCounted"] & matches["isCandidate"]))
        self.log.info(
            "Found %d of %d trails, whatever their score; %d candidates are false, %d repeat a trail, %d are "
            "on satellites.",
            *(self.metadata[name] for name in ("nFound", "nCounted", "nFalse", "nDuplicates", "nSatellite")),
        )
        return Struct(matches=matches, search=search)

    def _methods(
        self,
        image: InputImage,
        truth: astropy.table.Table,
        stack_catalog: astropy.table.Table | None,
        known_catalog: astropy.table.Table | None,
    ) -> tuple[dict[str, Any], dict[str, Any], StackSources]:
        """Return what the stack and its baselines find, as columns beside the
        truth, what they find by chance, and the sources without the trails.
        """
        in_array = _in_array_coordinates(truth, image)
        is_trail = np.asarray(truth["source_type"]).astype(str) == "Trail"
        trails = in_array[is_trail]
        cleaned = without_trails(image.planes, _in_image_units(trails, image))
        sources = baseline_sources(cleaned, _SOURCE_SIGMA)
        columns: dict[str, Any] = {}
        counts: dict[str, Any] = {}
        lists: dict[str, tuple[StackSources, StackSources | None]] = {
            f"Sep{threshold}": (
                baseline_sources(image.planes, threshold),
                sources if threshold == _SOURCE_SIGMA else baseline_sources(cleaned, threshold),
            )
            for threshold in self.config.baselineThresholds
        }
        if (after := read_sources(stack_catalog, image)) is not None:
            lists["Stack"] = (after, read_sources(known_catalog, image))
            columns["stackTrailLength"] = _stack_lengths(
                in_array, stack_catalog, image, self.config.foundDistance
            )
        for key in METHODS:
            found = np.full(len(truth), -1, dtype=np.int64)
            counts[f"n{key}"], counts[f"chance{key}"] = -1, np.nan
            if key in lists:
                present, before = lists[key]
                hits, _ = found_trails(trails, present, before, self.config.foundDistance)
                found[is_trail] = 0 if hits is None else hits.astype(np.int64)
                counts[f"n{key}"] = len(present)
                counts[f"chance{key}"] = chance_found(trails, present, before, self.config.foundDistance)
            columns[f"foundBy{key}"] = found
        return columns, counts, sources

    def _pixels(
        self,
        image: InputImage,
        truth: astropy.table.Table,
        truth_pixels: Mask | None,
        trail_probability: Image | None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what pixels tell, for the table of the search, and what
        components in the older manner do, beside the truth.
        """
        nothing = {
            "hasPixels": False,
            "growThreshold": np.nan,
            "nIgnoredBad": 0,
            "nIgnoredSatellite": 0,
            "pixelTrue": np.zeros(BINS, dtype=np.int64),
            "pixelFalse": np.zeros(BINS, dtype=np.int64),
            "adcnnComponents": np.zeros(101, dtype=np.int64),
        }
        if trail_probability is None:
            return nothing, {}
        check_covers(trail_probability, image, "probability image")
        in_array = _in_array_coordinates(truth, image)
        kind = np.asarray(truth["source_type"]).astype(str)
        drawn = kind == "Trail"
        pixels = np.zeros(image.planes.shape, dtype=bool)
        if truth_pixels is not None:
            check_covers(truth_pixels, image, "mask of the trails")
            pixels |= truth_pixels.get(TRAIL_PLANE.name)
            drawn &= np.asarray(truth["truthSource"]).astype(str) != self.config.truthSource
        trails = Trails.from_table(in_array[drawn])
        pixels |= truth_mask(image.planes.psf, trails, image.planes.shape, self.config.truthFraction)
        probability = trail_probability.array
        counts = measure_pixels(image.planes, probability, pixels, in_array[kind == "Satellite"])
        told = nothing | {
            "hasPixels": True,
            "growThreshold": float(model_summary(trail_probability)["thresholds"].get("grow", np.nan)),
            "nIgnoredBad": counts.bad,
            "nIgnoredSatellite": counts.satellite,
            "pixelTrue": counts.histogram.true,
            "pixelFalse": counts.histogram.false,
        }
        if not self.config.adcnnMetrics:
            return told, {}
        detections = adcnn_detections(probability)
        score = np.full(len(truth), np.nan)
        score[kind == "Trail"] = adcnn_match(detections, Trails.from_table(in_array[kind == "Trail"]))
        bins = np.clip((detections.score * 100.0).astype(np.int64), 0, 100)
        told["adcnnComponents"] = np.bincount(bins, minlength=101)
        return told, {"adcnnScore": score}

    def _search(
        self,
        image: InputImage,
        candidates: astropy.table.Table,
        matches: astropy.table.Table,
        counts: dict[str, Any],
    ) -> astropy.table.Table:
        """Return the table of what was searched."""
        good = int(np.count_nonzero(~image.planes.bad()))
        at_rate = candidates.meta.get("scoreAtFalsePerDetector", {})
        row = {
            "band": image.visit_image.band,
            "nPixels": image.planes.image.size,
            "nSearched": good,
            "skyArea": good * (image.pixel_scale / 3600.0) ** 2,
            "nTrails": np.count_nonzero(matches["isTrail"]),
            "nCounted": np.count_nonzero(matches["isCounted"]),
            "nCandidates": len(candidates),
            "nFalse": np.count_nonzero(matches["isFalse"]),
            "nDuplicates": np.count_nonzero(matches["isDuplicate"]),
            "nSatellite": np.count_nonzero(matches["isSatellite"]),
            **{f"modelThreshold{rate}": float(at_rate.get(str(rate), np.nan)) for rate in (1, 10, 100)},
            **counts,
        }
        return table_of({name: np.array([value]) for name, value in row.items()}, SEARCH_COLUMNS)


def _joined(
    truth: astropy.table.Table, known_truth: astropy.table.Table | None, source: str
) -> astropy.table.Table:
    """Return all that is in an image, with where it is known from."""
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


def _in_array_coordinates(truth: astropy.table.Table, image: InputImage) -> astropy.table.Table:
    """Return a copy of a truth table in the coordinates of the arrays."""
    result = truth.copy()
    for name in _PIXEL_ENDS:
        result[name] = np.asarray(result[name]) - image.origin["xy".index(name[0])]
    return result


def _in_image_units(trails: astropy.table.Table, image: InputImage) -> Trails:
    """Return trails in array coordinates with fluxes in the image's units."""
    x, y = np.asarray(trails["x"]) + image.origin[0], np.asarray(trails["y"]) + image.origin[1]
    flux = np.asarray(trails["flux"], dtype=np.float64) * image.flux_per_njy_at(x, y)
    plain = Trails.from_table(trails)
    return Trails(plain.x, plain.y, plain.length, plain.angle, flux)


def _candidate_snr(image: InputImage, candidates: astropy.table.Table) -> np.ndarray[Any, Any]:
    """Return the SNR of candidates on the scale of point sources."""
    x, y = (np.asarray(candidates[name], dtype=np.float64) for name in ("x", "y"))
    flux = np.asarray(candidates["trailFlux"], dtype=np.float64) * image.flux_per_njy_at(x, y)
    length = np.asarray(candidates["trailLengthPix"], dtype=np.float64)
    return snr_as_point_source(image.planes, x - image.origin[0], y - image.origin[1], length, flux)


def _stack_lengths(
    truth: astropy.table.Table, sources: astropy.table.Table, image: InputImage, distance: float
) -> np.ndarray[Any, Any]:
    """Return the lengths that the stack's catalog has for trails, arcsec, NaN
    where it has none.
    """
    lengths = np.full(len(truth), np.nan)
    name = next(
        (n for n in ("trailLength", "ext_trailedSources_Naive_length") if n in sources.colnames), None
    )
    if name is None:
        return lengths
    measured = sources[np.isfinite(np.ma.filled(np.ma.asarray(sources[name], dtype=np.float64), np.nan))]
    for i in range(len(measured)):
        one = read_sources(measured[i : i + 1], image)
        hits, _ = found_trails(truth, one, None, distance)
        if hits is not None:
            lengths[hits] = np.fmax(lengths[hits], float(measured[name][i]))
    return lengths
