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

from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.sim.stars import StarLook, add_glow, add_spikes

PSF = PsfGrid.gaussian(4.0, 25)


@pytest.mark.parametrize("arms", [0, 1, 3, 6, 8])
def test_number_of_spikes(arms: int) -> None:
    canvas = np.zeros((300, 300), dtype=np.float32)
    add_spikes(canvas, 150.0, 150.0, 1e7, StarLook(spike_arms=arms, spike_angle=10.0), noise=10.0)
    y, x = np.indices(canvas.shape)
    ring = (np.hypot(x - 150.0, y - 150.0) > 58.0) & (np.hypot(x - 150.0, y - 150.0) < 62.0)
    angle = np.rad2deg(np.arctan2(y - 150.0, x - 150.0)) % 360.0
    light, _ = np.histogram(angle[ring], bins=360, range=(0.0, 360.0), weights=canvas[ring])
    lit = light > 0.3 * light.max() if arms else np.zeros(360, dtype=bool)
    starts = np.count_nonzero(lit & ~np.roll(lit, 1))
    assert starts == arms
    if arms:
        assert lit[8:12].any()


def test_spikes_hold_their_share_of_the_flux() -> None:
    for arms in (4, 8):
        canvas = np.zeros((2400, 2400), dtype=np.float32)
        look = StarLook(spike_arms=arms, spike_strength=2.0)
        add_spikes(canvas, 1200.0, 1200.0, 1e7, look, noise=1e-3)
        # 0.6% beyond 4 pixels, twice; the sum of the samples exceeds the integral.
        assert canvas.sum(dtype=float) == pytest.approx(2.0 * 0.006 * 1e7, rel=0.1)


def test_wings_reach_hundreds_of_pixels_without_an_edge() -> None:
    image = np.zeros((801, 801), dtype=np.float32)
    look = StarLook(wing_slope=2.2, halo_flux=0.0)
    add_glow(image, 400.0, 400.0, 1e9, PSF, look, noise=0.05)
    profile = image[400, 400:].astype(float)
    # Nothing under the core; the power law beyond the stamp.
    assert np.all(profile[:8] == 0.0)
    assert profile[30] > 0.0
    assert profile[60] / profile[30] == pytest.approx(2.0**-2.2, rel=1e-3)
    assert profile[300] > 0.0
    assert image[400 + 42, 400 + 56] == pytest.approx(profile[70], rel=1e-3)


def test_aureole_holds_its_flux() -> None:
    image = np.zeros((1301, 1301), dtype=np.float32)
    add_glow(
        image, 650.0, 650.0, 1e6, PSF, StarLook(halo_flux=0.03, halo_core=5.0, halo_slope=3.5), noise=1e-6
    )
    # A power law of 3.5 has 0.1% of its flux beyond 600 pixels of a core of 5.
    assert image.sum(dtype=float) == pytest.approx(3e4, rel=0.01)
