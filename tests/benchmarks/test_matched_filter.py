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

"""Tests of the matched-filter bank."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.geometry import angle_difference
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.evaluation.baselines import BaselineDetections

from ..evaluation.conftest import make_image
from matched_filter import BankOptions, make_templates, matched_filter_bank

SMALL = BankOptions(shortest=10.0, longest=60.0, lengths=4, end_step=4.0)
"""A small bank, which takes no time."""


def search(planes: ImagePlanes) -> BaselineDetections:
    return matched_filter_bank(SkySubtracted.from_planes(planes), SMALL)


def test_a_bright_trail_comes_first() -> None:
    found = search(make_image((150.0, 120.0, 40.0, 30.0, 60.0)))
    first = found.trails[0]
    assert np.hypot(first.x - 150.0, first.y - 120.0) < 3.0
    assert angle_difference(first.angle, 30.0) < 6.0
    # One of the four lengths of the bank.
    assert first.length == pytest.approx(40.0, rel=0.25)
    assert np.all(np.diff(found.rank) <= 0.0)


def test_noise_is_below_5_5_sigma() -> None:
    assert not np.any(search(make_image()).rank > 5.5)


def test_bad_pixels_are_ignored() -> None:
    planes = make_image((150.0, 120.0, 40.0, 30.0, 60.0))
    planes.image[:, 20:24] = 1e6
    planes.mask[:, 20:24] |= np.uint32(plane_bits(["BAD"]))
    planes.image[200:, :60] = np.nan
    planes.variance[200:, :60] = np.nan
    found = search(planes)
    assert np.hypot(found.trails.x[0] - 150.0, found.trails.y[0] - 120.0) < 3.0
    assert not np.any((np.abs(found.trails.x - 21.5) < 8.0) & (found.rank > 6.0))


def test_an_image_without_pixels() -> None:
    planes = make_image()
    planes.image[:] = np.nan
    assert len(search(planes).trails) == 0


def test_the_rank_of_the_bank_is_the_optimal_snr() -> None:
    """With the right template, on its pixel: give or take the noise, 1."""
    template = next(t for t in make_templates(SMALL) if t.length > 30.0)
    ranks = []
    for seed in range(6):
        planes = make_image((150.0, 120.0, template.length, template.angle, 20.0), seed=seed)
        sky = SkySubtracted(planes, np.zeros(planes.shape, dtype=np.float32), planes.bad())
        ranks.append(matched_filter_bank(sky, SMALL).rank[0])
    assert np.mean(ranks) == pytest.approx(20.0, abs=3.0 / np.sqrt(6.0) + 0.5)


def test_blocks_do_not_matter() -> None:
    planes = make_image((100.0, 100.0, 60.0, 30.0, 15.0), (220.0, 120.0, 20.0, 90.0, 12.0))
    sky = SkySubtracted.from_planes(planes)
    whole = matched_filter_bank(sky, SMALL)
    parts = matched_filter_bank(
        sky, BankOptions(shortest=10.0, longest=60.0, lengths=4, end_step=4.0, block=100)
    )
    # But for single precision.
    np.testing.assert_array_equal(whole.trails.x, parts.trails.x)
    np.testing.assert_allclose(whole.rank, parts.rank, rtol=1e-3)


def test_one_trail_is_one_detection() -> None:
    """A trail of SNR 100 responds to templates all along it and across."""
    found = search(make_image((150.0, 120.0, 60.0, 30.0, 100.0)))
    near = np.hypot(found.trails.x - 150.0, found.trails.y - 120.0) < 60.0
    assert np.count_nonzero(near & (found.rank > 7.0)) == 1


def test_the_limit() -> None:
    """Half of the trails are found at SNR 5.9, which noise reaches once per detector."""
    template = next(t for t in make_templates(SMALL) if t.length > 30.0)
    found = dict.fromkeys((3.0, 5.9, 9.5), 0)
    for snr in found:
        for seed in range(8):
            planes = make_image((150.0, 120.0, template.length, template.angle, snr), seed=seed)
            sky = SkySubtracted(planes, np.zeros(planes.shape, dtype=np.float32), planes.bad())
            baseline = matched_filter_bank(sky, SMALL)
            near = np.hypot(baseline.trails.x - 150.0, baseline.trails.y - 120.0) < 6.0
            found[snr] += bool(np.any(near & (baseline.rank > 5.9)))
    assert found[9.5] == 8
    assert found[3.0] <= 1
    # The best of neighboring templates is a little above the right one.
    assert 2 <= found[5.9] <= 8


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="lengths"):
        BankOptions(shortest=0.0)
    with pytest.raises(ValueError, match="block"):
        BankOptions(block=0)
    assert 300 < len(make_templates()) < 400
