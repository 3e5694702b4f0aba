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

from lsst.meas.trails.sim.profile_psf import PsfShape, make_profile_psf
from lsst.meas.trails.sim.sky import Sky, paint_sky
from lsst.meas.trails.sim.stars import StarLook

SHAPE = (300, 300)


@pytest.mark.parametrize("fwhm", [3.3, 6.6, 12.5])
@pytest.mark.parametrize("beta", [2.5, 8.0])
def test_effective_width_is_as_asked(fwhm: float, beta: float) -> None:
    psf = make_profile_psf(PsfShape(fwhm, beta, 0.8, 20.0, coma=0.1), SHAPE, np.random.default_rng(1))
    assert psf.fwhm(150.0, 150.0) == pytest.approx(fwhm, rel=0.015)
    assert psf.size >= 5.4 * fwhm
    # The stamp ends without a step, also in its corners.
    kernel = psf.kernel(150.0, 150.0)
    assert kernel[0].max() < 1e-3 * kernel[psf.size // 2].max()
    assert kernel[0, 0] == 0.0


def test_axis_ratio_and_angle() -> None:
    psf = make_profile_psf(PsfShape(6.0, 20.0, 0.7, 30.0), SHAPE, np.random.default_rng(1))
    kernel, r = psf.kernel(150.0, 150.0), psf.size // 2
    y, x = np.mgrid[-r : r + 1, -r : r + 1]
    xx, yy, xy = ((kernel * a * b).sum() for a, b in ((x, x), (y, y), (x, y)))
    assert np.rad2deg(0.5 * np.arctan2(2.0 * xy, xx - yy)) == pytest.approx(30.0, abs=3.0)
    spread = np.hypot(xx - yy, 2.0 * xy)
    ratio = np.sqrt((xx + yy - spread) / (xx + yy + spread))
    assert ratio == pytest.approx(0.7, abs=0.03)


def test_psf_varies_by_a_few_percent() -> None:
    psf = make_profile_psf(PsfShape(5.0), (4000, 4000), np.random.default_rng(3))
    widths = [psf.fwhm(x, y) for x in (0.0, 2000.0, 3999.0) for y in (0.0, 2000.0, 3999.0)]
    assert 0.005 < np.std(widths) / 5.0 < 0.06


def test_bright_stars_have_no_edge_where_the_stamp_ends() -> None:
    psf = make_profile_psf(PsfShape(5.0, 3.0), (401, 401), np.random.default_rng(3))
    look = StarLook(spike_arms=0, wing_slope=3.0)
    star = Sky(np.array([200.0]), np.array([200.0]), np.array([1e8]), look=look)
    profile = paint_sky(star, psf, (401, 401), noise=10.0)[200, 200:].astype(float)
    # It declines everywhere, and no pixel by more than a smooth profile does.
    steps = profile[4:80] / profile[3:79]
    assert np.all(steps < 1.02)
    assert np.all(steps > 0.43)
    assert profile[100] > 1.0
