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
from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage

from lsst.meas.trails.core.injection.gain import GainMap
from lsst.meas.trails.core.injection.saturation import SATURATION_PLANES, saturate, saturate_light
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits

type MakePlanes = Callable[..., ImagePlanes]


def with_light(planes: ImagePlanes, part: tuple[slice, slice], light: float) -> ImagePlanes:
    """Return an image with additional light."""
    image = planes.image.copy()
    image[part] += light
    return dataclasses.replace(planes, image=image)


def test_saturation_bleeds_along_columns() -> None:
    image = np.zeros((60, 40), dtype=np.float32)
    image[30, 20] = 5000.0
    saturated = saturate(image, 100.0, np.random.default_rng(1))
    rows, columns = np.nonzero(saturated)
    assert set(columns) == {20}
    # 0.15 of an excess of 49 full wells on each side, within 20%.
    assert 11 <= len(rows) <= 20
    assert np.all(image[saturated] == 100.0)
    assert image.max() == 100.0


def test_images_below_the_full_well_do_not_change() -> None:
    image = np.full((10, 10), 50.0, dtype=np.float32)
    assert not saturate(image, 100.0, np.random.default_rng(1)).any()
    assert np.all(image == 50.0)


def test_bleeds_follow_a_slanted_trail() -> None:
    image = np.zeros((120, 120), dtype=np.float32)
    x = np.arange(20, 100)
    image[x, x] = 150.0
    image[x, x + 1] = 150.0
    saturated = saturate(image, 100.0, np.random.default_rng(1))
    rows, columns = np.nonzero(saturated)
    # The excess of two pixels of half a full well is shorter than a pixel.
    assert np.all(np.abs(rows - columns) <= 3)
    assert set(columns) == set(range(20, 101))


def test_light_saturates_as_in_the_stack(make_planes: MakePlanes) -> None:
    planes = make_planes((60, 60), sigma=5.0)
    planes.image[...] = np.arange(60.0)
    lit = with_light(planes, (slice(30, 31), slice(20, 25)), 150.0)
    rng = np.random.default_rng(1)
    result = saturate_light(planes, lit, 100.0, rng, GainMap.uniform(2.0))
    full = result.has("SUSPECT")
    rows, columns = np.nonzero(full)
    # The excess bleeds into a neighbor.
    assert (set(rows) - {29, 31}, set(columns)) == ({30}, set(range(20, 25)))
    grown = scipy.ndimage.binary_dilation(full)
    np.testing.assert_array_equal(result.has("SATURATED"), grown)
    np.testing.assert_array_equal(result.has("INTERPOLATED"), grown)
    # A linear image is interpolated exactly.
    np.testing.assert_allclose(result.image, planes.image)
    np.testing.assert_allclose(result.variance[full], 25.0 + 100.0 / 2.0)
    np.testing.assert_array_equal(result.variance[~full], planes.variance[~full])
    # Neither argument changes.
    assert not lit.has(*SATURATION_PLANES).any()
    assert lit.image[30, 22] > 150.0


def test_faint_light_returns_the_image_itself(make_planes: MakePlanes) -> None:
    planes = make_planes((60, 60), sigma=5.0)
    lit = with_light(planes, (slice(30, 31), slice(20, 25)), 80.0)
    assert saturate_light(planes, lit, 100.0, np.random.default_rng(1)) is lit


@pytest.mark.parametrize("level", [1000.0, np.inf])
def test_levels_of_pixels(make_planes: MakePlanes, level: float) -> None:
    planes = make_planes((60, 60), sigma=5.0)
    levels = np.full((60, 60), 100.0, dtype=np.float32)
    levels[:, 30:] = level
    lit = with_light(planes, (slice(30, 31), slice(20, 40)), 150.0)
    columns = np.nonzero(saturate_light(planes, lit, levels, np.random.default_rng(1)).has("SUSPECT"))[1]
    assert set(columns) == set(range(20, 30))


def test_stars_that_are_saturated_do_not_bleed_again(make_planes: MakePlanes) -> None:
    planes = make_planes((60, 60), sigma=5.0)
    planes.image[28:33, 20:25] = 5000.0
    planes.mask[28:33, 20:25] = plane_bits(["SATURATED"])
    # Interpolation may have left a star below its full well.
    planes.image[30, 24] = 90.0
    lit = with_light(planes, (slice(30, 31), slice(20, 40)), 50.0)
    assert saturate_light(planes, lit, 100.0, np.random.default_rng(1)) is lit


def test_pixels_without_data_stay_without(make_planes: MakePlanes) -> None:
    planes = make_planes((60, 60), sigma=5.0)
    planes.image[30, 22] = np.nan
    planes.variance[30, 23] = np.nan
    lit = with_light(planes, (slice(30, 31), slice(20, 25)), 150.0)
    result = saturate_light(planes, lit, 100.0, np.random.default_rng(1), GainMap.uniform(2.0))
    assert np.isnan(result.image[30, 22])
    assert np.count_nonzero(np.isnan(result.image)) == 1
    assert np.isnan(result.variance[30, 23])
