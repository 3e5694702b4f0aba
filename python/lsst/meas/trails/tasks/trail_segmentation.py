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

"""TrailSegmentationTask: from an image to trail probabilities and a mask."""

from __future__ import annotations

__all__ = ("TrailSegmentationConfig", "TrailSegmentationConnections", "TrailSegmentationTask")

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import ChoiceField, Field, RangeField
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

from ..core.background import fit_background
from ..core.candidates.components import find_components
from ..core.normalize import TEMPLATE_CHANNELS
from ..core.planes import ImagePlanes
from ._input_image import InputImage, make_probability_image, make_trail_mask, open_image, open_template
from ._models import MODEL_DATASET_TYPE, MODEL_STORAGE_CLASS, butler_model, named_model
from ._thresholds import check_thresholds, choose_thresholds

if TYPE_CHECKING:
    from ..nn.model_file import TrailModel

_PROBABILITY_STEP = 1.0 / 1024.0
"""Probabilities are rounded to this, so that what is zero compresses well."""


class TrailSegmentationConnections(
    PipelineTaskConnections,
    dimensions=("instrument", "visit", "detector"),
    defaultTemplates={"input_image": "preliminary_visit_image", "template_image": "template_detector"},
):
    """Inputs and outputs of TrailSegmentationTask."""

    image = cT.Input(
        doc="Calibrated image to search for trails.",
        name="{input_image}",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
        deferLoad=True,
    )
    template = cT.Input(
        doc="Template of the same sky on the pixels of the image, such as a warped coadd.",
        name="{template_image}",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
        deferLoad=True,
        minimum=0,
    )
    trail_model = cT.PrerequisiteInput(
        doc="Model to use in place of those of the configuration.",
        name=MODEL_DATASET_TYPE,
        storageClass=MODEL_STORAGE_CLASS,
        dimensions=(),
        deferLoad=True,
        minimum=0,
    )
    trail_probability = cT.Output(
        doc="Probability of each pixel that it belongs to a trail.",
        name="trail_probability",
        storageClass="ImageV2",
        dimensions=("instrument", "visit", "detector"),
    )
    trail_mask = cT.Output(
        doc="Mask whose plane TRAIL holds the pixels of trails.",
        name="trail_mask",
        storageClass="MaskV2",
        dimensions=("instrument", "visit", "detector"),
    )

    def __init__(self, *, config: TrailSegmentationConfig | None = None) -> None:
        super().__init__(config=config)
        if config is not None and not config.templateModel:
            del self.template
        if config is not None and not config.writeProbability:
            del self.trail_probability


class TrailSegmentationConfig(PipelineTaskConfig, pipelineConnections=TrailSegmentationConnections):
    """Configuration of TrailSegmentationTask."""

    model = Field[str](
        doc="Model: the name of one that comes with the package, or the path or URI of its .json file. A "
        "trail_model in the input collections goes before it.",
        default="direct",
    )
    templateModel = Field[str](
        doc="Model for images that have a template, named like 'model', which serves those without; if "
        "unset, templates are not read at all.",
        optional=True,
        default=None,
    )
    writeProbability = Field[bool](
        doc="Write trail_probability? TrailCandidateTask needs it.",
        default=True,
    )
    window = RangeField(
        dtype=int,
        doc="Side of a square of as many pixels as the network sees at once. It bounds the memory (about "
        "1 GiB for 2900) and does not change the result.",
        default=2900,
        min=64,
    )
    tileOverlap = RangeField(
        dtype=int,
        doc="Overlap of the tiles of a model that is valid on tiles of one size only, pixels; others do not "
        "heed it, and such a model does not heed window. Its result depends on where tiles meet, and less so "
        "with an overlap.",
        default=0,
        min=0,
    )
    precision = ChoiceField[str](
        doc="Arithmetic of the network.",
        allowed={
            "auto": "bfloat16 where the hardware is fast at it, float32 elsewhere.",
            "float32": "Always float32.",
            "bfloat16": "Always bfloat16.",
        },
        default="auto",
    )
    device = Field[str](doc="Torch device; 'auto' takes a GPU where there is one.", default="auto")
    minArea = RangeField(
        dtype=int, doc="Smallest component in the mask, pixels; that of the candidates.", default=12, min=1
    )
    psfSpacing = RangeField(
        dtype=float, doc="Distance at which the PSF model is sampled, pixels.", default=512.0, min=16.0
    )
    seedThreshold = RangeField(
        dtype=float,
        doc="Probability that a component must reach somewhere to be in the mask; the model's own if unset.",
        optional=True,
        default=None,
        min=0.0,
        max=1.0,
    )
    growThreshold = RangeField(
        dtype=float,
        doc="Probability of the pixels that belong to it; the model's own if unset.",
        optional=True,
        default=None,
        min=0.0,
        max=1.0,
        inclusiveMin=False,
    )

    def validate(self) -> None:
        super().validate()
        check_thresholds(self.growThreshold, self.seedThreshold)


class TrailSegmentationTask(PipelineTask):
    """Give every pixel of an image a probability that it belongs to a trail."""

    ConfigClass: ClassVar[type[TrailSegmentationConfig]] = TrailSegmentationConfig
    _DefaultName: ClassVar[str] = "trailSegmentation"

    config: TrailSegmentationConfig

    def runQuantum(
        self,
        butlerQC: QuantumContext,
        inputRefs: InputQuantizedConnection,
        outputRefs: OutputQuantizedConnection,
    ) -> None:
        inputs = butlerQC.get(inputRefs)
        # Torch takes a single thread under pipetask: the scheduler knows how
        # many this quantum may use.
        outputs = self.run(
            image=inputs["image"],
            template=inputs.get("template"),
            trail_model=inputs.get("trail_model"),
            num_cores=butlerQC.resources.num_cores,
        )
        butlerQC.put(outputs, outputRefs)

    def run(self, *, image: Any, template: Any = None, trail_model: Any = None, num_cores: int = 1) -> Struct:
        """Segment the trails of an image.

        Parameters
        ----------
        image
            The image: a `lsst.images.VisitImage` or
            `~lsst.images.DifferenceImage`, a deferred handle of one, or in
            the full stack a `lsst.afw.image.ExposureF`.
        template
            Template of the same sky, in any of these forms or as a
            `lsst.images.MaskedImage`; read only if a model is configured for
            it.
        trail_model
            Deferred handle of a model that the Butler holds.
        num_cores
            Threads that may be used.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``trail_probability``
                `lsst.images.Image`, float32 in [0, 1]; its metadata tell
                which model made it.
            ``trail_mask``
                `lsst.images.Mask` with the plane ``TRAIL``.

        Raises
        ------
        lsst.pipe.base.UpstreamFailureNoWorkFound
            Raised if the image cannot be used: no PSF, no WCS, no good pixels.
        lsst.pipe.base.InvalidQuantumError
            Raised if the model, the device or a threshold cannot be used.
        MemoryError
            Raised if there is not enough memory for the configured window.
        """
        from ..nn.hardware import precision_name
        from ..nn.predict import predict_probability

        opened = open_image(image, psf_spacing=self.config.psfSpacing)
        model, planes = self._choose_model(opened, template, trail_model)
        self._check_seeing(model, opened)
        try:
            probability = predict_probability(
                model,
                planes,
                background=fit_background(planes.image, planes.bad()),
                window=self.config.window,
                tile_overlap=self.config.tileOverlap,
                threads=num_cores,
                dtype=self.config.precision,
                device=self.config.device,
            )
        except ValueError as error:
            raise InvalidQuantumError(f"The network cannot be run as configured: {error}") from error
        except (MemoryError, RuntimeError) as error:
            # Torch has no error of its own for the memory of a CPU.
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            raise MemoryError(
                f"There is not enough memory for a window of {self.config.window} pixels: take a smaller "
                "window, or ask for more memory."
            ) from error
        probability = np.round(probability / _PROBABILITY_STEP) * np.float32(_PROBABILITY_STEP)
        summary = _summary(model)
        pixels = self._trail_pixels(probability, summary["thresholds"])
        self.metadata["precision"] = precision_name(self.config.precision, self.config.device)
        identity = {key: summary[key] for key in ("name", "version", "sha256")}
        self.metadata["trailModel"] = f"{summary['name']} {summary['version']}"
        self.metadata["trailModelChecksum"] = summary["sha256"]
        self.metadata["trailPixels"] = int(np.count_nonzero(pixels))
        self.log.info(
            "Model %s %s: %d pixels belong to trails.",
            summary["name"],
            summary["version"],
            np.count_nonzero(pixels),
        )
        return Struct(
            trail_probability=make_probability_image(probability, opened, summary),
            trail_mask=make_trail_mask(
                pixels, opened, {f"TRAIL_MODEL_{key.upper()}": value for key, value in identity.items()}
            ),
        )

    def _choose_model(
        self, image: InputImage, template: Any, trail_model: Any
    ) -> tuple[TrailModel, ImagePlanes]:
        """Return the model for an image, and the planes that it shall see."""
        name, planes = self.config.templateModel, image.planes
        if trail_model is None and not name:
            return named_model(self.config.model), planes
        model = named_model(name) if trail_model is None else butler_model(trail_model)
        if not TEMPLATE_CHANNELS.intersection(model.specification.channels):
            if trail_model is not None:
                return model, planes
            raise InvalidQuantumError(
                f"The model {name!r} does not look at templates, its channels are "
                f"{', '.join(model.specification.channels)}: configure another templateModel, or none."
            )
        if template is not None:
            planes = dataclasses.replace(planes, template=open_template(template, image))
        covered = 0.0 if planes.template is None else float(np.mean(np.isfinite(planes.template)))
        self.metadata["templateCoverage"] = covered
        if covered > 0.0:
            return model, planes
        problem = "There is no template" if template is None else "The template has no data here"
        if trail_model is not None:
            # It was trained to do without, and no other is asked for.
            self.log.info("%s: the model %s does without.", problem, model.specification.name)
            return model, image.planes
        self.log.info("%s: using the model %s.", problem, self.config.model)
        return named_model(self.config.model), image.planes

    def _check_seeing(self, model: TrailModel, image: InputImage) -> None:
        """Warn where the seeing is not one that the model was trained for."""
        limits = model.specification.fwhm_range
        ny, nx = image.planes.shape
        fwhm = image.planes.psf.fwhm(0.5 * nx, 0.5 * ny)
        self.metadata["psfFwhm"] = fwhm
        if limits is not None and not limits[0] <= fwhm <= limits[1]:
            self.log.warning(
                "The PSF has a FWHM of %.2f pixels; the model was trained on %.1f to %.1f pixels, and finds "
                "less elsewhere.",
                fwhm,
                *limits,
            )

    def _trail_pixels(
        self, probability: npt.NDArray[np.float32], thresholds: dict[str, float]
    ) -> npt.NDArray[np.bool_]:
        """Return the pixels of components that hold a seed."""
        grow, seed = choose_thresholds(self.config.growThreshold, self.config.seedThreshold, thresholds)
        components = find_components(
            probability, grow=grow, seed=seed, min_area=self.config.minArea, max_gap=0.0
        )
        pixels = np.zeros(probability.shape, dtype=bool)
        for component in components:
            pixels[component.rows, component.columns] = True
        return pixels


def _summary(model: TrailModel) -> dict[str, Any]:
    """Return what later tasks need to know about a model."""
    specification = model.specification
    return {
        "name": specification.name,
        "version": specification.version,
        # Of weights and specification, which holds thresholds and score.
        "sha256": model.checksum,
        "thresholds": dict(specification.thresholds),
        "score": dict(specification.score),
    }
