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

from lsst.meas.trails.core.tiles.layout import TileFileError
from lsst.meas.trails.core.tiles.reader import TileReader
from lsst.meas.trails.core.tiles.summary import summarize_tiles
from lsst.meas.trails.training.scenes import TrainingScenes, simulate_tile_file


def test_summary(tmp_path: Path) -> None:
    path = tmp_path / "scene.h5"
    simulate_tile_file(TrainingScenes(seed=7, count=1, shape=(96, 128), trails=2.0), 0, path, 32)
    summary = summarize_tiles(path)
    with TileReader(path) as reader:
        assert summary["tiles"] == sum(summary["classes"].values()) == len(reader)
        assert summary["planes"] == list(reader.datasets)
        noise = reader.table["noise"]
    assert summary["noise"] == [np.min(noise), np.median(noise), np.max(noise)]
    (image,) = summary["images"]
    assert (image["tiles"], image["shape"]) == (summary["tiles"], [96, 128])
    assert summary["bytes"] == path.stat().st_size
    # The file was not joined.
    assert (summary["splits"], summary["joined_by"], summary["virtual"]) == ({}, None, False)


def test_not_a_tile_file(tmp_path: Path) -> None:
    with pytest.raises(TileFileError, match=r"none\.h5"):
        summarize_tiles(tmp_path / "none.h5")
