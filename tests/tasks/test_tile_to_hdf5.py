# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.wcs
import numpy as np
import pytest

from lsst.images import Box, Mask
from lsst.meas.trails.core.planes import plane_bits
from lsst.meas.trails.core.tile_file import TileReader, TrailTiles
from lsst.meas.trails.core.tiling import IGNORED
from lsst.meas.trails.tasks import InjectTrailsConfig, InjectTrailsTask, TileToHdf5Config, TileToHdf5Task
from lsst.pipe.base import InvalidQuantumError, Struct

DATA_ID = {"instrument": "TrailSimCam", "visit": 12, "detector": 3}
SHAPE = (150, 200)
STREAK = (slice(100, 110), slice(0, 200))


@pytest.fixture(scope="module")
def injected(make_image: Callable[..., Any]) -> Struct:
    """Return trails of SNR 1 to 40 injected into an image off the corner of
    its detector, that a satellite has crossed.
    """
    image = make_image(shape=SHAPE, start=(300, 500), masked=[("STREAK", STREAK)]).image
    config = InjectTrailsConfig()
    config.number = 6.0
    config.minBrightness, config.maxBrightness = 1.0, 40.0
    config.maxLength = 60.0
    config.allowCrossing = True
    result = InjectTrailsTask(config=config).run(image=image, packed=5)
    faint = np.asarray(result.injected_catalog["snr_optimal"]) < 5.0
    assert 0 < np.count_nonzero(faint) < len(faint)
    return result


def cut(injected: Struct, *, packed: int = 1, **settings: Any) -> TrailTiles:
    config = TileToHdf5Config()
    config.tileSize = 64
    config.ignoreBelowSnr = 5.0
    for name, value in settings.items():
        setattr(config, name, value)
    config.validate()
    result = TileToHdf5Task(config=config).run(
        image=injected.injected_image,
        injected_catalog=injected.injected_catalog,
        injected_mask=injected.injected_mask,
        packed=packed,
        data_id=DATA_ID,
    )
    tiles = result.trail_tiles
    assert isinstance(tiles, TrailTiles)
    return tiles


def test_pixels_are_those_of_the_image(injected: Struct) -> None:
    image = injected.injected_image
    tiles = cut(injected, emptyFraction=1.0)
    covered = np.zeros(SHAPE, dtype=bool)
    for i, row in enumerate(tiles.table):
        part = (slice(row["y0"], row["y0"] + 64), slice(row["x0"], row["x0"] + 64))
        np.testing.assert_array_equal(tiles.image[i], image.image.array[part])
        np.testing.assert_array_equal(tiles.variance[i], image.variance.array[part])
        streak = (tiles.mask[i] & plane_bits(["STREAK"])) != 0
        np.testing.assert_array_equal(streak, image.mask.get("STREAK")[part])
        covered[part] = True
    # All tiles are kept, and cover the image.
    assert covered.all()


def test_truth(injected: Struct) -> None:
    """1 on trails, 2 on those too faint to be seen and on satellites."""
    tiles = cut(injected, emptyFraction=1.0)
    mask = injected.injected_mask.get("TRAIL")
    truth = np.zeros(SHAPE, dtype=np.uint8)
    for i, row in enumerate(tiles.table):
        truth[row["y0"] : row["y0"] + 64, row["x0"] : row["x0"] + 64] = tiles.truth[i]
    assert set(np.unique(truth)) == {0, 1, IGNORED}
    assert np.all(truth[STREAK] == IGNORED)
    elsewhere = np.ones(SHAPE, dtype=bool)
    elsewhere[STREAK] = False
    np.testing.assert_array_equal((truth > 0)[elsewhere], mask[elsewhere])
    for row in injected.injected_catalog:
        x, y = round(row["x"]) - 300, round(row["y"]) - 500
        if 0 <= x < SHAPE[1] and 0 <= y < SHAPE[0] and elsewhere[y, x]:
            assert truth[y, x] == (IGNORED if row["snr_optimal"] < 5.0 else 1)
    # All of them are there to be learned if nothing is ignored.
    assert np.count_nonzero(cut(injected, ignoreBelowSnr=0.0).truth == 1) > np.count_nonzero(truth == 1)


def test_source(injected: Struct) -> None:
    tiles = cut(injected)
    source = tiles.source
    assert source.data_id == DATA_ID
    assert source.shape == SHAPE
    assert source.unit == "nJy"
    assert source.config["tileSize"] == 64
    assert source.psf_kernel.sum() == pytest.approx(1.0)
    # Array coordinates: what the tiles are in.
    np.testing.assert_allclose(tiles.catalog["x"], injected.injected_catalog["x"] - 300)
    np.testing.assert_allclose(tiles.catalog["y0"], injected.injected_catalog["y0"] - 500)
    header = astropy.io.fits.Header.fromstring(source.wcs, sep="\n")
    ra, dec = astropy.wcs.WCS(header).all_pix2world(tiles.catalog["x"], tiles.catalog["y"], 0)
    np.testing.assert_allclose(ra, tiles.catalog["ra"], atol=1e-6)
    np.testing.assert_allclose(dec, tiles.catalog["dec"], atol=1e-6)


def test_catalog_of_the_butler_is_not_changed(injected: Struct) -> None:
    before = np.array(injected.injected_catalog["x"])
    cut(injected)
    np.testing.assert_array_equal(injected.injected_catalog["x"], before)


def test_tiles_without_trails(injected: Struct) -> None:
    none, some, everything = (cut(injected, emptyFraction=f) for f in (0.0, 0.5, 1.0))
    assert len(none) < len(some) < len(everything)
    assert np.all(np.any(none.truth == 1, axis=(1, 2)))
    np.testing.assert_array_equal(cut(injected).table, some.table)
    others = [len(cut(injected, packed=packed)) for packed in range(2, 6)]
    others += [len(cut(injected, seedOffset=offset)) for offset in range(1, 5)]
    assert len(set(others)) > 1


def test_image_smaller_than_a_tile(injected: Struct) -> None:
    tiles = cut(injected, tileSize=256)
    assert len(tiles) == 1
    beyond = np.ones((256, 256), dtype=bool)
    beyond[: SHAPE[0], : SHAPE[1]] = False
    assert np.all(tiles.mask[0][beyond] == plane_bits(["NO_DATA"]))
    assert not tiles.truth[0][beyond].any()


def test_nothing_kept(make_image: Callable[..., Any], tmp_path: Path) -> None:
    config = InjectTrailsConfig()
    config.number = 0.0
    blank = InjectTrailsTask(config=config).run(image=make_image(shape=(100, 100)).image)
    tiles = cut(blank, emptyFraction=0.0)
    assert len(tiles) == 0
    tiles.write(tmp_path / "none.h5")
    with TileReader(tmp_path / "none.h5") as reader:
        assert len(reader) == 0


def test_file(injected: Struct, tmp_path: Path) -> None:
    tiles = cut(injected)
    tiles.write(tmp_path / "tiles.h5")
    again = TrailTiles.read(tmp_path / "tiles.h5")
    for name in ("image", "variance", "mask", "truth", "table"):
        np.testing.assert_array_equal(getattr(again, name), getattr(tiles, name))
    assert again.source.data_id == DATA_ID
    assert list(again.catalog["source_type"]) == list(tiles.catalog["source_type"])
    np.testing.assert_array_equal(again.background.level(), tiles.background.level())


def test_mask_of_another_image(injected: Struct) -> None:
    mask = injected.injected_mask
    moved = Mask(mask.array, schema=mask.schema, bbox=Box.from_shape(SHAPE))
    with pytest.raises(InvalidQuantumError, match="mask of the injected trails covers .* not of the same"):
        cut(Struct(**{**injected.getDict(), "injected_mask": moved}))


def test_overlap_that_does_not_fit(injected: Struct) -> None:
    with pytest.raises(ValueError, match=r"overlap \(64\) must be smaller than tileSize \(64\)"):
        cut(injected, overlap=64)
