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

"""Tiles of random pixels for tests of their files."""

from __future__ import annotations

import astropy.table
import numpy as np

from lsst.meas.trails.core.background import BackgroundMesh
from lsst.meas.trails.core.planes import MASK_PLANES
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.tiles.layout import TileSource
from lsst.meas.trails.core.tiles.writer import TrailTiles

TILE_SIZE = T = 16
"""Side of the tiles, pixels."""


def make_tiles(count: int = 3, catalog: astropy.table.Table | None = None) -> TrailTiles:
    """Return tiles of random pixels from an image of 40 x 50 pixels."""
    rng = np.random.default_rng(1)
    if catalog is None:
        catalog = astropy.table.Table({"x": [1.5, 20.0], "injection_id": [0, 1]})
    tiles = TrailTiles.allocate(
        count,
        T,
        source=TileSource(
            data_id={"instrument": "TrailSimCam", "visit": 2026101100001, "detector": 3},
            shape=(40, 50),
            psf_kernel=PsfGrid.gaussian(4.0, 15).mean_kernel,
            unit="nJy",
            wcs="CTYPE1  = 'RA---TAN'",
            config={"tileSize": T, "emptyFraction": 0.5},
        ),
        background=BackgroundMesh(
            values=np.array([[1.0, 2.0], [3.0, 5.0]], dtype=np.float32), shape=(40, 50), block=20
        ),
        catalog=catalog,
    )
    tiles.pixels["image"][:] = rng.standard_normal(tiles.pixels["image"].shape, dtype=np.float32)
    tiles.pixels["image"][:, 2, 3:5] = np.nan
    tiles.pixels["variance"][:] = rng.random(tiles.pixels["image"].shape, dtype=np.float32)
    tiles.pixels["mask"][:] = rng.integers(0, 2 ** len(MASK_PLANES), tiles.pixels["image"].shape)
    tiles.pixels["truth"][:] = rng.integers(0, 3, tiles.pixels["image"].shape)
    tiles.table["x0"], tiles.table["y0"] = np.arange(count) * 12, np.arange(count) * 12
    tiles.table["tile_class"] = np.arange(count) % 4
    tiles.table["max_snr"] = 7.5
    tiles.table["background"], tiles.table["noise"] = 3.0, 0.5
    tiles.table["ra"], tiles.table["dec"] = 10.0 + np.arange(count), -5.0
    return tiles
