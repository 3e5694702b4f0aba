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

"""Connections and configuration of InjectTrailsTask."""

from __future__ import annotations

__all__ = ("InjectTrailsConfig", "InjectTrailsConnections")

from functools import partial

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import ChoiceField, Field, ListField, RangeField
from lsst.pipe.base import PipelineTaskConfig

from ..core.injection.distractors import DistractorPopulation
from ..core.injection.population import (
    BRIGHTNESS_MODES,
    LENGTH_DISTRIBUTIONS,
    MAX_INJECTED_LENGTH,
    TrailPopulation,
    rate_to_length,
)
from ..core.planes import MASK_PLANES, canonical_plane
from ._connections import DETECTOR, ImageConnections, mask_output, table_output
from ._ids import SeededConfig
from ._input_image import InputImageConfig

_length_field = partial(RangeField, dtype=float, min=0.1, max=MAX_INJECTED_LENGTH, inclusiveMax=True)
_angle_field = partial(RangeField, dtype=float, min=-180.0, max=180.0, inclusiveMax=True)
_positive_field = partial(RangeField, dtype=float, min=0.0, inclusiveMin=False)
_mean_field = partial(RangeField, dtype=float, min=0.0)
_fraction_field = partial(RangeField, dtype=float, min=0.0, max=1.0, inclusiveMax=True)


class InjectTrailsConnections(
    ImageConnections,
    dimensions=DETECTOR,
    defaultTemplates={"injected_prefix": "injected_", "injection_catalog": "injection_catalog"},
):
    """Inputs and outputs of InjectTrailsTask."""

    injection_catalogs = cT.PrerequisiteInput(
        doc="Trails to inject, in the columns of source_injection; if missing, trails are random.",
        name="{injection_catalog}",
        storageClass="ArrowAstropy",
        dimensions=("htm7", "band"),
        multiple=True,
        minimum=0,
        deferLoad=True,
    )
    injected_image = cT.Output(
        doc="The image with trails injected.",
        name="{injected_prefix}{input_image}",
        storageClass="VisitImage",
        dimensions=DETECTOR,
    )
    injected_catalog = table_output(
        doc="Truth table of the injected trails.", name="{injected_prefix}{input_image}_catalog"
    )
    injected_mask = mask_output(
        doc="Mask of the pixels of the injected trails, with the plane TRAIL.",
        name="{injected_prefix}trail_mask",
    )


class InjectTrailsConfig(
    SeededConfig, InputImageConfig, PipelineTaskConfig, pipelineConnections=InjectTrailsConnections
):
    """Configuration of InjectTrailsTask."""

    engine = ChoiceField[str](
        doc="Software that draws the trails.",
        allowed={
            "native": "Renderer of this package.",
            "source_injection": "Package lsst.source.injection of the full stack.",
        },
        default="native",
    )
    drawPopulation = Field[bool](
        doc="Inject random trails into images that overlap with no injection catalog.", default=True
    )
    number = _mean_field(doc="Mean number of trails per unit of 'per'.", default=20.0)
    per = ChoiceField[str](
        doc="Unit of the number of trails.",
        allowed={"image": "One image.", "Mpix": "One million pixels.", "deg2": "One square degree."},
        default="image",
    )
    lengthFrom = ChoiceField[str](
        doc="Source of the range of lengths.",
        allowed={
            "length": "minLength and maxLength.",
            "rate": "minRate and maxRate times the exposure time of the visit.",
        },
        default="length",
    )
    minLength = _length_field(doc="Shortest trail, pixels.", default=6.0)
    maxLength = _length_field(doc="Longest trail, pixels.", default=150.0)
    minRate = _positive_field(doc="Slowest motion, deg/day.", default=1.0)
    maxRate = _positive_field(doc="Fastest motion, deg/day.", default=24.0)
    lengthDistribution = ChoiceField[str](
        doc="Distribution of lengths or rates between their limits.",
        allowed=dict(LENGTH_DISTRIBUTIONS),
        default="log-uniform",
    )
    lengthIndex = Field[float](
        doc="Exponent of the power law; used only if lengthDistribution is 'power-law'.", default=-1.0
    )
    minAngle = _angle_field(
        doc="Smallest angle, degrees counterclockwise from +x; negative for a range around 0.", default=0.0
    )
    maxAngle = _angle_field(doc="Largest angle, degrees, at most 180 more than minAngle.", default=180.0)
    brightnessMode = ChoiceField[str](
        doc="Quantity of minBrightness and maxBrightness.",
        allowed=dict(BRIGHTNESS_MODES),
        default="snr_optimal",
    )
    minBrightness = Field[float](doc="Smallest value of the brightness, in units of its mode.", default=3.0)
    maxBrightness = Field[float](doc="Largest value of the brightness.", default=30.0)
    brightnessIndex = Field[float](
        doc="Exponent of a power law of SNRs: -1 is uniform in the logarithm, -1.35 has half of 3 to 3000 "
        "below 17. If unset, brightness is uniform.",
        default=None,
        optional=True,
    )
    blankFraction = _fraction_field(doc="Fraction of the images without random trails.", default=0.0)
    avoidPlanes = ListField[str](
        doc="Mask planes that midpoints of random trails must not fall on, as named by afw or lsst.images.",
        default=["NO_DATA"],
    )
    satellites = _mean_field(doc="Mean number of satellite streaks per image, as distractors.", default=0.0)
    minSatelliteBrightness = _positive_field(
        doc="Smallest flux of a satellite per pixel of length, in units of the noise of a pixel.", default=2.0
    )
    maxSatelliteBrightness = _positive_field(
        doc="Largest flux of a satellite per pixel of length; uniform in the logarithm.", default=300.0
    )
    satellitePatterns = _fraction_field(
        doc="Fraction of the satellites that flare, tumble or blink.", default=0.0
    )
    satelliteEnds = _fraction_field(
        doc="Fraction of the satellites whose streak ends near the image.", default=0.0
    )
    cosmicRays = _mean_field(
        doc="Mean number of unflagged cosmic rays per Mpix, as distractors.", default=0.0
    )
    pointSources = _mean_field(doc="Mean number of point sources per Mpix, as distractors.", default=0.0)
    minPointSourceSnr = _positive_field(doc="Smallest SNR of the point sources.", default=5.0)
    maxPointSourceSnr = _positive_field(doc="Largest SNR of the point sources.", default=100.0)
    allowCrossing = Field[bool](doc="Allow random trails to cross each other.", default=False)
    addNoise = Field[bool](doc="Add the Poisson noise of the trails to image and variance.", default=True)
    gain = _positive_field(
        doc="Electrons per image unit. If unset, the gain follows from the unit (electrons) or the "
        "amplifiers (counts), or is fitted to the variance plane of each amplifier.",
        default=None,
        optional=True,
    )
    saturate = Field[bool](
        doc="Saturate pixels above the full well: they bleed along columns, get the mask planes of the stack "
        "and are interpolated along rows.",
        default=True,
    )
    fullWell = _positive_field(
        doc="Full well, electrons above the sky. If unset, it is the saturation level of each amplifier in "
        "the metadata of the image, else its nominal one; without either nothing saturates.",
        default=None,
        optional=True,
    )
    calibFluxRadius = _positive_field(
        doc="Radius of the aperture that holds the fluxes of the catalog, pixels; used only by engine "
        "source_injection.",
        default=12.0,
    )
    truthFraction = RangeField(
        dtype=float,
        doc="Surface brightness of the faintest pixels in the mask, as a fraction of the ridge of the "
        "noiseless trail.",
        default=0.25,
        min=0.0,
        max=1.0,
    )

    def validate(self) -> None:
        super().validate()
        if unknown := [name for name in self.avoidPlanes if canonical_plane(name) not in MASK_PLANES]:
            raise ValueError(
                f"avoidPlanes has unknown mask planes {unknown}; known are {', '.join(MASK_PLANES)}."
            )
        if self.minRate > self.maxRate:
            raise ValueError(f"minRate ({self.minRate}) is greater than maxRate ({self.maxRate}).")
        # These raise ValueError if the limits of a range are inconsistent.
        self.population()
        self.distractors()

    def population(self, exposure_time: float = 30.0, pixel_scale: float = 0.2) -> TrailPopulation:
        """Return the configured population of random trails.

        Parameters
        ----------
        exposure_time
            Exposure time, seconds.
        pixel_scale
            Pixel scale, arcsec.
        """
        length = (self.minLength, self.maxLength)
        if self.lengthFrom == "rate":
            length = (
                rate_to_length(self.minRate, exposure_time, pixel_scale),
                rate_to_length(self.maxRate, exposure_time, pixel_scale),
            )
        area = {"image": None, "Mpix": 1e6, "deg2": (3600.0 / pixel_scale) ** 2}[self.per]
        return TrailPopulation(
            number=self.number,
            density_area=area,
            length=length,
            length_distribution=self.lengthDistribution,
            length_index=self.lengthIndex,
            angle=(self.minAngle, self.maxAngle),
            brightness_mode=self.brightnessMode,
            brightness=(self.minBrightness, self.maxBrightness),
            brightness_index=self.brightnessIndex,
            blank_fraction=self.blankFraction,
            avoid=tuple(self.avoidPlanes),
            allow_crossing=self.allowCrossing,
        )

    def distractors(self) -> DistractorPopulation:
        """Return the configured population of distractors."""
        return DistractorPopulation(
            satellites=self.satellites,
            satellite_brightness=(self.minSatelliteBrightness, self.maxSatelliteBrightness),
            satellite_patterns=self.satellitePatterns,
            satellite_ends=self.satelliteEnds,
            cosmic_rays=self.cosmicRays,
            point_sources=self.pointSources,
            point_source_snr=(self.minPointSourceSnr, self.maxPointSourceSnr),
        )
