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


"""What the stack itself has found: its sources, and the trails under them."""

from __future__ import annotations

__all__ = ("found_trails", "source_positions")

from typing import Any

import astropy.coordinates
import astropy.table
import astropy.units as u
import numpy as np
import numpy.typing as npt
import scipy.spatial

from ..core.geometry import segment_distance
from ._door import InputImage

_PIXEL_COLUMNS = (
    ("x", "y"),
    ("slot_Centroid_x", "slot_Centroid_y"),
    ("base_SdssCentroid_x", "base_SdssCentroid_y"),
)
_SKY_COLUMNS = (("ra", "dec"), ("coord_ra", "coord_dec"))
"""Names of positions in the stack's catalogs, standardised or not."""

_SAME_SOURCE = 1.0
"""Sources before and after the injection are the same within this, pixels:
those that a trail is on or beside move further.
"""


def source_positions(
    catalog: astropy.table.Table | None, image: InputImage
) -> npt.NDArray[np.float64] | None:
    """Return where the stack's sources are, in the coordinates of the arrays.

    Parameters
    ----------
    catalog
        A source catalog, with pixel positions or else positions on the sky,
        under one of the names that the stack gives them.
    image
        The image.

    Returns
    -------
    positions
        Columns x and y, shape (k, 2), of the sources that have a position;
        `None` if there is no catalog.

    Raises
    ------
    ValueError
        Raised if the catalog has no positions.
    """
    if catalog is None:
        return None
    for x_name, y_name in _PIXEL_COLUMNS:
        if x_name in catalog.colnames and y_name in catalog.colnames:
            x, y = (_filled(catalog[name]) for name in (x_name, y_name))
            break
    else:
        for ra_name, dec_name in _SKY_COLUMNS:
            if ra_name in catalog.colnames and dec_name in catalog.colnames:
                ra, dec = (
                    _degrees(catalog[name], ra_name.startswith("coord_")) for name in (ra_name, dec_name)
                )
                known = np.isfinite(ra) & np.isfinite(dec)
                sky = astropy.coordinates.SkyCoord(ra[known], dec[known], unit="deg")
                pixels = image.sky_projection.sky_to_pixel(sky)
                x, y = np.asarray(pixels.x, dtype=np.float64), np.asarray(pixels.y, dtype=np.float64)
                break
        else:
            known_names = ", ".join("/".join(pair) for pair in (*_PIXEL_COLUMNS, *_SKY_COLUMNS))
            raise ValueError(f"The source catalog has no positions: none of the columns {known_names}.")
    positions = np.stack([x - image.origin[0], y - image.origin[1]], axis=1)
    return positions[np.all(np.isfinite(positions), axis=1)]


def found_trails(
    trails: astropy.table.Table,
    after: npt.NDArray[np.float64] | None,
    before: npt.NDArray[np.float64] | None,
    distance: float,
) -> npt.NDArray[np.bool_] | None:
    """Return which trails the stack has found.

    Parameters
    ----------
    trails
        Truth table, in array coordinates.
    after, before
        Positions of the stack's sources with the trails and without them,
        columns x and y; `None` where they are not known.
    distance
        Farthest that a source may be from the line of its trail, pixels.

    Returns
    -------
    found
        Whether a source lies on the trail that was not there before, one
        value a trail; `None` if the sources with the trails are not known.
    """
    if after is None:
        return None
    if before is not None and len(before) and len(after):
        nearest, _ = scipy.spatial.KDTree(before).query(after)
        after = after[nearest > _SAME_SOURCE]
    ends = (np.asarray(trails[name])[:, None] for name in ("x0", "y0", "x1", "y1"))
    distances = segment_distance(after[None, :, 0], after[None, :, 1], *ends)
    return np.asarray(np.any(distances <= distance, axis=1))


def _filled(column: Any) -> npt.NDArray[np.float64]:
    return np.asarray(np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan))


def _degrees(column: Any, radians: bool) -> npt.NDArray[np.float64]:
    """Return angles in degrees; afw's are radians unless they say so."""
    unit = column.unit if column.unit is not None else (u.rad if radians else u.deg)
    return np.asarray(_filled(column) * unit.to(u.deg))
