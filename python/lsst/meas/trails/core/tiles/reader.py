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

"""Reading tile files, one tile at a time."""

from __future__ import annotations

__all__ = ("Tile", "TileReader")

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from typing import Any

import astropy.table
import h5py
import numpy as np
import numpy.typing as npt

from ..background import BLOCK, BackgroundMesh
from ..hdf5 import explain_open_error, has_hard_links, is_stored, read_attribute, unsafe_storage
from ..planes import MASK_PLANES, ImagePlanes, pad_array
from ..psf import PsfGrid
from .layout import (
    FORMAT,
    READABLE_VERSIONS,
    SPLITS,
    TABLE_DTYPE,
    TILE_DATASETS,
    TileFileError,
    TileSource,
    decode_text,
    empty_table,
    parse_split,
    required_columns,
)
from .parts import OpenFiles, read_parts

_MAX_TILE_SIZE = 4096
_OPEN_PARTS = 64
"""Largest number of files that a file of virtual datasets keeps open."""

_MAX_BLOCKS = 4096
"""Largest number of blocks of a background along one axis."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """One tile, ready to be normalized."""

    planes: ImagePlanes
    """Pixels and PSF of the tile."""

    background: npt.NDArray[np.float32]
    """Background level of the image on the tile, shape (t, t)."""

    truth: npt.NDArray[np.uint8]
    """1 on trails, 0 elsewhere, 2 where the loss ignores pixels, (t, t)."""


class TileReader(contextlib.AbstractContextManager["TileReader"]):
    """Reader of a tile file.

    Parameters
    ----------
    path
        The HDF5 file; ``FILE#train``, ``FILE#validation`` or ``FILE#test`` selects the tiles of that split.
        Every process needs a reader of its own.

    Raises
    ------
    TileFileError
        Raised if the file is missing, damaged, or not a tile file; the message has its name.
    """

    table: npt.NDArray[np.void]
    """One row per tile, with the columns of `~lsst.meas.trails.core.tiles.layout.TABLE_DTYPE`."""

    format_version: int
    """Version of the layout."""

    tile_size: int
    """Side of the tiles, pixels."""

    source_count: int
    """Number of images that the tiles were cut from."""

    datasets: tuple[str, ...]
    """Names of the datasets of pixels in the file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, split = parse_split(path)
        if not self.path.is_file():
            raise TileFileError(f"{self.path} does not exist.")
        with self._guarded("cannot be opened as an HDF5 file"):
            # A chunk is a tile, read whole: caching chunks would only use
            # memory, a megabyte for each dataset of each file of a training.
            self._file = h5py.File(self.path, "r", rdcc_nbytes=0)
        try:
            with self._guarded("is damaged"):
                self._check()
        except BaseException:
            self._file.close()
            raise
        # All tiles of the file, and the numbers of the selected ones.
        self._table = self.table
        self._rows = np.arange(len(self._table))
        if split is not None:
            self._rows = np.flatnonzero(self._table["split"] == SPLITS[split])
            self.table = self._table[self._rows]
        self._sources: dict[int, tuple[BackgroundMesh, PsfGrid]] = {}
        self._open_parts = OpenFiles[TileReader](_OPEN_PARTS)

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.table)

    def close(self) -> None:
        """Close the file, and the files that it points to."""
        self._file.close()
        self._open_parts.close()

    @contextlib.contextmanager
    def _guarded(self, problem: str) -> Iterator[None]:
        """Convert all errors of reading to errors that name the file.

        For a damaged file HDF5 raises OSError, RuntimeError, KeyError, ... .
        """
        try:
            yield
        except TileFileError:
            raise
        except Exception as error:
            raise TileFileError(f"{self.path} {problem}: {explain_open_error(error)}") from error

    def _require(self, condition: object, problem: str) -> None:
        if not condition:
            raise TileFileError(f"{self.path}: {problem}.")

    def _check(self) -> None:
        """Check everything but the pixels."""
        found = decode_text(read_attribute(self._file, "format"))
        self._require(found == FORMAT, f"an HDF5 file, but not of trail tiles (format {FORMAT!r})")
        version = read_attribute(self._file, "format_version")
        self._require(
            version in READABLE_VERSIONS,
            f"version {version} of the tile format; this package reads versions {READABLE_VERSIONS}",
        )
        self.format_version = int(version)
        masks = json.loads(decode_text(read_attribute(self._file, "planes", "null")))
        known = isinstance(masks, list) and masks == list(MASK_PLANES[: len(masks)])
        self._require(known, f"its mask planes differ from MASK_PLANES: {masks}")
        names = set(self._file)
        required = [name for name, plane in TILE_DATASETS.items() if not plane.optional]
        missing = [name for name in (*required, "table", "sources") if name not in names]
        self._require(not missing, f"it lacks {', '.join(missing)}")
        self.datasets = tuple(name for name in TILE_DATASETS if name in names)
        self._parts = read_parts(self._dataset("image"), self.path)
        shape = self._dataset("image").shape
        self._require(
            len(shape) == 3 and shape[1] == shape[2] and 0 < shape[1] <= _MAX_TILE_SIZE,
            f"the tiles have shape {shape[1:]}; they must be squares of at most {_MAX_TILE_SIZE} pixels",
        )
        self.tile_size = int(shape[1])
        linked = has_hard_links(self._file, "sources")
        is_group = linked and isinstance(self._file["sources"], h5py.Group)
        self._require(is_group, "sources is not a group of images")
        self.source_count = len(self._file["sources"])
        # Looking datasets up takes as long as reading a tile.
        self._pixels = {name: self._check_pixels(name, shape) for name in self.datasets}
        self._check_table(shape[0])

    def _check_pixels(self, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
        dataset, dtype = self._dataset(name), np.dtype(TILE_DATASETS[name].dtype)
        alike = dataset.is_virtual == self.is_virtual
        self._require(alike, "some datasets are in the file, others in other files")
        self._require(
            dataset.shape == shape and dataset.dtype == dtype,
            f"{name} is {dataset.dtype} {dataset.shape}, expected {dtype} {shape}",
        )
        stored = dataset.is_virtual or is_stored(dataset)
        self._require(stored, f"{name} does not have the {shape[0]} tiles that it claims")
        return dataset

    def _check_table(self, count: int) -> None:
        table = self._dataset("table")
        names = table.dtype.names
        self._require(
            table.shape == (count,) and names is not None, "the table does not have one row per tile"
        )
        columns = required_columns(self.format_version)
        for name in columns:
            dtype = TABLE_DTYPE[name]
            self._require(
                name in names and table.dtype[name] == dtype, f"the table has no column {name} of {dtype}"
            )
        rows = self._small(table)
        self.table = empty_table(len(rows))
        for name in columns:
            self.table[name] = rows[name]
        negative = any(np.any(self.table[name] < 0) for name in ("source", "x0", "y0"))
        self._require(not negative, "the table has tiles that start at negative coordinates")
        last = int(self.table["source"].max(initial=-1))
        self._require(last < self.source_count, f"the table has tiles of image {last}, which does not exist")

    def _dataset(self, name: str) -> h5py.Dataset:
        # Pixels may be in other files; these are read, after checks.
        problem = unsafe_storage(self._file, name, virtual=name in self.datasets)
        self._require(problem is None, f"{name} {problem}")
        return self._file[name]

    def _small(self, dataset: h5py.Dataset) -> npt.NDArray[Any]:
        """Read a dataset other than pixels.

        It is not compressed, so it cannot be larger than the file.
        """
        fits = dataset.nbytes <= self.path.stat().st_size
        self._require(fits, f"{dataset.name} claims more bytes than the file has")
        return np.asarray(dataset[()])

    def manifest(self) -> dict[str, Any] | None:
        """Return the manifest of a file that joins others, if it has one."""
        if "manifest" not in set(self._file):
            return None
        with self._guarded("is damaged in its manifest"):
            manifest = json.loads(decode_text(self._small(self._dataset("manifest"))[()]))
            self._require(isinstance(manifest, dict), "its manifest is not a mapping")
            return dict(manifest)

    def source(self, number: int) -> TileSource:
        """Return the description of an image in the file."""
        with self._guarded(f"is damaged in image number {number}"):
            group = self._group(number)
            unit, wcs = (decode_text(read_attribute(group, name)) for name in ("unit", "wcs"))
            mappings = {}
            for name in ("data_id", "config"):
                mappings[name] = json.loads(decode_text(read_attribute(group, name)))
                self._require(isinstance(mappings[name], dict), f"{name} of image {number} is not a mapping")
            return TileSource(
                shape=self._shape(number),
                psf_kernel=self._geometry(number)[1].kernels[0, 0],
                unit=unit,
                wcs=wcs,
                real_sources=decode_text(read_attribute(group, "real_sources", "")),
                **mappings,
            )

    def background(self, number: int) -> BackgroundMesh:
        """Return the background of an image in the file."""
        with self._guarded(f"is damaged in image number {number}"):
            return self._geometry(number)[0]

    def catalog(self, number: int = 0) -> astropy.table.Table:
        """Return the truth table of an image in the file."""
        with self._guarded(f"is damaged in image number {number}"):
            dataset = self._dataset(f"{self._group(number).name}/catalog")
            if dataset.shape is None:
                return astropy.table.Table()
            is_table = len(dataset.shape) == 1 and dataset.dtype.names is not None
            self._require(is_table, f"the catalog of image {number} has no rows and columns")
            table = astropy.table.Table(self._small(dataset))
            units = json.loads(decode_text(read_attribute(dataset, "units", "{}")))
            for name in table.colnames:
                if table[name].dtype.kind == "S":
                    table[name] = np.char.decode(table[name], "utf-8")
                if name in units:
                    table[name].unit = units[name]
            return table

    @property
    def package_version(self) -> str:
        """Version of the package that wrote the file."""
        with self._guarded("is damaged"):
            return decode_text(read_attribute(self._file, "package_version", "unknown"))

    @property
    def is_virtual(self) -> bool:
        """Whether the pixels are in other files."""
        return len(self._parts) > 0

    def pixels(self, name: str, rows: slice = slice(None)) -> npt.NDArray[Any]:
        """Return a dataset of pixels of many tiles, shape (n, t, t).

        Parameters
        ----------
        name
            One of `datasets`.
        rows
            Consecutive tiles; by default all.

        Raises
        ------
        ValueError
            Raised if the file has no such dataset, or (`TileFileError`) if it is damaged.
        """
        if name not in self.datasets:
            raise ValueError(f"Unknown dataset {name!r}; the tiles have {', '.join(self.datasets)}.")
        chosen = self._rows[rows]
        if len(chosen) and chosen[-1] - chosen[0] >= len(chosen):
            return np.concatenate([self._read_pixels(name, row, row + 1) for row in chosen])
        return self._read_pixels(name, *((chosen[0], chosen[-1] + 1) if len(chosen) else (0, 0)))

    def _read_pixels(self, name: str, start: int, stop: int) -> npt.NDArray[Any]:
        """Return consecutive tiles of the file."""
        with self._guarded(f"is damaged in {name}"):
            dataset = self._dataset(name)
            if not self._parts:
                return np.asarray(dataset[start:stop])
            shape = (max(stop - start, 0), *dataset.shape[1:])
            result = np.full(shape, TILE_DATASETS[name].fill, dataset.dtype)
            for number, part in enumerate(self._parts):
                low, high = max(start, part.first), min(stop, part.first + part.count)
                if low < high and name in self._part(number).datasets:
                    inside = slice(low - part.first, high - part.first)
                    result[low - start : high - start] = self._part(number).pixels(name, inside)
            return result

    def _part(self, number: int) -> TileReader:
        """Return one of the files that this one points to, opened if necessary."""
        return self._open_parts.get(number, self._open_part)

    def _open_part(self, number: int) -> TileReader:
        # HDF5 itself returns zeros for files that it cannot open.
        part = self._parts[number]
        reader = TileReader(part.path)
        here = self._table[part.first : part.first + part.count]
        same = len(reader) == part.count and reader.tile_size == self.tile_size
        if not same or any(np.any(reader.table[name] != here[name]) for name in ("x0", "y0")):
            reader.close()
            raise TileFileError(f"{part.path} changed since {self.path} was created; recreate {self.path}.")
        return reader

    def _group(self, number: int) -> h5py.Group:
        name = f"/sources/{number:04d}"
        known = name.rpartition("/")[2] in set(self._file["sources"])
        self._require(known, f"image number {number} does not exist")
        self._require(has_hard_links(self._file, name), f"image number {number} is in another file")
        return self._file[name]

    def _shape(self, number: int) -> tuple[int, int]:
        ny, nx = (int(size) for size in read_attribute(self._group(number), "shape"))
        return ny, nx

    def _geometry(self, number: int) -> tuple[BackgroundMesh, PsfGrid]:
        if number not in self._sources:
            group = self._group(number)
            values = self._dataset(f"{group.name}/background")
            sensible = len(values.shape) == 2 and all(0 < size <= _MAX_BLOCKS for size in values.shape)
            self._require(sensible, f"the background of image {number} has {values.shape} blocks")
            mesh = BackgroundMesh(
                values=self._small(values).astype(np.float32),
                shape=self._shape(number),
                block=int(read_attribute(group, "background_block", BLOCK)),
            )
            kernel = self._small(self._dataset(f"{group.name}/psf"))
            self._sources[number] = (mesh, PsfGrid.constant(kernel))
        return self._sources[number]

    def read(self, index: int) -> Tile:
        """Read the tile of a number.

        Raises
        ------
        IndexError
            Raised if the tile does not exist.
        TileFileError
            Raised if the file is damaged there.
        """
        index = int(self._rows[index])
        if self._parts:
            number = int(np.searchsorted([part.first for part in self._parts], index, side="right")) - 1
            tile = self._part(number).read(index - self._parts[number].first)
            lacking: dict[str, Any] = {
                name: np.full(tile.planes.shape, TILE_DATASETS[name].fill, TILE_DATASETS[name].dtype)
                for name in set(self.datasets) - {"truth", *tile.planes.arrays()}
            }
            return dataclasses.replace(tile, planes=dataclasses.replace(tile.planes, **lacking))
        with self._guarded(f"is damaged in tile {index}"):
            row = self._table[index]
            mesh, psf = self._geometry(int(row["source"]))
            t, y0, x0 = self.tile_size, int(row["y0"]), int(row["x0"])
            level = mesh.level(slice(y0, y0 + t), slice(x0, x0 + t))
            self._require(level.size, f"tile {index} is outside its image")
            pixels = {name: dataset[index] for name, dataset in self._pixels.items()}
            truth = pixels.pop("truth")
            return Tile(ImagePlanes(psf=psf, **pixels), background=pad_array(level, (t, t)), truth=truth)
