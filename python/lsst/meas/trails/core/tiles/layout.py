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

"""The HDF5 layout of tile files: version 2 of it, and what version 1 lacked.

A file holds the tiles of one or more images::

    /                  attributes: format, format_version, tile_size, planes
                       and tile_classes (JSON), package_version
    /image             (n, t, t) float32, image units
    /variance          (n, t, t) float32, image units squared
    /mask              (n, t, t) uint32, bit i is plane i of the attribute
                       `planes`
    /truth             (n, t, t) uint8: 1 trail, 0 none, 2 ignored
    /template          (n, t, t) float32, optional: the same sky without its
                       background, image units, NaN where there is none
    /table             (n,) compound: source, x0, y0 (first pixel in the
                       image), tile_class, split, max_snr, background and
                       noise (image units), ra, dec (of the middle, degrees)
    /manifest          optional: JSON text, where a file joins others
    /sources/NNNN      one group an image; attributes: data_id (JSON), shape,
                       unit, psf_fwhm, wcs (FITS header), config (JSON),
                       real_sources (where plane DETECTED comes from),
                       background_block (pixels)
    /sources/NNNN/background   level at block centers
    /sources/NNNN/psf          mean PSF kernel
    /sources/NNNN/catalog      compound: the trails in the image; attribute:
                               units (JSON)

The footprints of real sources are the plane DETECTED of the mask: of the
image as it was before trails were injected, so that no trail is in it.  They
are known where the attribute ``real_sources`` is not empty.

Pixels are stored a tile per chunk and compressed with LZF, which every build
of h5py can read; in a file that only points to others they are virtual
datasets.  Texts are UTF-8 of fixed length, and the layout is that of HDF5
1.10, so that pixels and structure have checksums.  HDF5 does not return from
reading text of variable length in some damaged files.

Version 1 has neither ``tile_classes`` nor ``real_sources``, and no columns
split, background, noise, ra and dec.
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
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..planes import ImagePlanes, PixelPlane

FORMAT = "meas_trails.tiles"
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)

TILE_CLASSES: dict[str, int] = {"empty": 0, "missed": 1, "found": 2, "source": 3}
"""What a tile holds: nothing, a trail that the stack missed, only trails that
it found, a real source and no trail.  Without a catalog of the stack all
trails are missed.
"""

IGNORED = 2
"""Value in truth planes of pixels that are neither trail nor background."""

SPLITS: dict[str, int] = {"train": 0, "validation": 1, "test": 2}
"""What the tiles of an image are for; -1 in a table is for nothing said."""

TILE_DATASETS: dict[str, PixelPlane] = dict(
    sorted({**ImagePlanes.table(), "truth": PixelPlane(np.uint8)}.items(), key=lambda item: item[1].optional)
)
"""Datasets of pixels, by name: the planes of an image and the truth, the
optional ones last.
"""

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
"""Columns that version 1 lacks, and what is read in their place."""


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
    real_sources
        Where the footprints of real sources in the mask plane ``DETECTED``
        come from; empty where they are not known.
    """

    data_id: dict[str, Any]
    shape: tuple[int, int]
    psf_kernel: npt.NDArray[np.float64]
    unit: str = "nJy"
    wcs: str = ""
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    real_sources: str = ""


def empty_table(count: int) -> npt.NDArray[np.void]:
    """Return a table of tiles of which nothing is known."""
    table = np.zeros(count, dtype=TABLE_DTYPE)
    for name, value in _SINCE_VERSION_2.items():
        table[name] = value
    return table


def required_columns(version: int) -> tuple[str, ...]:
    """Return the columns that the table of a version must have."""
    names = TABLE_DTYPE.names or ()
    return tuple(name for name in names if version > 1 or name not in _SINCE_VERSION_2)


def parse_split(name: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """Return the file and the split that a name like ``tiles.h5#train`` stands
    for; a file that has such a name itself is meant where there is one.
    """
    path = Path(name)
    base, mark, split = path.name.rpartition("#")
    if mark and base and split in SPLITS and not path.exists():
        return path.with_name(base), split
    return path, None


def encode_text(text: str) -> np.bytes_ | h5py.Empty:
    """Return a text as an attribute of fixed length; HDF5 has none of zero."""
    return np.bytes_(text.encode()) if text else h5py.Empty("S1")


def decode_text(value: Any) -> str:
    """Return an attribute as text."""
    if isinstance(value, h5py.Empty):
        return ""
    return value.decode() if isinstance(value, bytes) else str(value)
