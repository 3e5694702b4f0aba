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

"""Tests of the detections of the stack and its baselines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.tasks._input_image import InputImage, read_input_image
from lsst.meas.trails.tasks._method_detections import detect_with_methods

START = (40, 30)
TRAILS = ((80.0, 60.0, 50.0, 20.0, 60.0), (220.0, 150.0, 40.0, 100.0, 2.0))
"""A trail that every method finds, and an invisible one."""


@pytest.fixture(scope="module")
def known(make_image: Callable[..., Any]) -> tuple[InputImage, astropy.table.Table]:
    """Return an image, and its truth table in array coordinates."""
    known = make_image(TRAILS, shape=(250, 300), start=START)
    image = read_input_image(known.image)
    return image, image.to_array_coordinates(known.truth)


def test_baselines_find_the_bright_trail(known: tuple[InputImage, astropy.table.Table]) -> None:
    image, truth = known
    result = detect_with_methods(image, truth, thresholds=[3, 5], distance=4.0)
    for key in ("Sep3", "Sep5"):
        assert list(result.columns[f"foundBy{key}"]) == [1, 0]
        assert result.totals[f"n{key}"] >= 1
        # Nothing is where the trails are displaced to.
        assert result.totals[f"chance{key}"] == 0.0
    for key in ("Sep4", "Stack"):
        assert list(result.columns[f"foundBy{key}"]) == [-1, -1]
        assert result.totals[f"n{key}"] == -1
        assert np.isnan(result.totals[f"chance{key}"])
    # The trails are subtracted before the stars and galaxies are detected.
    assert len(result.sources) == 0


def test_catalogs_of_the_stack(known: tuple[InputImage, astropy.table.Table]) -> None:
    image, truth = known
    x, y = np.array([60.0, 220.0]) + START[0], np.array([200.0, 151.0]) + START[1]
    before = astropy.table.Table({"x": x[:1], "y": y[:1]})
    after = astropy.table.Table({"x": x, "y": y, "trailLength": [np.nan, 7.5]})
    result = detect_with_methods(
        image, truth, thresholds=[], distance=4.0, stack_catalog=after, known_catalog=before
    )
    assert list(result.columns["foundByStack"]) == [0, 1]
    assert result.totals["nStack"] == 2
    lengths = result.columns["stackTrailLength"]
    assert np.isnan(lengths[0])
    assert lengths[1] == 7.5
    # The stack moves its longest trails to a catalog of their own, with other names of columns.
    long = astropy.table.Table({"slot_Centroid_x": x[1:], "slot_Centroid_y": y[1:]})
    long["ext_trailedSources_Naive_length"] = [9.5]
    for catalog in (after[:1], None):
        result = detect_with_methods(
            image,
            truth,
            thresholds=[],
            distance=4.0,
            stack_catalog=catalog,
            stack_trails_catalog=long,
            known_catalog=before,
        )
        assert list(result.columns["foundByStack"]) == [0, 1]
        assert result.columns["stackTrailLength"][1] == 9.5
    # Without the catalog from before the injection, all sources count.
    result = detect_with_methods(image, truth, thresholds=[], distance=400.0, stack_catalog=before)
    assert list(result.columns["foundByStack"]) == [1, 1]
    assert "trailLength" not in before.colnames
    assert np.isnan(result.columns["stackTrailLength"]).all()
