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
from astropy.table import Table

from lsst.images import Box
from lsst.meas.trails.sim.image import image_truth
from lsst.meas.trails.sim.observation import make_sky_projection, plan_visit
from lsst.meas.trails.sim.simulation import Simulation


def test_truth_has_the_coordinates_of_the_image() -> None:
    simulated = Simulation(seed=11, detectors=2, shape=(128, 160), trails=5).image(0, 1)
    truth = simulated.truth[simulated.truth["source_type"] == "Trail"]
    assert len(truth) == 5
    assert set(truth["detector"]) == {1}
    assert set(truth["physical_filter"]) == {"r_sim"}
    sky = simulated.image.sky_projection.pixel_to_sky(x=np.array(truth["x0"]), y=np.array(truth["y0"]))
    np.testing.assert_allclose(sky.ra.deg, truth["ra0"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(sky.dec.deg, truth["dec0"], rtol=0, atol=1e-12)
    # Over a few pixels of TAN, lengths on the sky and in pixels agree.
    other = simulated.image.sky_projection.pixel_to_sky(x=np.array(truth["x1"]), y=np.array(truth["y1"]))
    np.testing.assert_allclose(sky.separation(other).arcsec, 0.2 * truth["trail_length"], rtol=2e-3)


@pytest.mark.parametrize("rows", [0, 2])
def test_truth_of_a_cutout(rows: int) -> None:
    columns = ("x", "y", "ra", "dec")
    truth = Table({f"{name}{end}": np.full(rows, 10.0) for end in ("", "0", "1") for name in columns})
    projection = make_sky_projection(plan_visit(1, 0, "r"), 94, (400, 500))
    converted = image_truth(truth, Box.factory[100:200, 300:400], projection)
    assert len(converted) == rows
    sky = projection.pixel_to_sky(x=310.0, y=110.0)
    for row in converted:
        assert (row["x0"], row["y0"]) == (310.0, 110.0)
        assert (row["ra1"], row["dec1"]) == pytest.approx((sky.ra.deg, sky.dec.deg), abs=1e-12)
    # The original does not change.
    assert np.all(truth["x"] == 10.0)
