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

import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.evaluation.figures.cutouts import (
    CANDIDATE_COLOR,
    MAX_SIDE,
    MIN_SIDE,
    TRUTH_COLOR,
    Line,
    cutout_box,
    cutout_picture,
    stretch,
)

BOUNDS = (100, 1100, 50, 850)
"""Bounds of an image whose first pixel is (100, 50)."""


def test_a_short_trail_is_in_the_middle() -> None:
    box = cutout_box([Line(Trail.from_ends(600.0, 400.0, 610.0, 400.0), TRUTH_COLOR)], BOUNDS)
    assert box == (605 - MIN_SIDE // 2, 605 + MIN_SIDE // 2, 400 - MIN_SIDE // 2, 400 + MIN_SIDE // 2)


def test_all_trails_are_inside() -> None:
    lines = [
        Line(Trail.from_ends(600.0, 400.0, 660.0, 430.0), TRUTH_COLOR),
        Line(Trail.from_ends(590.0, 395.0, 612.0, 410.0), TRUTH_COLOR),
    ]
    x0, x1, y0, y1 = cutout_box(lines, BOUNDS)
    assert x1 - x0 == y1 - y0
    for line in lines:
        assert x0 <= min(line.trail.ends[0::2])
        assert max(line.trail.ends[0::2]) < x1
        assert y0 <= min(line.trail.ends[1::2])
        assert max(line.trail.ends[1::2]) < y1


@pytest.mark.parametrize("ends", [(101.0, 52.0, 104.0, 55.0), (1099.0, 849.0, 1090.0, 849.0)])
def test_at_the_edge_it_moves_inwards(ends: tuple[float, float, float, float]) -> None:
    x0, x1, y0, y1 = cutout_box([Line(Trail.from_ends(*ends), TRUTH_COLOR)], BOUNDS)
    assert (x1 - x0, y1 - y0) == (MIN_SIDE, MIN_SIDE)
    assert x0 >= 100
    assert x1 <= 1100
    assert y0 >= 50
    assert y1 <= 850


def test_long_trails_and_small_images() -> None:
    x0, x1, _, _ = cutout_box([Line(Trail.from_ends(100.0, 50.0, 1100.0, 850.0), TRUTH_COLOR)], BOUNDS)
    assert x1 - x0 == MAX_SIDE
    line = Line(Trail.from_ends(3.0, 3.0, 6.0, 6.0), TRUTH_COLOR)
    assert cutout_box([line], (0, 10, 0, 8)) == (0, 10, 0, 8)
    # A fit may lie outside the image.
    assert cutout_box([Line(Trail.from_ends(-50.0, 900.0, -40.0, 905.0), TRUTH_COLOR)], (0, 100, 0, 200)) == (
        0,
        64,
        136,
        200,
    )
    with pytest.raises(ValueError, match="empty"):
        cutout_box([line], (0, 0, 0, 8))


def test_the_stretch_shows_noise_and_stars() -> None:
    noise = np.random.default_rng(1).normal(1000.0, 10.0, (200, 200))
    noise[0, 0], noise[0, 1], noise[0, 2] = np.nan, 1e6, -1e6
    shown = stretch(noise)
    assert (shown[0, 0], shown[0, 1], shown[0, 2]) == (0.0, 1.0, 0.0)
    # The sky is dark gray, and its noise is seen.
    assert 0.1 < np.median(shown) < 0.4
    assert shown.std() > 0.05
    np.testing.assert_array_equal(stretch(np.full((3, 3), np.nan)), np.zeros((3, 3)))


def test_the_picture_shows_what_it_says() -> None:
    """Three panels: a trail, a probability, and a line of the fit's color."""
    image = np.random.default_rng(1).normal(0.0, 1.0, (64, 64))
    image[32, 16:48] += 30.0
    probability = np.zeros((64, 64))
    probability[32, 16:48] = 1.0
    lines = [
        Line(Trail.from_ends(15.0, 10.0, 45.0, 10.0), TRUTH_COLOR, dashed=True),
        Line(Trail.from_ends(16.0, 52.0, 48.0, 52.0), CANDIDATE_COLOR),
    ]
    picture = cutout_picture(image, probability, (0, 64, 0, 64), lines)
    assert picture.dtype == np.uint8
    left, middle, right = np.array_split(picture.astype(int), 3, axis=1)

    def near(panel: np.ndarray, color: str) -> np.ndarray:
        wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        return np.flatnonzero(np.any(np.abs(panel - wanted).sum(axis=2) < 30, axis=1))

    height = len(picture)
    # The first row of the picture is the top: y = 52 of 64 is in its upper part.
    assert near(right, CANDIDATE_COLOR).max() < 0.35 * height
    assert near(right, TRUTH_COLOR).min() > 0.65 * height
    for panel in (left, middle):
        assert len(near(panel, CANDIDATE_COLOR)) == 0
    bright = np.flatnonzero(np.mean(middle.sum(axis=2), axis=1) > 100.0)
    assert abs(bright.mean() - 0.5 * height) < 0.05 * height
    # Without a probability the middle panel is black.
    _, nothing, _ = np.array_split(cutout_picture(image, None, (0, 64, 0, 64), lines), 3, axis=1)
    assert nothing[:, 5:-5].max() < 10
