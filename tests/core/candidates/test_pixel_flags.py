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

from lsst.meas.trails.core.candidates.pixel_flags import (
    PIXEL_FLAGS,
    center_bits,
    footprint_bits,
    has_plane,
)
from lsst.meas.trails.core.planes import MASK_PLANES, plane_bits


def mask_with(plane: str, row: int, column: int) -> np.ndarray:
    mask = np.zeros((20, 30), dtype=np.uint32)
    mask[row, column] = plane_bits([plane])
    return mask


def test_flags_name_mask_planes() -> None:
    for name, (plane, at_center, text) in PIXEL_FLAGS.items():
        assert plane in MASK_PLANES
        assert at_center == name.endswith("Center") == ("3x3" in text)


def test_one_pixel_of_the_footprint_is_enough() -> None:
    rows, columns = np.array([3, 4, 5]), np.array([6, 7, 8])
    bits = footprint_bits(mask_with("COSMIC_RAY", 5, 8), rows, columns)
    assert has_plane(bits, "COSMIC_RAY")
    assert not has_plane(bits, "BAD")
    assert footprint_bits(mask_with("COSMIC_RAY", 5, 9), rows, columns) == 0


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [(10.0, 5.0, True), (11.4, 6.4, True), (8.6, 3.6, True), (11.6, 5.0, False), (10.0, 3.4, False)],
)
def test_nine_pixels_around_the_midpoint(x: float, y: float, expected: bool) -> None:
    assert has_plane(center_bits(mask_with("SATURATED", 5, 10), x, y), "SATURATED") == expected


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [(0.2, 0.0, True), (-0.8, -0.9, True), (-2.0, 0.0, False), (1e9, 0.0, False), (np.nan, 0.0, False)],
)
def test_midpoints_at_the_edge_and_beyond(x: float, y: float, expected: bool) -> None:
    assert has_plane(center_bits(mask_with("NO_DATA", 0, 0), x, y), "NO_DATA") == expected
