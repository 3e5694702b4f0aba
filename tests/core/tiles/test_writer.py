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
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import astropy.table
import astropy.units as u
import h5py
import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.injection.truth import truth_table
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.tiles.layout import TileSource
from lsst.meas.trails.core.tiles.writer import TrailTiles

from support.tiles import TILE_SIZE as T
from support.tiles import make_tiles


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiles.h5"


@pytest.mark.parametrize("count", [0, 1, 5])
def test_round_trip(path: Path, count: int) -> None:
    tiles = make_tiles(count)
    tiles.write(path)
    again = TrailTiles.read(path)
    assert len(again) == count
    np.testing.assert_array_equal(again.table, tiles.table)
    assert list(again.pixels) == ["image", "variance", "mask", "truth"]
    for name, values in tiles.pixels.items():
        # NaN pixels included.
        np.testing.assert_array_equal(again.pixels[name], values)
        assert again.pixels[name].dtype == values.dtype
    for field in dataclasses.fields(TileSource):
        value, expected = getattr(again.source, field.name), getattr(tiles.source, field.name)
        if field.name == "psf_kernel":
            # Normalized, within rounding.
            np.testing.assert_allclose(value, expected, rtol=1e-12)
        else:
            assert value == expected
    np.testing.assert_array_equal(again.background.values, tiles.background.values)
    assert (again.background.shape, again.background.block) == ((40, 50), 20)
    assert os.listdir(path.parent) == ["tiles.h5"]


def test_catalog_keeps_types_texts_and_units(path: Path) -> None:
    catalog = astropy.table.Table(
        {
            "injection_id": np.array([0, 1], dtype=np.int64),
            "source_type": ["Trail", "Étoile ★"],
            "band": ["", ""],
            "mag": np.array([20.0, np.nan], dtype=np.float32) * u.ABmag,
            "rate": [0.5, 1.0] * (u.deg / u.day),
            "found": [True, False],
            "ends": [[1.0, 2.0], [3.0, 4.0]],
        }
    )
    make_tiles(catalog=catalog).write(path)
    again = TrailTiles.read(path).catalog
    assert again.colnames == catalog.colnames
    for name in catalog.colnames:
        np.testing.assert_array_equal(np.asarray(again[name]), np.asarray(catalog[name]))
        assert again[name].unit == catalog[name].unit
        assert again[name].dtype.kind == catalog[name].dtype.kind


def test_truth_tables(path: Path) -> None:
    planes = ImagePlanes(
        image=np.zeros((40, 50), dtype=np.float32),
        variance=np.ones((40, 50), dtype=np.float32),
        mask=np.zeros((40, 50), dtype=np.uint32),
        psf=PsfGrid.gaussian(4.0),
    )
    for trails in (Trails(*np.array([[20.0, 20.0, 10.0, 30.0, 100.0]]).T), Trails.empty()):
        catalog = truth_table(planes, trails)
        make_tiles(catalog=catalog).write(path)
        again = TrailTiles.read(path).catalog
        assert again.colnames == catalog.colnames
        assert len(again) == len(trails)
        for name in catalog.colnames:
            np.testing.assert_array_equal(again[name], catalog[name])
            assert again[name].unit == catalog[name].unit
            # Texts are read with their smallest width.
            assert catalog[name].dtype.kind == "U" or again[name].dtype == catalog[name].dtype


def test_no_catalog(path: Path) -> None:
    make_tiles(catalog=astropy.table.Table()).write(path)
    assert TrailTiles.read(path).catalog.colnames == []


def test_a_source_with_few_values(path: Path) -> None:
    source = TileSource(data_id={}, shape=(40, 50), psf_kernel=PsfGrid.gaussian(4.0, 15).mean_kernel)
    dataclasses.replace(make_tiles(), source=source).write(path)
    again = TrailTiles.read(path).source
    assert (again.data_id, again.wcs, again.config, again.unit) == ({}, "", {}, "nJy")


def test_pixels_are_compressed_a_tile_at_a_time(path: Path) -> None:
    make_tiles(5).write(path)
    with h5py.File(path) as file:
        assert file["image"].chunks == (1, T, T)
        assert file["image"].compression == "lzf"
        assert file["image"].fletcher32


@pytest.mark.process
def test_h5py_alone_can_read_it(path: Path) -> None:
    tiles = make_tiles(3)
    tiles.write(path)
    code = f"""
import json, sys, h5py
with h5py.File({str(path)!r}) as file:
    bit = json.loads(file.attrs["planes"]).index("STREAK")
    classes = json.loads(file.attrs["tile_classes"])
    print(int((file["mask"][1] >> bit & 1).sum()), float(file["image"][1, 0, 0]))
    print(classes["source"], list(file["table"]["tile_class"]), file["table"]["ra"][2])
    group = file["sources/0000"]
    print(json.loads(group.attrs["data_id"])["visit"], group["catalog"]["x"][1], group.attrs["wcs"].decode())
    assert not [name for name in sys.modules if name.startswith("lsst")]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    streak = int(np.count_nonzero(tiles.pixels["mask"][1] & plane_bits(["STREAK"])))
    assert done.stdout.splitlines() == [
        f"{streak} {float(tiles.pixels['image'][1, 0, 0])}",
        "3 [np.int16(0), np.int16(1), np.int16(2)] 12.0",
        "2026101100001 20.0 CTYPE1  = 'RA---TAN'",
    ]


def test_a_full_disk_leaves_nothing_behind(path: Path) -> None:
    """A limit on the size of files fails in the same way."""
    tiles = make_tiles(20)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            tiles.write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(path.parent) == []


def test_a_failure_keeps_the_file_that_was_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiles(2).write(path)

    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="No space"):
            make_tiles(5).write(path)
    assert os.listdir(path.parent) == ["tiles.h5"]
    assert len(TrailTiles.read(path)) == 2
    # It is replaced if nothing fails.
    make_tiles(5).write(path)
    assert len(TrailTiles.read(path)) == 5


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        make_tiles().write(tmp_path / "none" / "tiles.h5")
