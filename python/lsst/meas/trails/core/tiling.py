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

"""Cutting images into tiles for training."""

from __future__ import annotations

__all__ = ("IGNORED", "TILE_CLASSES", "cut_tiles", "tile_origins")

import astropy.table
import numpy as np
import numpy.typing as npt

from .background import BackgroundMesh
from .planes import ImagePlanes, plane_bits
from .render import TrailStamp, optimal_snr, render_trail
from .tile_file import TileSource, TrailTiles

TILE_CLASSES: dict[str, int] = {"empty": 0, "missed": 1, "found": 2, "source": 3}
"""What a tile holds: nothing, a trail that the stack missed, a trail that it
found, a real source.  Without a catalog of the stack all trails are missed.
"""

IGNORED = 2
"""Value in truth planes of pixels that are neither trail nor background."""


def tile_origins(shape: tuple[int, int], size: int, overlap: int = 0) -> npt.NDArray[np.int64]:
    """Return the first pixels of tiles that cover an image.

    Parameters
    ----------
    shape
        Shape (ny, nx) of the image.
    size
        Side of the tiles, pixels.
    overlap
        Pixels that neighbours share, at least.

    Returns
    -------
    origins
        Array of (y0, x0), shape (n, 2).  The last tiles of a row or column
        are moved inwards, so that every tile lies in the image; an image
        smaller than a tile gets one at (0, 0) that reaches beyond it.

    Raises
    ------
    ValueError
        Raised if the overlap is not smaller than the tile.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"An overlap of {overlap} pixels does not fit tiles of {size}.")
    axes = []
    for extent in shape:
        if extent <= size:
            axes.append(np.zeros(1, dtype=np.int64))
            continue
        count = int(np.ceil((extent - overlap) / (size - overlap)))
        starts = np.minimum(np.arange(count) * (size - overlap), extent - size)
        axes.append(starts.astype(np.int64))
    y, x = np.meshgrid(axes[0], axes[1], indexing="ij")
    return np.stack([y.ravel(), x.ravel()], axis=1)


def cut_tiles(
    planes: ImagePlanes,
    background: BackgroundMesh,
    truth: npt.NDArray[np.uint8],
    catalog: astropy.table.Table,
    source: TileSource,
    *,
    size: int = 256,
    overlap: int = 0,
    flux_per_njy: float = 1.0,
    empty_fraction: float = 0.5,
    rng: np.random.Generator,
) -> TrailTiles:
    """Cut an image into tiles, keeping those with trails and a sample of the
    others.

    Parameters
    ----------
    planes
        The image with the trails in it.
    background
        Its background.
    truth
        1 on trails, 0 elsewhere, 2 where the loss should not look; same
        shape.
    catalog
        Truth table of the trails, in array coordinates.
    source
        What image this is.
    size, overlap
        Side of the tiles and what neighbours share, pixels.
    flux_per_njy
        Image units per nJy, the unit of the fluxes in the catalog.
    empty_fraction
        Fraction of the tiles without a trail that are kept.
    rng
        Random numbers, for that choice.
    """
    origins = tile_origins(planes.shape, size, overlap)
    has_trail = np.array([bool(np.any(truth[_part(y, x, size)] == 1)) for y, x in origins], dtype=bool)
    keep = has_trail | (rng.random(len(origins)) < empty_fraction)
    origins, has_trail = origins[keep], has_trail[keep]
    count = len(origins)
    tiles = TrailTiles.allocate(
        count,
        size,
        source=source,
        background=background,
        catalog=catalog,
        with_template=planes.template is not None,
    )
    tiles.table["x0"], tiles.table["y0"] = origins[:, 1], origins[:, 0]
    tiles.table["tile_class"] = np.where(has_trail, TILE_CLASSES["missed"], TILE_CLASSES["empty"])
    for i, (y, x) in enumerate(origins):
        part = _part(y, x, size)
        h, w = planes.image[part].shape
        tiles.image[i, :h, :w] = planes.image[part]
        tiles.variance[i, :h, :w] = planes.variance[part]
        # What lies beyond a small image keeps the mask NO_DATA.
        tiles.mask[i] = plane_bits(["NO_DATA"])
        tiles.mask[i, :h, :w] = planes.mask[part]
        tiles.truth[i, :h, :w] = truth[part]
        if planes.template is not None and tiles.template is not None:
            tiles.template[i, :h, :w] = planes.template[part]
    tiles.table["max_snr"] = _max_snr(planes, catalog, origins, size, flux_per_njy)
    return tiles


def _part(y: int, x: int, size: int) -> tuple[slice, slice]:
    return slice(int(y), int(y) + size), slice(int(x), int(x) + size)


def _max_snr(
    planes: ImagePlanes,
    catalog: astropy.table.Table,
    origins: npt.NDArray[np.int64],
    size: int,
    flux_per_njy: float,
) -> npt.NDArray[np.float32]:
    """Return the optimal SNR of the brightest part of a trail in each tile."""
    snr = np.zeros(len(origins), dtype=np.float32)
    bad = planes.bad()
    for row in catalog:
        stamp = render_trail(
            planes.psf, float(row["x"]), float(row["y"]), float(row["trail_length"]), float(row["beta"])
        )
        for i, (y, x) in enumerate(origins):
            part = _part(y, x, size)
            inside = TrailStamp(stamp.array, stamp.x0 - int(x), stamp.y0 - int(y))
            flux = float(row["flux"]) * flux_per_njy
            value = optimal_snr(inside, planes.variance[part], flux, bad[part])
            snr[i] = max(snr[i], value)
    return snr
