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

"""Writing tile files; `lsst.meas.trails.core.tiles.layout` describes them."""

from __future__ import annotations

__all__ = ("TrailTiles", "create_pixels", "write_header", "write_source")

import dataclasses
import json
import os
from collections.abc import Iterable
from typing import Any, Self

import astropy.table
import h5py
import numpy as np
import numpy.typing as npt

from ... import __version__
from ..background import BackgroundMesh
from ..hdf5 import Hdf5Output
from ..planes import MASK_PLANES
from ..psf import kernel_fwhm
from .layout import (
    FORMAT,
    FORMAT_VERSION,
    TILE_CLASSES,
    TILE_DATASETS,
    TileFileError,
    TileSource,
    empty_table,
    encode_text,
)
from .reader import TileReader


@dataclasses.dataclass(frozen=True, eq=False)
class TrailTiles:
    """Tiles of one image in memory."""

    pixels: dict[str, npt.NDArray[Any]]
    """Arrays of shape (n, t, t), by the names of `~lsst.meas.trails.core.tiles.layout.TILE_DATASETS`."""

    table: npt.NDArray[np.void]
    """One row per tile, with the columns of `~lsst.meas.trails.core.tiles.layout.TABLE_DTYPE`."""

    source: TileSource
    """Image that the tiles were cut from."""

    background: BackgroundMesh
    """Background of the image."""

    catalog: astropy.table.Table
    """Truth table of the image."""

    @classmethod
    def allocate(
        cls,
        count: int,
        size: int,
        *,
        source: TileSource,
        background: BackgroundMesh,
        catalog: astropy.table.Table,
        optional: Iterable[str] = (),
    ) -> TrailTiles:
        """Return ``count`` tiles of ``size`` pixels a side, filled with zeros.

        Optional datasets are filled with their value of missing pixels.
        """
        wanted = {n: p for n, p in TILE_DATASETS.items() if not p.optional or n in set(optional)}
        return cls(
            pixels={
                name: np.full((count, size, size), plane.fill if plane.optional else 0, dtype=plane.dtype)
                for name, plane in wanted.items()
            },
            table=empty_table(count),
            source=source,
            background=background,
            catalog=catalog,
        )

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file with the tiles of one image.

        Raises
        ------
        TileFileError
            Raised if the file is missing, damaged, or not a tile file, or has tiles of several images.
        """
        with TileReader(path) as reader:
            if reader.source_count != 1:
                raise TileFileError(f"{path} has tiles of {reader.source_count} images; use TileReader.")
            return cls(
                pixels={name: reader.pixels(name) for name in reader.datasets},
                table=reader.table,
                source=reader.source(0),
                background=reader.background(0),
                catalog=reader.catalog(0),
            )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the tiles to an HDF5 file, atomically.

        Raises
        ------
        OSError
            Raised if the file cannot be written, for instance on a full disk.
        """
        with Hdf5Output(path) as output:
            file = output.file
            write_header(file, self.pixels["image"].shape[-1])
            for name, data in self.pixels.items():
                create_pixels(file, name, len(data), data.shape[-1])[...] = data
                output.check()
            file.create_dataset("table", data=self.table)
            write_source(file, 0, self.source, self.background, self.catalog)


def write_header(file: h5py.File, tile_size: int) -> None:
    """Write the attributes of a new tile file."""
    file.attrs.update(
        {
            "format": encode_text(FORMAT),
            "format_version": FORMAT_VERSION,
            "tile_size": tile_size,
            "planes": encode_text(json.dumps(MASK_PLANES)),
            "tile_classes": encode_text(json.dumps(TILE_CLASSES)),
            "package_version": encode_text(str(__version__)),
        }
    )


def create_pixels(file: h5py.File, name: str, count: int, tile_size: int) -> h5py.Dataset:
    """Create one of `TILE_DATASETS` for a number of tiles."""
    # Byte shuffling does not compress noise, but halves flat images. A dataset without tiles has no chunks.
    chunked = {"chunks": (1, tile_size, tile_size), "compression": "lzf", "shuffle": True, "fletcher32": True}
    return file.create_dataset(
        name,
        shape=(count, tile_size, tile_size),
        dtype=TILE_DATASETS[name].dtype,
        **(chunked if count else {}),
    )


def write_source(
    file: h5py.File, number: int, source: TileSource, background: BackgroundMesh, catalog: astropy.table.Table
) -> None:
    """Write the group of an image, with its number in the file."""
    group = file.create_group(f"sources/{number:04d}")
    group.attrs.update(
        {
            "data_id": encode_text(json.dumps(source.data_id)),
            "shape": source.shape,
            "unit": encode_text(source.unit),
            "psf_fwhm": kernel_fwhm(source.psf_kernel),
            "wcs": encode_text(source.wcs),
            "config": encode_text(json.dumps(source.config)),
            "real_sources": encode_text(source.real_sources),
            "background_block": background.block,
        }
    )
    group.create_dataset("background", data=background.values)
    group.create_dataset("psf", data=source.psf_kernel)
    rows = _to_compound(catalog)
    # HDF5 compound types need at least one field.
    dataset = group.create_dataset("catalog", data=rows if rows.dtype.names else h5py.Empty("f4"))
    units = {name: column.unit.to_string() for name, column in catalog.items() if column.unit}
    dataset.attrs["units"] = encode_text(json.dumps(units))


def _to_compound(table: astropy.table.Table) -> npt.NDArray[np.void]:
    """Return a table as a structured array of types that HDF5 supports."""
    columns = {}
    for name in table.colnames:
        values = np.asarray(table[name])
        columns[name] = np.char.encode(values, "utf-8") if values.dtype.kind == "U" else values
    dtype = [(name, values.dtype, values.shape[1:]) for name, values in columns.items()]
    compound = np.zeros(len(table), dtype=dtype)
    for name, values in columns.items():
        compound[name] = values
    return compound
