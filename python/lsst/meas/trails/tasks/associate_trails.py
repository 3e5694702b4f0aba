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

"""AssociateTrailsTask: candidates of a detector that are known objects."""

from __future__ import annotations

__all__ = ("AssociateTrailsConfig", "AssociateTrailsConnections", "AssociateTrailsTask")

from typing import Any, ClassVar, NamedTuple

import astropy.table
import numpy as np
import numpy.typing as npt

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import DictField, Field, RangeField
from lsst.pipe.base import InvalidQuantumError, PipelineTaskConfig, QuantumContext, Struct

from ..core.association.columns import (
    KNOWN_TRAIL_COLUMNS,
    add_association,
    known_trail_table,
    without_association,
)
from ..core.association.expected import (
    BAND_COLORS,
    Placed,
    detection_probability,
    expected_brightness,
    missed_reason,
    place_trails,
)
from ..core.association.interpolate import predict_from_known_objects
from ..core.association.likelihood import AssociationOptions, CandidateTrails, ExpectedTrails
from ..core.association.match import associate
from ..core.association.other_names import without_other_names
from ..core.association.predict import (
    Exposure,
    PredictedTrails,
    predict_from_polynomials,
    predict_from_rates,
)
from ..core.catalog.columns import ASSUMPTION_FLAGS, table_of
from ..core.operating_point import LONG
from ._connections import DETECTOR, ImageConnections, table_input, table_output
from ._exposure_midpoints import find_midpoints
from ._ids import DataIdConfig, pack_data_id
from ._input_image import InputImage, InputImageConfig, read_input_image
from ._quantum_task import Arguments, QuantumTask

_DEFAULT_SNR50 = 10.0
"""SNR at which half of the trails are found, of a model that does not state it."""


class AssociateTrailsConnections(ImageConnections, dimensions=DETECTOR):
    """Inputs and outputs of AssociateTrailsTask."""

    candidates = table_input(doc="Trail candidates.", name="trail_candidate_detector", deferLoad=True)
    preloaded_ss_object = cT.Input(
        doc="Ephemerides of Alert Production, as Chebyshev polynomials.",
        name="preloaded_ss_object",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "group", "detector"),
        minimum=0,
    )
    preloaded_ss_object_visit = cT.Input(
        doc="Ephemerides of Data Release Production, as positions and rates.",
        name="preloaded_ss_object_visit",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit"),
        minimum=0,
    )
    known_objects = cT.Input(
        doc="Ephemerides of one's own, put in by `meas-trails known ingest`.",
        name="known_objects",
        storageClass="ArrowAstropy",
        dimensions=(),
        minimum=0,
    )
    trail_candidate_associated_detector = table_output(
        doc="Trail candidates of one detector, with the known objects that they are.",
        name="trail_candidate_associated_detector",
    )
    trail_known_object_detector = table_output(
        doc="Trails that known objects should leave on one detector, found or missed.",
        name="trail_known_object_detector",
    )


class AssociateTrailsConfig(
    DataIdConfig, InputImageConfig, PipelineTaskConfig, pipelineConnections=AssociateTrailsConnections
):
    """Configuration of AssociateTrailsTask."""

    defaultPositionErr = RangeField(
        dtype=float,
        doc="Uncertainty of predicted positions that do not state it, as those of Data Release Production: "
        "standard deviation in each of two directions, arcseconds.",
        default=1.0,
        min=0.0,
    )
    nSigma = RangeField(
        dtype=float,
        doc="Largest offset, angle and excess length of a match, standard deviations.",
        default=AssociationOptions.n_sigma,
        min=1.0,
    )
    magErr = RangeField(
        dtype=float,
        doc="Standard deviation of predicted magnitudes; a tenth of them may be worse.",
        default=AssociationOptions.mag_err,
        min=0.01,
    )
    maxMagDifference = RangeField(
        dtype=float,
        doc="Largest difference of measured and predicted magnitudes of a match.",
        default=AssociationOptions.max_mag_difference,
        min=0.1,
    )
    minProbability = RangeField(
        dtype=float,
        doc="Smallest probability of a match.",
        default=AssociationOptions.min_probability,
        min=0.0,
        max=1.0,
    )
    snr50 = Field[float](
        doc="Optimal SNR at which half of the trails are found, for the expected completeness; by default "
        f"the values of the model, or {_DEFAULT_SNR50:g} if it has none.",
        optional=True,
        check=lambda value: value > 0.0,
    )
    minLength = RangeField(
        dtype=float,
        doc="Shortest trails that the network finds, for the reason of a missed trail, pixels.",
        default=6.0,
        min=0.0,
    )
    bandColors = DictField[str, float](
        doc="Magnitudes in a band minus predicted V magnitudes; 0 for other bands.",
        default=BAND_COLORS,
    )
    maxExtrapolation = RangeField(
        dtype=float,
        doc="Longest time from the nearest row of an object in known_objects to an exposure that is not "
        "between two rows, hours.",
        default=1.0,
        min=0.0,
    )
    maxInterval = RangeField(
        dtype=float,
        doc="Longest time between two rows of an object in known_objects that are interpolated, hours.",
        default=24.0,
        min=0.0,
    )


class _Ephemerides(NamedTuple):
    """Inputs with predictions; `None` if missing."""

    polynomials: astropy.table.Table | None
    rates: astropy.table.Table | None
    known: astropy.table.Table | None

    def is_empty(self) -> bool:
        """Return whether there is no row."""
        return not any(table is not None and len(table) for table in self)


class AssociateTrailsTask(QuantumTask):
    """Find the candidates of a detector that are known objects."""

    ConfigClass: ClassVar[type[AssociateTrailsConfig]] = AssociateTrailsConfig
    _DefaultName: ClassVar[str] = "associateTrails"

    config: AssociateTrailsConfig

    def run_arguments(self, inputs: Arguments, context: QuantumContext) -> Arguments:
        # Without the parameter the Butler drops the metadata of the table.
        candidates = inputs["candidates"].get(parameters={"strip_astropy_meta_yaml": False})
        _, _, _, visit, detector = pack_data_id(self.config, context)
        return inputs | {"candidates": candidates, "visit": visit, "detector": detector}

    def run(
        self,
        *,
        image: Any,
        candidates: astropy.table.Table,
        preloaded_ss_object: astropy.table.Table | None = None,
        preloaded_ss_object_visit: astropy.table.Table | None = None,
        known_objects: astropy.table.Table | None = None,
        visit: int = 0,
        detector: int = 0,
    ) -> Struct:
        """Associate candidates with known objects.

        Parameters
        ----------
        image
            The image that was searched; see `TrailSegmentationTask.run`. It is read only if there are
            ephemerides.
        candidates
            A `trail_candidate_detector`.
        preloaded_ss_object, preloaded_ss_object_visit, known_objects
            Ephemerides, any of them or none; see `~lsst.meas.trails.core.association.predict`.
        visit, detector
            Data ID of the image.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``trail_candidate_associated_detector``
                All candidates, with the columns of
                `~lsst.meas.trails.core.association.columns.ASSOCIATION_COLUMNS`.
            ``trail_known_object_detector``
                The predicted trails, with the columns of
                `~lsst.meas.trails.core.association.columns.KNOWN_TRAIL_COLUMNS`.

        Raises
        ------
        lsst.pipe.base.UpstreamFailureNoWorkFound
            Raised if the image cannot be used.
        lsst.pipe.base.InvalidQuantumError
            Raised if an ephemeris lacks a column.
        """
        ephemerides = _Ephemerides(preloaded_ss_object, preloaded_ss_object_visit, known_objects)
        if ephemerides.is_empty():
            self.log.info("There are no ephemerides: passing %d candidates on.", len(candidates))
            return self._pass_on(candidates)
        if any(np.any(candidates[name]) for name in ASSUMPTION_FLAGS if name in candidates.colnames):
            self.log.warning(
                "The time of the exposure was assumed when the image was ingested: predicted positions may "
                "be wrong."
            )
        input_image = read_input_image(image, psf_spacing=self.config.psfSpacing)
        exposure = Exposure(_middle_of_exposure(input_image), input_image.exposure_time)
        if not np.isfinite(exposure.midpoint) or not exposure.seconds > 0.0:
            self.log.warning("The time of the exposure is unknown: passing the candidates on.")
            return self._pass_on(candidates)
        try:
            predicted = self._predict(ephemerides, exposure)
        except ValueError as error:
            raise InvalidQuantumError(f"Visit {visit}, detector {detector}: {error}") from error
        return self._associate(input_image, candidates, predicted, exposure, visit, detector)

    def _pass_on(self, candidates: astropy.table.Table) -> Struct:
        """Return the candidates without associations."""
        self._record(0, 0, 0)
        nothing = table_of(dict.fromkeys(KNOWN_TRAIL_COLUMNS, ()), KNOWN_TRAIL_COLUMNS)
        return Struct(
            trail_candidate_associated_detector=without_association(candidates),
            trail_known_object_detector=nothing,
        )

    def _predict(self, ephemerides: _Ephemerides, exposure: Exposure) -> PredictedTrails:
        """Return the predictions of all ephemerides."""
        default = self.config.defaultPositionErr
        parts = []
        if ephemerides.known is not None:
            parts.append(
                predict_from_known_objects(
                    ephemerides.known,
                    exposure,
                    default_err=default,
                    max_extrapolation=self.config.maxExtrapolation / 24.0,
                    max_interval=self.config.maxInterval / 24.0,
                )
            )
        if ephemerides.polynomials is not None:
            parts.append(predict_from_polynomials(ephemerides.polynomials, exposure, default_err=default))
        if ephemerides.rates is not None:
            parts.append(predict_from_rates(ephemerides.rates, exposure, default_err=default))
        return without_other_names(PredictedTrails.join(parts))

    def _associate(
        self,
        image: InputImage,
        candidates: astropy.table.Table,
        predicted: PredictedTrails,
        exposure: Exposure,
        visit: int,
        detector: int,
    ) -> Struct:
        shape, scale = image.planes.shape, image.pixel_scale
        ny, nx = shape
        center_ra, center_dec = image.array_to_sky(np.array([0.5 * nx]), np.array([0.5 * ny]))
        placed = place_trails(
            predicted,
            lambda ra, dec: _sky_to_array(image, ra, dec),
            shape,
            scale,
            (float(center_ra[0]), float(center_dec[0])),
            self.config.nSigma,
        )
        band = str(image.visit_image.band)
        brightness = expected_brightness(
            placed,
            image.planes,
            color=self.config.bandColors.get(band, 0.0),
            flux_per_njy=image.flux_per_njy_at(
                placed.trails.x + image.origin[0], placed.trails.y + image.origin[1]
            ),
        )
        limit = self._snr50(candidates, placed)
        association = associate(
            CandidateTrails.from_catalog(candidates, image.origin, scale),
            ExpectedTrails(
                trails=placed.trails,
                visible=placed.visible,
                near_edge=placed.near_edge,
                position_err=placed.position_err,
                mag=brightness.mag,
                detection=detection_probability(brightness.whole_snr, limit),
            ),
            float(nx * ny),
            AssociationOptions(
                n_sigma=self.config.nSigma,
                mag_err=self.config.magErr,
                max_mag_difference=self.config.maxMagDifference,
                min_probability=self.config.minProbability,
            ),
        )
        known = known_trail_table(
            placed,
            brightness,
            association,
            candidates,
            exposure=exposure,
            visit=visit,
            detector=detector,
            band=band,
            origin=image.origin,
            completeness=detection_probability(brightness.snr, limit),
            reasons=missed_reason(brightness, placed.trails.length, limit, self.config.minLength),
            pixel_scale=scale,
        )
        self._record(len(known), int(np.sum(known["isFound"])), int(np.sum(association.object_of >= 0)))
        self.log.info(
            "Found %d of %d known objects on the image; %d of %d candidates are known.",
            self.metadata["nFound"],
            len(known),
            self.metadata["nAssociated"],
            len(candidates),
        )
        return Struct(
            trail_candidate_associated_detector=add_association(candidates, placed, association),
            trail_known_object_detector=known,
        )

    def _record(self, known: int, found: int, associated: int) -> None:
        self.metadata["nKnown"] = known
        self.metadata["nFound"] = found
        self.metadata["nAssociated"] = associated

    def _snr50(self, candidates: astropy.table.Table, placed: Placed) -> npt.NDArray[np.float64]:
        """Return the SNR at which half of the trails like each predicted trail are found."""
        stated = candidates.meta.get("snr50", {})
        every = self.config.snr50 or float(stated.get("all", _DEFAULT_SNR50))
        long = self.config.snr50 or float(stated.get("long", every))
        return np.where(placed.trails.length >= LONG, long, every)


def _middle_of_exposure(image: InputImage) -> float:
    """Return the middle of the exposure at the center of the image, MJD, TAI.

    By the motion of the shutter it differs from that of the visit by up to 0.2 s, the time in which an object
    of 30 degrees per day moves by 0.3 arcsec.
    """
    ny, nx = image.planes.shape
    x, y = (np.array([start + 0.5 * (size - 1)]) for start, size in zip(image.origin, (nx, ny), strict=True))
    return float(find_midpoints(image, x, y).mjd_tai[0])


def _sky_to_array(image: InputImage, ra: Any, dec: Any) -> tuple[Any, Any]:
    """Return array coordinates of ICRS degrees."""
    x, y = image.sky_to_pixel(ra, dec)
    return x - image.origin[0], y - image.origin[1]
