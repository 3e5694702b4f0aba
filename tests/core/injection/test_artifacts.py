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

from lsst.meas.trails.core.geometry import Trail, segment_distance
from lsst.meas.trails.core.injection.artifacts import add_cosmic_ray, add_satellite
from lsst.meas.trails.core.injection.streaks import StreakPattern
from lsst.meas.trails.core.psf import PsfGrid


@pytest.mark.parametrize("seed", range(20))
def test_position_of_a_cosmic_ray(seed: int) -> None:
    image = np.zeros((80, 100), dtype=np.float32)
    track = add_cosmic_ray(image, (50.0, 50.0), np.random.default_rng(seed))
    lit = np.zeros(image.shape, dtype=bool)
    lit[track.rows, track.columns] = True
    np.testing.assert_array_equal(image > 0.0, lit)
    assert image.sum(dtype=float) == pytest.approx(track.trail.flux, rel=1e-5)
    ends = track.trail.ends
    distance = segment_distance(track.columns, track.rows, *ends)
    # Tracks wander by the root of 240 steps of 0.04 pixels, and are rounded to pixels.
    assert np.all(distance < 3.0)
    # Unlike trails, tracks of any length are one or two pixels wide.
    assert np.count_nonzero(lit) <= 2.5 * (track.trail.length + 2.0)


@pytest.mark.parametrize("seed", range(10))
def test_a_satellite_crosses_the_image(seed: int) -> None:
    psf = PsfGrid.gaussian(4.0)
    image = np.zeros((120, 160), dtype=np.float32)
    trail = add_satellite(image, psf, 10.0, np.random.default_rng(seed))
    x0, y0, x1, y1 = trail.ends
    # Both ends are at an edge, within a pixel of the drawn axis, which a
    # shallow angle magnifies.
    for end_x, end_y in ((x0, y0), (x1, y1)):
        assert min(end_x, end_y, 159.0 - end_x, 119.0 - end_y) < 1.5
    rows, columns = np.nonzero(image > 0.5 * image.max())
    line = Trail(trail.x, trail.y, trail.length + 20.0, trail.angle).ends
    # Half of the FWHM.
    assert np.all(segment_distance(columns, rows, *line) < 2.1)
    # The profile is the PSF with a flux of ten per pixel of length.
    assert image.max() == pytest.approx(10.0 / (np.sqrt(2.0 * np.pi) * 4.0 / 2.3548), rel=0.02)
    assert trail.flux == pytest.approx(10.0 * trail.length)


def test_a_low_satellite_is_wide() -> None:
    psf = PsfGrid.gaussian(4.0)
    peaks = []
    for defocus in (0.0, 3.0):
        image = np.zeros((120, 160), dtype=np.float32)
        add_satellite(image, psf, 10.0, np.random.default_rng(4), defocus=defocus)
        peaks.append(image.max())
    assert peaks[1] == pytest.approx(peaks[0] * 1.6986 / np.hypot(1.6986, 3.0), rel=0.03)


def test_a_streak_with_ends() -> None:
    image = np.zeros((400, 500), dtype=np.float32)
    pattern = StreakPattern(start=-30.0, stop=20.0)
    trail = add_satellite(image, PsfGrid.gaussian(4.0), 10.0, np.random.default_rng(5), pattern=pattern)
    assert trail.length == pytest.approx(50.0, abs=1.5)
    assert image.sum() == pytest.approx(500.0, rel=0.05)
    assert trail.flux == pytest.approx(500.0, rel=0.1)
    rows, columns = np.nonzero(image > 0.3 * image.max())
    assert np.all(segment_distance(columns, rows, *trail.ends) < 3.0)
