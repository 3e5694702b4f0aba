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

"""Tests of the stack's sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.tasks._input_image import InputImage, read_input_image
from lsst.meas.trails.tasks._stack_sources import StackSources, found_trails, read_sources

START = (40, 30)


@pytest.fixture(scope="module")
def image(make_image: Callable[..., Any]) -> InputImage:
    return read_input_image(make_image(shape=(100, 120), start=START).image)


def sources(*positions: tuple[float, float], flux: float = 100.0) -> StackSources:
    count = len(positions)
    return StackSources(
        np.array(positions, dtype=np.float64).reshape(-1, 2), np.full(count, flux), np.full(count, 10.0)
    )


TRAILS = astropy.table.Table({"x0": [10.0, 60.0], "y0": [20.0, 20.0], "x1": [40.0, 60.0], "y1": [20.0, 50.0]})


@pytest.mark.parametrize("names", [("x", "y"), ("slot_Centroid_x", "slot_Centroid_y")])
def test_pixel_positions(image: InputImage, names: tuple[str, str]) -> None:
    catalog = astropy.table.Table({names[0]: [50.0, np.nan], names[1]: [45.0, 10.0]})
    found = read_sources(catalog, image)
    # Sources without a position are left out.
    assert found.positions.tolist() == [[10.0, 15.0]]
    assert np.isnan(found.flux[0])


@pytest.mark.parametrize(("names", "radians"), [(("ra", "dec"), False), (("coord_ra", "coord_dec"), True)])
def test_sky_positions(image: InputImage, names: tuple[str, str], radians: bool) -> None:
    x, y = np.array([50.0, 90.0]), np.array([45.0, 100.0])
    sky = image.pixel_to_sky(x, y)
    catalog = astropy.table.Table(
        {name: np.deg2rad(value) if radians else value for name, value in zip(names, sky, strict=True)}
    )
    np.testing.assert_allclose(
        read_sources(catalog, image).positions, np.stack([x - START[0], y - START[1]], 1), atol=1e-5
    )


def test_positions_are_needed(image: InputImage) -> None:
    with pytest.raises(ValueError, match="coord_ra/coord_dec"):
        read_sources(astropy.table.Table({"flux": [1.0]}), image)


def test_sources_on_trails() -> None:
    found, table = found_trails(TRAILS, sources((25.0, 22.0), (80.0, 30.0)), None, 4.0)
    assert list(found) == [True, False]
    assert list(table["stack_detection"]) == [True, False]
    assert table["stack_snr"][0] == pytest.approx(10.0)
    assert table["stack_mag"][0] == pytest.approx(31.4 - 5.0)
    assert np.isnan(table["stack_mag"][1])


def test_sources_from_before_the_injection_do_not_count() -> None:
    after = sources((25.0, 22.0), (61.0, 30.0))
    found, _ = found_trails(TRAILS, after, sources((25.3, 22.1)), 4.0)
    assert list(found) == [False, True]


def test_the_brightest_source_counts() -> None:
    both = StackSources(np.array([[25.0, 21.0], [30.0, 20.0]]), np.array([50.0, 80.0]), np.array([5.0, 4.0]))
    _, table = found_trails(TRAILS, both, None, 4.0)
    assert table["stack_snr"][0] == pytest.approx(20.0)
