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


from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from lsst.meas.trails.adcnn.files import AdcnnFileError, AdcnnReader, AdcnnWriter
from lsst.meas.trails.adcnn.import_images import TransferCounts, import_images
from lsst.meas.trails.adcnn.tiles import ImportOptions
from lsst.meas.trails.core.tiles.writer import TrailTiles

OPTIONS = ImportOptions(tile_size=64, empty_fraction=1.0, source_fraction=1.0, fwhm=4.0)


@pytest.fixture
def reader(tmp_path: Path) -> AdcnnReader:
    """Return a reader of two images of noise, one with a trail."""
    row = {"x": [50], "y": [60], "trail_length": [20.0], "beta": [10.0], "mag": [24.0]}
    with AdcnnWriter(tmp_path / "train.h5", tmp_path / "train.csv") as writer:
        for number in range(2):
            image = np.random.default_rng(number).standard_normal((128, 128), dtype=np.float32)
            writer.append(image, np.zeros((128, 128), dtype=bool), Table(row)[number:], None)
    return AdcnnReader(tmp_path / "train.h5", tmp_path / "train.csv")


def test_import_and_resume(reader: AdcnnReader, tmp_path: Path) -> None:
    output = tmp_path / "tiles"
    with reader:
        assert import_images(reader, output, OPTIONS, range(1)) == TransferCounts(images=1, trails=1)
        assert len(TrailTiles.read(output / "train_000000.h5")) == 4
        with pytest.raises(AdcnnFileError, match=r"train_000000\.h5"):
            import_images(reader, output, OPTIONS, range(2))
        counts = import_images(reader, output, OPTIONS, range(2), resume=True)
    assert counts == TransferCounts(images=1, present=1)


def test_unusable_image(reader: AdcnnReader, tmp_path: Path) -> None:
    """The images have no stars to measure the PSF on."""
    with reader, pytest.raises(AdcnnFileError, match=r"train\.h5, row 1"):
        import_images(reader, tmp_path, ImportOptions(tile_size=64), [1])
