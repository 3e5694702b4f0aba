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

"""The HDF5 layout of tile files: this module alone knows it.

A file holds the tiles of one or more images::

    /                  attributes: format, format_version, tile_size, planes,
                       package_version
    /image             (n, t, t) float32, image units
    /variance          (n, t, t) float32, image units squared
    /mask              (n, t, t) uint32, bits named by the attribute `planes`
    /truth             (n, t, t) uint8: 1 trail, 0 none, 2 ignored
    /template          (n, t, t) float32, optional: the same sky without its
                       background, image units, NaN where there is none
    /table             (n,) compound: source, x0, y0, tile_class, max_snr
    /sources/NNNN      one group an image; attributes: data_id (JSON), shape,
                       unit, psf_fwhm, wcs (FITS header), config (JSON),
                       background_block (pixels)
    /sources/NNNN/background   level at block centres
    /sources/NNNN/psf          mean PSF kernel
    /sources/NNNN/catalog      compound: the trails in the image; attribute:
                               units (JSON)

Pixels are stored a tile per chunk and compressed with LZF, which every build
of h5py can read.  Texts are UTF-8 of fixed length, and the layout is that of
HDF5 1.10, so that pixels and structure have checksums.  HDF5 does not return from
reading text of variable length in some damaged files.
"""

from __future__ import annotations

__all__ = ("FORMAT", "FORMAT_VERSION", "Tile", "TileFileError", "TileReader", "TileSource", "TrailTiles")

import contextlib
import dataclasses
import io
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

from .background import BLOCK, BackgroundMesh
from .planes import PLANES, ImagePlanes
from .psf import PsfGrid, kernel_fwhm

FORMAT = "meas_trails.tiles"
FORMAT_VERSION = 1

_PIXEL_PLANES: dict[str, type] = {
    "image": np.float32,
    "variance": np.float32,
    "mask": np.uint32,
    "truth": np.uint8,
}
_OPTIONAL_PLANES: dict[str, type] = {"template": np.float32}
_TABLE_DTYPE = np.dtype(
    [("source", "<i4"), ("x0", "<i4"), ("y0", "<i4"), ("tile_class", "<i2"), ("max_snr", "<f4")]
)
_MAX_TILE_SIZE = 4096
_MAX_BLOCKS = 4096
"""Most blocks of a background along one side."""


class TileFileError(ValueError):
    """Raised when a file is not a tile file that can be read."""


@dataclasses.dataclass(frozen=True, eq=False)
class TileSource:
    """The image that tiles were cut from.

    Parameters
    ----------
    data_id
        What identifies it: instrument, visit, detector, ... or a seed.
    shape
        Shape (ny, nx) of the image.
    psf_kernel
        Mean PSF kernel, shape (k, k).
    unit
        Unit of the pixels.
    wcs
        FITS header of the WCS, as text; may be empty.
    config
        Configuration that made the tiles.
    """

    data_id: dict[str, Any]
    shape: tuple[int, int]
    psf_kernel: npt.NDArray[np.float64]
    unit: str = "nJy"
    wcs: str = ""
    config: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class TrailTiles:
    """Tiles of one image in memory, as they go to a file.

    Parameters
    ----------
    image, variance, mask, truth
        Pixels of the tiles, shape (n, t, t); see the module's layout.
    table
        One row a tile: source, x0, y0, tile_class, max_snr.
    source
        The image that they were cut from.
    background
        Its background.
    catalog
        The trails in it.
    template
        Template on the pixels of the tiles, shape (n, t, t), if there is one.
    """

    image: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint32]
    truth: npt.NDArray[np.uint8]
    table: npt.NDArray[np.void]
    source: TileSource
    background: BackgroundMesh
    catalog: astropy.table.Table
    template: npt.NDArray[np.float32] | None = None

    @classmethod
    def allocate(
        cls,
        count: int,
        size: int,
        *,
        source: TileSource,
        background: BackgroundMesh,
        catalog: astropy.table.Table,
        with_template: bool = False,
    ) -> TrailTiles:
        """Return ``count`` empty tiles of side ``size``."""
        pixels: dict[str, npt.NDArray[Any]] = {
            name: np.zeros((count, size, size), dtype=dtype) for name, dtype in _PIXEL_PLANES.items()
        }
        if with_template:
            pixels["template"] = np.full((count, size, size), np.nan, dtype=np.float32)
        return cls(
            **pixels,
            table=np.zeros(count, dtype=_TABLE_DTYPE),
            source=source,
            background=background,
            catalog=catalog,
        )

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `write` wrote.

        Parameters
        ----------
        path
            A file with the tiles of one image.

        Raises
        ------
        TileFileError
            Raised if the file is missing, damaged, or not a tile file, or
            holds tiles of several images; `TileReader` reads those.
        """
        with TileReader(path) as reader:
            if reader.source_count != 1:
                raise TileFileError(f"{path} holds the tiles of {reader.source_count} images, not of one.")
            return cls(
                **{name: reader.pixels(name) for name in reader.planes},
                table=reader.table,
                source=reader.source(0),
                background=reader.background(0),
                catalog=reader.catalog(0),
            )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the tiles to a new HDF5 file.

        Parameters
        ----------
        path
            The file; it appears under this name only when it is complete.

        Raises
        ------
        OSError
            Raised if the file cannot be written, for instance on a full
            disk; nothing is left behind then.
        """
        # Through memory: HDF5 that runs into a full disk cannot close the
        # file any more, and ends the process with a segmentation fault.
        buffer = io.BytesIO()
        with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
            self._write(file)
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(buffer.getbuffer())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def _write(self, file: h5py.File) -> None:
        size = self.image.shape[-1]
        file.attrs.update(
            {
                "format": _encode(FORMAT),
                "format_version": FORMAT_VERSION,
                "tile_size": size,
                "planes": _encode(json.dumps(PLANES)),
                "package_version": _encode(_package_version()),
            }
        )
        for name in (*_PIXEL_PLANES, *_OPTIONAL_PLANES):
            data = getattr(self, name)
            if data is None:
                continue
            # Byte shuffling does nothing for noise but halves flat planes.
            # A dataset without tiles has no chunks.
            chunked = {"chunks": (1, size, size), "compression": "lzf", "shuffle": True, "fletcher32": True}
            file.create_dataset(name, data=data, **(chunked if len(data) else {}))
        file.create_dataset("table", data=self.table)
        group = file.create_group("sources/0000")
        group.attrs.update(
            {
                "data_id": _encode(json.dumps(self.source.data_id)),
                "shape": self.source.shape,
                "unit": _encode(self.source.unit),
                "psf_fwhm": kernel_fwhm(self.source.psf_kernel),
                "wcs": _encode(self.source.wcs),
                "config": _encode(json.dumps(self.source.config)),
                "background_block": self.background.block,
            }
        )
        group.create_dataset("background", data=self.background.values)
        group.create_dataset("psf", data=self.source.psf_kernel)
        rows = _to_compound(self.catalog)
        # HDF5 has no compound types without fields.
        catalog = group.create_dataset("catalog", data=rows if rows.dtype.names else h5py.Empty("f4"))
        units = {name: column.unit.to_string() for name, column in self.catalog.items() if column.unit}
        catalog.attrs["units"] = _encode(json.dumps(units))


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """One tile, ready to be normalised.

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
        The HDF5 file.  Every process opens its own reader.

    Raises
    ------
    TileFileError
        Raised if the file is missing, damaged, or not a tile file; the
        message names it.
    """

    table: npt.NDArray[np.void]
    """One row a tile: source, x0, y0, tile_class, max_snr."""

    tile_size: int
    """Side of the tiles, pixels."""

    source_count: int
    """Number of images that the tiles were cut from."""

    planes: tuple[str, ...]
    """Names of the pixel planes that the file has."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise TileFileError(f"There is no tile file {self.path}.")
        with self._guarded("cannot be opened as an HDF5 file"):
            self._file = h5py.File(self.path, "r")
        try:
            with self._guarded("is damaged"):
                self._check()
        except BaseException:
            self._file.close()
            raise
        self._sources: dict[int, tuple[BackgroundMesh, PsfGrid]] = {}

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
        attributes = self._file.attrs
        if _decode(attributes.get("format")) != FORMAT:
            raise TileFileError(f"{self.path} is an HDF5 file, but not of trail tiles (format {FORMAT!r}).")
        if attributes.get("format_version") != FORMAT_VERSION:
            raise TileFileError(
                f"{self.path} has version {attributes.get('format_version')} of the tile format; this "
                f"package reads version {FORMAT_VERSION}."
            )
        planes = json.loads(_decode(attributes.get("planes", "null")))
        if not isinstance(planes, list) or planes != list(PLANES[: len(planes)]):
            raise TileFileError(f"{self.path} has masks of other planes than this package: {planes}.")
        missing = [n for n in (*_PIXEL_PLANES, "table", "sources") if n not in self._file]
        if missing:
            raise TileFileError(f"{self.path} lacks {', '.join(missing)}.")
        shape = self._dataset("image").shape
        if len(shape) != 3 or shape[1] != shape[2] or not 0 < shape[1] <= _MAX_TILE_SIZE:
            raise TileFileError(
                f"{self.path} has tiles of shape {shape[1:]}; they must be square, of at most "
                f"{_MAX_TILE_SIZE} pixels."
            )
        self.tile_size = int(shape[1])
        self.source_count = len(self._file["sources"])
        optional = {n: dtype for n, dtype in _OPTIONAL_PLANES.items() if n in self._file}
        self.planes = (*_PIXEL_PLANES, *optional)
        for name, dtype in (_PIXEL_PLANES | optional).items():
            dataset = self._dataset(name)
            if dataset.shape != shape or dataset.dtype != np.dtype(dtype):
                raise TileFileError(
                    f"{self.path}: {name} is {dataset.dtype} {dataset.shape}, expected "
                    f"{np.dtype(dtype)} {shape}."
                )
            if not _is_stored(dataset):
                raise TileFileError(f"{self.path}: {name} does not hold the {shape[0]} tiles that it claims.")
        table = self._dataset("table")
        if table.shape != shape[:1] or table.dtype.names is None:
            raise TileFileError(f"{self.path}: the table does not have one row a tile.")
        for name in _TABLE_DTYPE.names or ():
            if name not in table.dtype.names or table.dtype[name] != _TABLE_DTYPE[name]:
                raise TileFileError(f"{self.path}: the table has no column {name} of {_TABLE_DTYPE[name]}.")
        rows = self._small(table)
        self.table = np.zeros(len(rows), dtype=_TABLE_DTYPE)
        for name in _TABLE_DTYPE.names or ():
            self.table[name] = rows[name]
        if any(np.any(self.table[name] < 0) for name in ("source", "x0", "y0")):
            raise TileFileError(f"{self.path}: the table has tiles that start at negative coordinates.")

    def _dataset(self, name: str) -> h5py.Dataset:
        dataset = self._file[name]
        if not isinstance(dataset, h5py.Dataset):
            raise TileFileError(f"{self.path}: {name} is not an array.")
        return dataset

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
        """Close the file."""
        self._file.close()

    def source(self, number: int) -> TileSource:
        """Return what is known of one of the images in the file."""
        with self._guarded(f"is damaged in image number {number}"):
            attributes = self._group(number).attrs
            data_id, config = (json.loads(_decode(attributes[name])) for name in ("data_id", "config"))
            if not isinstance(data_id, dict) or not isinstance(config, dict):
                raise TileFileError(f"{self.path}: data_id or config of image {number} is no mapping.")
            _, psf = self._geometry(number)
            return TileSource(
                data_id=data_id,
                shape=self._shape(number),
                psf_kernel=psf.kernels[0, 0],
                unit=_decode(attributes["unit"]),
                wcs=_decode(attributes["wcs"]),
                config=config,
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
            units = json.loads(_decode(dataset.attrs.get("units", "{}")))
            for name in table.colnames:
                if table[name].dtype.kind == "S":
                    table[name] = np.char.decode(table[name], "utf-8")
                if name in units:
                    table[name].unit = units[name]
            return table

    def pixels(self, name: str) -> npt.NDArray[Any]:
        """Return one of the planes of all tiles, shape (n, t, t).

        Parameters
        ----------
        name
            ``image``, ``variance``, ``mask``, ``truth`` or, where the file has
            it, ``template``.
        """
        if name not in self.planes:
            raise ValueError(f"Unknown plane {name!r}; the tiles have {', '.join(self.planes)}.")
        with self._guarded(f"is damaged in {name}"):
            return np.asarray(self._dataset(name)[()])

    def _group(self, number: int) -> h5py.Group:
        name = f"/sources/{number:04d}"
        if name not in self._file:
            raise TileFileError(f"{self.path} has no image number {number}.")
        return self._file[name]

    def _shape(self, number: int) -> tuple[int, int]:
        ny, nx = (int(size) for size in self._group(number).attrs["shape"])
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
                block=int(group.attrs.get("background_block", BLOCK)),
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
        row = self.table[index]
        with self._guarded(f"is damaged in tile {index}"):
            mesh, psf = self._geometry(int(row["source"]))
            t = self.tile_size
            level = np.zeros((t, t), dtype=np.float32)
            y0, x0 = int(row["y0"]), int(row["x0"])
            inside = mesh.level(slice(y0, y0 + t), slice(x0, x0 + t))
            if inside.size == 0:
                raise TileFileError(f"{self.path}: tile {index} lies outside its image.")
            level[: inside.shape[0], : inside.shape[1]] = inside
            planes = ImagePlanes(
                image=self._file["image"][index],
                variance=self._file["variance"][index],
                mask=self._file["mask"][index],
                psf=psf,
                template=self._file["template"][index] if "template" in self.planes else None,
            )
            return Tile(planes=planes, background=level, truth=self._file["truth"][index])


def _is_stored(dataset: h5py.Dataset) -> bool:
    """Return whether a dataset has all its pixels: HDF5 reads zeros where
    there are none.
    """
    if dataset.chunks is None:
        return bool(dataset.id.get_storage_size() == dataset.nbytes)
    expected = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    return bool(dataset.id.get_num_chunks() == expected)


def _encode(text: str) -> np.bytes_ | h5py.Empty:
    """Return a text as an attribute of fixed length; HDF5 has none of zero."""
    return np.bytes_(text.encode()) if text else h5py.Empty("S1")


def _decode(value: Any) -> str:
    """Return an attribute as text."""
    if isinstance(value, h5py.Empty):
        return ""
    return value.decode() if isinstance(value, bytes) else str(value)


def _to_compound(table: astropy.table.Table) -> npt.NDArray[np.void]:
    """Return a table as a compound array that HDF5 can hold."""
    columns = {}
    for name in table.colnames:
        values = np.asarray(table[name])
        columns[name] = np.char.encode(values, "utf-8") if values.dtype.kind == "U" else values
    dtype = [(name, values.dtype, values.shape[1:]) for name, values in columns.items()]
    compound = np.zeros(len(table), dtype=dtype)
    for name, values in columns.items():
        compound[name] = values
    return compound


def _package_version() -> str:
    from .. import __version__

    return str(__version__)
