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

"""Import of the images of Asteroid_detection_CNN as tile files."""

from __future__ import annotations

__all__ = ("TransferCounts", "import_images")

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from .files import AdcnnFileError, AdcnnReader
from .tiles import ImportOptions, adcnn_tiles


@dataclasses.dataclass
class TransferCounts:
    """Numbers of imported or exported images."""

    images: int = 0
    """Images that were transferred."""

    trails: int = 0
    """Trails in these images."""

    failed: int = 0
    """Images that cannot be used."""

    present: int = 0
    """Images that were transferred earlier."""


def import_images(
    reader: AdcnnReader, output: Path, options: ImportOptions, numbers: Iterable[int], *, resume: bool = False
) -> TransferCounts:
    """Write a tile file for each image of Asteroid_detection_CNN.

    Parameters
    ----------
    reader
        Reader of the images.
    output
        Folder of the tile files, which is created if needed.
    options
        Options of the import.
    numbers
        Numbers of the images.
    resume
        Whether to skip images whose tile file exists.

    Raises
    ------
    AdcnnFileError
        Raised if an image cannot be tiled, or a tile file exists.
    OSError
        Raised if a file cannot be written.
    """
    counts = TransferCounts()
    output.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        path = output / f"{reader.hdf5.stem}_{number:06d}.h5"
        if path.exists():
            if not resume:
                raise AdcnnFileError(f"{path} exists; resume, remove it, or choose another folder.")
            counts.present += 1
            continue
        image = reader.read(number)
        if image is None:
            counts.failed += 1
            continue
        try:
            tiles = adcnn_tiles(image, reader.hdf5.name, options)
        except ValueError as error:
            raise AdcnnFileError(f"{reader.hdf5}, row {number}: {error}.") from error
        tiles.write(path)
        counts.images += 1
        counts.trails += len(image.trails)
    return counts
