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

from lsst.meas.trails.core.template import cut_template


def test_background_is_taken_off_and_gaps_are_nan() -> None:
    rng = np.random.default_rng(1)
    template = (50.0 + rng.normal(0.0, 1.0, (256, 300))).astype(np.float32)
    missing = np.zeros(template.shape, dtype=bool)
    missing[:, 280:] = True
    template[10, 10] = np.inf
    before = template.copy()
    cut = cut_template(template, missing)
    np.testing.assert_array_equal(template, before)
    assert cut.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(cut), missing | ~np.isfinite(before))
    # 64 x 64 pixels have a median that is accurate to 1.25 / 64.
    assert abs(np.nanmedian(cut)) < 0.02


@pytest.mark.parametrize("origin", [(0, 0), (-20, -30), (25, 10), (-20, 35)])
def test_cut_to_the_pixels_of_the_image(origin: tuple[int, int]) -> None:
    template = np.zeros((100, 120), dtype=np.float32)
    template[50, 60] = 7.0
    cut = cut_template(template, np.zeros(template.shape, dtype=bool), origin, (90, 110))
    assert cut.shape == (90, 110)
    x, y = origin
    assert cut[50 + y, 60 + x] == 7.0
    covered = np.zeros((90, 110), dtype=bool)
    covered[max(y, 0) : 100 + y, max(x, 0) : 120 + x] = True
    np.testing.assert_array_equal(np.isfinite(cut), covered)


def test_template_beside_the_image_or_without_data() -> None:
    nothing = np.zeros((64, 64), dtype=bool)
    assert np.all(np.isnan(cut_template(np.zeros((64, 64)), nothing, (100, 0), (64, 64))))
    assert np.all(np.isnan(cut_template(np.zeros((64, 64)), ~nothing)))
