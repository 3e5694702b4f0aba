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
from pathlib import Path

import astropy.table
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsst.meas.trails.core.background import BackgroundMesh
from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.injection.inject import inject_trails
from lsst.meas.trails.core.injection.truth import truth_table
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.render import truth_mask
from lsst.meas.trails.core.tiles.cut import cut_tiles, tile_origins
from lsst.meas.trails.core.tiles.layout import IGNORED, TILE_CLASSES, TileSource
from lsst.meas.trails.core.tiles.reader import TileReader
from lsst.meas.trails.core.tiles.writer import TrailTiles

type MakePlanes = Callable[..., ImagePlanes]


@given(
    shape=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    size=st.integers(8, 128),
    data=st.data(),
)
def test_tiles_cover_the_image(shape: tuple[int, int], size: int, data: st.DataObject) -> None:
    # Hundreds of tiles are enough.
    overlap = data.draw(st.integers(0, size - 8))
    origins = tile_origins(shape, size, overlap)
    covered = np.zeros(shape, dtype=bool)
    for y, x in origins:
        assert 0 <= y <= max(shape[0] - size, 0)
        assert 0 <= x <= max(shape[1] - size, 0)
        covered[y : y + size, x : x + size] = True
    assert np.all(covered)
    assert len({(int(y), int(x)) for y, x in origins}) == len(origins)
    for axis in (0, 1):
        starts = np.unique(origins[:, axis])
        assert np.all(np.diff(starts) <= size - overlap)


def test_origins_of_a_detector() -> None:
    origins = tile_origins((4000, 4072), 256)
    assert len(origins) == 256
    assert origins[0].tolist() == [0, 0]
    assert origins[-1].tolist() == [4000 - 256, 4072 - 256]
    assert tile_origins((256, 256), 256).tolist() == [[0, 0]]
    assert tile_origins((100, 600), 256, 56).tolist() == [[0, 0], [0, 200], [0, 344]]


def test_tiles_have_the_template(make_planes: MakePlanes, tmp_path: Path) -> None:
    template = np.arange(100 * 150, dtype=np.float32).reshape(100, 150)
    template[:, 140:] = np.nan
    planes = dataclasses.replace(make_planes((100, 150), seed=7), template=template)
    tiles = cut_tiles(
        planes,
        BackgroundMesh(values=np.zeros((1, 1), dtype=np.float32), shape=(100, 150), block=150),
        np.zeros((100, 150), dtype=np.uint8),
        astropy.table.Table(),
        TileSource(data_id={}, shape=(100, 150), psf_kernel=planes.psf.mean_kernel),
        size=128,
        empty_fraction=1.0,
        rng=np.random.default_rng(1),
    )
    assert "template" in tiles.pixels
    tiles.write(tmp_path / "tiles.h5")
    with TileReader(tmp_path / "tiles.h5") as reader:
        again = [reader.read(i).planes.template for i in range(len(reader))]
    for (y, x), tile in zip(tile_origins((100, 150), 128), again, strict=True):
        assert tile is not None
        np.testing.assert_array_equal(tile[:100], template[y : y + 128, x : x + 128])
        # There is no template beyond the image.
        assert np.all(np.isnan(tile[100:]))


@pytest.mark.parametrize("overlap", [-1, 64, 100])
def test_impossible_overlaps_are_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        tile_origins((100, 100), 64, overlap)


type Cut = Callable[..., tuple[TrailTiles, ImagePlanes, npt.NDArray[np.uint8], astropy.table.Table]]


@pytest.fixture
def cut(make_planes: MakePlanes) -> Cut:
    """Return a function that cuts an image with given trails."""

    def run(
        *rows: tuple[float, float, float, float, float],
        shape: tuple[int, int] = (192, 256),
        ignored: tuple[slice, slice] | None = None,
        empty_fraction: float = 0.0,
        overlap: int = 0,
        seed: int = 1,
        artifacts: npt.NDArray[np.float64] | None = None,
    ) -> tuple[TrailTiles, ImagePlanes, npt.NDArray[np.uint8], astropy.table.Table]:
        sky = make_planes(shape, seed=7)
        trails = Trails(*np.array(rows, dtype=float).reshape(-1, 5).T)
        catalog = truth_table(sky, trails)
        planes = inject_trails(sky, trails, None)
        truth = truth_mask(planes.psf, trails, shape).astype(np.uint8)
        if ignored is not None:
            truth[ignored] = IGNORED
        tiles = cut_tiles(
            planes,
            BackgroundMesh(values=np.zeros((1, 1), dtype=np.float32), shape=shape),
            truth,
            catalog,
            TileSource(data_id={}, shape=shape, psf_kernel=planes.psf.mean_kernel),
            size=64,
            overlap=overlap,
            empty_fraction=empty_fraction,
            artifacts=artifacts,
            rng=np.random.default_rng(seed),
        )
        return tiles, planes, truth, catalog

    return run


def test_tiles_are_parts_of_the_image(cut: Cut) -> None:
    tiles, planes, truth, _ = cut((100.0, 90.0, 80.0, 30.0, 500.0), empty_fraction=1.0, overlap=16)
    assert len(tiles) == 4 * 5
    for i, row in enumerate(tiles.table):
        part = np.s_[row["y0"] : row["y0"] + 64, row["x0"] : row["x0"] + 64]
        np.testing.assert_array_equal(tiles.pixels["image"][i], planes.image[part])
        np.testing.assert_array_equal(tiles.pixels["variance"][i], planes.variance[part])
        np.testing.assert_array_equal(tiles.pixels["mask"][i], planes.mask[part])
        np.testing.assert_array_equal(tiles.pixels["truth"][i], truth[part])
        is_trail = np.any(truth[part] == 1)
        assert row["tile_class"] == TILE_CLASSES["missed" if is_trail else "empty"]


def test_tiles_with_trails_and_some_others_are_kept(cut: Cut) -> None:
    trail = (96.0, 96.0, 20.0, 0.0, 500.0)
    tiles, *_ = cut(trail)
    assert [(row["x0"], row["y0"]) for row in tiles.table] == [(64, 64)]
    counts = [len(cut(trail, empty_fraction=0.3, seed=seed)[0]) for seed in range(40)]
    # 30% of eleven and one; the mean of 40 is good to 0.24: four sigma.
    assert np.mean(counts) == pytest.approx(1.0 + 0.3 * 11, abs=1.0)
    assert len(cut()[0]) == 0


def test_tiles_with_labeled_artifacts_are_kept(cut: Cut) -> None:
    """A trail in the tile matters more."""
    artifacts = np.array([[96.0, 96.0], [140.0, 20.0], [-30.0, 20.0]])
    tiles, *_ = cut((96.0, 96.0, 20.0, 0.0, 500.0), artifacts=artifacts)
    found = {(int(row["x0"]), int(row["y0"])): int(row["tile_class"]) for row in tiles.table}
    assert found == {(64, 64): TILE_CLASSES["missed"], (128, 0): TILE_CLASSES["artifact"]}


def test_ignored_pixels_are_not_a_trail(cut: Cut) -> None:
    tiles, *_ = cut((96.0, 96.0, 20.0, 0.0, 500.0), ignored=np.s_[64:128, 64:128])
    assert len(tiles) == 0


def test_snr_of_a_tile(cut: Cut) -> None:
    """The squares of the SNR of a trail in two tiles add."""
    inside, across = (32.0, 30.0, 20.0, 30.0, 300.0), (125.0, 96.0, 50.0, 20.0, 800.0)
    tiles, _, _, catalog = cut(inside, across)
    by_origin = {(int(row["x0"]), int(row["y0"])): float(row["max_snr"]) for row in tiles.table}
    assert by_origin.keys() == {(0, 0), (64, 64), (128, 64)}
    assert by_origin[0, 0] == pytest.approx(catalog["snr_optimal"][0], rel=1e-5)
    assert np.hypot(by_origin[64, 64], by_origin[128, 64]) == pytest.approx(
        catalog["snr_optimal"][1], rel=1e-5
    )


def test_the_brightest_trail_counts(cut: Cut) -> None:
    tiles, _, _, catalog = cut((32.0, 20.0, 20.0, 0.0, 300.0), (32.0, 44.0, 20.0, 0.0, 600.0))
    assert tiles.table["max_snr"][0] == pytest.approx(catalog["snr_optimal"][1], rel=1e-5)


def test_an_image_smaller_than_a_tile(cut: Cut) -> None:
    tiles, planes, *_ = cut((20.0, 20.0, 20.0, 0.0, 500.0), shape=(40, 50))
    assert tiles.pixels["image"].shape == (1, 64, 64)
    np.testing.assert_array_equal(tiles.pixels["image"][0, :40, :50], planes.image)
    no_data = plane_bits(["NO_DATA"])
    outside = np.ones((64, 64), dtype=bool)
    outside[:40, :50] = False
    assert np.all(tiles.pixels["mask"][0][outside] == no_data)
    assert not np.any(tiles.pixels["mask"][0][~outside])
    assert not np.any(tiles.pixels["truth"][0][outside])
