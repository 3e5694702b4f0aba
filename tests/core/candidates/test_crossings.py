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
from hypothesis import given
from hypothesis import strategies as st

from lsst.meas.trails.core.candidates.crossings import split_lines
from lsst.meas.trails.core.geometry import Trail, angle_difference, segment_distance

type Line = tuple[float, float, float, float]


def draw(lines: list[Line], thickness: float = 7.0, size: int = 220) -> npt.NDArray[np.bool_]:
    """Return pixels near lines of given x, y, length and angle."""
    y, x = np.indices((size, size))
    return np.any([segment_distance(x, y, *Trail(*line).ends) <= 0.5 * thickness for line in lines], axis=0)


def measure(rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Line:
    """Return x, y, length and angle of pixels in a line."""
    x, y = columns.mean(), rows.mean()
    u, v = columns - x, rows - y
    angle = 0.5 * np.arctan2(2.0 * np.mean(u * v), np.mean(u * u) - np.mean(v * v))
    along = u * np.cos(angle) + v * np.sin(angle)
    return float(x), float(y), float(np.ptp(along)), float(np.rad2deg(angle)) % 180.0


CASES: dict[str, list[Line]] = {
    "right angle": [(110.0, 110.0, 120.0, 0.0), (110.0, 110.0, 100.0, 90.0)],
    "oblique": [(110.0, 110.0, 150.0, 20.0), (120.0, 114.0, 110.0, 65.0)],
    "small angle": [(110.0, 110.0, 180.0, 10.0), (110.0, 110.0, 150.0, 35.0)],
    "long and short": [(110.0, 110.0, 190.0, 45.0), (100.0, 100.0, 60.0, 140.0)],
    "touching": [(110.0, 110.0, 120.0, 0.0), (130.0, 145.0, 70.0, 90.0)],
    "three": [(110.0, 110.0, 160.0, 0.0), (110.0, 110.0, 150.0, 60.0), (110.0, 110.0, 140.0, 120.0)],
}


@pytest.mark.parametrize("thickness", [5.0, 8.0])
@pytest.mark.parametrize("name", CASES)
def test_crossing_lines_are_separated(name: str, thickness: float) -> None:
    lines = CASES[name]
    rows, columns = np.nonzero(draw(lines, thickness))
    parts = split_lines(rows, columns)
    assert len(parts) == len(lines)
    found = [measure(rows[part], columns[part]) for part in parts]
    for x, y, length, angle in lines:
        # Shared pixels may turn and shift a line.
        best = min(found, key=lambda line: angle_difference(line[3], angle))
        assert angle_difference(best[3], angle) < 6.0
        assert np.hypot(best[0] - x, best[1] - y) < 0.08 * length + 2.0
        assert best[2] == pytest.approx(length + thickness, abs=0.12 * length + 3.0)
    assert set(np.concatenate(parts).tolist()) == set(range(len(rows)))


@given(length=st.floats(0.0, 180.0), angle=st.floats(0.0, 180.0), thickness=st.floats(2.0, 14.0))
def test_one_line_stays_one(length: float, angle: float, thickness: float) -> None:
    rows, columns = np.nonzero(draw([(110.0, 110.0, length, angle)], thickness))
    (part,) = split_lines(rows, columns)
    assert len(part) == len(rows)


@pytest.mark.parametrize("radii", [(30.0, 30.0), (40.0, 20.0), (60.0, 15.0)])
def test_blobs_stay_whole(radii: tuple[float, float]) -> None:
    y, x = np.indices((220, 220))
    rows, columns = np.nonzero(np.hypot((x - 110.0) / radii[0], (y - 110.0) / radii[1]) <= 1.0)
    assert len(split_lines(rows, columns)) == 1


def test_ragged_line_stays_one() -> None:
    rng = np.random.default_rng(1)
    mask = draw([(110.0, 110.0, 150.0, 30.0)], 7.0) & (rng.random((220, 220)) < 0.9)
    mask |= draw([(80.0, 96.0, 1.0, 0.0), (140.0, 124.0, 1.0, 0.0)], 14.0)
    rows, columns = np.nonzero(mask)
    assert len(split_lines(rows, columns)) == 1


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=80, unique=True))
def test_any_pixels_belong_to_a_line(pixels: list[tuple[int, int]]) -> None:
    rows, columns = np.array(pixels).T
    parts = split_lines(rows, columns)
    assert set(np.concatenate(parts).tolist()) == set(range(len(rows)))
