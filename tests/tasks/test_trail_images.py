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


from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lsst.images import Image
from lsst.meas.trails.tasks._input_image import InputImage, read_input_image
from lsst.meas.trails.tasks._trail_images import (
    ModelSummary,
    make_probability_image,
    make_trail_mask,
    model_summary,
    round_probability,
)
from lsst.pipe.base import UpstreamFailureNoWorkFound

SUMMARY = ModelSummary(
    name="m",
    version="1",
    sha256="ab",
    thresholds={"grow": 0.2, "seed": 0.5},
    min_area=12,
    score={},
    template_coverage=0.75,
)


@pytest.fixture
def image(make_image: Callable[..., Any]) -> InputImage:
    return read_input_image(make_image(shape=(48, 64), start=(100, 30)).image)


def test_trail_mask(image: InputImage) -> None:
    pixels = np.zeros(image.planes.shape, dtype=bool)
    pixels[3, 5:9] = True
    mask = make_trail_mask(pixels, image, {"KEY": "value"})
    assert list(mask.schema.names) == ["TRAIL"]
    assert mask.bbox == image.bbox
    assert mask.metadata["KEY"] == "value"
    np.testing.assert_array_equal(mask.get("TRAIL"), pixels)


def test_probability_image_records_its_model(image: InputImage) -> None:
    probability = make_probability_image(np.zeros(image.planes.shape, dtype=np.float32), image, SUMMARY)
    assert probability.bbox == image.bbox
    assert model_summary(probability) == SUMMARY


@pytest.mark.parametrize("metadata", [{}, {"TRAIL_MODEL": "{"}, {"TRAIL_MODEL": "3"}, {"TRAIL_MODEL": "{}"}])
def test_probability_image_of_unknown_origin(metadata: dict[str, str]) -> None:
    image = Image(np.zeros((4, 4), dtype=np.float32), metadata=metadata)
    with pytest.raises(UpstreamFailureNoWorkFound, match="TRAIL_MODEL"):
        model_summary(image)


def test_rounded_probabilities() -> None:
    """Few values are stored, and neither probabilities nor their logits change much."""
    probability = np.linspace(0.0, 1.0, 200_001, dtype=np.float32).reshape(1, -1)
    rounded = probability.copy()
    round_probability(rounded)
    assert len(np.unique(rounded)) < 300
    assert (rounded.min(), rounded.max()) == (0.0, 1.0)
    assert np.abs(rounded - probability).max() <= 0.5 / 256.0
    assert np.all(np.diff(rounded) >= 0.0)
    part = (probability > 0.06) & (probability < 0.999)
    logit, exact = (np.log(p[part]) - np.log1p(-p[part]) for p in (rounded, probability))
    assert np.abs(logit - exact).max() < 0.08
    # A stored image is rounded to itself.
    again = rounded.copy()
    round_probability(again)
    np.testing.assert_array_equal(again, rounded)
