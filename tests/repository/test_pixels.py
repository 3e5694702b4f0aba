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
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsst.daf.butler import Butler, DatasetType
from lsst.images import Box, VisitImage
from lsst.meas.trails.repository.pixels import pixels_and_box, read_box, read_pixels

from support.afw import exposure_repository

SHAPE = (60, 80)
BOX = Box.factory[20:80, 30:110]
PART = Box.factory[25:31, 40:52]


@pytest.fixture
def image(make_image: Callable[..., Any]) -> VisitImage:
    made = make_image(shape=SHAPE, start=(30, 20)).image
    assert isinstance(made, VisitImage)
    return made


@pytest.fixture
def butler(image: VisitImage, make_exposure: Callable[..., Any], tmp_path: Path) -> Butler:
    """Return a repository of the image, in the classes of both libraries."""
    butler = exposure_repository(tmp_path / "repo", make_exposure(image), SHAPE)
    dimensions = butler.dimensions.conform(("instrument", "visit", "detector"))
    butler.registry.registerDatasetType(DatasetType("visit_image", dimensions, "VisitImage"))
    (ref,) = butler.query_datasets("preliminary_visit_image")
    butler.put(image, "visit_image", ref.dataId)
    return butler


def test_image_in_memory(image: VisitImage, make_exposure: Callable[..., Any]) -> None:
    for given in (image.image, make_exposure(image).image):
        pixels, box = pixels_and_box(given)
        assert box == BOX
        np.testing.assert_array_equal(pixels, image.image.array)


@pytest.mark.parametrize("dataset_type", ["visit_image", "preliminary_visit_image"])
def test_image_in_a_butler(image: VisitImage, butler: Butler, dataset_type: str) -> None:
    (ref,) = butler.query_datasets(dataset_type)
    assert read_box(butler, dataset_type, ref.dataId) == BOX
    pixels, box = read_pixels(butler, f"{dataset_type}.image", ref.dataId)
    assert box == BOX
    np.testing.assert_allclose(pixels, image.image.array, atol=1.0)
    part, box = read_pixels(butler, f"{dataset_type}.image", ref.dataId, PART)
    assert box == PART
    np.testing.assert_array_equal(part, pixels[5:11, 10:22])


def test_missing_image(butler: Butler) -> None:
    (ref,) = butler.query_datasets("visit_image")
    for read in (read_box, read_pixels):
        with pytest.raises(LookupError):
            read(butler, "difference_image", ref.dataId)
    with pytest.raises(LookupError):
        read_pixels(butler, "difference_image.image", ref.dataId, PART)
