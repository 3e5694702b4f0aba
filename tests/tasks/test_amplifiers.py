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

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import astropy.units as u
import numpy as np
import pytest

from lsst.meas.trails.tasks._amplifiers import amplifiers_of, known_gains
from lsst.meas.trails.tasks._input_image import InputImage, read_input_image


@pytest.fixture
def image(make_image: Callable[..., Any]) -> InputImage:
    return read_input_image(make_image(shape=(48, 64), start=(10, 20)).image)


def in_unit(image: InputImage, unit: u.UnitBase) -> InputImage:
    """Return an image with the same numbers in another unit."""
    original = image.visit_image
    other: Any = SimpleNamespace(unit=unit, detector=original.detector, bbox=original.bbox)
    return dataclasses.replace(image, visit_image=other)


def test_amplifiers_cover_the_image(image: InputImage) -> None:
    covered = np.zeros(image.planes.shape, dtype=int)
    for box, gain in amplifiers_of(image):
        covered[box] += 1
        assert gain == pytest.approx(1.6)
    assert np.all(covered == 1)


def test_known_gains(image: InputImage) -> None:
    """Calibrated images have no known gain."""
    assert known_gains(image) is None
    electrons, counts = known_gains(in_unit(image, u.electron)), known_gains(in_unit(image, u.adu))
    assert electrons is not None
    assert electrons.typical == 1.0
    assert counts is not None
    assert counts.typical == pytest.approx(1.6)
