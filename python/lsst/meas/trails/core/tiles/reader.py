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
import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import astropy.table
import h5py
import numpy as np
import numpy.typing as npt

from ..background import BLOCK, BackgroundMesh
from ..hdf5 import has_hard_links, read_attribute, unsafe_storage
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

_MAX_TILE_SIZE = 4096
_OPEN_PARTS = 64
"""Files that a file of virtual datasets keeps open at a time."""

_MAX_BLOCKS = 4096
"""Most blocks of a background along one side."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """One tile, ready to be normalized.

    Parameters
    ----------
    planes
        Image, variance, mask and PSF of the tile.
    background
        Background level of the image on the tile, shape (t, t).
    truth
        1 on trails, 0 elsewhere, 2 where the loss should not look, (t, t).
    """

    planes: ImagePlanes
    background: npt.NDArray[np.float32]
    truth: npt.NDArray[np.uint8]


class TileReader:
    """Reads tiles from a file, one at a time.

    Parameters
    ----------
    path
        The HDF5 file; ``FILE#train``, ``FILE#validation`` or ``FILE#test``
        reads the tiles of that split alone.  Every process opens its own
        reader.

    Raises
    ------
    TileFileError
        Raised if the file is missing, damaged, or not a tile file; the
        message names it.
    """

    table: npt.NDArray[np.void]
    """One row a tile, with the columns of
    `~lsst.meas.trails.core.tiles.layout.TABLE_DTYPE`.
    """

    format_version: int
    """Version of the layout."""

    tile_size: int
    """Side of the tiles, pixels."""

    source_count: int
    """Number of images that the tiles were cut from."""

    datasets: tuple[str, ...]
    """Names of the datasets of pixels that the file has."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, split = parse_split(path)
        if not self.path.is_file():
            raise TileFileError(f"There is no tile file {self.path}.")
        with self._guarded("cannot be opened as an HDF5 file"):
            # A chunk is a tile, read whole: a cache of them would only fill the
            # memory, a megabyte for each dataset of each file of a training.
            self._file = h5py.File(self.path, "r", rdcc_nbytes=0)
        try:
            with self._guarded("is damaged"):
                self._check()
        except BaseException:
            self._file.close()
            raise
        # All tiles of the file, and the numbers of those that are read.
        self._table = self.table
        self._rows = np.arange(len(self._table))
        if split is not None:
            self._rows = np.flatnonzero(self._table["split"] == SPLITS[split])
            self.table = self._table[self._rows]
        self._sources: dict[int, tuple[BackgroundMesh, PsfGrid]] = {}
        # In the order in which they were last used.
        self._open_parts: dict[int, TileReader] = {}

    @contextlib.contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Turn whatever reading raises into errors that name the file: of a
        damaged file HDF5 raises OSError, RuntimeError, KeyError, ... .
        """
        try:
            yield
        except TileFileError:
            raise
        except Exception as error:
            raise TileFileError(f"{self.path} {what}: {error}") from error

    def _check(self) -> None:
        """Check everything that can be checked without reading pixels."""
        if decode_text(read_attribute(self._file, "format")) != FORMAT:
            raise TileFileError(f"{self.path} is an HDF5 file, but not of trail tiles (format {FORMAT!r}).")
        version = read_attribute(self._file, "format_version")
        if version not in READABLE_VERSIONS:
            raise TileFileError(
                f"{self.path} has version {version} of the tile format; this package reads versions "
                f"{' and '.join(map(str, READABLE_VERSIONS))}."
            )
        self.format_version = int(version)
        planes = json.loads(decode_text(read_attribute(self._file, "planes", "null")))
        if not isinstance(planes, list) or planes != list(MASK_PLANES[: len(planes)]):
            raise TileFileError(f"{self.path} has masks of other planes than this package: {planes}.")
        names = set(self._file)
        required = [name for name, plane in TILE_DATASETS.items() if not plane.optional]
        if missing := [name for name in (*required, "table", "sources") if name not in names]:
            raise TileFileError(f"{self.path} lacks {', '.join(missing)}.")
        self.datasets = tuple(name for name in TILE_DATASETS if name in names)
        self._parts = _read_parts(self._dataset("image"), self.path)
        shape = self._dataset("image").shape
        if len(shape) != 3 or shape[1] != shape[2] or not 0 < shape[1] <= _MAX_TILE_SIZE:
            raise TileFileError(
                f"{self.path} has tiles of shape {shape[1:]}; they must be square, of at most "
                f"{_MAX_TILE_SIZE} pixels."
            )
        self.tile_size = int(shape[1])
        sources = self._file["sources"] if has_hard_links(self._file, "sources") else None
        if not isinstance(sources, h5py.Group):
            raise TileFileError(f"{self.path}: sources is no group of images.")
        self.source_count = len(sources)
        self._pixels: dict[str, h5py.Dataset] = {}
        for name in self.datasets:
            dataset, dtype = self._dataset(name), np.dtype(TILE_DATASETS[name].dtype)
            if dataset.is_virtual != (len(self._parts) > 0):
                raise TileFileError(f"{self.path}: some planes are in the file, others in other files.")
            if dataset.shape != shape or dataset.dtype != dtype:
                raise TileFileError(
                    f"{self.path}: {name} is {dataset.dtype} {dataset.shape}, expected {dtype} {shape}."
                )
            # To look them up takes as long as to read a tile.
            self._pixels[name] = dataset
            if not dataset.is_virtual and not _is_stored(dataset):
                raise TileFileError(f"{self.path}: {name} does not hold the {shape[0]} tiles that it claims.")
        table = self._dataset("table")
        if table.shape != shape[:1] or table.dtype.names is None:
            raise TileFileError(f"{self.path}: the table does not have one row a tile.")
        columns = required_columns(self.format_version)
        for name in columns:
            if name not in table.dtype.names or table.dtype[name] != TABLE_DTYPE[name]:
                raise TileFileError(f"{self.path}: the table has no column {name} of {TABLE_DTYPE[name]}.")
        rows = self._small(table)
        self.table = empty_table(len(rows))
        for name in columns:
            self.table[name] = rows[name]
        if any(np.any(self.table[name] < 0) for name in ("source", "x0", "y0")):
            raise TileFileError(f"{self.path}: the table has tiles that start at negative coordinates.")
        if len(self.table) and (last := int(self.table["source"].max())) >= self.source_count:
            raise TileFileError(f"{self.path} has no image number {last}, of which the table has tiles.")

    def _dataset(self, name: str) -> h5py.Dataset:
        # Of pixels that lie in other files, these files are read.
        problem = unsafe_storage(self._file, name, virtual=name in self.datasets)
        if problem is not None:
            raise TileFileError(f"{self.path}: {name} {problem}.")
        return self._file[name]

    def _small(self, dataset: h5py.Dataset) -> npt.NDArray[Any]:
        """Read a dataset that is stored plainly, as all but the pixels are:
        it cannot be greater than the file, whatever the file claims.
        """
        if dataset.nbytes > self.path.stat().st_size:
            raise TileFileError(f"{self.path}: {dataset.name} claims more bytes than the file has.")
        return np.asarray(dataset[()])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.table)

    def close(self) -> None:
        """Close the file, and those that it points to."""
        self._file.close()
        while self._open_parts:
            self._open_parts.popitem()[1].close()

    def manifest(self) -> dict[str, Any] | None:
        """Return what a file that joins others says of them, if it does."""
        if "manifest" not in set(self._file):
            return None
        with self._guarded("is damaged in its manifest"):
            manifest = json.loads(decode_text(self._small(self._dataset("manifest"))[()]))
            if not isinstance(manifest, dict):
                raise TileFileError(f"{self.path}: its manifest is no mapping.")
            return manifest

    def source(self, number: int) -> TileSource:
        """Return what is known of one of the images in the file."""
        with self._guarded(f"is damaged in image number {number}"):
            group = self._group(number)
            data_id, config = (
                json.loads(decode_text(read_attribute(group, name))) for name in ("data_id", "config")
            )
            if not isinstance(data_id, dict) or not isinstance(config, dict):
                raise TileFileError(f"{self.path}: data_id or config of image {number} is no mapping.")
            _, psf = self._geometry(number)
            return TileSource(
                data_id=data_id,
                shape=self._shape(number),
                psf_kernel=psf.kernels[0, 0],
                unit=decode_text(read_attribute(group, "unit")),
                wcs=decode_text(read_attribute(group, "wcs")),
                config=config,
                real_sources=decode_text(read_attribute(group, "real_sources", "")),
            )

    def background(self, number: int) -> BackgroundMesh:
        """Return the background of one of the images in the file."""
        with self._guarded(f"is damaged in image number {number}"):
            return self._geometry(number)[0]

    def catalog(self, number: int = 0) -> astropy.table.Table:
        """Return the truth table of one of the images in the file."""
        with self._guarded(f"is damaged in image number {number}"):
            dataset = self._dataset(f"{self._group(number).name}/catalog")
            if dataset.shape is None:
                return astropy.table.Table()
            if len(dataset.shape) != 1 or dataset.dtype.names is None:
                raise TileFileError(f"{self.path}: the catalog of image {number} has no rows and columns.")
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
        """Return one of the planes of many tiles, shape (n, t, t).

        Parameters
        ----------
        name
            ``image``, ``variance``, ``mask``, ``truth`` or, where the file has
            it, ``template``.
        rows
            Which tiles, one after the other; by default all.
        """
        if name not in self.datasets:
            raise ValueError(f"Unknown dataset {name!r}; the tiles have {', '.join(self.datasets)}.")
        chosen = self._rows[rows]
        if len(chosen) and chosen[-1] - chosen[0] >= len(chosen):
            return np.concatenate([self._read_pixels(name, row, row + 1) for row in chosen])
        return self._read_pixels(name, *((chosen[0], chosen[-1] + 1) if len(chosen) else (0, 0)))

    def _read_pixels(self, name: str, start: int, stop: int) -> npt.NDArray[Any]:
        """Return tiles of the file that follow each other."""
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
        """Return one of the files that this one points to, opened if it is
        not.  HDF5 itself would give zeros for what it cannot open.
        """
        reader = self._open_parts.pop(number, None)
        if reader is None:
            while len(self._open_parts) >= _OPEN_PARTS:
                self._open_parts.pop(next(iter(self._open_parts))).close()
            part = self._parts[number]
            reader = TileReader(part.path)
            here = self._table[part.first : part.first + part.count]
            same = len(reader) == part.count and reader.tile_size == self.tile_size
            if not same or any(np.any(reader.table[name] != here[name]) for name in ("x0", "y0")):
                reader.close()
                raise TileFileError(f"{part.path} has changed since {self.path} was made; make that anew.")
        self._open_parts[number] = reader
        return reader

    def _group(self, number: int) -> h5py.Group:
        name = f"/sources/{number:04d}"
        if name.rpartition("/")[2] not in set(self._file["sources"]):
            raise TileFileError(f"{self.path} has no image number {number}.")
        if not has_hard_links(self._file, name):
            raise TileFileError(f"{self.path}: image number {number} lies elsewhere.")
        return self._file[name]

    def _shape(self, number: int) -> tuple[int, int]:
        ny, nx = (int(size) for size in read_attribute(self._group(number), "shape"))
        return ny, nx

    def _geometry(self, number: int) -> tuple[BackgroundMesh, PsfGrid]:
        if number not in self._sources:
            group = self._group(number)
            values = self._dataset(f"{group.name}/background")
            if len(values.shape) != 2 or not all(0 < size <= _MAX_BLOCKS for size in values.shape):
                raise TileFileError(f"{self.path}: a background has {values.shape} blocks.")
            mesh = BackgroundMesh(
                values=self._small(values).astype(np.float32),
                shape=self._shape(number),
                block=int(read_attribute(group, "background_block", BLOCK)),
            )
            kernel = self._small(self._dataset(f"{group.name}/psf"))
            self._sources[number] = (mesh, PsfGrid.constant(kernel))
        return self._sources[number]

    def read(self, index: int) -> Tile:
        """Read one tile.

        Parameters
        ----------
        index
            Number of the tile in the file.

        Raises
        ------
        IndexError
            Raised if there is no such tile.
        TileFileError
            Raised if the file is damaged there.
        """
        index = int(self._rows[index])
        row = self._table[index]
        if self._parts:
            number = int(np.searchsorted([part.first for part in self._parts], index, side="right")) - 1
            tile = self._part(number).read(index - self._parts[number].first)
            lacking: dict[str, Any] = {
                name: np.full(tile.planes.shape, TILE_DATASETS[name].fill, TILE_DATASETS[name].dtype)
                for name in set(self.datasets) - {"truth", *tile.planes.arrays()}
            }
            return dataclasses.replace(tile, planes=dataclasses.replace(tile.planes, **lacking))
        with self._guarded(f"is damaged in tile {index}"):
            mesh, psf = self._geometry(int(row["source"]))
            t = self.tile_size
            y0, x0 = int(row["y0"]), int(row["x0"])
            inside = mesh.level(slice(y0, y0 + t), slice(x0, x0 + t))
            if inside.size == 0:
                raise TileFileError(f"{self.path}: tile {index} lies outside its image.")
            pixels = {name: dataset[index] for name, dataset in self._pixels.items()}
            truth = pixels.pop("truth")
            level = pad_array(np.asarray(inside, dtype=np.float32), (t, t))
            return Tile(planes=ImagePlanes(psf=psf, **pixels), background=level, truth=truth)


@dataclasses.dataclass(frozen=True)
class _Part:
    """A file that holds some of the tiles of a file that joins others."""

    path: Path
    first: int
    count: int


def _read_parts(image: h5py.Dataset, path: Path) -> list[_Part]:
    """Return the files that hold the tiles of a file, if it does not itself.

    Raises
    ------
    TileFileError
        Raised if they leave tiles out, or are not beside or below the file:
        what it names is not to open any file of this machine.
    """
    if not image.is_virtual:
        return []
    parts = []
    for source in image.virtual_sources():
        low, high = (int(bound[0]) for bound in source.vspace.get_select_bounds())
        name = Path(source.file_name)
        if name.is_absolute() or ".." in name.parts:
            raise TileFileError(f"{path} points to {name}, which is not beside or below it.")
        parts.append(_Part(path=path.parent / name, first=low, count=high - low + 1))
    parts.sort(key=lambda part: part.first)
    stops = np.cumsum([part.count for part in parts])
    if [part.first for part in parts] != [0, *stops[:-1]] or stops[-1] != len(image):
        raise TileFileError(f"{path} points to other files that do not hold each of its tiles once.")
    return parts


def _is_stored(dataset: h5py.Dataset) -> bool:
    """Return whether a dataset has all its pixels: HDF5 reads zeros where
    there are none.
    """
    if dataset.chunks is None:
        return bool(dataset.id.get_storage_size() == dataset.nbytes)
    expected = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    return bool(dataset.id.get_num_chunks() == expected)
