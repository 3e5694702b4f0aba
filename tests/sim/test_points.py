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

import numpy as np
import pytest

from lsst.meas.trails.sim.points import add_points


def test_points_keep_flux_and_position() -> None:
    canvas = np.zeros((40, 50), dtype=np.float32)
    add_points(canvas, np.array([20.3, -5.0]), np.array([11.8, 10.0]), np.array([100.0, 50.0]))
    y, x = np.indices(canvas.shape)
    assert canvas.sum() == pytest.approx(100.0, rel=1e-5)
    assert (x * canvas).sum() / canvas.sum() == pytest.approx(20.3, abs=0.03)
    assert (y * canvas).sum() / canvas.sum() == pytest.approx(11.8, abs=0.03)
