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
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from lsst.meas.trails.core.background import BackgroundMesh
from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.injection.truth import truth_table
from lsst.meas.trails.core.planes import ImagePlanes, PixelPlane
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.tiles import reader
from lsst.meas.trails.core.tiles.cut import cut_tiles
from lsst.meas.trails.core.tiles.join import list_images, split_images, write_tile_set
from lsst.meas.trails.core.tiles.layout import (
    TILE_DATASETS,
    TileSource,
    decode_text,
    encode_text,
    parse_split,
)
from lsst.meas.trails.core.tiles.reader import TileReader
from lsst.meas.trails.core.tiles.writer import TrailTiles

SIZE = 32


@dataclasses.dataclass(frozen=True, eq=False)
class WidePlanes(ImagePlanes):
    """An image with one more plane."""

    exposures: npt.NDArray[np.uint16] | None = dataclasses.field(
        default=None, metadata={"plane": PixelPlane(np.uint16, fill=9, optional=True)}
    )


def make_tiles(visit: int, with_exposures: bool) -> TrailTiles:
    """Cut an image of 20 x 40 pixels into two tiles."""
    shape = (20, 40)
    planes = WidePlanes(
        image=np.zeros(shape, dtype=np.float32),
        variance=np.ones(shape, dtype=np.float32),
        mask=np.zeros(shape, dtype=np.uint32),
        psf=PsfGrid.gaussian(4.0, 15),
        exposures=np.arange(800, dtype=np.uint16).reshape(shape) if with_exposures else None,
    )
    return cut_tiles(
        planes,
        BackgroundMesh(values=np.zeros((1, 1), dtype=np.float32), shape=shape),
        np.zeros(shape, dtype=np.uint8),
        truth_table(planes, Trails.empty()),
        TileSource(data_id={"visit": visit}, shape=shape, psf_kernel=planes.psf.mean_kernel),
        size=SIZE,
        empty_fraction=1.0,
        rng=np.random.default_rng(1),
    )


@pytest.mark.parametrize("virtual", [False, True])
def test_a_new_plane_needs_no_other_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, virtual: bool
) -> None:
    monkeypatch.setitem(TILE_DATASETS, "exposures", WidePlanes.table()["exposures"])
    monkeypatch.setattr(reader, "ImagePlanes", WidePlanes)
    paths = [tmp_path / "with.h5", tmp_path / "without.h5"]
    for visit, path in enumerate(paths):
        make_tiles(visit, visit == 0).write(path)
    expected = np.full((SIZE, SIZE), 9)
    expected[:20] = np.arange(800).reshape(20, 40)[:, 8:]
    with TileReader(paths[0]) as tiles:
        assert tiles.datasets == ("image", "variance", "mask", "truth", "exposures")
        assert tiles.pixels("exposures").dtype == np.uint16
        np.testing.assert_array_equal(tiles.read(1).planes.arrays()["exposures"], expected)
    with TileReader(paths[1]) as tiles:
        assert "exposures" not in tiles.datasets
    joined = tmp_path / "joined.h5"
    write_tile_set(split_images(list(list_images(paths)), {"train": 1.0}), joined, virtual=virtual)
    with TileReader(joined) as tiles:
        np.testing.assert_array_equal(tiles.read(1).planes.arrays()["exposures"], expected)
        assert np.all(tiles.read(3).planes.arrays()["exposures"] == 9)
        assert np.all(tiles.pixels("exposures")[2:] == 9)


def test_names_of_splits(tmp_path: Path) -> None:
    assert parse_split("a/b.h5#test") == (Path("a/b.h5"), "test")
    for name in ("a/b.h5", "a/b.h5#other", "#train", "a#train/b.h5"):
        assert parse_split(name) == (Path(name), None)
    (tmp_path / "b.h5#test").touch()
    assert parse_split(tmp_path / "b.h5#test") == (tmp_path / "b.h5#test", None)


@pytest.mark.parametrize("text", ["", "nJy", "Étoile ★"])
def test_texts_are_of_fixed_length(tmp_path: Path, text: str) -> None:
    with h5py.File(tmp_path / "text.h5", "w") as file:
        file.attrs["text"] = encode_text(text)
        assert not file.attrs.get_id("text").dtype.hasobject
        assert decode_text(file.attrs["text"]) == text
