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

from lsst.meas.trails.sim.detector import focal_plane_offset, make_detector, move_detector

SHAPE = (400, 500)


def test_detector_geometry() -> None:
    detector = make_detector(1, 96, SHAPE)
    assert detector.name == "R22_S20"
    assert len(detector.amplifiers) == 16
    covered = np.zeros(SHAPE, dtype=int)
    for amplifier in detector.amplifiers:
        box = amplifier.bbox
        covered[box.y.start : box.y.stop, box.x.start : box.x.stop] += 1
        assert amplifier.nominal_calibrations is not None
        assert amplifier.nominal_calibrations.gain > 0.0
        raw = amplifier.assembled_raw_geometry
        assert raw is not None
        assert raw.bbox.contains(raw.data_bbox)
        assert raw.bbox.contains(raw.parallel_overscan_bbox)
        assert raw.data_bbox.shape == box.shape
    assert np.all(covered == 1)
    # To the left of and above the boresight; 0.2 arcsec a pixel.
    angle = detector.to_field_angle.apply_forward(x=249.5, y=199.5)
    x, y = focal_plane_offset(96, SHAPE)
    assert x < 0.0 < y
    assert np.rad2deg(angle.x) * 3600.0 == pytest.approx(0.2 * x, rel=1e-9)
    assert np.rad2deg(angle.y) * 3600.0 == pytest.approx(0.2 * y, rel=1e-9)


def test_copy_of_another_detector() -> None:
    original = make_detector(1, 96, SHAPE)
    moved = move_detector(original, 2, 3)
    assert (moved.name, moved.id, moved.visit) == ("R01_S10", 3, 2)
    assert moved.serial == original.serial
    assert moved.amplifiers == original.amplifiers
    for name in ("to_focal_plane", "to_field_angle"):
        here, there = (getattr(each, name).apply_forward(x=3.0, y=4.0) for each in (original, moved))
        assert (there.x, there.y) == pytest.approx((here.x, here.y), rel=1e-12)


def test_neighbors_are_separated_by_a_gap() -> None:
    (x0, y0), (x1, y1) = (focal_plane_offset(number, SHAPE) for number in (0, 1))
    assert x1 - x0 == pytest.approx(500 * 42.25 / 40.72)
    assert y1 == y0
