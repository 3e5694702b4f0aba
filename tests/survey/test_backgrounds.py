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

from pathlib import Path

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.tiles.labels import LabeledTruth
from lsst.meas.trails.nn.model_file import shipped_model_path
from lsst.meas.trails.survey.backgrounds import find_probable, make_background, probable_score
from lsst.meas.trails.survey.images import KnownImage, LabeledImage, find_images
from lsst.meas.trails.training.backgrounds import IGNORED, TRAIL, read_background


@pytest.fixture
def image(survey: str) -> LabeledImage:
    """Return the first image."""
    return find_images(survey, "input", "preliminary_visit_image")[0][0]


def candidates(scores: list[float], streaks: list[bool], ny: int = 4100) -> astropy.table.Table:
    """Return candidates of 30 pixels, in a column of the image."""
    count = len(scores)
    table = astropy.table.Table(
        {
            "x": np.full(count, 100.0),
            "y": 40.0 + 60.0 * np.arange(count),
            "trailLengthPix": np.full(count, 30.0),
            "trailAnglePix": np.zeros(count),
            "score": scores,
            "streakFlag": streaks,
        }
    )
    table.meta = {"shape": [ny, 4000], "pixel_scale": 0.2}
    return table


def test_as_many_candidates_as_detectors_are_probable() -> None:
    one, two = candidates([0.9, 0.8], [True, False]), candidates([0.7, 0.95], [False, False])
    assert probable_score([one, two]) == 0.8
    assert probable_score([candidates([0.9, 0.8], [False, False])]) == 0.9
    # There are fewer candidates than detectors.
    assert probable_score([candidates([0.3], [False], 5 * 4100)]) == 0.3
    # In a small area no real trail is expected.
    assert probable_score([candidates([0.9], [False], 1300)]) == np.inf
    assert probable_score([candidates([], [])]) == np.inf


def test_labels_decide_what_is_ignored(
    image: LabeledImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = image.read()

    def line(x: float, y: float) -> Trails:
        return Trails(*(np.array([value]) for value in (x, y, 30.0, 0.0, 1.0)))

    # A line that no image could hold is not rendered.
    endless = Trails(*(np.array([value]) for value in (250.0, 300.0, 1.0e9, 0.0, 1.0)))
    labels = LabeledTruth(
        trails=Trails.from_trails([*line(250.0, 40.0), *endless]),
        unknown=line(250.0, 100.0),
        artifacts=np.array([[101.0, 99.0]]),
    )
    monkeypatch.setattr(
        LabeledImage,
        "read",
        lambda self: KnownImage(**{**vars(known), "labels": labels}),
    )
    path = tmp_path / "candidates.ecsv"
    # Probable; probable, but an artifact; a satellite; not probable.
    candidates([0.9, 0.9, 0.1, 0.5], [False, False, True, False]).write(path)
    make_background(image, path, 0.8, tmp_path / "background.safetensors")
    flags = read_background(tmp_path / "background.safetensors").flags.numpy()

    def has(bit: int, x: int, y: int) -> bool:
        return bool(flags[y, x] & bit)

    assert [has(IGNORED, 100, y) for y in (40, 100, 160, 220)] == [True, False, True, False]
    # A satellite is ignored across the image.
    assert has(IGNORED, 300, 160)
    assert not has(IGNORED, 300, 40)
    assert has(IGNORED, 20, 300)
    assert has(TRAIL, 250, 40)
    assert not has(IGNORED, 250, 40)
    assert has(IGNORED, 250, 100)
    assert np.count_nonzero(flags & TRAIL) > 30 * 3


def test_an_image_is_searched(image: LabeledImage, tmp_path: Path) -> None:
    path = tmp_path / "candidates.ecsv"
    find_probable(image, shipped_model_path(), path)
    table = astropy.table.Table.read(path)
    assert table.meta == {"shape": [448, 512], "pixel_scale": pytest.approx(0.2, rel=0.01)}
    make_background(image, path, probable_score([table]), tmp_path / "background.safetensors")
    assert read_background(tmp_path / "background.safetensors").shape == (448, 512)
