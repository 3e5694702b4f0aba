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

from lsst.meas.trails.sim.defects import add_cosmic_rays, bad_columns, dead_amplifier


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_cosmic_rays(fraction: float) -> None:
    image = np.zeros((100, 100), dtype=np.float32)
    flagged = add_cosmic_rays(image, 20, (100.0, 200.0), np.random.default_rng(2), fraction)
    assert np.count_nonzero(image) >= 20
    np.testing.assert_array_equal(flagged, (image > 0.0) if fraction else np.zeros_like(flagged))


def test_bad_columns_extend_to_the_edge() -> None:
    bad = bad_columns((50, 2000), 10.0, np.random.default_rng(3))
    columns = np.flatnonzero(bad.any(axis=0))
    # 20 groups of 1 to 3 columns are expected.
    assert 10 <= len(columns) <= 70
    assert np.all(bad[-1, columns])
    assert not bad_columns((50, 2000), 0.0, np.random.default_rng(3)).any()


def test_dead_amplifier_is_one_of_sixteen() -> None:
    rows, columns = dead_amplifier((400, 800), np.random.default_rng(4))
    assert (rows.stop - rows.start, columns.stop - columns.start) == (200, 100)
    assert rows.start % 200 == columns.start % 100 == 0
