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

"""HDF5 layout of tile files, versions 1 and 2.

A file has the tiles of one or more images::

    /                  attributes: format, format_version, tile_size, planes
                       and tile_classes (JSON), package_version
    /image             (n, t, t) float32, image units
    /variance          (n, t, t) float32, image units squared
    /mask              (n, t, t) uint32, bit i is plane i of the attribute
                       `planes`
    /truth             (n, t, t) uint8: 1 trail, 0 none, 2 ignored
    /template          (n, t, t) float32, optional: the same sky without its
                       background, image units, NaN without data
    /table             (n,) compound: source, x0, y0 (first pixel in the
                       image), tile_class, split, max_snr, background and
                       noise (image units), ra, dec (center, degrees)
    /manifest          optional: JSON text, if the file joins others
    /sources/NNNN      one group per image; attributes: data_id (JSON), shape,
                       unit, psf_fwhm, wcs (FITS header), config (JSON),
                       real_sources (origin of the plane DETECTED),
                       background_block (pixels)
    /sources/NNNN/background   level at block centers
    /sources/NNNN/psf          mean PSF kernel
    /sources/NNNN/catalog      compound: trails in the image; attribute:
                               units (JSON)

The mask plane DETECTED has the footprints of real sources in the image before the injection of trails. They
are known if ``real_sources`` is not empty.

Each tile is one chunk, compressed with LZF, which every build of h5py can read; files that point to others
have virtual datasets. Pixels have Fletcher checksums, and the structure of HDF5 1.10 has checksums too. Texts
are UTF-8 of fixed length: in some damaged files HDF5 does not return from reading texts of variable length.

Version 1 lacks ``tile_classes``, ``real_sources`` and the columns split, background, noise, ra and dec.
"""

from __future__ import annotations

__all__ = (
    "FORMAT",
    "FORMAT_VERSION",
    "IGNORED",
    "READABLE_VERSIONS",
    "SPLITS",
    "TABLE_DTYPE",
    "TILE_CLASSES",
    "TILE_DATASETS",
    "TileFileError",
    "TileSource",
    "decode_text",
    "empty_table",
    "encode_text",
    "parse_split",
    "required_columns",
)

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from ..planes import ImagePlanes, PixelPlane

FORMAT = "meas_trails.tiles"
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)

TILE_CLASSES: dict[str, int] = {"empty": 0, "missed": 1, "found": 2, "source": 3, "artifact": 4}
"""Content of a tile: nothing, a trail that the stack missed, only trails that the stack found, a real source
and no trail, or a candidate labeled artifact and no trail. Without a catalog of the stack all trails count as
missed.
"""

IGNORED = 2
"""Value in truth planes of pixels that are neither trail nor background."""

SPLITS: dict[str, int] = {"train": 0, "validation": 1, "test": 2}
"""Uses of tiles; -1 in a table means unassigned."""

TILE_DATASETS: dict[str, PixelPlane] = dict(
    sorted({**ImagePlanes.table(), "truth": PixelPlane(np.uint8)}.items(), key=lambda item: item[1].optional)
)
"""Datasets of pixels, by name: the planes of an image and the truth, the optional ones last."""

TABLE_DTYPE = np.dtype(
    [
        ("source", "<i4"),
        ("x0", "<i4"),
        ("y0", "<i4"),
        ("tile_class", "<i2"),
        ("split", "<i2"),
        ("max_snr", "<f4"),
        ("background", "<f4"),
        ("noise", "<f4"),
        ("ra", "<f8"),
        ("dec", "<f8"),
    ]
)
_SINCE_VERSION_2: dict[str, float] = {
    "split": -1,
    "background": np.nan,
    "noise": np.nan,
    "ra": np.nan,
    "dec": np.nan,
}
"""Columns that version 1 lacks, with their values in that case."""


class TileFileError(ValueError):
    """Raised if a file is not a readable tile file."""


@dataclasses.dataclass(frozen=True, eq=False)
class TileSource:
    """Image that tiles were cut from."""

    data_id: Mapping[str, object]
    """Instrument, visit, detector, ..., or the seed of a simulation."""

    shape: tuple[int, int]
    """Shape (ny, nx) of the image."""

    psf_kernel: npt.NDArray[np.float64]
    """Mean PSF kernel, shape (k, k)."""

    unit: str = "nJy"
    """Unit of the pixels."""

    wcs: str = ""
    """FITS header of the WCS, as text; may be empty."""

    config: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """Configuration of the task that cut the tiles."""

    real_sources: str = ""
    """Origin of the footprints of real sources in the mask plane ``DETECTED``; empty if they are not known.
    """


def empty_table(count: int) -> npt.NDArray[np.void]:
    """Return a table of tiles with default values."""
    table = np.zeros(count, dtype=TABLE_DTYPE)
    for name, value in _SINCE_VERSION_2.items():
        table[name] = value
    return table


def required_columns(version: int) -> tuple[str, ...]:
    """Return the columns of the table in a version of the layout."""
    names = TABLE_DTYPE.names or ()
    return tuple(name for name in names if version > 1 or name not in _SINCE_VERSION_2)


def parse_split(name: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """Return the file and the split of a name like ``tiles.h5#train``.

    The split is `None` if a file of the full name exists.
    """
    path = Path(name)
    base, mark, split = path.name.rpartition("#")
    if mark and base and split in SPLITS and not path.exists():
        return path.with_name(base), split
    return path, None


def encode_text(text: str) -> np.bytes_ | h5py.Empty:
    """Return a text as an HDF5 value of fixed length, which cannot be zero."""
    return np.bytes_(text.encode()) if text else h5py.Empty("S1")


def decode_text(value: object) -> str:
    """Return an HDF5 value as text."""
    if isinstance(value, h5py.Empty):
        return ""
    return value.decode() if isinstance(value, bytes) else str(value)
