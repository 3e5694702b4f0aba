# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""InjectTrailsTask: a random population of trails into an image."""

from __future__ import annotations

__all__ = ("InjectTrailsConfig", "InjectTrailsConnections", "InjectTrailsTask")

from typing import Any, ClassVar

import numpy as np

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import ChoiceField, Field, ListField, RangeField
from lsst.pipe.base import (
    InputQuantizedConnection,
    Instrument,
    OutputQuantizedConnection,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
)

from ..core.injection import inject_trails
from ..core.photometry import estimate_gain
from ..core.planes import PLANES, canonical_plane
from ..core.population import BRIGHTNESS_MODES, TrailPopulation, draw_trails
from ..core.render import truth_mask
from ..core.truth import truth_table
from ._door import InputImage, make_trail_mask, open_image
from ._ids import INJECTION, pack_data_id, quantum_seed


class InjectTrailsConnections(
    PipelineTaskConnections,
    dimensions=("instrument", "visit", "detector"),
    defaultTemplates={"input_image": "preliminary_visit_image", "injected_prefix": "injected_"},
):
    """Inputs and outputs of InjectTrailsTask."""

    image = cT.Input(
        doc="Calibrated image to inject trails into.",
        name="{input_image}",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
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
    number = RangeField(
        dtype=float,
        doc="Mean number of trails per densityArea, or per image where that is not set.",
        default=20.0,
        min=0.0,
    )
    densityArea = RangeField(
        dtype=float, doc="Area that number refers to, pixels.", optional=True, default=None, min=1.0
    )
    minLength = RangeField(dtype=float, doc="Shortest trail, pixels.", default=6.0, min=0.1, max=1000.0)
    maxLength = RangeField(dtype=float, doc="Longest trail, pixels.", default=150.0, min=0.1, max=1000.0)
    lengthDistribution = ChoiceField[str](
        doc="How lengths are distributed between the two.",
        allowed={"log-uniform": "Uniform in the logarithm.", "uniform": "Uniform."},
        default="log-uniform",
    )
    brightnessMode = ChoiceField[str](
        doc="How the brightness of trails is stated.", allowed=dict(BRIGHTNESS_MODES), default="snr_optimal"
    )
    minBrightness = Field[float](doc="Least value of the brightness, in the units of its mode.", default=3.0)
    maxBrightness = Field[float](doc="Greatest value of the brightness.", default=30.0)
    blankFraction = RangeField(
        dtype=float,
        doc="Fraction of the images that get no trail.",
        default=0.0,
        min=0.0,
        max=1.0,
        inclusiveMax=True,
    )
    avoidPlanes = ListField[str](
        doc="Mask planes that midpoints must not fall on, in the names of afw or lsst.images.",
        default=["NO_DATA"],
    )
    allowCrossing = Field[bool](doc="May trails cross each other?", default=False)
    addNoise = Field[bool](doc="Add the Poisson noise of the trails, to image and variance?", default=True)
    gain = RangeField(
        dtype=float,
        doc="Electrons per image unit; estimated from the variance plane if unset.",
        optional=True,
        default=None,
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
        if self.brightnessMode.startswith("snr") and self.minBrightness < 0.0:
            raise ValueError(f"minBrightness ({self.minBrightness}) is an SNR and cannot be negative.")
        # Checks the ranges, which depend on each other.
        self.population()

    def population(self) -> TrailPopulation:
        """Return the population of trails that is configured."""
        return TrailPopulation(
            number=self.number,
            density_area=self.densityArea,
            length=(self.minLength, self.maxLength),
            length_distribution=self.lengthDistribution,
            brightness_mode=self.brightnessMode,
            brightness=(self.minBrightness, self.maxBrightness),
            blank_fraction=self.blankFraction,
            avoid=tuple(self.avoidPlanes),
            allow_crossing=self.allowCrossing,
        )


class InjectTrailsTask(PipelineTask):
    """Inject a random population of trails into an image."""

    ConfigClass: ClassVar[type[InjectTrailsConfig]] = InjectTrailsConfig
    _DefaultName: ClassVar[str] = "injectTrails"

    config: InjectTrailsConfig

    def runQuantum(
        self,
        butlerQC: QuantumContext,
        inputRefs: InputQuantizedConnection,
        outputRefs: OutputQuantizedConnection,
    ) -> None:
        inputs = butlerQC.get(inputRefs)
        image_id = pack_data_id(self.config.packer, butlerQC)
        outputs = self.run(
            image=inputs["image"],
            packed=image_id.packed,
            visit=image_id.visit,
            detector=image_id.detector,
        )
        butlerQC.put(outputs, outputRefs)

    def run(self, *, image: Any, packed: int = 0, visit: int = 0, detector: int = 0) -> Struct:
        """Inject trails into an image, which is not changed itself.

        Parameters
        ----------
        image
            The image: a `lsst.images.VisitImage` or
            `~lsst.images.DifferenceImage`, a deferred handle of one, or in
            the full stack a `lsst.afw.image.ExposureF`.
        packed
            Packed data ID of the image, its seed.
        visit, detector
            Written to the catalog.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``injected_image``
                `lsst.images.VisitImage` with the trails.
            ``injected_catalog``
                `astropy.table.Table` with the columns of
                `~lsst.meas.trails.core.truth.TRUTH_COLUMNS` and
                ``source_type``, ``visit``, ``detector``,
                ``physical_filter``, ``band`` and ``seed``.
            ``injected_mask``
                `lsst.images.Mask` with the plane ``TRAIL``.

        Raises
        ------
        lsst.pipe.base.UpstreamFailureNoWorkFound
            Raised if the image cannot be used: no PSF, no WCS, no good pixels.
        """
        opened = open_image(image, psf_spacing=self.config.psfSpacing)
        planes = opened.planes
        seed = quantum_seed(packed, self.config.seedOffset, INJECTION)
        rng = np.random.default_rng(seed)
        trails = draw_trails(self.config.population(), planes, rng, opened.flux_per_njy)
        gain = self._gain(opened)
        injected = inject_trails(planes, trails, rng if self.config.addNoise else None, gain)
        output = opened.visit_image.copy()
        output.image.array[...] = injected.image
        output.variance.array[...] = injected.variance

        catalog = truth_table(
            planes,
            trails,
            flux_per_njy=opened.flux_per_njy,
            origin=opened.origin,
            pixel_to_sky=opened.pixel_to_sky,
        )
        count = len(catalog)
        catalog["source_type"] = np.full(count, "Trail", dtype="U9")
        catalog["visit"] = np.full(count, visit, dtype=np.int64)
        catalog["detector"] = np.full(count, detector, dtype=np.int64)
        catalog["physical_filter"] = np.full(count, opened.visit_image.physical_filter, dtype="U64")
        catalog["band"] = np.full(count, opened.visit_image.band, dtype="U8")
        catalog["seed"] = np.full(count, packed, dtype=np.int64)
        mask = truth_mask(planes.psf, trails, planes.shape, self.config.truthFraction)
        self.metadata["nInjected"] = count
        self.metadata["gain"] = gain
        self.log.info("Injected %d trails; gain %.3g electrons per %s.", count, gain, output.unit)
        return Struct(
            injected_image=output,
            injected_catalog=catalog,
            injected_mask=make_trail_mask(mask, opened),
        )

    def _gain(self, image: InputImage) -> float:
        """Return the configured gain, or that of the variance plane."""
        if self.config.gain is not None:
            return float(self.config.gain)
        planes = image.planes
        gain = estimate_gain(planes.image, planes.variance, planes.bad())
        if self.config.addNoise and not np.isfinite(gain):
            self.log.warning(
                "The variance plane does not grow with the signal: trails are injected without noise of "
                "their own. Set 'gain' to add it."
            )
        return gain
