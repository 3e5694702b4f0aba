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
import numpy.typing as npt
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lsst.meas.trails.core.candidates import components
from lsst.meas.trails.core.candidates.components import Component, find_components, label_pixels
from lsst.meas.trails.core.geometry import Trail, angle_difference
from lsst.meas.trails.core.psf import FWHM_PER_SIGMA, PsfGrid
from lsst.meas.trails.core.render import render_trail


def blank(shape: tuple[int, int] = (100, 120)) -> npt.NDArray[np.float32]:
    return np.zeros(shape, dtype=np.float32)


def add_line(
    probability: npt.NDArray[np.float32], x: float, y: float, length: float, angle: float, peak: float = 0.9
) -> None:
    """Draw a trail as in a probability map: a ridge with a peak."""
    stamp = render_trail(PsfGrid.gaussian(4.0), Trail(x, y, length, angle))
    slices, part = stamp.clipped((probability.shape[0], probability.shape[1]))
    ridge = (peak * part / stamp.array.max()).astype(np.float32)
    probability[slices] = np.maximum(probability[slices], ridge)


def find(probability: npt.NDArray[np.float32], **options: float) -> list[Component]:
    return find_components(probability, **{"grow": 0.2, "seed": 0.5, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 135.0, 179.0])
def test_shape_of_a_line(angle: float) -> None:
    probability = blank()
    add_line(probability, 60.3, 50.8, 50.0, angle)
    (component,) = find(probability)
    # Whole pixels of a ridge 8 pixels wide.
    assert (component.line.x, component.line.y) == pytest.approx((60.3, 50.8), abs=0.2)
    assert angle_difference(component.line.angle, angle) < 0.5
    # The ridge falls to 0.2 / 0.9 about a sigma and half a pixel beyond the
    # ends of the line.
    assert component.line.length == pytest.approx(50.0 + 2.0 * 0.8 * 4.0 / FWHM_PER_SIGMA, abs=2.0)
    assert 1.0 < component.width < 4.0 / FWHM_PER_SIGMA
    assert component.peak == pytest.approx(0.9, abs=0.01)
    assert component.area == np.count_nonzero(probability >= 0.2)


def test_hysteresis() -> None:
    probability = blank()
    probability[10, 10:30] = 0.3
    probability[40, 10:30] = 0.3
    probability[40, 20] = 0.5
    probability[70, 10:30] = 0.5
    probability[70, 30:40] = 0.19
    components = find(probability, max_gap=0.0)
    assert [(c.area, int(c.rows[0])) for c in components] == [(20, 40), (20, 70)]


def test_diagonal_neighbors_are_connected() -> None:
    components = find(np.eye(30, dtype=np.float32))
    assert [component.area for component in components] == [30]
    assert components[0].line.angle == pytest.approx(45.0)


def test_order_is_by_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    probability = blank()
    for row, peak in ((10, 0.6), (30, 0.9), (50, 0.7)):
        add_line(probability, 60.0, row, 30.0, 0.0, peak)
    assert [round(component.line.y) for component in find(probability)] == [30, 50, 10]
    monkeypatch.setattr(components, "MAX_COMPONENTS", 2)
    assert [round(component.line.y) for component in find(probability)] == [30, 50]


def test_small_components_are_dropped() -> None:
    probability = blank()
    probability[20, 20:25] = 0.9
    probability[60, 20:26] = 0.9
    assert [component.area for component in find(probability, min_area=6)] == [6]


def test_fragments_of_one_line_are_joined() -> None:
    """The line has two gaps of 8 pixels, as from masked columns."""
    probability = blank((150, 200))
    add_line(probability, 100.0, 75.0, 120.0, 25.0)
    for column in (75, 120):
        probability[:, column : column + 8] = 0.0
    (component,) = find(probability, max_gap=12.0)
    assert (component.line.x, component.line.y) == pytest.approx((100.0, 75.0), abs=1.0)
    assert component.line.length == pytest.approx(120.0, abs=4.0)
    assert angle_difference(component.line.angle, 25.0) < 0.5
    assert len(find(probability, max_gap=0.0)) == 3
    assert len(find(probability, max_gap=3.0)) == 3


def test_a_blob_at_the_end_of_a_line_is_joined() -> None:
    """The angle of a blob as wide as long has no meaning."""
    probability = blank()
    add_line(probability, 50.0, 50.0, 40.0, 0.0)
    add_line(probability, 83.0, 50.0, 0.0, 0.0)
    assert len(find(probability, max_gap=12.0)) == 1


def test_other_fragments_are_not_joined() -> None:
    parallel, across, blobs = blank(), blank(), blank()
    add_line(parallel, 60.0, 40.0, 40.0, 0.0)
    add_line(parallel, 60.0, 52.0, 40.0, 0.0)
    assert len(find(parallel, max_gap=12.0)) == 2
    add_line(across, 40.0, 50.0, 40.0, 0.0)
    add_line(across, 68.0, 50.0, 40.0, 90.0)
    assert len(find(across, max_gap=12.0)) == 2
    # Two adjacent stars are not a trail.
    add_line(blobs, 40.0, 50.0, 0.0, 0.0)
    add_line(blobs, 52.0, 50.0, 0.0, 0.0)
    assert len(find(blobs, max_gap=12.0)) == 2


def test_blobs_have_no_direction() -> None:
    """Squares of pixels are longest along a diagonal."""
    probability = blank()
    for start in (40, 48):
        probability[start : start + 5, start : start + 5] = 0.8
        probability[start, start] = probability[start + 4, start + 4] = 0.9
    components = find(probability, max_gap=12.0)
    assert [component.line.angle for component in components] == pytest.approx([45.0, 45.0])


def test_a_bend_is_not_joined() -> None:
    """Both fragments have an angle, although the centroid lies on the line."""
    probability = blank()
    add_line(probability, 40.0, 50.0, 50.0, 0.0)
    add_line(probability, 76.0, 55.0, 16.0, 50.0)
    assert len(find(probability, max_gap=12.0)) == 2
    straight = blank()
    add_line(straight, 40.0, 50.0, 50.0, 0.0)
    add_line(straight, 78.0, 51.0, 16.0, 5.0)
    assert len(find(straight, max_gap=12.0)) == 1


def test_joining_comes_before_the_least_area() -> None:
    probability = blank()
    probability[50, 20:32] = 0.9
    probability[50, 36:48] = 0.9
    assert [c.area for c in find(probability, min_area=20)] == [24]


def test_top_quarter() -> None:
    rows, columns = np.zeros(8, dtype=np.int64), np.arange(8)
    probability = np.array([0.2, 0.9, 0.3, 0.4, 0.7, 0.2, 0.2, 0.2], dtype=np.float32)
    assert Component.from_pixels(rows, columns, probability).top_quarter == pytest.approx(0.8)
    one = Component.from_pixels(rows[:1], columns[1:2], probability[1:2])
    assert one.top_quarter == pytest.approx(0.9)
    assert (one.line.length, one.width, one.line.x, one.line.y) == (0.0, 0.0, 1.0, 0.0)


def test_nothing_there() -> None:
    assert find(blank()) == []
    assert find(blank((0, 0))) == []
    assert find(np.full((20, 20), np.nan, dtype=np.float32)) == []


@settings(max_examples=150)
@given(mask=hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)))
def test_labels_are_the_ones_of_scipy(mask: npt.NDArray[np.bool_]) -> None:
    expected, number = scipy.ndimage.label(mask, structure=np.ones((3, 3)))
    pixels, labels, count = label_pixels(np.flatnonzero(mask), mask.shape[1])
    assert count == number
    found = np.zeros(mask.size, dtype=np.int64)
    found[pixels] = labels + 1
    np.testing.assert_array_equal(found.reshape(mask.shape), expected)
    # Sorted by component, then as in the image.
    np.testing.assert_array_equal(np.lexsort((pixels, labels)), np.arange(len(pixels)))


@settings(max_examples=150)
@given(
    probability=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=24),
        elements=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0, np.nan]) | st.floats(width=32),
    ),
    grow=st.floats(1e-3, 1.0),
    max_gap=st.floats(0.0, 30.0),
)
def test_components_of_any_array(probability: npt.NDArray[np.float32], grow: float, max_gap: float) -> None:
    seed = min(1.0, 2.0 * grow)
    components = find_components(probability, grow=grow, seed=seed, min_area=2, max_gap=max_gap)
    seen = np.zeros(probability.shape, dtype=int)
    for component in components:
        assert component.area >= 2
        assert component.peak >= seed
        assert np.all(
            np.isfinite([component.line.x, component.line.y, component.line.length, component.width])
        )
        assert 0.0 <= component.line.angle < 180.0
        np.testing.assert_array_equal(probability[component.rows, component.columns], component.probability)
        np.add.at(seen, (component.rows, component.columns), 1)
    # No pixel belongs to two components, and only those above the threshold.
    assert np.all(seen <= 1)
    assert np.all(probability[seen == 1] >= grow)
    assert [c.peak for c in components] == sorted((c.peak for c in components), reverse=True)
