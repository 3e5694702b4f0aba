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

"""Summary of the content of a tile file, as plain values."""

from __future__ import annotations

__all__ = ("ImageSummary", "TileSummary", "summarize_tiles")

import os
from collections.abc import Mapping
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from ..injection.truth import is_trail
from ..psf import kernel_fwhm
from .layout import SPLITS, TILE_CLASSES
from .reader import TileReader


class ImageSummary(TypedDict):
    """Summary of one image of a tile file."""

    data_id: Mapping[str, object]
    shape: list[int]
    unit: str
    psf_fwhm: float
    """FWHM of the PSF, pixels."""
    tiles: int
    trails: int
    distractors: int
    wcs: bool
    """Whether the WCS is known."""
    real_sources: str
    """Origin of the real sources; empty if they are unknown."""
    config: Mapping[str, object]
    """Configuration that the tiles were made with."""


class TileSummary(TypedDict):
    """Summary of a tile file; a range is a list of minimum, median and maximum."""

    file: str
    bytes: int
    format_version: int
    package_version: str
    virtual: bool
    """Whether the pixels are in other files."""
    planes: list[str]
    tile_size: int
    tiles: int
    classes: dict[str, int]
    splits: dict[str, int]
    max_snr: list[float] | None
    noise: list[float] | None
    ra: list[float] | None
    dec: list[float] | None
    images: list[ImageSummary]
    joined_by: str | None
    """Method of the split, `None` for a file that was not joined."""


def summarize_tiles(path: str | os.PathLike[str]) -> TileSummary:
    """Summarize the content of a tile file.

    Raises
    ------
    TileFileError
        Raised if it is not a tile file.
    """
    with TileReader(path) as reader:
        table = reader.table
        images = []
        for number in range(reader.source_count):
            source, trail = reader.source(number), is_trail(reader.catalog(number))
            images.append(
                ImageSummary(
                    data_id=source.data_id,
                    shape=list(source.shape),
                    unit=source.unit,
                    psf_fwhm=round(kernel_fwhm(source.psf_kernel), 3),
                    tiles=int(np.count_nonzero(table["source"] == number)),
                    trails=int(np.count_nonzero(trail)),
                    distractors=int(np.count_nonzero(~trail)),
                    wcs=bool(source.wcs),
                    real_sources=source.real_sources,
                    config=source.config,
                )
            )
        manifest = reader.manifest()
        splits = _counts(table["split"], SPLITS)
        return TileSummary(
            file=str(path),
            bytes=os.stat(path).st_size,
            format_version=reader.format_version,
            package_version=reader.package_version,
            virtual=reader.is_virtual,
            planes=list(reader.datasets),
            tile_size=reader.tile_size,
            tiles=len(reader),
            classes=_counts(table["tile_class"], TILE_CLASSES),
            splits={name: count for name, count in splits.items() if count},
            max_snr=_range(table["max_snr"][table["max_snr"] > 0.0]),
            noise=_range(table["noise"]),
            ra=_range(table["ra"]),
            dec=_range(table["dec"]),
            images=images,
            joined_by=None if manifest is None else manifest.get("method"),
        )


def _counts(values: npt.NDArray[np.integer], names: Mapping[str, int]) -> dict[str, int]:
    """Return the number of occurrences of each named value."""
    return {name: int(np.count_nonzero(values == value)) for name, value in names.items()}


def _range(values: npt.NDArray[np.floating]) -> list[float] | None:
    """Return minimum, median and maximum of the finite values, `None` without any."""
    known = values[np.isfinite(values)]
    return [float(f(known)) for f in (np.min, np.median, np.max)] if len(known) else None
