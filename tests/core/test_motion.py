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

import astropy.coordinates
import astropy.units as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsst.meas.trails.core.motion import (
    along_cross,
    motion,
    move,
    separation,
    sky_vectors,
    tangent_offsets,
    vectors_to_sky,
)

ra_anywhere = st.floats(0.0, 360.0, exclude_max=True)
dec_anywhere = st.floats(-90.0, 90.0)
angles = st.floats(0.0, 360.0, exclude_max=True)
ARCSEC = 1.0 / 3600.0


def test_a_motion_to_the_east_at_the_equator_adds_right_ascension() -> None:
    assert move(10.0, 0.0, 2.0, 90.0, 0.5) == pytest.approx((11.0, 0.0), abs=1e-12)


def test_a_motion_across_zero_right_ascension_wraps() -> None:
    assert move(359.9, 0.0, 0.3, 90.0, 1.0) == pytest.approx((0.2, 0.0), abs=1e-11)
    assert motion(359.9, 0.0, 0.2, 0.0, 0.5) == pytest.approx((0.6, 90.0))
    assert tangent_offsets(0.1, 0.0, 359.9, 0.0) == pytest.approx((0.2, 0.0), abs=1e-5)


def test_a_motion_across_the_pole_continues_on_the_other_side() -> None:
    assert move(30.0, 89.5, 1.0, 0.0, 1.0) == pytest.approx((210.0, 89.5))
    assert motion(30.0, 89.5, 210.0, 89.5) == pytest.approx((1.0, 0.0), abs=1e-9)


@pytest.mark.parametrize(
    ("angle", "offset", "along", "cross"),
    [
        (90.0, (0.001, 0.0), 0.001, 0.0),
        # As in SSSource: North of an eastward motion is positive.
        (90.0, (0.0, 0.001), 0.0, 0.001),
        (0.0, (0.0, 0.001), 0.001, 0.0),
        (0.0, (0.001, 0.0), 0.0, -0.001),
        (225.0, (0.001, 0.001), -0.001 * np.sqrt(2.0), 0.0),
    ],
)
def test_offsets_along_and_across_have_the_signs_of_the_schema(
    angle: float, offset: tuple[float, float], along: float, cross: float
) -> None:
    found = along_cross(80.0 + offset[0], offset[1], 80.0, 0.0, angle)
    assert found == pytest.approx((along, cross), abs=1e-9)


def test_positions_agree_with_astropy() -> None:
    random = np.random.default_rng(1)
    ra, dec = random.uniform(0.0, 360.0, 200), np.rad2deg(np.arcsin(random.uniform(-1.0, 1.0, 200)))
    rate, angle = random.uniform(0.01, 30.0, 200), random.uniform(0.0, 360.0, 200)
    start = astropy.coordinates.SkyCoord(ra * u.deg, dec * u.deg)
    expected = start.directional_offset_by(angle * u.deg, 0.1 * rate * u.deg)
    end_ra, end_dec = move(ra, dec, rate, angle, 0.1)
    assert np.max(separation(end_ra, end_dec, expected.ra.deg, expected.dec.deg)) < 1e-10
    found_rate, found_angle = motion(ra, dec, end_ra, end_dec, 0.1)
    np.testing.assert_allclose(found_rate, rate, rtol=1e-9)
    np.testing.assert_allclose(np.cos(np.deg2rad(found_angle - angle)), 1.0, atol=1e-12)


def test_offsets_of_a_micro_arcsecond_are_exact() -> None:
    tiny = 1e-6 * ARCSEC
    ra, dec = move(123.4, -56.7, tiny, 200.0, 1.0)
    assert separation(123.4, -56.7, ra, dec) == pytest.approx(tiny, rel=0.01)
    assert along_cross(ra, dec, 123.4, -56.7, 200.0)[0] == pytest.approx(tiny, rel=0.01)


def test_great_circles_are_straight_in_the_tangent_plane() -> None:
    ra, dec = move(20.0, 60.0, 2.0, 75.0, np.linspace(-1.0, 1.0, 9))
    east, north = tangent_offsets(ra, dec, 21.0, 60.5)
    slope = (north[-1] - north[0]) / (east[-1] - east[0])
    np.testing.assert_allclose(north, north[0] + slope * (east - east[0]), atol=1e-12)


def test_positions_beyond_the_hemisphere_have_no_tangent_offsets() -> None:
    assert np.isnan(tangent_offsets(200.0, 0.0, 10.0, 0.0)[0])


def test_not_finite_positions_stay_so() -> None:
    assert np.all(np.isnan(move(np.nan, 0.0, 1.0, 0.0, 1.0)))
    assert np.all(np.isnan(along_cross(10.0, np.nan, 10.0, 0.0, 0.0)))


@given(ra_anywhere, dec_anywhere, angles, st.floats(1e-4, 60.0))
def test_offsets_recover_a_motion(ra: float, dec: float, angle: float, arc: float) -> None:
    end_ra, end_dec = move(ra, dec, arc, angle, 1.0)
    along, cross = along_cross(end_ra, end_dec, ra, dec, angle)
    # Sums of numbers near 1: 1e-14 radians, a little more near the poles.
    assert along == pytest.approx(arc, abs=1e-11)
    assert cross == pytest.approx(0.0, abs=1e-11)
    assert 0.0 <= end_ra < 360.0
    assert -90.0 <= end_dec <= 90.0


@given(ra_anywhere, dec_anywhere)
def test_vectors_and_back(ra: float, dec: float) -> None:
    back = vectors_to_sky(2.0 * sky_vectors(ra, dec))
    assert separation(ra, dec, *back) == pytest.approx(0.0, abs=1e-12)
