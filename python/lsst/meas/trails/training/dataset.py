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

"""Dataset of tiles: normalized, augmented, and drawn by class."""

from __future__ import annotations

__all__ = (
    "Batch",
    "Key",
    "TileDataset",
    "TileDatasetError",
    "TileKey",
    "TrailTileDataset",
    "check_tile_size",
    "cycle",
)

import glob
import os
import resource
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from ..core.normalize import CHANNELS, network_input
from ..core.tiles.layout import TILE_CLASSES, parse_split
from ..core.tiles.parts import OpenFiles
from ..core.tiles.reader import Tile, TileReader
from .augmentation import apply_symmetry, augment_tile
from .recipe import AugmentationRecipe
from .recipe_data import HARD
from .target import tile_target

_NO_AUGMENTATION = AugmentationRecipe(symmetries=False)

# Purposes of random numbers, part of their keys: numpy pads keys with zeros, so
# that keys of different lengths may be equal.
_ORDER, _VARIATION = 1, 2


class TileDatasetError(ValueError):
    """Raised if tile files cannot be trained on; the message names the file."""


class TileKey(NamedTuple):
    """One draw of a tile; determines all of its numbers."""

    tile: int
    """Number of the tile in the dataset."""

    epoch: int
    """Number of the epoch."""

    slot: int
    """Place in the epoch; a tile may be drawn more than once."""


type Key = int | TileKey
"""Key of an item of a dataset."""

type Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Input, target and pixel weights of some tiles."""

type TileDataset = Dataset[tuple[torch.Tensor, ...]]
"""Map-style dataset of (input, target, valid)."""


class TrailTileDataset(Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Tiles from one or more files.

    Parameters
    ----------
    files
        Tile files, or glob patterns; ``#train``, ``#validation`` or ``#test`` at the end selects the tiles of
        that split.
    channels
        Input channels; see `lsst.meas.trails.core.normalize.CHANNELS`.
    seed
        Seed of order and augmentation.
    augmentation
        Variations of the tiles; by default none.
    balance
        Exponent that raises the weight of small trails; see `lsst.meas.trails.training.target.tile_target`.
    stride
        Pixels of a tile per pixel of the network's output, along each axis.
    open_files
        Maximum number of open files per process; by default a quarter of the system's limit.

    Raises
    ------
    TileDatasetError
        Raised if there are no files or tiles, tiles differ in size, or an input channel is unknown.
    TileFileError
        Raised if a file is damaged.

    Notes
    -----
    The key of an item is its number, for the tile as in its file, or a `TileKey`, for a varied tile; the same
    key always gives the same item. Every process opens files on first use, as HDF5 does not survive a fork,
    and closes the least recently used file if too many are open.
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
                    # A detector without data has a file without tiles.
                    classes.append(np.zeros(0, dtype=np.int64))
                    brightest.append(np.zeros(0, dtype=np.float32))
                    continue
                if self.tile_size not in (0, reader.tile_size):
                    raise TileDatasetError(
                        f"{name} has tiles of {reader.tile_size} pixels, and earlier files of "
                        f"{self.tile_size}; use tiles of one size."
                    )
                self.tile_size = reader.tile_size
                classes.append(np.asarray(reader.table["tile_class"], dtype=np.int64))
                brightest.append(np.asarray(reader.table["max_snr"], dtype=np.float32))
        if self.tile_size == 0:
            raise TileDatasetError(f"There are no tiles in {', '.join(self.files[:3])}.")
        check_tile_size(self.tile_size, stride)
        self.tile_class = np.concatenate(classes)
        """Class of every tile, a value of `TILE_CLASSES`, shape (n,)."""

        self.max_snr = np.concatenate(brightest)
        """Optimal SNR of the brightest trail segment in every tile, shape (n,)."""

        self._first = np.concatenate(([0], np.cumsum([len(part) for part in classes])))
        # Opening a file takes several times as long as reading a tile.
        self._open_files = open_files or max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._readers, self._process = OpenFiles[TileReader](self._open_files), os.getpid()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_readers": OpenFiles[TileReader](self._open_files)}

    def __len__(self) -> int:
        return len(self.tile_class)

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (input, target, valid), float32.

        Their shapes are (C, T, T), (1, T/s, T/s) and (1, T/s, T/s), where s is the stride.
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
        """Return an open file."""
        if self._process != os.getpid():
            # Handles of the parent process are not valid here.
            self._readers, self._process = OpenFiles(self._open_files), os.getpid()
        return self._readers.get(number, lambda number: TileReader(self.files[number]))

    def close(self) -> None:
        """Close the open files of this process."""
        if self._process == os.getpid():
            self._readers.close()
        self._readers = OpenFiles(self._open_files)

    def tile_name(self, key: Key) -> str:
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
            Fractions by class, of any sum; unnamed classes are not drawn. `None` draws every tile equally
            often.
        hard
            Tiles of the class ``hard``; see `lsst.meas.trails.training.hard_tiles.mine_hard_tiles`.
        min_snr
            Minimum SNR of the brightest trail in a tile with trails.

        Returns
        -------
        keys
            The tiles in random order. Within a class, every tile is drawn n times before any is drawn n + 1
            times.

        Raises
        ------
        TileDatasetError
            Raised if a class of the mixture has no tile, or no bright one.
        """
        rng = np.random.default_rng([self.seed, _ORDER, epoch])
        has_trail = np.isin(self.tile_class, [TILE_CLASSES[name] for name in ("missed", "found")])
        bright = ~has_trail | (self.max_snr >= min_snr)
        if not bright.any():
            raise TileDatasetError(f"No tile has a trail with an SNR of {min_snr:g}; reduce min_snr.")
        if mixture is None:
            drawn = cycle(np.flatnonzero(bright), count, rng)
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
                        f"No tile of class {name!r} has a trail with an SNR of {min_snr:g}, the maximum "
                        f"is {self.max_snr[members].max():g}; reduce min_snr."
                    )
                members = members[bright[members]]
                if wanted > 0 and len(members) == 0:
                    raise TileDatasetError(
                        f"There are no tiles of class {name!r}; remove it from the mixture or add tiles."
                    )
                parts.append(cycle(members, int(wanted), rng))
            drawn = rng.permutation(np.concatenate(parts))
        return [TileKey(int(index), epoch, slot) for slot, index in enumerate(drawn)]

    def _locate(self, index: int) -> tuple[int, int]:
        """Return the number of the file, and of the tile in the file."""
        if not 0 <= index < len(self):
            raise IndexError(f"Tile {index} does not exist; there are {len(self)} tiles.")
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        return number, index - int(self._first[number])


def _expand(files: Iterable[str | os.PathLike[str]]) -> tuple[str, ...]:
    """Return the files of names and patterns, without duplicates."""
    found: dict[str, None] = {}
    for item in files:
        path, split = parse_split(item)
        name = os.fspath(path)
        # The name of a file may contain brackets.
        names = [name] if path.exists() else sorted(glob.glob(name, recursive=True))
        if not names:
            raise TileDatasetError(f"{name}: the tile file does not exist.")
        found.update(dict.fromkeys(name if split is None else f"{name}#{split}" for name in names))
    if not found:
        raise TileDatasetError("There are no tile files; name at least one.")
    return tuple(found)


def check_tile_size(size: int, stride: int) -> None:
    """Check that tiles have whole pixels of the output.

    Parameters
    ----------
    size
        Side of the tiles, pixels.
    stride
        Input pixels per output pixel along a side.

    Raises
    ------
    TileDatasetError
        Raised if the side is not a multiple of the stride.
    """
    if size % stride != 0:
        raise TileDatasetError(f"Tiles have {size} pixels; use a multiple of the output stride, {stride}.")


def cycle(members: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return consecutive random permutations, cut to a length.

    Parameters
    ----------
    members
        Numbers to permute.
    count
        Length of the result.
    rng
        Random numbers.
    """
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    rounds = [rng.permutation(members) for _ in range(-(-count // len(members)))]
    return np.concatenate(rounds)[:count]
