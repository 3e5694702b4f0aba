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

from lsst.meas.trails.ingest.mosaic import MOST_MOSAIC, measure_mosaic

SHAPE = (200, 201)


def sky(seed: int = 1) -> np.ndarray:
    """Return a sky of 400 counts with a noise of 20 and a gradient of a tenth."""
    noise = np.random.default_rng(seed).normal(400.0, 20.0, SHAPE)
    return (noise * np.linspace(0.95, 1.05, SHAPE[1])).astype(np.float32)


def test_gray_images() -> None:
    none = np.zeros(SHAPE, dtype=bool)
    # Medians of 10000 pixels have an error of 0.0125 of the scatter.
    assert measure_mosaic(sky(), none) < 0.07
    assert measure_mosaic(np.full(SHAPE, 3.0, dtype=np.float32), none) == 0.0
    assert measure_mosaic(sky(), ~none) == 0.0


def test_colors() -> None:
    """Red, twice green, and blue differ by 0.3 of a sky whose noise is 0.05."""
    image = sky()
    image[::2, ::2] *= 0.7
    image[1::2, 1::2] *= 0.8
    bad = np.zeros(SHAPE, dtype=bool)
    bad[:20] = True
    image[bad] = np.nan
    difference = measure_mosaic(image, bad)
    # The gradient widens the scatter.
    assert difference == pytest.approx(0.3 * 400.0 / 20.0, rel=0.25)
    assert difference > MOST_MOSAIC
