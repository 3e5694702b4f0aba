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

import warnings

import numpy as np
import pytest

from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS
from lsst.meas.trails.core.geometry import Trails, angle_difference
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.evaluation.baselines import (
    SEP_FOR_TRAILS,
    BaselineDetections,
    SepOptions,
    elongated_footprints,
    sep_sources,
)

from .conftest import make_image

BASELINES = {
    "footprints": elongated_footprints,
    "sep": sep_sources,
    "sep for trails": lambda sky: sep_sources(sky, SEP_FOR_TRAILS),
}


def search(name: str, planes: ImagePlanes) -> BaselineDetections:
    return BASELINES[name](SkySubtracted.from_planes(planes))


@pytest.mark.parametrize("name", BASELINES)
def test_a_bright_trail_comes_first(name: str) -> None:
    found = search(name, make_image((150.0, 120.0, 40.0, 30.0, 60.0)))
    first = found.trails[0]
    assert np.hypot(first.x - 150.0, first.y - 120.0) < 3.0
    assert angle_difference(first.angle, 30.0) < 6.0
    # From the moments of the pixels above a threshold.
    assert first.length == pytest.approx(40.0, rel=0.25)
    assert np.all(np.diff(found.rank) <= 0.0)
    assert found.rank[0] == found.rank.max()


@pytest.mark.parametrize("name", ["footprints", "sep for trails"])
def test_elongated_ones_rank_above_bright_ones(name: str) -> None:
    planes = make_image((150.0, 120.0, 40.0, 120.0, 40.0), (60.0, 60.0, 0.01, 0.0, 300.0))
    found = search(name, planes)
    assert np.hypot(found.trails.x[0] - 150.0, found.trails.y[0] - 120.0) < 3.0
    assert found.rank[0] > 2.0


def test_thresholds_are_in_sigma() -> None:
    """About half of the point sources of 5 sigma are found at 5 sigma."""
    grid = [(30.0 + 40.0 * i, 30.0 + 40.0 * j, 0.01, 0.0, 5.0) for i in range(7) for j in range(6)]
    counts = {"sep": 0, "footprints": 0}
    for seed in range(4):
        planes = make_image(*grid, seed=seed)
        sky = SkySubtracted(planes, np.zeros(planes.shape, dtype=np.float32), planes.bad())
        counts["sep"] += len(sep_sources(sky, SepOptions(threshold=5.0, min_area=1)).trails)
        counts["footprints"] += len(elongated_footprints(sky, min_elongation=1.0).trails)
    # 168 of them, the highest of some pixels each: rather more than half.
    for name, count in counts.items():
        assert 75 < count < 130, name


@pytest.mark.parametrize("name", BASELINES)
def test_nothing_is_found_in_noise(name: str) -> None:
    """White noise has no source of 5 sigma, and no elongated one of 2.5."""
    assert len(search(name, make_image()).trails) == 0


@pytest.mark.parametrize("name", BASELINES)
def test_bad_pixels_are_ignored(name: str) -> None:
    planes = make_image((150.0, 120.0, 40.0, 30.0, 60.0))
    planes.image[:, 20:24] = 1e6
    planes.mask[:, 20:24] |= np.uint32(plane_bits(["BAD"]))
    planes.image[200:, :60] = np.nan
    planes.variance[200:, :60] = np.nan
    before = planes.image.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = search(name, planes)
    np.testing.assert_array_equal(planes.image, before)
    assert np.hypot(found.trails.x[0] - 150.0, found.trails.y[0] - 120.0) < 3.0
    assert not np.any((np.abs(found.trails.x - 21.5) < 8.0) & (found.rank > 6.0))


@pytest.mark.parametrize("name", BASELINES)
def test_an_image_without_pixels(name: str) -> None:
    planes = make_image()
    planes.image[:] = np.nan
    found = search(name, planes)
    assert len(found.trails) == len(found.rank) == 0


@pytest.mark.parametrize("plane", ["NO_DATA", "CR"])
def test_sep_finds_the_same_beside_a_mask(plane: str) -> None:
    planes = make_image((60.0, 60.0, 30.0, 20.0, 40.0), (200.0, 180.0, 10.0, 90.0, 40.0))
    before = search("sep", planes)
    # The long one is two for sep.
    assert len(before.rank) == 3
    # Columns far from both trails.
    planes.mask[:, 120:140] = plane_bits([plane])
    planes.image[:, 120:140] = np.nan
    after = search("sep", planes)
    # The background is estimated from other pixels.
    assert after.significance == pytest.approx(before.significance, rel=0.05)
    assert after.trails.x == pytest.approx(before.trails.x, abs=0.2)
    assert after.trails.y == pytest.approx(before.trails.y, abs=0.2)


def test_catalog_of_a_baseline() -> None:
    found = search("sep", make_image((150.0, 120.0, 40.0, 30.0, 60.0)))
    catalog = found.catalog()
    assert catalog.colnames == list(CANDIDATE_COLUMNS)
    np.testing.assert_array_equal(catalog["score"], found.rank)
    np.testing.assert_array_equal(catalog["x0"], found.trails.ends[0])
    assert np.all(np.isnan(catalog["ra"]))
    assert not np.any(catalog["streakFlag"])


def test_ranks_must_fit_the_trails() -> None:
    with pytest.raises(ValueError, match="1 ranks"):
        BaselineDetections(Trails.empty(), np.zeros(1), np.zeros(0))
