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

"""Cutting images into tiles for training."""

from __future__ import annotations

__all__ = (
    "IGNORED",
    "TILE_CLASSES",
    "SkyFunction",
    "cut_tiles",
    "ignore_trail",
    "tile_origins",
)
from collections.abc import Callable
from typing import Any

import astropy.table
import numpy as np
import numpy.typing as npt

from ..background import BackgroundMesh
from ..geometry import Trail, near_segment
from ..injection.truth import check_trail_table, is_trail
from ..planes import ImagePlanes, pad_array
from ..render import render_trail
from .layout import IGNORED, TILE_CLASSES
from .writer import TileSource, TrailTiles

type SkyFunction = Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], tuple[Any, Any]]


_IN_TILE = 0.1
"""A trail is in a tile where the truth has it and it is brighter than this
fraction of its ridge.
"""


def tile_origins(shape: tuple[int, int], size: int, overlap: int = 0) -> npt.NDArray[np.int64]:
    """Return the first pixels of tiles that cover an image.

    Parameters
    ----------
    shape
        Shape (ny, nx) of the image.
    size
        Side of the tiles, pixels.
    overlap
        Pixels that neighbors share, at least.

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


def ignore_trail(truth: npt.NDArray[np.uint8], row: astropy.table.Row, width: float) -> None:
    """Keep a trail out of the loss, in place.

    Parameters
    ----------
    truth
        1 on trails; becomes `IGNORED` on this one.
    row
        Its row of the truth table, in array coordinates.
    width
        Half of the width of trails in the truth, pixels.
    """
    x0, y0, x1, y1 = (float(row[name]) for name in ("x0", "y0", "x1", "y1"))
    near = near_segment(x0, y0, x1, y1, width, (truth.shape[0], truth.shape[1]))
    rows, columns = near.rows[near.use], near.columns[near.use]
    on_trail = truth[rows, columns] == 1
    truth[rows[on_trail], columns[on_trail]] = IGNORED


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
    source_fraction: float | None = None,
    found: npt.NDArray[np.bool_] | None = None,
    sources: npt.NDArray[np.floating] | None = None,
    pixel_to_sky: SkyFunction | None = None,
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
        Truth table of the image, in array coordinates.  Rows of a
        ``source_type`` other than ``Trail`` are kept, and that is all.
    source
        What image this is.
    size, overlap
        Side of the tiles and what neighbors share, pixels.
    flux_per_njy
        Image units per nJy, the unit of the fluxes in the catalog.
    empty_fraction
        Fraction of the tiles without trail and source that are kept.
    source_fraction
        Fraction of the tiles with a source and no trail that are kept; as
        for empty ones if `None`.
    found
        Rows of the catalog that the stack has found, shape (m,); none of
        them if `None`.
    sources
        Real sources, array coordinates x and y, shape (k, 2).  Where
        ``source.real_sources`` says that they are known, the pixels of the
        mask plane ``DETECTED`` are sources as well.
    pixel_to_sky
        Maps array coordinates x and y to right ascension and declination,
        degrees, for the positions of the tiles.
    rng
        Random numbers, for the choice of tiles.

    Raises
    ------
    ValueError
        Raised if the catalog cannot be used; see `check_trail_table`.
    """
    check_trail_table(catalog)
    origins = tile_origins(planes.shape, size, overlap)
    parts = [_part(y, x, size) for y, x in origins]
    has_trail = np.array([bool(np.any(truth[part] == 1)) for part in parts], dtype=bool)
    has_source = _has_source(planes, source, sources, origins, size)
    fraction = np.where(
        has_source, empty_fraction if source_fraction is None else source_fraction, empty_fraction
    )
    keep = has_trail | (rng.random(len(origins)) < fraction)
    origins, has_trail, has_source = origins[keep], has_trail[keep], has_source[keep]
    tiles = TrailTiles.allocate(
        len(origins),
        size,
        source=source,
        background=background,
        catalog=catalog,
        optional=planes.arrays(),
    )
    _copy_pixels(planes, truth, origins, tiles)
    table = tiles.table
    table["x0"], table["y0"] = origins[:, 1], origins[:, 0]
    snr, missed_trail, found_trail = _trails_in_tiles(
        planes, truth, catalog, origins, size, flux_per_njy, found
    )
    table["max_snr"] = snr
    table["tile_class"] = np.where(has_source, TILE_CLASSES["source"], TILE_CLASSES["empty"])
    only_found = found_trail & ~missed_trail
    table["tile_class"][has_trail] = np.where(only_found, TILE_CLASSES["found"], TILE_CLASSES["missed"])[
        has_trail
    ]
    _measure(planes, background, origins, size, table)
    if pixel_to_sky is not None and len(origins):
        middle = np.asarray(origins, dtype=np.float64) + 0.5 * (size - 1)
        table["ra"], table["dec"] = pixel_to_sky(middle[:, 1], middle[:, 0])
    return tiles


def _part(y: int, x: int, size: int) -> tuple[slice, slice]:
    return slice(int(y), int(y) + size), slice(int(x), int(x) + size)


def _copy_pixels(
    planes: ImagePlanes, truth: npt.NDArray[np.uint8], origins: npt.NDArray[np.int64], tiles: TrailTiles
) -> None:
    shape = tiles.pixels["image"].shape[1:]
    for i, (y, x) in enumerate(origins):
        part = _part(y, x, shape[0])
        for name, array in planes.cut(*part).arrays().items():
            tiles.pixels[name][i] = array
        tiles.pixels["truth"][i] = pad_array(truth[part], shape)


def _has_source(
    planes: ImagePlanes,
    source: TileSource,
    sources: npt.NDArray[np.floating] | None,
    origins: npt.NDArray[np.int64],
    size: int,
) -> npt.NDArray[np.bool_]:
    """Return which tiles hold a real source, as far as that is known."""
    result = np.zeros(len(origins), dtype=bool)
    if source.real_sources:
        footprints = planes.has("DETECTED")
        result |= [bool(np.any(footprints[_part(y, x, size)])) for y, x in origins]
    if sources is not None:
        x, y = np.rint(np.asarray(sources, dtype=np.float64).reshape(-1, 2).T)
        for i, (y0, x0) in enumerate(origins):
            result[i] |= bool(np.any((x >= x0) & (x < x0 + size) & (y >= y0) & (y < y0 + size)))
    return result


def _trails_in_tiles(
    planes: ImagePlanes,
    truth: npt.NDArray[np.uint8],
    catalog: astropy.table.Table,
    origins: npt.NDArray[np.int64],
    size: int,
    flux_per_njy: float,
    found: npt.NDArray[np.bool_] | None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return the optimal SNR of the brightest part of a trail in each tile,
    and whether the tile has a trail that the stack missed, and one that it
    found.
    """
    snr = np.zeros(len(origins), dtype=np.float32)
    missed_trail, found_trail = (np.zeros(len(origins), dtype=bool) for _ in range(2))
    for k in np.flatnonzero(is_trail(catalog)):
        row = catalog[k]
        trail = Trail(*(float(row[name]) for name in ("x", "y", "trail_length", "beta", "flux")))
        stamp = render_trail(planes.psf, trail)
        (rows, columns), unit = stamp.clipped(planes.shape)
        if unit.size == 0:
            continue
        variance = planes.variance[rows, columns].astype(np.float64)
        good = ~planes.cut(rows, columns).bad()
        power = np.zeros(unit.shape)
        np.divide(np.square(trail.flux * flux_per_njy * unit), variance, out=power, where=good)
        seen = (unit > _IN_TILE * stamp.array.max()) & (truth[rows, columns] == 1)
        y0, x0 = origins[:, 0], origins[:, 1]
        touched = (y0 < rows.stop) & (y0 + size > rows.start) & (x0 < columns.stop)
        touched &= x0 + size > columns.start
        for i in np.flatnonzero(touched):
            inside = (
                slice(max(int(y0[i]) - rows.start, 0), max(int(y0[i]) + size - rows.start, 0)),
                slice(max(int(x0[i]) - columns.start, 0), max(int(x0[i]) + size - columns.start, 0)),
            )
            snr[i] = max(snr[i], np.sqrt(np.sum(power[inside])))
            if np.any(seen[inside]):
                (found_trail if found is not None and found[k] else missed_trail)[i] = True
    return snr, missed_trail, found_trail


def _measure(
    planes: ImagePlanes,
    background: BackgroundMesh,
    origins: npt.NDArray[np.int64],
    size: int,
    table: npt.NDArray[np.void],
) -> None:
    """Write the level and the noise of each tile to its row: the median of
    the background, and of the error of good pixels.
    """
    for i, (y, x) in enumerate(origins):
        # A sample will do for a median.
        rows, columns = (slice(s.start, s.stop, 4) for s in _part(y, x, size))
        table["background"][i] = np.median(background.level(rows, columns))
        sample = planes.cut(rows, columns)
        good = sample.variance[~sample.bad()]
        table["noise"][i] = np.sqrt(np.median(good)) if good.size else np.nan
