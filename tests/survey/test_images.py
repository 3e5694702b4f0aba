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
from pathlib import Path

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.catalog.columns import empty_catalog
from lsst.meas.trails.core.planes import plane_bits
from lsst.meas.trails.core.tiles.splits import group_images
from lsst.meas.trails.repository.butler import Dataset, put_datasets
from lsst.meas.trails.repository.candidates import CATALOG_TYPE
from lsst.meas.trails.repository.opening import open_butler
from lsst.meas.trails.repository.visit_record import RepositoryError
from lsst.meas.trails.survey.backgrounds import find_probable
from lsst.meas.trails.survey.images import LabeledImage, _brightest, find_images
from lsst.meas.trails.training.survey_images import SurveyError

IMAGE = "preliminary_visit_image"


@pytest.fixture
def image(survey: str) -> LabeledImage:
    """Return the first image."""
    return find_images(survey, "input", IMAGE, template_type="template_detector")[0][0]


def test_images_and_their_sky(survey: str) -> None:
    images, places = find_images(survey, "input", IMAGE)
    assert [image.detector for image in images] == [0] * 5
    assert len({image.name for image in images}) == 5
    assert all(place.corners is not None for place in places)
    assert len(set(group_images(places))) == 5
    some, _ = find_images(survey, "in*", IMAGE, most=2, seed=3)
    assert len(some) == 2
    assert set(some) <= set(images)
    one, _ = find_images(survey, "input", IMAGE, where=f"visit = {images[3].visit}")
    assert one == [images[3]]
    with pytest.raises(RepositoryError, match="difference_image"):
        find_images(survey, "input", "difference_image")


def test_pixels_noise_and_template(image: LabeledImage) -> None:
    known = image.read()
    assert known.planes.shape == (448, 512)
    assert known.planes.template is not None
    assert 0.0 < known.gain < np.inf
    assert known.pixel_scale == pytest.approx(0.2, rel=0.01)
    assert len(known.labels.trails) == len(known.labels.unknown) == len(known.labels.artifacts) == 0
    assert not known.background().ignored.any()
    plain = LabeledImage(dataclasses.replace(image.source, template_type=None))
    assert plain.read().planes.template is None


def test_candidates_of_a_pipeline(survey: str, image: LabeledImage, tmp_path: Path) -> None:
    assert image.read().candidates is None
    catalog = astropy.table.Table(empty_catalog(), masked=False)
    catalog.add_row({"x": 70.5, "y": 30.0, "trailLengthPix": 30.0, "score": 0.9, "streakFlag": False})
    butler = open_butler(survey, writeable=True)
    put_datasets(butler, "trails", image.source.data_id, [Dataset(CATALOG_TYPE, "ArrowAstropy", catalog)])
    searched = find_images(survey, "input,trails", IMAGE)[0][0]
    # A pipeline that BPS ran does the search of the adaptation.
    find_probable(searched, tmp_path / "no_model.json", tmp_path / "candidates.ecsv")
    table = astropy.table.Table.read(tmp_path / "candidates.ecsv")
    assert (table["x"][0], table["y"][0], table["score"][0]) == (70.5, 30.0, 0.9)


def test_an_image_that_does_not_exist(image: LabeledImage) -> None:
    with pytest.raises(SurveyError):
        LabeledImage(dataclasses.replace(image.source, visit=1)).read()


def test_brightest_is_below_saturated_pixels(image: LabeledImage) -> None:
    planes = image.read().planes
    planes.mask[:] &= ~np.uint32(plane_bits(["SATURATED"]))
    assert _brightest(planes) == np.inf
    planes.image[100:120, 100] = 5.0e5
    planes.image[101, 130] = 9.0e5
    planes.mask[100, 101] |= plane_bits(["SATURATED"])
    assert _brightest(planes) == 5.0e5
