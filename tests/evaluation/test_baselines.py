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

from lsst.meas.trails.core.background import BackgroundMesh, fit_background
from lsst.meas.trails.core.geometry import Trail, angle_difference
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import add_trail, optimal_snr, render_trail
from lsst.meas.trails.evaluation.baselines import (
    SEP_FOR_TRAILS,
    BaselineDetections,
    SepOptions,
    elongated_footprints,
    sep_sources,
)

from matched_filter import BankOptions, make_templates, matched_filter_bank

PSF = PsfGrid.gaussian(4.0)
SMALL = BankOptions(shortest=10.0, longest=60.0, lengths=4, end_step=4.0)
"""A bank that takes no time."""

BASELINES = {
    "footprints": elongated_footprints,
    "sep": sep_sources,
    "sep for trails": lambda planes, background: sep_sources(planes, background, SEP_FOR_TRAILS),
    "bank": lambda planes, background: matched_filter_bank(planes, background, SMALL),
}


def make_image(*trails: tuple[float, float, float, float, float], seed: int = 1) -> ImagePlanes:
    """Return white noise with trails of x, y, length, angle and SNR."""
    shape = (256, 300)
    image = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    planes = ImagePlanes(image, np.ones(shape, np.float32), np.zeros(shape, np.uint32), PSF)
    for x, y, length, angle, snr in trails:
        stamp = render_trail(PSF, Trail(x, y, length, angle))
        add_trail(image, PSF, Trail(x, y, length, angle, snr / optimal_snr(stamp, planes.variance, 1.0)))
    return planes


def search(name: str, planes: ImagePlanes) -> BaselineDetections:
    return BASELINES[name](planes, fit_background(planes.image, planes.bad()))


@pytest.mark.parametrize("name", BASELINES)
def test_a_bright_trail_comes_first(name: str) -> None:
    found = search(name, make_image((150.0, 120.0, 40.0, 30.0, 60.0)))
    first = found.trails[0]
    assert np.hypot(first.x[0] - 150.0, first.y[0] - 120.0) < 3.0
    assert angle_difference(first.angle[0], 30.0) < 6.0
    # Moments of the pixels above a threshold, or one of four lengths.
    assert first.length[0] == pytest.approx(40.0, rel=0.25)
    assert np.all(np.diff(found.rank) <= 0.0)
    assert found.rank[0] == found.rank.max()


@pytest.mark.parametrize("name", ["footprints", "sep for trails"])
def test_elongated_ones_rank_above_bright_ones(name: str) -> None:
    planes = make_image((150.0, 120.0, 40.0, 120.0, 40.0), (60.0, 60.0, 0.01, 0.0, 300.0))
    found = search(name, planes)
    assert np.hypot(found.trails.x[0] - 150.0, found.trails.y[0] - 120.0) < 3.0
    assert found.rank[0] > 2.0


def test_thresholds_are_in_sigma() -> None:
    """Of point sources of 5 sigma half are found at 5 sigma."""
    grid = [(30.0 + 40.0 * i, 30.0 + 40.0 * j, 0.01, 0.0, 5.0) for i in range(7) for j in range(6)]
    sky = BackgroundMesh(np.zeros((2, 2), dtype=np.float32), (256, 300))
    counts = {"sep": 0, "footprints": 0}
    for seed in range(4):
        planes = make_image(*grid, seed=seed)
        counts["sep"] += len(sep_sources(planes, sky, SepOptions(threshold=5.0, min_area=1)).trails)
        counts["footprints"] += len(elongated_footprints(planes, sky, min_elongation=1.0).trails)
    # 168 of them, the highest of some pixels each: rather more than half.
    for name, count in counts.items():
        assert 75 < count < 130, name


@pytest.mark.parametrize("name", BASELINES)
def test_noise_holds_little(name: str) -> None:
    """Above 5 sigma there is nothing, and nothing elongated at 2.5."""
    found = search(name, make_image())
    if name == "bank":
        assert not np.any(found.rank > 5.5)
    else:
        assert len(found.trails) == 0


@pytest.mark.parametrize("name", BASELINES)
def test_bad_pixels_are_not_seen(name: str) -> None:
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


def test_the_rank_of_the_bank_is_the_optimal_snr() -> None:
    """With the right template, on its pixel: give or take the noise, 1."""
    template = next(t for t in make_templates(SMALL) if t.length > 30.0)
    ranks = []
    for seed in range(6):
        planes = make_image((150.0, 120.0, template.length, template.angle, 20.0), seed=seed)
        sky = BackgroundMesh(np.zeros((2, 2), dtype=np.float32), planes.shape)
        ranks.append(matched_filter_bank(planes, sky, SMALL).rank[0])
    assert np.mean(ranks) == pytest.approx(20.0, abs=3.0 / np.sqrt(6.0) + 0.5)


def test_blocks_do_not_matter() -> None:
    planes = make_image((100.0, 100.0, 60.0, 30.0, 15.0), (220.0, 120.0, 20.0, 90.0, 12.0))
    sky = fit_background(planes.image, planes.bad())
    whole = matched_filter_bank(planes, sky, SMALL)
    parts = matched_filter_bank(
        planes, sky, BankOptions(shortest=10.0, longest=60.0, lengths=4, end_step=4.0, block=100)
    )
    # But for single precision.
    np.testing.assert_array_equal(whole.trails.x, parts.trails.x)
    np.testing.assert_allclose(whole.rank, parts.rank, rtol=1e-3)


def test_one_trail_is_one_detection() -> None:
    """A trail of SNR 100 responds to templates all along it and across."""
    found = search("bank", make_image((150.0, 120.0, 60.0, 30.0, 100.0)))
    near = np.hypot(found.trails.x - 150.0, found.trails.y - 120.0) < 60.0
    assert np.count_nonzero(near & (found.rank > 7.0)) == 1


def test_the_limit() -> None:
    """At an SNR of 5.9, which noise alone reaches once in a detector, a trail
    of 9.5 is always seen, one of 3 hardly ever, and half of those of 5.9 are.
    """
    template = next(t for t in make_templates(SMALL) if t.length > 30.0)
    found = dict.fromkeys((3.0, 5.9, 9.5), 0)
    for snr in found:
        for seed in range(8):
            planes = make_image((150.0, 120.0, template.length, template.angle, snr), seed=seed)
            sky = BackgroundMesh(np.zeros((2, 2), dtype=np.float32), planes.shape)
            baseline = matched_filter_bank(planes, sky, SMALL)
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
