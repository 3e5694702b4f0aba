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
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lsst.meas.trails.core.geometry import (
    Trail,
    Trails,
    angle_difference,
    clip_segment,
    near_segment,
    segment_distance,
    signed_angle_difference,
    wrap_angle,
)

any_finite = st.floats(allow_nan=False, allow_infinity=False)
pixels = st.floats(-1e5, 1e5)


def shape_of(trail: Trail) -> tuple[float, float, float, float]:
    return trail.x, trail.y, trail.length, trail.angle


def test_ends_of_known_trails() -> None:
    assert Trail(10.0, 20.0, 6.0, 0.0).ends == pytest.approx((7.0, 20.0, 13.0, 20.0))
    assert Trail(10.0, 20.0, 6.0, 90.0).ends == pytest.approx((10.0, 17.0, 10.0, 23.0))
    assert Trail(0.0, 0.0, 10.0, np.rad2deg(np.arctan2(4, 3))).ends == pytest.approx((-3.0, -4.0, 3.0, 4.0))
    assert Trail(1.0, 2.0, 0.0, 30.0).ends == pytest.approx((1.0, 2.0, 1.0, 2.0))


def test_trail_of_known_ends() -> None:
    assert shape_of(Trail.from_ends(-3.0, -4.0, 3.0, 4.0)) == pytest.approx((0.0, 0.0, 10.0, 53.130102))
    # The order of the ends does not matter.
    assert shape_of(Trail.from_ends(3.0, 4.0, -3.0, -4.0)) == pytest.approx((0.0, 0.0, 10.0, 53.130102))
    assert shape_of(Trail.from_ends(5.0, 0.0, 1.0, 0.0)) == pytest.approx((3.0, 0.0, 4.0, 0.0))


@given(x=pixels, y=pixels, length=st.floats(1.0, 1e4), angle=st.floats(-720.0, 720.0))
def test_round_trip(x: float, y: float, length: float, angle: float) -> None:
    x2, y2, length2, angle2 = shape_of(Trail.from_ends(*Trail(x, y, length, angle).ends))
    # Ends of 1e5 pixels are stored to 1.5e-11; two of them and, as an angle
    # over a trail of 1 pixel, some 1e-9 degrees.
    assert (x2, y2, length2) == pytest.approx((x, y, length), abs=1e-9)
    assert 0.0 <= angle2 < 180.0
    assert angle_difference(angle, angle2) < 1e-8


@given(any_finite)
@example(-1e-300)
@example(180.0)
@example(-180.0)
def test_wrapped_angles_lie_in_range(angle: float) -> None:
    assert 0.0 <= wrap_angle(angle) < 180.0


@pytest.mark.parametrize(("angle", "wrapped"), [(0, 0), (179, 179), (180, 0), (181, 1), (-10, 170), (725, 5)])
def test_wrap_angle(angle: float, wrapped: float) -> None:
    assert wrap_angle(angle) == wrapped


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300))
def test_angle_differences_are_symmetric_and_in_range(a: float, b: float) -> None:
    difference = angle_difference(a, b)
    assert 0.0 <= difference <= 90.0
    # Rounding of the difference itself, at most an ulp of 360.
    if max(abs(a), abs(b)) < 1e3:
        assert angle_difference(b, a) == pytest.approx(difference, abs=1e-12)


def test_angle_difference_does_not_see_directions() -> None:
    assert angle_difference(179.0, 1.0) == pytest.approx(2.0)
    assert angle_difference(0.0, 180.0) == 0.0
    np.testing.assert_allclose(angle_difference(np.array([10.0, 100.0]), 190.0), [0.0, 90.0])


def test_distances_to_a_segment() -> None:
    segment = (0.0, 0.0, 10.0, 0.0)
    px, py = np.array([5.0, 5.0, -3.0, 13.0]), np.array([0.0, 2.0, 4.0, 4.0])
    np.testing.assert_allclose(segment_distance(px, py, *segment), [0.0, 2.0, 5.0, 5.0])
    # A segment may be a point.
    assert segment_distance(3.0, 4.0, 0.0, 0.0, 0.0, 0.0) == pytest.approx(5.0)


@given(*[st.floats(-1e3, 1e3)] * 6)
def test_distance_is_the_least_over_the_segment(
    px: float, py: float, x0: float, y0: float, x1: float, y1: float
) -> None:
    t = np.linspace(0.0, 1.0, 1001)
    brute = np.hypot(px - (x0 + t * (x1 - x0)), py - (y0 + t * (y1 - y0))).min()
    distance = segment_distance(px, py, x0, y0, x1, y1)
    step = np.hypot(x1 - x0, y1 - y0) / 1000
    # The brute force is at most half a step from the foot of the point.
    assert distance <= brute + 1e-9
    assert distance >= brute - 0.5 * step - 1e-9
    assert segment_distance(px, py, x1, y1, x0, y0) == pytest.approx(distance, abs=1e-9)


@given(a=st.floats(-720.0, 720.0), b=st.floats(-720.0, 720.0))
def test_angles_of_all_conventions(a: float, b: float) -> None:
    """A bearing in (-180, 180] and a direction in [0, 360) describe the same line as an angle in [0, 180)."""
    # Turns by 180 degrees lose digits of angles up to 720 degrees.
    for turn in (-360.0, -180.0, 180.0):
        assert angle_difference(a + turn, b) == pytest.approx(angle_difference(a, b), abs=1e-9)
    turned = signed_angle_difference(a, b)
    assert -90.0 <= turned < 90.0
    assert abs(turned) == pytest.approx(angle_difference(a, b), abs=1e-9)
    assert angle_difference(b + turned, a) == pytest.approx(0.0, abs=1e-9)


def test_sign_of_a_turn() -> None:
    assert signed_angle_difference(30.0, 20.0) == pytest.approx(10.0)
    assert signed_angle_difference(1.0, 179.0) == pytest.approx(2.0)
    assert signed_angle_difference(-179.0, 179.0) == pytest.approx(2.0)


def test_trails_are_columns() -> None:
    trails = Trails(*np.array([(1, 4, 10, 0, 1), (2, 5, 20, 90, 1), (3, 6, 0, 30, 1)]).T)
    assert len(trails) == 3
    assert trails.x.dtype == np.float64
    assert trails[1] == Trail(2.0, 5.0, 20.0, 90.0, 1.0)
    assert trails[1:].x.tolist() == [2.0, 3.0]
    assert list(trails) == [trails[i] for i in range(3)]
    assert Trails.from_trails(trails).angle.tolist() == [0.0, 90.0, 30.0]
    assert trails[trails.length > 5.0].y.tolist() == [4.0, 5.0]
    x0, y0, x1, y1 = trails.ends
    np.testing.assert_allclose(x0, [-4.0, 2.0, 3.0])
    np.testing.assert_allclose(y0, [4.0, -5.0, 6.0])
    np.testing.assert_allclose(x1, [6.0, 2.0, 3.0])
    np.testing.assert_allclose(y1, [4.0, 15.0, 6.0])


def test_a_single_trail_is_a_list_of_one() -> None:
    assert len(Trails(*np.arange(5.0))) == 1


def test_no_trails() -> None:
    assert len(Trails.empty()) == 0
    assert [len(end) for end in Trails.empty().ends] == [0, 0, 0, 0]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2,\), \(3,\)"):
        Trails(*(np.zeros(size) for size in (2, 2, 2, 2, 3)))
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        Trails(*(np.zeros((2, 2)) for _ in range(5)))


def test_trails_of_a_table() -> None:
    table = {"x": [1.0], "y": [2.0], "trail_length": [3.0], "beta": [4.0], "flux": [5.0], "long": [6.0]}
    trails = Trails.from_table(table, length="long")
    assert (trails.x[0], trails.y[0], trails.length[0], trails.angle[0], trails.flux[0]) == (1, 2, 6, 4, 5)


def test_pixels_near_a_segment_at_the_corner() -> None:
    """A quarter of the disk of radius 2 around (0, 0) is on the image."""
    near = near_segment(0.0, 0.0, 0.0, 0.0, 2.0, (10, 10))
    assert (near.left, near.bottom) == (-2, -2)
    found = set(zip(near.columns[near.use].tolist(), near.rows[near.use].tolist(), strict=True))
    assert found == {(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2)}


def test_clipped_segments() -> None:
    ends = np.array(
        [
            [10.0, 10.0, 20.0, 15.0],  # inside
            [-10.0, 5.0, 10.0, 5.0],  # out to the left
            [30.0, 10.0, 30.0, 60.0],  # out at the top
            [-20.0, -20.0, 120.0, 120.0],  # in and out
            [200.0, 10.0, 300.0, 10.0],  # nowhere on it
            [60.0, 45.0, 60.0, 45.0],  # a point
        ]
    )
    clipped = np.stack(clip_segment(*ends.T, (50, 100)), axis=1)
    expected = ends.copy()
    expected[1, 0] = -0.5
    expected[2, 3] = 49.5
    expected[3] = [-0.5, -0.5, 49.5, 49.5]
    np.testing.assert_allclose(clipped, expected, atol=1e-12)


@given(hnp.arrays(np.float64, (7, 4), elements=st.floats(-200.0, 200.0)))
def test_clipped_segments_are_parts_on_the_image(ends: np.ndarray) -> None:
    x0, y0, x1, y1 = (np.asarray(v) for v in clip_segment(*ends.T, (60, 80)))
    touching = (np.maximum(x0, x1) <= 79.5 + 1e-9) & (np.minimum(x0, x1) >= -0.5 - 1e-9)
    touching &= (np.maximum(y0, y1) <= 59.5 + 1e-9) & (np.minimum(y0, y1) >= -0.5 - 1e-9)
    unchanged = (x0 == ends[:, 0]) & (y0 == ends[:, 1]) & (x1 == ends[:, 2]) & (y1 == ends[:, 3])
    assert np.all(touching | unchanged)
    # On the line of the segment.
    assert np.all(segment_distance(x0, y0, *ends.T) < 1e-6)
    assert np.all(segment_distance(x1, y1, *ends.T) < 1e-6)
