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

import pytest
import starlink.Ast

from lsst.meas.trails.repository.ast import inverse, parse_mapping, series, to_text

SHIFT = starlink.Ast.ShiftMap([3.0, -1.0])
ZOOM = starlink.Ast.ZoomMap(2, 2.0)


def apply(mapping: starlink.Ast.Mapping, x: float, y: float) -> list[float]:
    return [float(value[0]) for value in mapping.tran([[x], [y]])]


def test_text_round_trip() -> None:
    assert apply(parse_mapping(to_text(SHIFT)), 1.0, 2.0) == [4.0, 1.0]


def test_frame_set_is_its_mapping() -> None:
    frames = starlink.Ast.FrameSet(starlink.Ast.Frame(2))
    frames.addframe(1, ZOOM, starlink.Ast.Frame(2))
    assert apply(parse_mapping(to_text(frames)), 1.0, 2.0) == [2.0, 4.0]


def test_composition_and_inverse() -> None:
    mapping = series(SHIFT, ZOOM)
    assert apply(mapping, 1.0, 2.0) == [8.0, 2.0]
    assert apply(inverse(mapping), 8.0, 2.0) == pytest.approx([1.0, 2.0])
    # The original is not inverted.
    assert apply(mapping, 1.0, 2.0) == [8.0, 2.0]
