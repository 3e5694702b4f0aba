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

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsst.meas.trails.core.background import BackgroundMesh
from lsst.meas.trails.core.tiles.layout import TileFileError
from lsst.meas.trails.core.tiles.reader import TileReader
from lsst.meas.trails.core.tiles.writer import TrailTiles

from support.tiles import TILE_SIZE as T
from support.tiles import make_tiles


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiles.h5"


def test_a_tile_is_ready_to_be_normalized(path: Path) -> None:
    tiles = make_tiles(3)
    tiles.write(path)
    with TileReader(path) as reader:
        assert (len(reader), reader.tile_size, reader.source_count) == (3, T, 1)
        for i in range(3):
            tile = reader.read(i)
            np.testing.assert_array_equal(tile.planes.image, tiles.pixels["image"][i])
            np.testing.assert_array_equal(tile.planes.variance, tiles.pixels["variance"][i])
            np.testing.assert_array_equal(tile.planes.mask, tiles.pixels["mask"][i])
            np.testing.assert_array_equal(tile.truth, tiles.pixels["truth"][i])
            np.testing.assert_allclose(tile.planes.psf.mean_kernel, tiles.source.psf_kernel)
            level = tiles.background.level(slice(12 * i, 12 * i + T), slice(12 * i, 12 * i + T))
            np.testing.assert_allclose(tile.background[: level.shape[0], : level.shape[1]], level, rtol=1e-6)
        with pytest.raises(IndexError):
            reader.read(3)
        np.testing.assert_array_equal(reader.pixels("truth"), tiles.pixels["truth"])
        with pytest.raises(ValueError, match="'flux'"):
            reader.pixels("flux")


def test_background_beyond_a_small_image_is_zero(path: Path) -> None:
    tiles = make_tiles(1)
    source = dataclasses.replace(tiles.source, shape=(10, 12))
    background = BackgroundMesh(values=np.full((1, 1), 5.0, dtype=np.float32), shape=(10, 12))
    dataclasses.replace(tiles, source=source, background=background).write(path)
    with TileReader(path) as reader:
        level = reader.read(0).background
    assert np.all(level[:10, :12] == 5.0)
    assert not np.any(level[10:])
    assert not np.any(level[:, 12:])


def test_values_of_variable_length_are_refused(path: Path) -> None:
    """HDF5 stores them elsewhere in the file and does not check their length."""
    for group, name, value in (("/", "format", "tiles"), ("sources/0000", "unit", "adu")):
        make_tiles().write(path)
        with h5py.File(path, "r+") as file:
            file[group].attrs[name] = value
        with pytest.raises(TileFileError, match=f"attribute {name} "):
            TrailTiles.read(path)


def test_several_images_are_not_one(path: Path) -> None:
    make_tiles().write(path)
    with h5py.File(path, "r+") as file:
        file.copy("sources/0000", "sources/0001")
        table = file["table"][()]
        table["source"][2], table["x0"][2], table["y0"][2] = 1, 0, 0
        file["table"][...] = table
        file["sources/0001"].attrs["unit"] = np.bytes_(b"adu")
    with TileReader(path) as reader:
        assert [reader.source(number).unit for number in (0, 1)] == ["nJy", "adu"]
        assert reader.read(2).planes.shape == (T, T)
        with pytest.raises(TileFileError, match="image number 2"):
            reader.source(2)
    with pytest.raises(TileFileError, match="2 images"):
        TrailTiles.read(path)


def test_version_1(path: Path) -> None:
    """Version 1 has neither statistics nor splits."""
    tiles = make_tiles(3)
    tiles.write(path)
    kept = ["source", "x0", "y0", "tile_class", "max_snr"]
    with h5py.File(path, "r+") as file:
        rows = file["table"][()]
        old = np.zeros(len(rows), dtype=[(name, rows.dtype[name]) for name in kept])
        for name in kept:
            old[name] = rows[name]
        del file["table"]
        file.create_dataset("table", data=old)
        file.attrs["format_version"] = 1
        del file.attrs["tile_classes"]
        del file["sources/0000"].attrs["real_sources"]
    again = TrailTiles.read(path)
    for name in kept:
        np.testing.assert_array_equal(again.table[name], tiles.table[name])
    assert np.all(again.table["split"] == -1)
    for name in ("background", "noise", "ra", "dec"):
        assert np.all(np.isnan(again.table[name]))
    assert again.source.real_sources == ""
    with TileReader(path) as reader:
        np.testing.assert_array_equal(reader.read(2).planes.image, tiles.pixels["image"][2])
    # Version 2 needs all columns.
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(TileFileError, match="column split"):
        TileReader(path)


def read_everything(path: Path) -> None:
    with TileReader(path) as reader:
        for i in range(len(reader)):
            reader.read(i)
    TrailTiles.read(path)


def test_missing_files(tmp_path: Path) -> None:
    for missing in (tmp_path / "none.h5", tmp_path):
        with pytest.raises(TileFileError, match=missing.name):
            TileReader(missing)


@given(st.binary(max_size=300), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes(tmp_path: Path, content: bytes, with_signature: bool) -> None:
    path = tmp_path / "random.h5"
    path.write_bytes((b"\x89HDF\r\n\x1a\n" if with_signature else b"") + content)
    with pytest.raises(TileFileError, match=r"random\.h5"):
        read_everything(path)


def test_truncated_files(path: Path) -> None:
    make_tiles().write(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 311):
        path.write_bytes(whole[:length])
        with pytest.raises(TileFileError, match=r"tiles\.h5"):
            read_everything(path)


@given(data=st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_bytes(tmp_path: Path, data: st.DataObject) -> None:
    """A damaged file is refused, or reads as a tile file."""
    path = tmp_path / "damaged.h5"
    make_tiles().write(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with contextlib.suppress(TileFileError):
        read_everything(path)


def test_damaged_pixels_are_found_out(path: Path) -> None:
    make_tiles(1).write(path)
    with h5py.File(path) as file:
        offset = file["image"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 40] ^= 0x10
    path.write_bytes(content)
    with TileReader(path) as reader, pytest.raises(TileFileError, match="damaged in tile 0"):
        reader.read(0)
    with pytest.raises(TileFileError, match="damaged in image"):
        TrailTiles.read(path)


def replace(name: str, **options: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **options)

    return change


def attribute(name: str, value: Any, group: str = "/") -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[group].attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value

    return change


def column(name: str, value: int) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        table = file["table"][()]
        table[name] = value
        file["table"][...] = table

    return change


def delete(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]

    return change


SOURCE = "sources/0000"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (attribute("format", "photographs"), "not of trail tiles"),
        (attribute("format", 7), "not of trail tiles"),
        (attribute("format_version", 99), "version 99"),
        (attribute("planes", '["STREAK", "BAD"]'), "mask planes"),
        (attribute("planes", "7"), "mask planes"),
        (attribute("planes", "["), "damaged"),
        (delete("mask"), "lacks mask"),
        (delete("table"), "lacks table"),
        (delete("sources"), "lacks sources"),
        (delete("sources/0000"), "image"),
        (replace("image", data=np.zeros((3, T, T + 1), dtype="f4")), "square"),
        (replace("image", data=np.zeros((3, 0, 0), dtype="f4")), "square"),
        (replace("image", data=np.zeros(5, dtype="f4")), "square"),
        (replace("image", data="text"), "image"),
        (replace("image", data=np.bytes_(b"text")), "square"),
        (replace("image", data=np.zeros((3, T, T), dtype="f8")), "float32"),
        (replace("truth", data=np.zeros((2, T, T), dtype="u1")), "truth is"),
        (replace("mask", data=h5py.Empty("u4")), "mask is"),
        (replace("table", data=np.zeros(3)), "table"),
        (replace("table", data=np.zeros(2, dtype=[("x0", "i4")])), "table"),
        (replace("table", data=np.zeros(3, dtype=[("x0", "i4")])), "no column source"),
        (column("x0", -4), "negative"),
        (column("source", -1), "negative"),
        (column("source", 12), "image 12"),
        (column("y0", 10**9), "outside its image"),
        (attribute("data_id", "{", SOURCE), "damaged in image"),
        (attribute("data_id", "[1]", SOURCE), "data_id"),
        (attribute("shape", "wide", SOURCE), "damaged"),
        (attribute("shape", [1, 2, 3], SOURCE), "damaged"),
        (replace(f"{SOURCE}/psf", data=np.zeros((5, 5))), "kernel"),
        (replace(f"{SOURCE}/psf", data=np.full((5, 5), np.nan)), "kernel"),
        (replace(f"{SOURCE}/psf", data=np.ones((4, 4))), "kernel"),
        (replace(f"{SOURCE}/psf", data="narrow"), "damaged"),
        (replace(f"{SOURCE}/background", data=np.zeros(7)), r"\(7,\) blocks"),
        (replace(f"{SOURCE}/background", data=np.zeros((0, 4))), "blocks"),
        (replace(f"{SOURCE}/catalog", data=3.0), "rows and columns"),
        (replace(f"{SOURCE}/catalog", data=np.zeros(3)), "rows and columns"),
        (attribute("units", '["x"]', f"{SOURCE}/catalog"), "damaged"),
        (delete(f"{SOURCE}/catalog"), "damaged"),
    ],
)
def test_other_layouts(path: Path, change: Callable[[h5py.File], None], message: str) -> None:
    make_tiles().write(path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(TileFileError, match=message) as caught:
        read_everything(path)
    assert "tiles.h5" in str(caught.value)


def test_groups_in_place_of_arrays(path: Path) -> None:
    make_tiles().write(path)
    with h5py.File(path, "r+") as file:
        del file["variance"]
        file.create_group("variance")
    with pytest.raises(TileFileError, match="variance"):
        TileReader(path)


@pytest.mark.parametrize("count", [10**4, 10**12])
def test_claims_of_pixels_that_are_not_there(path: Path, count: int) -> None:
    """HDF5 files of a few kilobytes can claim any number of zeros."""
    make_tiles().write(path)
    with h5py.File(path, "r+") as file:
        for name, dtype in (("image", "f4"), ("variance", "f4"), ("mask", "u4"), ("truth", "u1")):
            del file[name]
            file.create_dataset(name, shape=(count, 2048, 2048), dtype=dtype, chunks=(1, 64, 64))
        dtype = file["table"].dtype
        del file["table"]
        file.create_dataset("table", shape=(count,), dtype=dtype, chunks=(1000,))
    assert path.stat().st_size < 100_000
    with pytest.raises(TileFileError, match="image .* 10+ tiles"):
        TileReader(path)


@pytest.mark.parametrize("name", ["background", "psf", "catalog"])
def test_claims_of_parts_that_are_not_there(path: Path, name: str) -> None:
    make_tiles().write(path)
    with h5py.File(path, "r+") as file:
        dtype = file[SOURCE][name].dtype
        del file[SOURCE][name]
        shape = (10**10,) if name == "catalog" else (4095, 4095)
        file[SOURCE].create_dataset(name, shape=shape, dtype=dtype, chunks=True)
    with pytest.raises(TileFileError, match="bytes"):
        read_everything(path)
