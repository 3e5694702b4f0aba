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

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lsst.meas.trails.core.tiles.layout import TILE_CLASSES, TileFileError
from lsst.meas.trails.core.tiles.reader import TileReader
from lsst.meas.trails.training.dataset import TileDatasetError, TileKey, TrailTileDataset
from lsst.meas.trails.training.recipe import AugmentationRecipe

CHANNELS = ("science", "bad")
STRONG = AugmentationRecipe(noise=1.0, gradient=5.0, masked_columns=1.0)


def test_items(make_tiles: Callable[..., Path]) -> None:
    path = make_tiles(count=4, size=32)
    dataset = TrailTileDataset([path], CHANNELS)
    assert len(dataset) == 4
    inputs, target, valid = dataset[0]
    assert inputs.shape == (2, 32, 32)
    assert target.shape == valid.shape == (1, 16, 16)
    assert {inputs.dtype, target.dtype, valid.dtype} == {torch.float32}
    with TileReader(path) as reader:
        truth = reader.read(0).truth
    expected = truth.reshape(16, 2, 16, 2).max(axis=(1, 3))
    np.testing.assert_array_equal(target[0].numpy(), expected)
    assert bool((valid == 1.0).all())
    # The line is at 8 sigma, compressed: 5 asinh(8 / 5).
    on = torch.from_numpy(truth == 1)
    assert inputs[0][on].mean().item() == pytest.approx(5.0 * np.arcsinh(8.0 / 5.0), abs=0.5)
    assert inputs[0][~on].mean().item() == pytest.approx(0.0, abs=0.2)
    assert dataset[1][1].sum() == 0.0
    dataset.close()


def test_items_are_decided_by_their_key(make_tiles: Callable[..., Path]) -> None:
    path = make_tiles()
    first = TrailTileDataset([path], CHANNELS, seed=3, augmentation=STRONG)
    second = TrailTileDataset([path], CHANNELS, seed=3, augmentation=STRONG)
    for key in (TileKey(0, 0, 0), TileKey(2, 1, 5)):
        # Whatever was read before.
        second[TileKey(4, 9, 9)]
        for a, b in zip(first[key], second[key], strict=True):
            assert torch.equal(a, b)
    base = first[TileKey(0, 0, 0)][0]
    other_seed = TrailTileDataset([path], CHANNELS, seed=4, augmentation=STRONG)
    assert not torch.equal(base, first[TileKey(0, 1, 0)][0])
    assert not torch.equal(base, first[TileKey(0, 0, 1)][0])
    assert not torch.equal(base, other_seed[TileKey(0, 0, 0)][0])


def test_draws(make_tiles: Callable[..., Path]) -> None:
    dataset = TrailTileDataset([make_tiles(count=10)], CHANNELS, seed=1)
    keys = dataset.draw(10, epoch=0)
    assert sorted(key.tile for key in keys) == list(range(10))
    assert [key.slot for key in keys] == list(range(10))
    assert keys == dataset.draw(10, epoch=0)
    assert [key.tile for key in keys] != [key.tile for key in dataset.draw(10, epoch=1)]

    # 5 tiles of each class.
    drawn = np.array([key.tile for key in dataset.draw(40, epoch=2, mixture={"missed": 3, "empty": 1})])
    trail = dataset.tile_class[drawn] == TILE_CLASSES["missed"]
    assert trail.sum() == 30
    counts = np.bincount(drawn, minlength=10)
    np.testing.assert_array_equal(counts[0::2], 6)
    np.testing.assert_array_equal(counts[1::2], 2)
    with pytest.raises(TileDatasetError, match="class 'found'"):
        dataset.draw(4, epoch=0, mixture={"found": 1.0})


def test_bright_tiles_first(make_tiles: Callable[..., Path]) -> None:
    path = make_tiles(count=10)
    with h5py.File(path, "r+") as file:
        table = file["table"][:]
        table["max_snr"][0::2] = [3.0, 6.0, 9.0, 12.0, 15.0]
        file["table"][:] = table
    dataset = TrailTileDataset([path], CHANNELS, seed=1)
    empty = [1, 3, 5, 7, 9]

    def tiles(**options: Any) -> list[int]:
        return sorted({key.tile for key in dataset.draw(20, epoch=0, **options)})

    assert tiles(min_snr=10.0) == sorted([*empty, 6, 8])
    assert tiles(min_snr=10.0, mixture={"missed": 1}) == [6, 8]
    assert tiles(min_snr=10.0, mixture={"hard": 1}, hard=[0, 1, 6]) == [1, 6]
    with pytest.raises(TileDatasetError, match="'missed' .* 16, .* 15"):
        tiles(min_snr=16.0, mixture={"missed": 1})
    assert tiles(min_snr=16.0) == empty


def test_many_files_by_pattern_and_their_names(make_tiles: Callable[..., Path], tmp_path: Path) -> None:
    make_tiles("a.h5", count=4, seed=1)
    make_tiles("b.h5", count=2, seed=2)
    make_tiles("c.h5", count=0)
    dataset = TrailTileDataset([tmp_path / "*.h5", tmp_path / "a.h5"], CHANNELS)
    assert [Path(name).name for name in dataset.files] == ["a.h5", "b.h5", "c.h5"]
    assert len(dataset) == 6
    assert dataset.tile_name(5) == f"{tmp_path / 'b.h5'}, tile 1"
    assert dataset.tile_name(TileKey(3, 0, 0)).endswith("a.h5, tile 3")
    assert torch.equal(dataset[5][0], TrailTileDataset([tmp_path / "b.h5"], CHANNELS)[1][0])
    with pytest.raises(IndexError):
        dataset[6]


@pytest.mark.process
def test_workers_and_pickles_open_files_for_themselves(make_tiles: Callable[..., Path]) -> None:
    dataset = TrailTileDataset([make_tiles(count=6)], CHANNELS)
    expected = torch.stack([dataset[i][0] for i in range(6)])
    loader = DataLoader(dataset, batch_size=3, num_workers=1)
    assert torch.equal(torch.cat([inputs for inputs, _, _ in loader]), expected)
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[5][0], expected[5])


def test_few_files_are_open_at_a_time(make_tiles: Callable[..., Path]) -> None:
    files = [make_tiles(f"{i}.h5", count=2, seed=i) for i in range(6)]
    dataset = TrailTileDataset(files, CHANNELS, open_files=3)
    assert _open_files() == set()
    images = [dataset.read(2 * i).planes.image for i in range(6)]
    assert _open_files() == {"3.h5", "4.h5", "5.h5"}
    # What was read last is closed last.
    dataset.read(2 * 3)
    dataset.read(2 * 0)
    assert _open_files() == {"5.h5", "3.h5", "0.h5"}
    for i in (5, 1, 4, 0, 2, 3):
        np.testing.assert_array_equal(dataset.read(2 * i).planes.image, images[i])
        assert len(_open_files()) == 3
    dataset.close()
    assert _open_files() == set()


def _open_files() -> set[str]:
    """Return the names of the HDF5 files that are open in this process."""
    found = h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE)
    return {Path(h5py.h5f.get_name(file).decode()).name for file in found}


def test_no_random_numbers_are_used_twice(
    make_tiles: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = TrailTileDataset([make_tiles()], CHANNELS, seed=3, augmentation=STRONG)
    keys = []
    make = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda key: keys.append(key) or make(key))
    for epoch in (0, 1, 2):
        dataset.draw(4, epoch=epoch)
        for slot in (0, 1, 2):
            dataset[TileKey(0, epoch, slot)]
    states = {tuple(np.random.SeedSequence(key).generate_state(4)) for key in keys}
    assert len(states) == len(keys) == 3 * (1 + 3)


def test_refuses(make_tiles: Callable[..., Path], tmp_path: Path) -> None:
    good = make_tiles("good.h5", size=32)
    with pytest.raises(TileDatasetError, match=r"nothing-\*\.h5"):
        TrailTileDataset([tmp_path / "nothing-*.h5"], CHANNELS)
    with pytest.raises(TileDatasetError, match="no tile files"):
        TrailTileDataset([], CHANNELS)
    with pytest.raises(TileDatasetError, match="channels"):
        TrailTileDataset([good], ("science", "color"))
    with pytest.raises(TileDatasetError, match="64 .* 32"):
        TrailTileDataset([good, make_tiles("large.h5", size=64)], CHANNELS)
    with pytest.raises(TileDatasetError, match="no tiles"):
        TrailTileDataset([make_tiles("empty.h5", count=0)], CHANNELS)
    cut = tmp_path / "cut.h5"
    shutil.copy(good, cut)
    with cut.open("r+b") as stream:
        stream.truncate(3000)
    with pytest.raises(TileFileError, match="cut.h5"):
        TrailTileDataset([cut], CHANNELS)
