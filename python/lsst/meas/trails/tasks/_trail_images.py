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

"""Images that the tasks write: trail masks and trail probabilities."""

from __future__ import annotations

__all__ = (
    "TRAIL_PLANE",
    "ModelSummary",
    "make_probability_image",
    "make_trail_mask",
    "model_summary",
    "round_probability",
)

import json
from collections.abc import Mapping
from typing import TypedDict, cast

import numpy as np
import numpy.typing as npt

from lsst.images import Image, Mask, MaskPlane, MaskSchema
from lsst.pipe.base import UpstreamFailureNoWorkFound

from ._input_image import InputImage

TRAIL_PLANE = MaskPlane("TRAIL", "Pixel belongs to the trail of a moving object.")
"""Mask plane of trails, in truth masks and in detections."""

MODEL_KEY = "TRAIL_MODEL"
"""Metadata key of a probability image for the `ModelSummary`, as JSON."""


_STEP = 1.0 / 256.0
"""Step that probabilities are rounded to, so that they compress well."""

_LEAST_STEP_BITS = 13
"""Negative binary logarithm of the step of probabilities near 1."""


class _RequiredSummary(TypedDict):
    """Part of a summary that every probability image has."""

    name: str
    version: str
    sha256: str
    """Checksum of weights and specification."""
    thresholds: dict[str, float]
    """Probabilities ``grow`` and ``seed`` that the trail mask was made with."""
    min_area: int
    """Smallest component of the trail mask, pixels."""
    score: dict[str, object]
    """Calibrated score of candidates; empty if the model has none."""
    template_coverage: float
    """Fraction of the image with a template that the model used."""


class ModelSummary(_RequiredSummary, total=False):
    """Summary of a model and of its use, in the metadata of a probability image."""

    source: str
    """Configured name of the model; missing for the dataset ``trail_model``."""

    snr50: dict[str, float]
    """Optimal SNR at which half of the trails are found at 10 false candidates per detector.

    The keys are ``all`` trails and ``long`` ones; missing if the model was not calibrated.
    """


def make_trail_mask(
    pixels: npt.NDArray[np.bool_], image: InputImage, metadata: Mapping[str, str | float] | None = None
) -> Mask:
    """Return a mask with the plane ``TRAIL``.

    Parameters
    ----------
    pixels
        Pixels of trails, shape (ny, nx).
    image
        Image with the box and projection of the mask.
    metadata
        Metadata of the mask.
    """
    mask = Mask(
        0,
        schema=MaskSchema([TRAIL_PLANE]),
        bbox=image.bbox,
        sky_projection=image.sky_projection,
        metadata=dict(metadata or {}),
    )
    mask.set(TRAIL_PLANE.name, pixels)
    return mask


def round_probability(probability: npt.NDArray[np.float32]) -> None:
    """Round probabilities in place to the 297 values that are stored.

    Parameters
    ----------
    probability
        Trail probabilities in [0, 1], shape (ny, nx).

    Notes
    -----
    The step is 1/256, and finer close to 1, where the score of a candidate depends on the logit: there
    ``1 - p`` keeps three binary digits after its first, down to 1/8192.
    """
    near_one = probability > np.float32(15.0 / 16.0)
    rest = np.float32(1.0) - probability[near_one]
    step = np.ldexp(np.float32(1.0), np.clip(np.frexp(rest)[1] - 4, -_LEAST_STEP_BITS, -8))
    probability /= np.float32(_STEP)
    np.rint(probability, out=probability)
    probability *= np.float32(_STEP)
    probability[near_one] = np.float32(1.0) - np.rint(rest / step) * step


def make_probability_image(
    probability: npt.NDArray[np.float32], image: InputImage, model: ModelSummary
) -> Image:
    """Return a probability map as an image with a summary of its model.

    Parameters
    ----------
    probability
        Trail probabilities in [0, 1], shape (ny, nx).
    image
        Image with the box and projection of the map.
    model
        Summary of the model.
    """
    return Image(
        probability,
        bbox=image.bbox,
        sky_projection=image.sky_projection,
        metadata={MODEL_KEY: json.dumps(model, sort_keys=True)},
    )


def model_summary(probability: Image) -> ModelSummary:
    """Return the summary of the model that made a probability image.

    Raises
    ------
    lsst.pipe.base.UpstreamFailureNoWorkFound
        Raised if the image has no complete summary.
    """
    try:
        summary = json.loads(str(probability.metadata[MODEL_KEY]))
        required = {key: summary[key] for key in ModelSummary.__required_keys__}
        optional = {key: summary[key] for key in ModelSummary.__optional_keys__ if key in summary}
        return cast(ModelSummary, required | optional)
    except (KeyError, TypeError, ValueError) as error:
        raise UpstreamFailureNoWorkFound(
            f"The probability image does not name its model ({MODEL_KEY} in its metadata)."
        ) from error
