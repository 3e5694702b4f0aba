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

"""TrailSegmentationTask: trail probabilities and trail mask of an image."""

from __future__ import annotations

__all__ = ("TrailSegmentationConfig", "TrailSegmentationConnections", "TrailSegmentationTask")

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import ChoiceField, Field, RangeField
from lsst.pipe.base import InvalidQuantumError, PipelineTaskConfig, QuantumContext, Struct

from ..core.background import fit_background
from ..core.candidates.components import find_components
from ..core.normalize import TEMPLATE_CHANNELS
from ..core.planes import ImagePlanes
from ._connections import DETECTOR, TemplateConnections, mask_output
from ._input_image import InputImage, InputImageConfig, read_input_image, read_template
from ._models import MODEL_DATASET_TYPE, MODEL_STORAGE_CLASS, butler_model, named_model
from ._quantum_task import Arguments, QuantumTask
from ._thresholds import DEFAULT_MIN_AREA, TrailPixels, TrailPixelsConfig
from ._trail_images import ModelSummary, make_probability_image, make_trail_mask, round_probability

if TYPE_CHECKING:
    from lsst.daf.butler import DeferredDatasetHandle

    from ..nn.model_file import TrailModel


_EXHAUSTED = re.compile(
    r"out of memory|\ballocate\b|bad_alloc|alloc_failed|not create a memory", re.IGNORECASE
)
"""Errors of torch, CUDA, OpenVINO and oneDNN when memory is exhausted.

Other errors may also mention memory: "illegal memory access", or a source file such as cpu_memory.cpp.
"""


_MIN_COVERAGE = 0.2
"""Fraction of an image that a template must cover for ``templateModel`` to be used.

It searches all of the image, and finds fewer trails than ``model`` where the template is missing. From the
SNR50 of the shipped models, both find equally many trails of SNR 3 to 30 if the template covers a fraction of
0.29, 0.14 and 0.12, at 1, 10 and 100 false candidates per detector.
"""


class TrailSegmentationConnections(TemplateConnections, dimensions=DETECTOR):
    """Inputs and outputs of TrailSegmentationTask."""

    trail_model = cT.PrerequisiteInput(
        doc="Model that replaces the configured models, with or without a template.",
        name=MODEL_DATASET_TYPE,
        storageClass=MODEL_STORAGE_CLASS,
        dimensions=(),
        deferLoad=True,
        minimum=0,
    )
    trail_probability = cT.Output(
        doc="Probability that each pixel belongs to a trail.",
        name="trail_probability",
        storageClass="ImageV2",
        dimensions=DETECTOR,
    )
    trail_mask = mask_output(doc="Mask of the pixels of trails, with the plane TRAIL.", name="trail_mask")

    def __init__(self, *, config: TrailSegmentationConfig | None = None) -> None:
        super().__init__(config=config)
        if config is not None and not config.useTemplate:
            del self.template
        if config is not None and not config.writeProbability:
            del self.trail_probability


class TrailSegmentationConfig(
    TrailPixelsConfig, InputImageConfig, PipelineTaskConfig, pipelineConnections=TrailSegmentationConnections
):
    """Configuration of TrailSegmentationTask."""

    model = Field[str](
        doc="Name of a shipped model, or path or URI of the .json file of a model. A trail_model in the "
        "input collections overrides it and 'templateModel'.",
        default="direct",
    )
    templateModel = Field[str](
        doc="Model for images of which a template covers at least a fifth, named like 'model'. If unset, "
        "'model' is used for all images, with their templates if it has template channels.",
        optional=True,
        default="template",
    )
    useTemplate = Field[bool](
        doc="Use the template of each image that has one. If disabled, templates are no inputs, and 'model' "
        "is used for all images.",
        default=True,
    )
    writeProbability = Field[bool](
        doc="Write trail_probability, which TrailCandidateTask needs.", default=True
    )
    window = RangeField(
        dtype=int,
        doc="Side of the square of pixels that the network processes at once in float32; in bfloat16, twice "
        "the area. It limits the memory (about 0.8 GiB for 2900) and does not change the result.",
        default=2900,
        min=64,
    )
    tileOverlap = RangeField(
        dtype=int,
        doc="Tile overlap in pixels; used only by models with a fixed tile size, which ignore 'window'. "
        "Their result depends on the tile borders, less so with an overlap.",
        default=0,
        min=0,
    )
    precision = ChoiceField[str](
        doc="Arithmetic of the network.",
        allowed={
            "auto": "bfloat16 on hardware that is fast at it, float32 elsewhere.",
            "float32": "Always float32.",
            "bfloat16": "Always bfloat16.",
        },
        default="auto",
    )
    engine = ChoiceField[str](
        doc="Library that runs the network.",
        allowed={
            "auto": "OpenVINO on CPUs, if it is installed and can run the model; torch elsewhere.",
            "openvino": "OpenVINO, on CPUs, with models of the architecture trail_unet.",
            "torch": "Torch, for all models and devices.",
        },
        default="auto",
    )
    device = Field[str](
        doc="Device of torch; 'auto' selects a GPU if there is one and torch is installed.", default="auto"
    )


class TrailSegmentationTask(QuantumTask):
    """Compute the probability that each pixel of an image belongs to a trail."""

    ConfigClass: ClassVar[type[TrailSegmentationConfig]] = TrailSegmentationConfig
    _DefaultName: ClassVar[str] = "trailSegmentation"

    config: TrailSegmentationConfig

    def run_arguments(self, inputs: Arguments, context: QuantumContext) -> Arguments:
        # One thread under pipetask, unless the scheduler grants this quantum more.
        return inputs | {"num_cores": context.resources.num_cores}

    def run(
        self,
        *,
        image: object,
        template: object = None,
        trail_model: DeferredDatasetHandle | None = None,
        num_cores: int = 1,
    ) -> Struct:
        """Segment the trails of an image.

        Parameters
        ----------
        image
            The image: a `lsst.images.VisitImage` or `~lsst.images.DifferenceImage`, a deferred handle of one,
            or in the full stack a `lsst.afw.image.ExposureF`.
        template
            Template of the same sky, in any of these forms or as a `lsst.images.MaskedImage`. It is read only
            if the configuration allows it and the model has template channels.
        trail_model
            Deferred handle of a model in the Butler.
        num_cores
            Number of threads.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``trail_probability``
                `lsst.images.Image`, float32 in [0, 1], rounded to 1/256 or less, with the summary of the
                model in its metadata.
            ``trail_mask``
                `lsst.images.Mask` with the plane ``TRAIL``.

        Raises
        ------
        lsst.pipe.base.UpstreamFailureNoWorkFound
            Raised if the image has no PSF, WCS or good pixel.
        lsst.pipe.base.InvalidQuantumError
            Raised if the model, the device or a threshold cannot be used.
        MemoryError
            Raised if there is not enough memory for the configured window.
        """
        from ..nn.engines import choose_engine
        from ..nn.predict import predict_probability

        input_image = read_input_image(image, psf_spacing=self.config.psfSpacing, with_psf=False)
        model, planes, source = self._choose_model(
            input_image, template if self.config.useTemplate else None, trail_model
        )
        covered = _template_coverage(planes)
        self._check_seeing(model, input_image)
        try:
            choice = choose_engine(
                model.plan,
                engine=self.config.engine,
                device=self.config.device,
                dtype=self.config.precision,
            )
            probability = predict_probability(
                model,
                planes,
                background=fit_background(planes.image, planes.bad()),
                window=self.config.window,
                tile_overlap=self.config.tileOverlap,
                threads=num_cores,
                dtype=choice.precision,
                device=choice.device,
                engine=choice.engine,
            )
        except ValueError as error:
            raise InvalidQuantumError(f"The network cannot be run as configured: {error}") from error
        except (MemoryError, RuntimeError) as error:
            # Torch and OpenVINO raise RuntimeError if the memory is exhausted.
            if isinstance(error, RuntimeError) and not _EXHAUSTED.search(str(error)):
                raise
            raise MemoryError(
                f"There is not enough memory for a window of {self.config.window} pixels; configure a "
                "smaller window, or request more memory."
            ) from error
        round_probability(probability)
        specification = model.specification
        chosen = self.config.trail_pixels(TrailPixels(**specification.thresholds, min_area=DEFAULT_MIN_AREA))
        summary = ModelSummary(
            name=specification.name,
            version=specification.version,
            sha256=model.checksum,
            thresholds={"grow": chosen.grow, "seed": chosen.seed},
            min_area=chosen.min_area,
            score=dict(specification.score),
            template_coverage=covered,
            snr50=_snr50(specification.metrics),
        )
        if source:
            summary["source"] = source
        pixels = _component_pixels(probability, chosen)
        count = int(np.count_nonzero(pixels))
        self.metadata["precision"] = choice.precision
        self.metadata["engine"] = choice.engine
        self.metadata["trailModel"] = f"{summary['name']} {summary['version']}"
        self.metadata["trailModelChecksum"] = summary["sha256"]
        self.metadata["templateCoverage"] = covered
        self.metadata["trailPixels"] = count
        self.log.info(
            "Model %s, with a template for %.1f%% of the image: %d pixels belong to trails.",
            self.metadata["trailModel"],
            100.0 * covered,
            count,
        )
        identity: dict[str, str | float] = {
            "TRAIL_MODEL_NAME": summary["name"],
            "TRAIL_MODEL_VERSION": summary["version"],
            "TRAIL_MODEL_SHA256": summary["sha256"],
            "TRAIL_TEMPLATE_COVERAGE": covered,
        }
        return Struct(
            trail_probability=make_probability_image(probability, input_image, summary),
            trail_mask=make_trail_mask(pixels, input_image, identity),
        )

    def _choose_model(
        self, image: InputImage, template: object, trail_model: DeferredDatasetHandle | None
    ) -> tuple[TrailModel, ImagePlanes, str]:
        """Return the model for an image, and the arrays of the image, with the template if it is used.

        The third value is the configured name of the model, empty for one in the Butler.
        """
        name = None if trail_model is not None or template is None else self.config.templateModel
        if trail_model is not None:
            model, source = butler_model(trail_model), ""
        else:
            source = name or self.config.model
            model = named_model(source)
        if name and not _has_template_channels(model):
            raise InvalidQuantumError(
                f"The model {name!r} has no template channel, only "
                f"{', '.join(model.specification.channels)}; configure another templateModel, or none."
            )
        if template is None or not _has_template_channels(model):
            return model, image.planes, source
        planes = dataclasses.replace(image.planes, template=read_template(template, image))
        covered = _template_coverage(planes)
        if name and covered < _MIN_COVERAGE:
            source = self.config.model
            model = named_model(source)
            self.log.info(
                "The template covers only %.1f%% of the image: using the model %s.",
                100.0 * covered,
                model.specification.name,
            )
        used = planes if covered > 0.0 and _has_template_channels(model) else image.planes
        return model, used, source

    def _check_seeing(self, model: TrailModel, image: InputImage) -> None:
        """Warn if the seeing is outside the range of the training."""
        limits = model.specification.fwhm_range
        ny, nx = image.planes.shape
        fwhm = image.planes.psf.fwhm(0.5 * nx, 0.5 * ny)
        self.metadata["psfFwhm"] = fwhm
        if limits is not None and not limits[0] <= fwhm <= limits[1]:
            self.log.warning(
                "The PSF has a FWHM of %.2f pixels; the model was trained on %.1f to %.1f pixels and finds "
                "fewer trails outside this range.",
                fwhm,
                *limits,
            )


def _has_template_channels(model: TrailModel) -> bool:
    return not TEMPLATE_CHANNELS.isdisjoint(model.specification.channels)


def _template_coverage(planes: ImagePlanes) -> float:
    """Return the fraction of the pixels with a template."""
    return 0.0 if planes.template is None else float(np.mean(np.isfinite(planes.template)))


def _snr50(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return the SNR at which half of the trails are found, of all and of long trails."""
    names = {"all": "snr50_at_10", "long": "snr50_long_at_10"}
    known = {key: metrics.get(name) for key, name in names.items()}
    return {key: value for key, value in known.items() if value is not None and np.isfinite(value)}


def _component_pixels(probability: npt.NDArray[np.float32], chosen: TrailPixels) -> npt.NDArray[np.bool_]:
    """Return the pixels of all components."""
    components = find_components(
        probability, grow=chosen.grow, seed=chosen.seed, min_area=chosen.min_area, max_gap=0.0
    )
    pixels = np.zeros(probability.shape, dtype=bool)
    for component in components:
        pixels[component.rows, component.columns] = True
    return pixels
