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

from typing import Any

import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trail, Trails
from lsst.meas.trails.core.injection.inject import inject_trails
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.nn.model_file import load_model, shipped_model_path
from lsst.meas.trails.training import calibration
from lsst.meas.trails.training.survey_images import InjectionOptions, SurveyImage, search_survey_image

SHAPE = (500, 600)
PAIR = (0.3, 0.6)
REAL = Trail(300.0, 250.0, 60.0, 20.0, 3000.0)
"""A line in the image before the injection: a galaxy for all that anybody knows."""


@pytest.fixture(autouse=True)
def bright_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the network by the brightness of a pixel."""

    def predict(model: Any, planes: ImagePlanes, **_: Any) -> np.ndarray:
        return np.clip((planes.image - planes.image.mean()) / 12.0, 0.0, 1.0).astype(np.float32)

    monkeypatch.setattr(calibration, "predict_probability", predict)


@pytest.fixture(scope="module")
def planes() -> ImagePlanes:
    rng = np.random.default_rng(4)
    blank = ImagePlanes(
        image=rng.standard_normal(SHAPE, dtype=np.float32),
        variance=np.ones(SHAPE, dtype=np.float32),
        mask=np.zeros(SHAPE, dtype=np.uint32),
        psf=PsfGrid.gaussian(4.0),
    )
    return inject_trails(blank, Trails.from_trails([REAL]), None)


def search(image: SurveyImage, **options: Any) -> Any:
    model = load_model(shipped_model_path())
    injection = InjectionOptions(number=1500.0, snr=(150.0, 600.0), length=(10.0, 60.0), **options)
    rng = np.random.default_rng(5)
    return search_survey_image(model, image, injection, rng, thresholds=[PAIR], group=7)


def test_what_was_there_is_false_and_what_was_injected_is_true(planes: ImagePlanes) -> None:
    before = planes.image.copy()
    searched = search(SurveyImage(planes))
    table = searched.tables[PAIR]
    false = table[~table["is_true"]]
    assert len(false) == 1
    assert not false["ignored"][0]
    assert np.hypot(false["x"] - REAL.x, false["y"] - REAL.y)[0] < 2.0
    assert len(searched.snr) == len(searched.length) > 20
    assert np.count_nonzero(table["is_true"]) > 0.9 * len(searched.snr)
    found = table[table["is_true"]]
    np.testing.assert_allclose(found["trailLengthPix"], searched.length[found["trail"]], rtol=0.5)
    assert (searched.group, searched.n_pixels) == (7, SHAPE[0] * SHAPE[1])
    np.testing.assert_array_equal(planes.image, before)


def test_known_lines_are_not_false(planes: ImagePlanes) -> None:
    table = search(SurveyImage(planes, known=Trails.from_trails([REAL]))).tables[PAIR]
    false = table[~table["is_true"]]
    assert len(false) == 1
    assert false["ignored"][0]


def test_injected_trails_keep_apart(planes: ImagePlanes) -> None:
    population = InjectionOptions().population(planes)
    assert population.separation == 30.0
    assert population.number == pytest.approx(164.0)
