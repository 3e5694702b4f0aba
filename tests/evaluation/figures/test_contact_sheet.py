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

import matplotlib.colors
import numpy as np
import numpy.typing as npt
import pytest

from lsst.meas.trails.core.cutouts import Cutout
from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.evaluation.figures.contact_sheet import ContactSheet
from lsst.meas.trails.evaluation.figures.cutouts import CANDIDATE_COLOR

SIDE = 101
TRAIL = Trail.from_ends(1030.0, 2050.0, 1070.0, 2050.0)


def make_cutout(**arrays: npt.NDArray[np.float32]) -> Cutout:
    """Return a cutout that begins at pixel (1000, 2000)."""
    return Cutout(
        row=0,
        box=(1000, 1000 + SIDE, 2000, 2000 + SIDE),
        arrays=arrays,
        inside=np.ones((SIDE, SIDE), dtype=bool),
        psf=None,
    )


def bright(value: float = 0.0) -> npt.NDArray[np.float32]:
    """Return noise with a bright square in the upper left of the cutout."""
    image = np.random.default_rng(1).normal(size=(SIDE, SIDE)).astype(np.float32)
    image[80:95, 5:20] = 1000.0
    return image + np.float32(value)


def panels(sheet: ContactSheet, number: int) -> list[npt.NDArray[np.uint8]]:
    """Return the panels of the first tile, without header and labels."""
    picture = sheet.picture()[21 : 21 + 112, 6:]
    return [picture[:, 3 + 115 * i : 115 * (i + 1)] for i in range(number)]


def test_orientation_and_marks() -> None:
    sheet = ContactSheet(["science", "probability"])
    probability = np.zeros((SIDE, SIDE), dtype=np.float32)
    probability[10:20, 80:95] = 1.0
    sheet.add(0, make_cutout(science=bright(), probability=probability), "science", TRAIL, ("one", "two"))
    science, map_, marked = panels(sheet, 3)
    # The first row of pixels is at the bottom.
    assert science[8:20, 8:20].min() == 255
    assert science[90:, 90:].mean() < 128
    assert map_[96:100, 92:102].min() > 150
    assert map_[:50].max() < 10
    # Lines beyond both ends of the horizontal trail, and none on it.
    color = np.array(matplotlib.colors.to_rgb(CANDIDATE_COLOR)) * 255.0
    is_mark = np.all(np.abs(marked.astype(float) - color) < 3.0, axis=2)
    rows, columns = np.nonzero(is_mark)
    middle = (SIDE - 50.5) * 112 / SIDE
    assert np.abs(rows - middle).max() <= 2.0
    assert columns.min() < 15
    assert columns.max() > 95
    ends = [(30.5 - 6.0) * 112 / SIDE, (70.5 + 6.0) * 112 / SIDE]
    assert not np.any((columns > ends[0] + 2.0) & (columns < ends[1] - 2.0))


def test_order_and_grid() -> None:
    sheet = ContactSheet(["science"], columns=2)
    for place in (4, 0, 3):
        sheet.add(place, make_cutout(science=bright(place)), "science", TRAIL, (f"{place}", ""))
    assert len(sheet) == 3
    picture = sheet.picture()
    single = ContactSheet(["science"], columns=2)
    single.add(0, make_cutout(science=bright(0)), "science", TRAIL, ("0", ""))
    one = single.picture()
    assert picture.shape[1] == 2 * one.shape[1]
    np.testing.assert_array_equal(picture[: one.shape[0], : one.shape[1]], one)


def test_missing_images_and_nothing() -> None:
    sheet = ContactSheet(["science", "template"])
    with pytest.raises(ValueError, match="at least one"):
        sheet.picture()
    sheet.add(0, make_cutout(science=np.full((SIDE, SIDE), np.nan, dtype=np.float32)), "science", TRAIL, ())
    science, template, _ = panels(sheet, 3)
    assert science.max() == 0
    assert len(np.unique(template)) == 1
