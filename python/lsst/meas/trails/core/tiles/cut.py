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

__all__ = ("cut_tiles", "ignore_trail", "tile_origins")

import astropy.table
import numpy as np
import numpy.typing as npt

from ..background import BackgroundMesh
from ..geometry import PixelToSky, Trail, near_segment
from ..injection.truth import check_trail_table, is_trail
from ..planes import ImagePlanes, pad_array
from ..render import render_trail
from .layout import IGNORED, TILE_CLASSES, TileSource
from .writer import TrailTiles

_IN_TILE = 0.1
"""Smallest brightness, as a fraction of its ridge, of a trail in a tile."""


def tile_origins(shape: tuple[int, int], size: int, overlap: int = 0) -> npt.NDArray[np.int64]:
    """Return the first pixels of tiles that cover an image.

    Parameters
    ----------
    shape
        Shape (ny, nx) of the image.
    size
        Side of the tiles, pixels.
    overlap
        Smallest overlap of neighboring tiles, pixels.

    Returns
    -------
    origins
        Array of (y0, x0), shape (n, 2). The last tiles of rows and columns are shifted to end at the edge of
        the image; an image smaller than a tile has one tile at (0, 0) that extends beyond it.

    Raises
    ------
    ValueError
        Raised if the overlap is not smaller than the tile.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"The overlap of {overlap} pixels is not between 0 and the tile size of {size}.")
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
    """Exclude a trail from the loss, in place.

    Parameters
    ----------
    truth
        1 on trails; becomes `IGNORED` on this one.
    row
        Row of the truth table, in array coordinates.
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
    flux_per_njy: npt.ArrayLike = 1.0,
    empty_fraction: float = 0.5,
    source_fraction: float | None = None,
    found: npt.NDArray[np.bool_] | None = None,
    sources: npt.NDArray[np.floating] | None = None,
    artifacts: npt.NDArray[np.floating] | None = None,
    pixel_to_sky: PixelToSky | None = None,
    rng: np.random.Generator,
) -> TrailTiles:
    """Cut an image into tiles; keep all with trails or labeled artifacts and a sample of the rest.

    Parameters
    ----------
    planes
        Image with trails.
    background
        Background of the image.
    truth
        1 on trails, 0 elsewhere, 2 where the loss ignores pixels, shape (ny, nx).
    catalog
        Truth table of the image, in array coordinates. Rows with a ``source_type`` other than ``Trail`` are
        only copied.
    source
        Description of the image.
    size, overlap
        Side of the tiles and overlap of neighbors, pixels.
    flux_per_njy
        Image units per nJy, the unit of the fluxes in the catalog, for all rows or for each.
    empty_fraction
        Fraction of the tiles without trail and source to keep.
    source_fraction
        Fraction of the tiles with a source and no trail to keep; `None` for ``empty_fraction``.
    found
        Rows of the catalog that the stack found, shape (m,); `None` for none.
    sources
        Real sources, array coordinates x and y, shape (k, 2). Pixels of the mask plane ``DETECTED`` are
        sources too if ``source.real_sources`` is not empty.
    artifacts
        Midpoints of candidates labeled artifact, array coordinates x and y, shape (k, 2).
    pixel_to_sky
        Map for the positions of the tiles.
    rng
        Random numbers for the choice of tiles.

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
    has_artifact = _contains(origins, size, artifacts)
    keep = has_trail | has_artifact | (rng.random(len(origins)) < fraction)
    origins, has_trail, has_source = origins[keep], has_trail[keep], has_source[keep]
    tiles = TrailTiles.allocate(
        len(origins), size, source=source, background=background, catalog=catalog, optional=planes.arrays()
    )
    _copy_pixels(planes, truth, origins, tiles)
    table = tiles.table
    table["x0"], table["y0"] = origins[:, 1], origins[:, 0]
    snr, missed_trail, found_trail = _trails_in_tiles(
        planes, truth, catalog, origins, size, flux_per_njy, found
    )
    table["max_snr"] = snr
    table["tile_class"] = np.where(has_source, TILE_CLASSES["source"], TILE_CLASSES["empty"])
    table["tile_class"][has_artifact[keep]] = TILE_CLASSES["artifact"]
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
    """Return which tiles contain a known real source, shape (n,)."""
    result = np.zeros(len(origins), dtype=bool)
    if source.real_sources:
        footprints = planes.has("DETECTED")
        result |= [bool(np.any(footprints[_part(y, x, size)])) for y, x in origins]
    return result | _contains(origins, size, sources)


def _contains(
    origins: npt.NDArray[np.int64], size: int, positions: npt.NDArray[np.floating] | None
) -> npt.NDArray[np.bool_]:
    """Return which tiles contain one of some positions, shape (n,)."""
    result = np.zeros(len(origins), dtype=bool)
    if positions is not None:
        x, y = np.rint(np.asarray(positions, dtype=np.float64).reshape(-1, 2).T)
        for i, (y0, x0) in enumerate(origins):
            result[i] = bool(np.any((x >= x0) & (x < x0 + size) & (y >= y0) & (y < y0 + size)))
    return result


def _trails_in_tiles(
    planes: ImagePlanes,
    truth: npt.NDArray[np.uint8],
    catalog: astropy.table.Table,
    origins: npt.NDArray[np.int64],
    size: int,
    flux_per_njy: npt.ArrayLike,
    found: npt.NDArray[np.bool_] | None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return the SNR, missed trails and found trails of each tile.

    The first is the largest optimal SNR of the part of a trail in the tile; the others are whether the stack
    missed or found a trail in it.
    """
    snr = np.zeros(len(origins), dtype=np.float32)
    missed_trail, found_trail = (np.zeros(len(origins), dtype=bool) for _ in range(2))
    scale = np.broadcast_to(np.asarray(flux_per_njy, dtype=np.float64), (len(catalog),))
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
        np.divide(np.square(trail.flux * scale[k] * unit), variance, out=power, where=good)
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
    """Write the medians of background and noise of each tile to its row."""
    for i, (y, x) in enumerate(origins):
        # A sample is enough for a median.
        rows, columns = (slice(s.start, s.stop, 4) for s in _part(y, x, size))
        table["background"][i] = np.median(background.level(rows, columns))
        sample = planes.cut(rows, columns)
        good = sample.variance[~sample.bad()]
        table["noise"][i] = np.sqrt(np.median(good)) if good.size else np.nan
