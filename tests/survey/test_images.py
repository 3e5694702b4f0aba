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

import dataclasses

import numpy as np
import pytest

from lsst.meas.trails.core.planes import plane_bits
from lsst.meas.trails.core.tiles.splits import group_images
from lsst.meas.trails.repository.visit_record import RepositoryError
from lsst.meas.trails.survey.images import SurveyImage, _brightest, find_images

IMAGE = "preliminary_visit_image"


@pytest.fixture
def image(survey: str) -> SurveyImage:
    """Return the first image."""
    return find_images(survey, "input", IMAGE, template_type="template_detector")[0][0]


def test_images_and_their_sky(survey: str) -> None:
    images, places = find_images(survey, "input", IMAGE)
    assert [image.detector for image in images] == [0] * 5
    assert len({image.name for image in images}) == 5
    assert all(place.corners is not None for place in places)
    assert len(set(group_images(places))) == 5
    some, _ = find_images(survey, "in*", IMAGE, limit=2, rng=np.random.default_rng(3))
    assert len(some) == 2
    assert set(some) <= set(images)
    one, _ = find_images(survey, "input", IMAGE, where=f"visit = {images[3].visit}")
    assert one == [images[3]]
    with pytest.raises(RepositoryError, match="difference_image"):
        find_images(survey, "input", "difference_image")


def test_pixels_noise_and_template(image: SurveyImage) -> None:
    known = image.read()
    assert known.planes.shape == (448, 512)
    assert known.planes.template is not None
    assert 0.0 < known.gain < np.inf
    assert known.pixel_scale == pytest.approx(0.2, rel=0.01)
    assert len(known.labels.trails) == len(known.labels.unknown) == len(known.labels.artifacts) == 0
    assert not known.background().ignored.any()
    for template_type in (None, "unknown_template"):
        assert dataclasses.replace(image, template_type=template_type).read().planes.template is None


def test_an_image_that_does_not_exist(image: SurveyImage) -> None:
    with pytest.raises(LookupError):
        dataclasses.replace(image, visit=1).read()


def test_brightest_is_below_saturated_pixels(image: SurveyImage) -> None:
    planes = image.read().planes
    planes.mask[:] &= ~np.uint32(plane_bits(["SATURATED"]))
    assert _brightest(planes) == np.inf
    planes.image[100:120, 100] = 5.0e5
    planes.image[101, 130] = 9.0e5
    planes.mask[100, 101] |= plane_bits(["SATURATED"])
    assert _brightest(planes) == 5.0e5
