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

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lsst.meas.trails.core.background import BackgroundMesh, fit_background
from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import add_trail


def noise(shape: tuple[int, int], seed: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def no_bad(shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.zeros(shape, dtype=bool)


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (64, 64), (200, 130), (97, 511)])
def test_a_constant_is_its_own_background(shape: tuple[int, int]) -> None:
    level = fit_background(np.full(shape, 7.25, dtype=np.float32), no_bad(shape)).level()
    assert level.shape == shape
    assert level.dtype == np.float32
    np.testing.assert_allclose(level, 7.25, rtol=1e-6)


def test_a_plane_is_found_to_its_corners() -> None:
    """The plane rises by many sigma per block."""
    y, x = np.mgrid[:512, :640]
    plane = 100.0 + 0.05 * x - 0.03 * y
    level = fit_background((plane + noise(plane.shape)).astype(np.float32), no_bad((512, 640))).level()
    # The median of 4096 pixels is accurate to 1.25 / 64 = 0.02; the scatter
    # within a block grows by the slope, to 1.4; extrapolation to the corners
    # makes it two or three times worse.
    assert np.std(level - plane) < 0.04
    assert np.abs(level - plane).max() < 0.2


def test_stars_galaxies_and_nan_do_not_count() -> None:
    y, x = np.mgrid[:512, :512]
    truth = 50.0 + 0.01 * x + 0.005 * y
    image = truth + noise((512, 512))
    rng = np.random.default_rng(2)
    psf = PsfGrid.gaussian(4.0)
    # 400 stars in 64 blocks: 6 per block, which cover 5% of it.
    for _ in range(400):
        flux = 10.0 ** rng.uniform(1.5, 4.5)
        add_trail(image, psf, Trail(rng.uniform(0, 511), rng.uniform(0, 511), 0.0, 0.0, flux))
    bad = no_bad(image.shape)
    bad[:, 100:110] = True
    image[bad] = np.nan
    level = fit_background(image.astype(np.float32), bad).level()
    assert np.all(np.isfinite(level))
    # 5% of pixels with light shift the median by about 0.05 / (2 x 0.4)
    # sigma; clipping takes half of that away.
    assert abs(np.median(level - truth)) < 0.06
    assert np.std(level - truth) < 0.05


def test_a_long_trail_stays_in_the_image() -> None:
    """The background takes less than 1 of an SNR of 10 in 150 pixels."""
    taken = []
    for seed in range(8):
        image = noise((512, 512), seed)
        before = fit_background(image, no_bad((512, 512))).level()
        stamp = add_trail(image, PsfGrid.gaussian(4.0), Trail(250.0 + seed, 260.0, 150.0, 22.0 * seed, 300.0))
        after = fit_background(image, no_bad((512, 512))).level()
        slices, part = stamp.clipped((512, 512))
        taken.append(np.sum(part * (after - before)[slices]) / np.sum(np.square(part)))
    # Pixels of 0.5 sigma cannot be clipped: the flux in a block, spread over
    # it, is 0.03 sigma, or 9% of the mean height of the trail.
    assert 0.0 < np.mean(taken) < 0.09 * 300.0


def test_a_block_full_of_a_star_takes_its_neighbors() -> None:
    image = noise((640, 640), seed=4)
    image[192:256, 320:384] += 500.0
    level = fit_background(image, no_bad(image.shape)).level()
    assert np.abs(level).max() < 0.2


def test_a_bad_region_takes_its_neighbors() -> None:
    image = noise((512, 512), seed=5) + np.float32(10.0)
    bad = no_bad(image.shape)
    bad[:, 256:] = True
    image[bad] = np.nan
    level = fit_background(image, bad).level()
    np.testing.assert_allclose(level, 10.0, atol=0.2)


def test_units_do_not_matter() -> None:
    image = noise((256, 256), seed=6)
    image[40:60, 40:60] += 5.0
    level = fit_background(image, no_bad(image.shape)).level()
    for scale in (2.0**-20, 2.0**20):
        scaled = fit_background((image * scale).astype(np.float32), no_bad(image.shape)).level()
        np.testing.assert_allclose(scaled, level * scale, rtol=1e-5)


def test_nothing_good_gives_zero() -> None:
    image = np.full((150, 150), np.nan, dtype=np.float32)
    level = fit_background(image, np.ones(image.shape, dtype=bool)).level()
    assert not np.any(level)


def test_few_good_pixels_do_not_make_a_block() -> None:
    image = np.full((128, 128), 1.0, dtype=np.float32)
    bad = no_bad(image.shape)
    bad[:64, :64] = True
    bad[:10, :10] = False
    image[:10, :10] = 900.0
    np.testing.assert_allclose(fit_background(image, bad).level(), 1.0)


def test_a_part_of_the_level_is_that_of_the_whole() -> None:
    mesh = fit_background(noise((300, 200)).cumsum(axis=0), no_bad((300, 200)))
    whole = mesh.level()
    np.testing.assert_allclose(mesh.level(slice(40, 90), slice(150, 400)), whole[40:90, 150:400], rtol=1e-5)
    assert mesh.level(slice(300, 310)).shape == (0, 200)


def test_a_part_costs_what_it_needs() -> None:
    mesh = BackgroundMesh(values=np.ones((2, 2), dtype=np.float32), shape=(10**12, 10**12))
    np.testing.assert_allclose(mesh.level(slice(5, 8), slice(10**11, 10**11 + 2)), np.ones((3, 2)))


def test_interpolation_is_linear_between_block_centers() -> None:
    values = np.array([[0.0, 10.0], [20.0, 30.0]], dtype=np.float32)
    level = BackgroundMesh(values=values, shape=(64, 128)).level()
    # Centers of the blocks lie at 15.5 and 47.5, and at 31.5 and 95.5.
    assert level[15:17, 31:33].mean() == pytest.approx(0.0, abs=1e-5)
    assert level[47:49, 95:97].mean() == pytest.approx(30.0)
    assert level[31:33, 63:65].mean() == pytest.approx(15.0)
    # The level is extrapolated beyond them.
    assert level[0, 31:33].mean() == pytest.approx(-20.0 * 15.5 / 32.0)


@given(data=st.data(), shape=hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), block=st.integers(1, 64))
def test_any_image_has_a_background(data: st.DataObject, shape: tuple[int, int], block: int) -> None:
    values = st.floats(-(2.0**100), 2.0**100, width=32) | st.just(np.float32(np.nan))
    image = data.draw(hnp.arrays(np.float32, shape, elements=values))
    bad = data.draw(hnp.arrays(np.bool_, shape)) | np.isnan(image)
    level = fit_background(image, bad, block).level()
    assert level.shape == shape
    assert np.all(np.isfinite(level))


def test_level_needs_no_temporary_image() -> None:
    mesh = BackgroundMesh(np.arange(256.0, dtype=np.float32).reshape(16, 16), (1024, 1024))
    tracemalloc.start()
    level = mesh.level()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * level.nbytes
