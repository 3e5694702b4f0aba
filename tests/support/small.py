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


"""The smallest network and the smallest file of tiles that trainings accept."""

from __future__ import annotations

from pathlib import Path

import astropy.table
import numpy as np

from lsst.meas.trails.core.background import fit_background
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.tiles.layout import TileSource
from lsst.meas.trails.core.tiles.writer import TrailTiles

SMALL_NETWORK = {"widths": [4, 8], "blocks": [1, 0], "decoder_blocks": [0], "dilations": [1]}
"""Hyperparameters of a network that is trained in milliseconds."""


def write_tile_file(path: Path, *, visit: int = 1, size: int = 32) -> Path:
    """Write a file of two tiles of noise, the first with a trail.

    Parameters
    ----------
    path
        Path of the file.
    visit
        Visit of the image, and seed of the noise.
    size
        Side of a tile, pixels.
    """
    rng = np.random.default_rng(visit)
    image = rng.normal(100.0, 1.0, (2 * size, size)).astype(np.float32)
    tiles = TrailTiles.allocate(
        2,
        size,
        source=TileSource(
            data_id={"instrument": "Cam", "visit": visit, "detector": 0},
            shape=image.shape,
            psf_kernel=PsfGrid.gaussian(4.0).mean_kernel,
        ),
        background=fit_background(image, np.zeros(image.shape, dtype=bool)),
        catalog=astropy.table.Table({"x": [1.0], "y": [2.0]}),
    )
    tiles.pixels["image"][:] = image.reshape(2, size, size)
    tiles.pixels["variance"][:] = 1.0
    tiles.pixels["truth"][0, 8:12, 4:28] = 1
    tiles.table["y0"] = [0, size]
    tiles.table["tile_class"] = [1, 0]
    tiles.write(path)
    return path
