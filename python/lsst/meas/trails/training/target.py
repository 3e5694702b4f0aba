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

"""Training target and pixel weights of a tile."""

from __future__ import annotations

__all__ = ("LARGEST_WEIGHT", "REFERENCE_AREA", "SMALLEST_WEIGHT", "tile_target")

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ..core.tiles.layout import IGNORED
from ..core.tiles.reader import Tile

REFERENCE_AREA = 320.0
"""Area of a trail with pixel weight 1, pixels: about the mean, at half resolution, over trails of 6-150
pixels cut by tiles of 256. The mean weight of trail pixels then stays within 0.9-1.1 for any exponent.
"""

SMALLEST_WEIGHT, LARGEST_WEIGHT = 0.25, 8.0
"""Range of the weight of a trail's pixels."""

_NEIGHBORS = np.ones((3, 3), dtype=np.int8)


def tile_target(
    tile: Tile, balance: float = 0.0, stride: int = 2
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return target and weight at a network's resolution, shapes (T/s, T/s).

    Parameters
    ----------
    tile
        The tile.
    balance
        Exponent, 0 to 1, that raises the weight of pixels of small trails: at 0 all pixels count equally, and
        a trail of 150 pixels as much as twenty trails of 6 pixels; at 1 all trails count equally.
    stride
        Pixels s of the tile per pixel of the network's output, along each axis; it must divide the tile's
        side.

    Returns
    -------
    target
        1 if any of the s x s pixels is on a trail, else 0.
    weight
        0 on ignored pixels and where there are no data; bad pixels within data count, as the network must
        bridge them. Elsewhere 1 on the background, and ``(320 / area)^balance``, within 0.25-8, on a trail
        with this area in the tile, pixels. Touching trails count as one.
    """
    trail = _pool(tile.truth == 1, stride)
    missing = tile.planes.has("NO_DATA") | ~np.isfinite(tile.planes.image)
    ignored = (_pool(tile.truth == IGNORED, stride) & ~trail) | ~_pool(~missing, stride)
    weight = (~ignored).astype(np.float32)
    if balance > 0.0:
        weight *= _trail_weight(trail, balance, stride)
    return trail.astype(np.float32), weight


def _trail_weight(trail: npt.NDArray[np.bool_], balance: float, stride: int) -> npt.NDArray[np.float32]:
    """Return the weight of each pixel from the area of its trail, 1 off trails."""
    labels, _ = scipy.ndimage.label(trail, structure=_NEIGHBORS)
    area = np.bincount(labels.ravel()).astype(np.float64) * stride**2
    weights = np.clip((REFERENCE_AREA / np.maximum(area, 1.0)) ** balance, SMALLEST_WEIGHT, LARGEST_WEIGHT)
    weights[0] = 1.0
    return np.asarray(weights[labels], dtype=np.float32)


def _pool(mask: npt.NDArray[np.bool_], stride: int) -> npt.NDArray[np.bool_]:
    """Return whether any pixel of each block is set."""
    rows = np.logical_or.reduce([mask[i::stride] for i in range(stride)])
    return np.asarray(np.logical_or.reduce([rows[:, i::stride] for i in range(stride)]))
