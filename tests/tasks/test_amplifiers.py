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

from lsst.meas.trails.core.injection.gain import GainMap
from lsst.meas.trails.tasks._amplifiers import amplifiers_of, full_wells, known_gains
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


def test_nominal_full_wells(image: InputImage) -> None:
    """Levels are in image units, so that amplifiers with other gains have other levels."""
    (box, _), *others = amplifiers_of(image)
    gains = GainMap(2.0, (box,), (4.0,))
    levels = full_wells(image, gains)
    assert levels is not None
    np.testing.assert_allclose(levels[box], 140_000.0 / 4.0)
    for other, _ in others:
        np.testing.assert_allclose(levels[other], 140_000.0 / 2.0)
    stated = full_wells(image, gains, 90_000.0)
    assert stated is not None
    np.testing.assert_allclose(stated[box], 90_000.0 / 4.0)


def test_full_wells_of_the_metadata(image: InputImage) -> None:
    name = next(iter(image.visit_image.detector.amplifiers)).name
    (box, _), (other, _), *_ = amplifiers_of(image)
    changed = image.visit_image.copy()
    changed.metadata[f"LSST ISR SATURATION LEVEL {name}"] = 80_000.0
    levels = []
    for unit in ("adu", "electron"):
        changed.metadata["LSST ISR UNITS"] = unit
        found = full_wells(dataclasses.replace(image, visit_image=changed), GainMap.uniform(1.0))
        assert found is not None
        np.testing.assert_allclose(found[other], 140_000.0)
        levels.append(float(found[box].mean()))
    assert levels == pytest.approx([80_000.0 * 1.6, 80_000.0], rel=1e-5)


def test_unknown_full_wells(image: InputImage) -> None:
    assert full_wells(image, GainMap.uniform(np.inf), 90_000.0) is None
    bare: Any = SimpleNamespace(detector=None, metadata={}, bbox=image.bbox)
    assert full_wells(dataclasses.replace(image, visit_image=bare), GainMap.uniform(2.0)) is None
