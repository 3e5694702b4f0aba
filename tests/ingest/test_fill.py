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

from lsst.meas.trails.ingest.fill import find_fill

SHAPE = (120, 150)


def noise(sigma: float = 10.0, level: float = 300.0) -> np.ndarray:
    return np.random.default_rng(8).normal(level, sigma, SHAPE)


def border() -> np.ndarray:
    """Return the pixels of a wide and of a narrow border."""
    inside = np.zeros(SHAPE, dtype=bool)
    inside[:20] = True
    inside[:, -1] = True
    return inside


@pytest.mark.parametrize("dtype", ["f4", ">f8", "i2", "i4", "u2"])
@pytest.mark.parametrize("value", [0, 300, 1000, 65535, -999])
def test_border(dtype: str, value: int) -> None:
    image = np.round(noise()).astype(dtype)
    image[border()] = np.array(value).astype(dtype)
    found = find_fill(image)
    assert np.all(found[border()])
    # Pixels of the sky with the value of an adjacent border join it.
    assert np.mean(found[~border()]) < (5e-3 if value == 300 else 1e-9)


@pytest.mark.parametrize("sigma", [0.2, 0.4, 1.0, 3.0, 30.0])
def test_whole_numbers_are_data(sigma: float) -> None:
    """Runs of equal values in images of few values are noise."""
    image = np.round(noise(sigma)).astype("i2")
    assert not np.any(find_fill(image))
    image[border()] = 0
    np.testing.assert_array_equal(find_fill(image), border())


@pytest.mark.parametrize("value", [0, -1, -999, -9999, -32768])
@pytest.mark.parametrize("dtype", ["f4", "i4"])
def test_single_fill_values(value: int, dtype: str) -> None:
    """Dead pixels in the middle of the image, far below the sky."""
    image = np.round(noise()).astype(dtype)
    expected = np.zeros(SHAPE, dtype=bool)
    expected[30::41, 11::37] = True
    image[expected] = value
    np.testing.assert_array_equal(find_fill(image), expected)


@pytest.mark.parametrize("value", [-1e30, 1e30, -1.7976931348623157e308, np.nan, np.inf])
def test_values_beyond_all_data(value: float) -> None:
    image = noise()
    image[5, 7] = value
    np.testing.assert_array_equal(np.argwhere(find_fill(image)), [[5, 7]])


def test_values_near_a_subtracted_sky_are_data() -> None:
    """Zero and -1 are possible values of sky-subtracted pixels."""
    image = np.round(noise(10.0, level=0.0)).astype("i2")
    assert np.any(image == 0)
    assert not np.any(find_fill(image))


def test_gap_and_hole() -> None:
    image = noise()
    expected = np.zeros(SHAPE, dtype=bool)
    expected[40:52] = True
    expected[80:100, 60:80] = True
    image[expected] = 0.0
    np.testing.assert_array_equal(find_fill(image), expected)


def test_saturated_star_is_data() -> None:
    """A plateau above the sky is for the saturation level to find."""
    image = noise()
    image[60:80, 60:80] = 65535.0
    assert not np.any(find_fill(image))


def test_blank() -> None:
    image = noise()
    image[1, 2] = 314.0
    np.testing.assert_array_equal(np.argwhere(find_fill(image, [314.0])), [[1, 2]])


def test_all_missing() -> None:
    assert np.all(find_fill(np.full(SHAPE, np.nan)))
    assert np.all(find_fill(np.full(SHAPE, 7.0)))
