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

"""Tiles as a torch dataset: normalized, varied, and drawn by class."""

from __future__ import annotations

__all__ = ("TileDatasetError", "TileKey", "TrailTileDataset")

import glob
import os
import resource
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from ..core.normalize import CHANNELS, network_input
from ..core.tiles.layout import TILE_CLASSES, parse_split
from ..core.tiles.reader import Tile, TileReader
from .augmentation import apply_symmetry, augment_tile
from .recipe import AugmentationRecipe
from .recipe_data import HARD
from .target import tile_target

_NO_AUGMENTATION = AugmentationRecipe(symmetries=False)

# What random numbers are for is part of their key: numpy fills a short key up
# with zeros, so that those of different length alone are not always different.
_ORDER, _VARIATION = 1, 2


class TileDatasetError(ValueError):
    """Tile files that cannot be trained on; the message names the file."""


class TileKey(NamedTuple):
    """A tile as it is drawn once: what decides every one of its numbers."""

    tile: int
    """Number of the tile in the dataset."""

    epoch: int
    """Number of the epoch."""

    slot: int
    """Place in the epoch; a tile may be drawn more than once."""


class TrailTileDataset(Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Tiles from one or many files.

    Parameters
    ----------
    files
        Tile files, or glob patterns; with ``#train``, ``#validation`` or
        ``#test`` at the end the tiles of that split.
    channels
        Input channels; see `lsst.meas.trails.core.normalize.CHANNELS`.
    seed
        Seed of order and augmentation.
    augmentation
        How tiles are varied; by default not at all.
    balance
        How far trails count equally whatever their size; see
        `lsst.meas.trails.training.target.tile_target`.
    stride
        Pixels of a tile per pixel of the network's output, along each axis.
    open_files
        Files that are kept open at a time, in every process; by default as
        many as leave three quarters of what the system allows to others.

    Raises
    ------
    TileDatasetError
        Raised if there are no files, or their tiles differ in size, or an
        input channel is unknown.
    TileFileError
        Raised if a file is damaged.

    Notes
    -----
    An item is asked for by its number, and is then as it is in the file, or
    by a `TileKey`, and is then varied; in both cases it is always the same.
    Files are opened where they are first read, in every process for itself:
    HDF5 does not survive a fork.  There may be more of them than a process
    may have open: the one not read for longest is closed for the next.
    """

    def __init__(
        self,
        files: Iterable[str | os.PathLike[str]],
        channels: Sequence[str],
        *,
        seed: int = 0,
        augmentation: AugmentationRecipe = _NO_AUGMENTATION,
        balance: float = 0.0,
        stride: int = 2,
        open_files: int | None = None,
    ) -> None:
        if unknown := [name for name in channels if name not in CHANNELS]:
            raise TileDatasetError(f"Unknown input channels {unknown}; known are {', '.join(CHANNELS)}.")
        self.files = _expand(files)
        self.channels = tuple(channels)
        self.seed = seed
        self.augmentation = augmentation
        self.balance = balance
        self.stride = stride
        self.tile_size = 0
        classes, brightest = [], []
        for name in self.files:
            with TileReader(name) as reader:
                if len(reader) == 0:
                    # A detector without data gives a file without tiles.
                    classes.append(np.zeros(0, dtype=np.int64))
                    brightest.append(np.zeros(0, dtype=np.float32))
                    continue
                if self.tile_size not in (0, reader.tile_size):
                    raise TileDatasetError(
                        f"{name} has tiles of {reader.tile_size} pixels, the files before it of "
                        f"{self.tile_size}: they cannot be trained on together."
                    )
                self.tile_size = reader.tile_size
                classes.append(np.asarray(reader.table["tile_class"], dtype=np.int64))
                brightest.append(np.asarray(reader.table["max_snr"], dtype=np.float32))
        if self.tile_size == 0:
            raise TileDatasetError(f"There is not a single tile in {', '.join(self.files[:3])}.")
        if self.tile_size % stride != 0:
            raise TileDatasetError(
                f"Tiles of {self.tile_size} pixels do not suit a network with an output pixel per {stride}: "
                f"cut tiles whose side is a multiple of {stride}."
            )
        self.tile_class = np.concatenate(classes)
        """Class of every tile, a value of `TILE_CLASSES` (array, (n,))."""

        self.max_snr = np.concatenate(brightest)
        """Optimal SNR of the brightest part of a trail in every tile (array,
        (n,)).
        """

        self._first = np.concatenate(([0], np.cumsum([len(part) for part in classes])))
        # In the order in which they were last used.
        self._readers: dict[int, TileReader] = {}
        # To open a file takes several times as long as to read a tile of it.
        self._open_files = open_files or max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}}

    def __len__(self) -> int:
        return len(self.tile_class)

    def __getitem__(self, key: int | TileKey) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (input, target, valid), float32, shapes (C, T, T),
        (1, T/s, T/s) and (1, T/s, T/s), where s is the stride.
        """
        index = key.tile if isinstance(key, TileKey) else int(key)
        tile = self.read(index)
        if isinstance(key, TileKey):
            rng = np.random.default_rng([self.seed, _VARIATION, key.epoch, key.slot])
            tile = augment_tile(tile, self.augmentation, rng)
            symmetry = int(rng.integers(8)) if self.augmentation.symmetries else 0
        else:
            symmetry = 0
        channels = network_input(tile.planes, tile.background, self.channels)
        target, valid = tile_target(tile, self.balance, self.stride)
        arrays = (apply_symmetry(array, symmetry) for array in (channels, target[None], valid[None]))
        inputs, targets, weights = (torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
        return inputs, targets, weights

    def read(self, index: int) -> Tile:
        """Return a tile as it is in its file."""
        number, local = self._locate(index)
        return self._reader(number).read(local)

    def _reader(self, number: int) -> TileReader:
        """Return a file, opened if it is not."""
        if self._process != os.getpid():
            # Handles of the parent process are not for use here.
            self._readers, self._process = {}, os.getpid()
        reader = self._readers.pop(number, None)
        if reader is None:
            while len(self._readers) >= self._open_files:
                self._readers.pop(next(iter(self._readers))).close()
            reader = TileReader(self.files[number])
        self._readers[number] = reader
        return reader

    def close(self) -> None:
        """Close the files that this process has open."""
        if self._process == os.getpid():
            for reader in self._readers.values():
                reader.close()
        self._readers = {}

    def tile_name(self, key: int | TileKey) -> str:
        """Return the file and number of a tile, for messages."""
        number, local = self._locate(key.tile if isinstance(key, TileKey) else int(key))
        return f"{self.files[number]}, tile {local}"

    def draw(
        self,
        count: int,
        *,
        epoch: int,
        mixture: Mapping[str, float] | None = None,
        hard: Sequence[int] = (),
        min_snr: float = 0.0,
    ) -> list[TileKey]:
        """Draw the tiles of an epoch.

        Parameters
        ----------
        count
            Number of tiles.
        epoch
            Number of the epoch.
        mixture
            Fractions by class, of any sum; classes that are not named are
            left out.  `None` draws every tile equally often.
        hard
            Tiles of the class ``hard``; see
            `lsst.meas.trails.training.hard_tiles.mine_hard_tiles`.
        min_snr
            Least SNR of the brightest trail in a tile with trails.

        Returns
        -------
        keys
            The tiles in random order.  Within a class each is drawn n times
            before any is drawn n + 1 times.

        Raises
        ------
        TileDatasetError
            Raised if a class is asked for of which there is no tile, or none
            that is bright enough.
        """
        rng = np.random.default_rng([self.seed, _ORDER, epoch])
        has_trail = np.isin(self.tile_class, [TILE_CLASSES[name] for name in ("missed", "found")])
        bright = ~has_trail | (self.max_snr >= min_snr)
        if not bright.any():
            raise TileDatasetError(f"There is no tile with a trail of an SNR of {min_snr:g}.")
        if mixture is None:
            drawn = _cycle(np.flatnonzero(bright), count, rng)
        else:
            total = sum(mixture.values())
            edges = np.round(np.cumsum([0.0, *mixture.values()]) / total * count).astype(int)
            parts = []
            for name, wanted in zip(mixture, np.diff(edges), strict=True):
                if name == HARD:
                    members = np.asarray(hard, dtype=np.int64)
                else:
                    members = np.flatnonzero(self.tile_class == TILE_CLASSES[name])
                if wanted > 0 and len(members) > 0 and not bright[members].any():
                    raise TileDatasetError(
                        f"There is no tile of class {name!r} with a trail of an SNR of {min_snr:g}; the "
                        f"brightest has {self.max_snr[members].max():g}."
                    )
                members = members[bright[members]]
                if wanted > 0 and len(members) == 0:
                    raise TileDatasetError(
                        f"The mixture asks for tiles of class {name!r}, of which there is none; "
                        "leave it out or add tiles."
                    )
                parts.append(_cycle(members, int(wanted), rng))
            drawn = rng.permutation(np.concatenate(parts))
        return [TileKey(int(index), epoch, slot) for slot, index in enumerate(drawn)]

    def _locate(self, index: int) -> tuple[int, int]:
        """Return the number of the file and of the tile in it."""
        if not 0 <= index < len(self):
            raise IndexError(f"There is no tile {index}; there are {len(self)}.")
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        return number, index - int(self._first[number])


def _expand(files: Iterable[str | os.PathLike[str]]) -> tuple[str, ...]:
    """Return the files that names and patterns stand for, each once."""
    found: dict[str, None] = {}
    for item in files:
        path, split = parse_split(item)
        name = os.fspath(path)
        # A file may itself have brackets in its name.
        names = [name] if path.exists() else sorted(glob.glob(name, recursive=True))
        if not names:
            raise TileDatasetError(f"There is no tile file {name}.")
        found.update(dict.fromkeys(name if split is None else f"{name}#{split}" for name in names))
    if not found:
        raise TileDatasetError("No tile files are given.")
    return tuple(found)


def _cycle(members: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return random permutations one after the other, cut at a length."""
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    rounds = [rng.permutation(members) for _ in range(-(-count // len(members)))]
    return np.concatenate(rounds)[:count]
