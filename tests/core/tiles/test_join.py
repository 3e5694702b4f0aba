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
import json
import os
import resource
from pathlib import Path
from typing import Any

import astropy.table
import h5py
import numpy as np
import pytest

from lsst.meas.trails.core.background import BackgroundMesh
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.tiles.join import JoinedImage, list_images, split_images, write_tile_set
from lsst.meas.trails.core.tiles.layout import SPLITS, TileFileError, TileSource
from lsst.meas.trails.core.tiles.reader import TileReader
from lsst.meas.trails.core.tiles.writer import TrailTiles

T = 16
FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def write_tiles(
    path: Path, visit: int, count: int = 4, *, template: bool = False, size: int = T
) -> TrailTiles:
    rng = np.random.default_rng(visit)
    tiles = TrailTiles.allocate(
        count,
        size,
        source=TileSource(
            data_id={"instrument": "I", "visit": visit, "detector": 1},
            shape=(40, 64),
            psf_kernel=PsfGrid.gaussian(3.0 + 0.1 * visit, 15).mean_kernel,
        ),
        background=BackgroundMesh(np.full((1, 1), visit, dtype=np.float32), shape=(40, 64)),
        catalog=astropy.table.Table({"x": np.arange(visit % 3)}),
        optional=["template"] if template else [],
    )
    tiles.pixels["image"][...] = rng.standard_normal(tiles.pixels["image"].shape)
    tiles.pixels["variance"][...] = 1.0 + rng.random(tiles.pixels["image"].shape)
    tiles.pixels["mask"][...] = rng.integers(0, 8, tiles.pixels["image"].shape)
    tiles.pixels["truth"][...] = rng.integers(0, 3, tiles.pixels["image"].shape)
    if "template" in tiles.pixels:
        tiles.pixels["template"][...] = rng.standard_normal(tiles.pixels["image"].shape)
    tiles.table["x0"], tiles.table["y0"] = 3 * np.arange(count), visit
    tiles.write(path)
    return tiles


@pytest.fixture
def originals(tmp_path: Path) -> dict[Path, TrailTiles]:
    """Return the tiles of six visits, two with a template, one without tiles."""
    (tmp_path / "tiles").mkdir()
    paths = {visit: tmp_path / "tiles" / f"visit{visit}.h5" for visit in range(1, 7)}
    return {
        path: write_tiles(path, visit, count=(0 if visit == 4 else 2 + visit), template=visit in (2, 3))
        for visit, path in paths.items()
    }


def join(originals: dict[Path, TrailTiles], path: Path, **options: Any) -> dict[str, Any]:
    images = split_images(list(list_images(originals)), FRACTIONS, seed=1)
    return write_tile_set(images, path, about={"method": "test"}, **options)


@pytest.mark.parametrize("virtual", [False, True])
def test_nothing_is_lost(originals: dict[Path, TrailTiles], tmp_path: Path, virtual: bool) -> None:
    path = tmp_path / "set.h5"
    manifest = join(originals, path, virtual=virtual)
    assert sorted(os.listdir(tmp_path)) == ["set.h5", "set.manifest.json", "tiles"]
    with TileReader(path) as reader:
        assert reader.is_virtual is virtual
        assert len(reader) == sum(len(tiles) for tiles in originals.values())
        assert reader.source_count == 5
        assert reader.datasets == ("image", "variance", "mask", "truth", "template")
        first = 0
        kept = [tiles for tiles in originals.values() if len(tiles)]
        for number, tiles in enumerate(kept):
            rows = slice(first, first + len(tiles))
            for name in ("image", "variance", "mask", "truth"):
                np.testing.assert_array_equal(reader.pixels(name, rows), tiles.pixels[name])
            template = reader.pixels("template")[rows]
            if "template" not in tiles.pixels:
                assert np.all(np.isnan(template))
            else:
                np.testing.assert_array_equal(template, tiles.pixels["template"])
            for name in ("x0", "y0", "tile_class", "max_snr"):
                np.testing.assert_array_equal(reader.table[name][rows], tiles.table[name])
            assert np.all(reader.table["source"][rows] == number)
            assert reader.source(number).data_id == tiles.source.data_id
            assert len(reader.catalog(number)) == len(tiles.catalog)
            tile = reader.read(first + 1)
            np.testing.assert_array_equal(tile.planes.image, tiles.pixels["image"][1])
            np.testing.assert_allclose(tile.planes.psf.mean_kernel, tiles.source.psf_kernel)
            assert tile.background.max() == tiles.background.values.max()
            assert tile.planes.template is not None
            first += len(tiles)
        with pytest.raises(IndexError):
            reader.read(first)
        assert reader.manifest() == json.loads((tmp_path / "set.manifest.json").read_text()) == manifest


def test_files_are_not_replaced_by_their_join(originals: dict[Path, TrailTiles]) -> None:
    path = next(iter(originals))
    before = path.read_bytes()
    with pytest.raises(TileFileError, match="is also one of the files to join; write to another file"):
        join(originals, path)
    assert path.read_bytes() == before


def test_distractors_do_not_count_as_trails(originals: dict[Path, TrailTiles], tmp_path: Path) -> None:
    tiles = next(iter(originals.values()))
    catalog = astropy.table.Table({"x": np.arange(4), "source_type": ["Trail", "Star", "Satellite", "Trail"]})
    dataclasses.replace(tiles, catalog=catalog).write(tmp_path / "more.h5")
    (image,) = list_images([tmp_path / "more.h5"])
    assert image.trails == 2


@pytest.mark.parametrize("virtual", [False, True])
def test_splits_are_disjoint(originals: dict[Path, TrailTiles], tmp_path: Path, virtual: bool) -> None:
    path = tmp_path / "set.h5"
    manifest = join(originals, path, virtual=virtual)
    visits: dict[str, set[int]] = {}
    total = 0
    with TileReader(path) as everything:
        for name, number in SPLITS.items():
            with TileReader(f"{path}#{name}") as reader:
                rows = np.flatnonzero(everything.table["split"] == number)
                assert len(reader) == len(rows) == manifest["splits"][name]["tiles"] > 0
                np.testing.assert_array_equal(reader.pixels("image"), everything.pixels("image")[rows])
                np.testing.assert_array_equal(
                    reader.read(len(rows) - 1).planes.image, everything.read(int(rows[-1])).planes.image
                )
                visits[name] = {reader.source(int(s)).data_id["visit"] for s in reader.table["source"]}
                total += len(reader)
        assert total == len(everything)
    assert len(set.union(*visits.values())) == sum(map(len, visits.values()))


def test_h5py_alone_reads_a_virtual_file(originals: dict[Path, TrailTiles], tmp_path: Path) -> None:
    join(originals, tmp_path / "set.h5", virtual=True)
    with h5py.File(tmp_path / "set.h5") as file:
        tiles = next(iter(originals.values()))
        np.testing.assert_array_equal(file["image"][: len(tiles)], tiles.pixels["image"])
        assert np.all(np.isnan(file["template"][0]))
    assert (tmp_path / "set.h5").stat().st_size < 200_000


def test_files_that_have_changed_or_gone(originals: dict[Path, TrailTiles], tmp_path: Path) -> None:
    """HDF5 itself would return zeros."""
    path = tmp_path / "set.h5"
    join(originals, path, virtual=True)
    first = next(iter(originals))
    write_tiles(first, 9, count=len(originals[first]))
    with TileReader(path) as reader, pytest.raises(TileFileError, match=r"visit1\.h5 changed"):
        reader.read(0)
    first.unlink()
    with TileReader(path) as reader:
        with pytest.raises(TileFileError, match=r"visit1\.h5"):
            reader.pixels("image")
        # Other files can still be read.
        assert reader.read(len(reader) - 1).planes.shape == (T, T)


def test_paths_out_of_the_folder_are_refused(originals: dict[Path, TrailTiles], tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    with pytest.raises(TileFileError, match=r"visit1\.h5"):
        join(originals, tmp_path / "below" / "set.h5", virtual=True)
    assert os.listdir(tmp_path / "below") == []
    path = tmp_path / "set.h5"
    join(originals, path, virtual=True)
    for name in ("../secret.h5", str(tmp_path / "tiles" / "visit1.h5")):
        with h5py.File(path, "r+") as file:
            shape = file["image"].shape
            layout = h5py.VirtualLayout(shape, "f4")
            layout[...] = h5py.VirtualSource(name, "image", shape=shape)
            del file["image"]
            file.create_virtual_dataset("image", layout)
        with pytest.raises(TileFileError, match=r"set\.h5"):
            TileReader(path)


def test_virtual_files_with_gaps(originals: dict[Path, TrailTiles], tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    join(originals, path, virtual=True)
    with h5py.File(path, "r+") as file:
        shape = file["image"].shape
        layout = h5py.VirtualLayout(shape, "f4")
        layout[1:4] = h5py.VirtualSource("tiles/visit1.h5", "image", shape=(3, T, T))
        del file["image"]
        file.create_virtual_dataset("image", layout)
    with pytest.raises(TileFileError, match=r"set\.h5"):
        TileReader(path)


def test_sets_can_be_joined_again(originals: dict[Path, TrailTiles], tmp_path: Path) -> None:
    join(originals, tmp_path / "set.h5")
    images = split_images(list(list_images([tmp_path / "set.h5"])), FRACTIONS, seed=2)
    # Without one of its images.
    images[1] = dataclasses.replace(images[1], split=None)
    manifest = write_tile_set(images, tmp_path / "again.h5")
    assert manifest["left_out"] == 1
    kept = [tiles for tiles in originals.values() if len(tiles)]
    kept.pop(1)
    with TileReader(tmp_path / "again.h5") as reader:
        np.testing.assert_array_equal(
            reader.pixels("image"), np.concatenate([t.pixels["image"] for t in kept])
        )
    with pytest.raises(TileFileError, match=r"set\.h5"):
        write_tile_set(images, tmp_path / "again.h5", virtual=True)


def test_invalid_files_are_refused(originals: dict[Path, TrailTiles], tmp_path: Path) -> None:
    write_tiles(tmp_path / "wide.h5", 20, size=2 * T)
    with pytest.raises(TileFileError, match=r"wide\.h5 .*32.*16"):
        list(list_images([*originals, tmp_path / "wide.h5"]))
    write_tiles(tmp_path / "same.h5", 2)
    with pytest.raises(TileFileError, match=r"same\.h5 and .*visit2\.h5"):
        list(list_images([*originals, tmp_path / "same.h5"]))
    none: list[JoinedImage] = []
    with pytest.raises(TileFileError, match="no tile"):
        write_tile_set(none, tmp_path / "set.h5")


def test_a_full_disk(originals: dict[Path, TrailTiles], tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            join(originals, tmp_path / "set.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == ["tiles"]
