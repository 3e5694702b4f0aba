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

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import ChoiceField, Field, ListField, RangeField
from lsst.pipe.base import Instrument, PipelineTaskConfig, PipelineTaskConnections

from ..core.injection.distractors import DistractorPopulation
from ..core.injection.population import (
    BRIGHTNESS_MODES,
    LENGTH_DISTRIBUTIONS,
    MAX_INJECTED_LENGTH,
    TrailPopulation,
    rate_to_length,
)
from ..core.planes import PLANES, canonical_plane


class InjectTrailsConnections(
    PipelineTaskConnections,
    dimensions=("instrument", "visit", "detector"),
    defaultTemplates={
        "input_image": "preliminary_visit_image",
        "injected_prefix": "injected_",
        "injection_catalog": "injection_catalog",
    },
):
    """Inputs and outputs of InjectTrailsTask."""

    image = cT.Input(
        doc="Calibrated image to inject trails into.",
        name="{input_image}",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
        deferLoad=True,
    )
    injection_catalogs = cT.PrerequisiteInput(
        doc="Trails to inject, in the columns of source_injection; without them a population is drawn.",
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
        dimensions=("instrument", "visit", "detector"),
    )
    injected_catalog = cT.Output(
        doc="The trails that were injected: the truth.",
        name="{injected_prefix}{input_image}_catalog",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
    )
    injected_mask = cT.Output(
        doc="Mask whose plane TRAIL holds the pixels of the injected trails.",
        name="{injected_prefix}trail_mask",
        storageClass="MaskV2",
        dimensions=("instrument", "visit", "detector"),
    )


class InjectTrailsConfig(PipelineTaskConfig, pipelineConnections=InjectTrailsConnections):
    """Configuration of InjectTrailsTask."""

    packer = Instrument.make_dimension_packer_config_field()
    seedOffset = RangeField(
        dtype=int,
        doc="Added to the seed of every image: another number injects other trails into the same images.",
        default=0,
        min=0,
    )
    engine = ChoiceField[str](
        doc="What draws the trails.",
        allowed={
            "native": "The renderer of this package.",
            "source_injection": "lsst.source.injection of the full stack.",
        },
        default="native",
    )
    drawPopulation = Field[bool](
        doc="Draw random trails for images that no injection catalog overlaps? They get none otherwise.",
        default=True,
    )
    number = RangeField(dtype=float, doc="Mean number of trails, per what 'per' says.", default=20.0, min=0.0)
    per = ChoiceField[str](
        doc="What the number of trails refers to.",
        allowed={"image": "An image.", "Mpix": "A million pixels.", "deg2": "A square degree."},
        default="image",
    )
    lengthFrom = ChoiceField[str](
        doc="Where the range of lengths comes from.",
        allowed={
            "length": "minLength and maxLength.",
            "rate": "minRate and maxRate, with the exposure time of the visit.",
        },
        default="length",
    )
    minLength = RangeField(
        dtype=float,
        doc="Shortest trail, pixels.",
        default=6.0,
        min=0.1,
        max=MAX_INJECTED_LENGTH,
        inclusiveMax=True,
    )
    maxLength = RangeField(
        dtype=float,
        doc="Longest trail, pixels.",
        default=150.0,
        min=0.1,
        max=MAX_INJECTED_LENGTH,
        inclusiveMax=True,
    )
    minRate = RangeField(
        dtype=float, doc="Slowest motion, deg/day.", default=1.0, min=0.0, inclusiveMin=False
    )
    maxRate = RangeField(
        dtype=float, doc="Fastest motion, deg/day.", default=24.0, min=0.0, inclusiveMin=False
    )
    lengthDistribution = ChoiceField[str](
        doc="How lengths, or rates, are distributed between the two.",
        allowed=dict(LENGTH_DISTRIBUTIONS),
        default="log-uniform",
    )
    lengthIndex = Field[float](doc="Exponent of the power law of lengths or rates.", default=-1.0)
    minAngle = RangeField(
        dtype=float,
        doc="Least angle of a trail, degrees counter-clockwise from +x; negative for a range about 0.",
        default=0.0,
        min=-180.0,
        max=180.0,
        inclusiveMax=True,
    )
    maxAngle = RangeField(
        dtype=float,
        doc="Greatest angle, at most 180 degrees more than the least.",
        default=180.0,
        min=-180.0,
        max=180.0,
        inclusiveMax=True,
    )
    brightnessMode = ChoiceField[str](
        doc="How the brightness of trails is stated.", allowed=dict(BRIGHTNESS_MODES), default="snr_optimal"
    )
    minBrightness = Field[float](doc="Least value of the brightness, in the units of its mode.", default=3.0)
    maxBrightness = Field[float](doc="Greatest value of the brightness.", default=30.0)
    blankFraction = RangeField(
        dtype=float,
        doc="Fraction of the images that get no trail of the population.",
        default=0.0,
        min=0.0,
        max=1.0,
        inclusiveMax=True,
    )
    avoidPlanes = ListField[str](
        doc="Mask planes that midpoints must not fall on, in the names of afw or lsst.images. Trails of a "
        "catalog go where it says.",
        default=["NO_DATA"],
    )
    satellites = RangeField(
        dtype=float, doc="Mean number of satellite streaks per image, distractors.", default=0.0, min=0.0
    )
    cosmicRays = RangeField(
        dtype=float,
        doc="Mean number of unflagged cosmic rays per Mpix, distractors.",
        default=0.0,
        min=0.0,
    )
    pointSources = RangeField(
        dtype=float, doc="Mean number of point sources per Mpix, distractors.", default=0.0, min=0.0
    )
    minPointSourceSnr = RangeField(
        dtype=float, doc="Least SNR of these point sources.", default=5.0, min=0.0, inclusiveMin=False
    )
    maxPointSourceSnr = RangeField(
        dtype=float, doc="Greatest SNR of these point sources.", default=100.0, min=0.0, inclusiveMin=False
    )
    allowCrossing = Field[bool](doc="May trails of the population cross each other?", default=False)
    addNoise = Field[bool](doc="Add the Poisson noise of the trails, to image and variance?", default=True)
    gain = RangeField(
        dtype=float,
        doc="Electrons per image unit. If unset: that of the unit (electrons), of the amplifiers (counts), "
        "or else fitted to the variance plane, amplifier by amplifier.",
        optional=True,
        default=None,
        min=0.0,
        inclusiveMin=False,
    )
    calibFluxRadius = RangeField(
        dtype=float,
        doc="Radius in which fluxes are what the catalog says, pixels; engine source_injection only.",
        default=12.0,
        min=0.0,
        inclusiveMin=False,
    )
    truthFraction = RangeField(
        dtype=float,
        doc="Pixels where the noiseless trail is brighter than this fraction of its ridge are in the mask.",
        default=0.25,
        min=0.0,
        max=1.0,
    )
    psfSpacing = RangeField(
        dtype=float, doc="Distance at which the PSF model is sampled, pixels.", default=512.0, min=16.0
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        self.packer.name = "observation"

    def validate(self) -> None:
        super().validate()
        if unknown := [name for name in self.avoidPlanes if canonical_plane(name) not in PLANES]:
            raise ValueError(
                f"avoidPlanes names unknown mask planes {unknown}; known are {', '.join(PLANES)}."
            )
        if self.minRate > self.maxRate:
            raise ValueError(f"minRate ({self.minRate}) is greater than maxRate ({self.maxRate}).")
        # Check the ranges, which depend on each other.
        self.population()
        self.distractors()

    def population(self, exposure_time: float = 30.0, pixel_scale: float = 0.2) -> TrailPopulation:
        """Return the population of trails that is configured.

        Parameters
        ----------
        exposure_time
            Seconds.
        pixel_scale
            Arcseconds per pixel.
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
            blank_fraction=self.blankFraction,
            avoid=tuple(self.avoidPlanes),
            allow_crossing=self.allowCrossing,
        )

    def distractors(self) -> DistractorPopulation:
        """Return the population of distractors that is configured."""
        return DistractorPopulation(
            satellites=self.satellites,
            cosmic_rays=self.cosmicRays,
            point_sources=self.pointSources,
            point_source_snr=(self.minPointSourceSnr, self.maxPointSourceSnr),
        )
