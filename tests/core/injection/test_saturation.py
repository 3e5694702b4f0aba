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

from lsst.meas.trails.core.injection.saturation import saturate


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
