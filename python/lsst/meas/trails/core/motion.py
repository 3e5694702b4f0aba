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

"""Motion on the sky along great circles, for many objects at once.

All angles are degrees, times are days. Position angles are degrees East of North and have a direction, so
that they run over [0, 360). Arguments broadcast; scalars return scalars. The functions use vectors in plain
`numpy`, and hold at the poles and where right ascension wraps.
"""

from __future__ import annotations

__all__ = (
    "along_cross",
    "east_north",
    "motion",
    "move",
    "separation",
    "sky_vectors",
    "tangent_offsets",
    "vectors_to_sky",
)

import astropy.coordinates
import numpy as np
import numpy.typing as npt

type _Floats = npt.NDArray[np.float64]
"""Arrays; functions of scalars return scalars."""


def sky_vectors(ra: npt.ArrayLike, dec: npt.ArrayLike) -> _Floats:
    """Return the unit vectors of positions, shape (..., 3)."""
    lon, lat = np.broadcast_arrays(np.deg2rad(ra), np.deg2rad(dec))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def vectors_to_sky(vectors: npt.ArrayLike) -> tuple[_Floats, _Floats]:
    """Return the positions of vectors.

    Parameters
    ----------
    vectors
        Vectors of any length, shape (..., 3).

    Returns
    -------
    ra, dec
        Degrees, [0, 360) and [-90, 90], shape (...).
    """
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    return _wrap(np.rad2deg(np.arctan2(y, x))), np.rad2deg(np.arctan2(z, np.hypot(x, y)))[()]


def separation(ra0: npt.ArrayLike, dec0: npt.ArrayLike, ra1: npt.ArrayLike, dec1: npt.ArrayLike) -> _Floats:
    """Return the distance of positions along a great circle, degrees."""
    radians = (np.deg2rad(value) for value in (ra0, dec0, ra1, dec1))
    return np.rad2deg(astropy.coordinates.angular_separation(*radians))


def tangent_offsets(
    ra: npt.ArrayLike, dec: npt.ArrayLike, ra_ref: npt.ArrayLike, dec_ref: npt.ArrayLike
) -> tuple[_Floats, _Floats]:
    """Return offsets of positions in the tangent plane of a reference.

    The projection is gnomonic: great circles are straight lines. A distance d from the reference becomes
    tan(d), which is longer by 4 parts in 10000 at 2 degrees.

    Parameters
    ----------
    ra, dec
        Positions.
    ra_ref, dec_ref
        Reference, the origin of the offsets.

    Returns
    -------
    east, north
        Offsets, degrees; NaN for positions 90 degrees or more from the reference.
    """
    toward, east, north = _components(ra, dec, ra_ref, dec_ref)
    depth = np.where(toward > 0.0, toward, np.nan)
    return np.rad2deg(east / depth)[()], np.rad2deg(north / depth)[()]


def along_cross(
    ra: npt.ArrayLike,
    dec: npt.ArrayLike,
    ra_ref: npt.ArrayLike,
    dec_ref: npt.ArrayLike,
    position_angle: npt.ArrayLike,
) -> tuple[_Floats, _Floats]:
    """Return offsets of positions along and across a great circle.

    Parameters
    ----------
    ra, dec
        Positions.
    ra_ref, dec_ref
        Reference on the great circle, the origin of the offsets.
    position_angle
        Position angle of the great circle at the reference.

    Returns
    -------
    along, cross
        Arcs, degrees. An offset across an eastward motion is positive to the North, as in ``SSSource``.
    """
    toward, east, north = _components(ra, dec, ra_ref, dec_ref)
    angle = np.deg2rad(position_angle)
    along = east * np.sin(angle) + north * np.cos(angle)
    cross = north * np.sin(angle) - east * np.cos(angle)
    arc = np.rad2deg(np.arctan2(along, toward))
    return arc[()], np.rad2deg(np.arctan2(cross, np.hypot(along, toward)))[()]


def move(
    ra: npt.ArrayLike,
    dec: npt.ArrayLike,
    rate: npt.ArrayLike,
    position_angle: npt.ArrayLike,
    dt: npt.ArrayLike,
) -> tuple[_Floats, _Floats]:
    """Return positions after a motion along great circles.

    Parameters
    ----------
    ra, dec
        Positions at the start.
    rate
        Rate of motion, degrees per day.
    position_angle
        Direction of motion at the start.
    dt
        Time since the start, days; may be negative.

    Returns
    -------
    ra, dec
        Positions, degrees.
    """
    toward = sky_vectors(ra, dec)
    east, north = east_north(ra, dec)
    angle = np.deg2rad(position_angle)
    arc = np.deg2rad(np.multiply(rate, dt, dtype=np.float64))
    direction = east * np.sin(angle)[..., None] + north * np.cos(angle)[..., None]
    return vectors_to_sky(toward * np.cos(arc)[..., None] + direction * np.sin(arc)[..., None])


def motion(
    ra0: npt.ArrayLike,
    dec0: npt.ArrayLike,
    ra1: npt.ArrayLike,
    dec1: npt.ArrayLike,
    dt: npt.ArrayLike = 1.0,
) -> tuple[_Floats, _Floats]:
    """Return the motion from one position to another along a great circle.

    Parameters
    ----------
    ra0, dec0, ra1, dec1
        First and second position.
    dt
        Time between them, days.

    Returns
    -------
    rate
        Rate, degrees per day: `separation` over ``dt``.
    position_angle
        Direction at the first position, [0, 360).
    """
    toward, east, north = _components(ra1, dec1, ra0, dec0)
    arc = np.rad2deg(np.arctan2(np.hypot(east, north), toward))
    return np.divide(arc, dt, dtype=np.float64)[()], _wrap(np.rad2deg(np.arctan2(east, north)))


def _components(
    ra: npt.ArrayLike, dec: npt.ArrayLike, ra_ref: npt.ArrayLike, dec_ref: npt.ArrayLike
) -> tuple[_Floats, _Floats, _Floats]:
    """Return the components of unit vectors toward a reference, to its East and to its North."""
    difference = np.deg2rad(np.subtract(ra, ra_ref, dtype=np.float64))
    lat, lat_ref = np.deg2rad(dec), np.deg2rad(dec_ref)
    cos, sin_ref, cos_ref = np.cos(lat), np.sin(lat_ref), np.cos(lat_ref)
    # The half angle keeps offsets of micro-arcseconds exact.
    drop = 2.0 * np.square(np.sin(0.5 * difference)) * cos
    toward = np.cos(lat - lat_ref) - drop * cos_ref
    north = np.sin(lat - lat_ref) + drop * sin_ref
    return np.asarray(toward), np.asarray(cos * np.sin(difference)), np.asarray(north)


def east_north(ra: npt.ArrayLike, dec: npt.ArrayLike) -> tuple[_Floats, _Floats]:
    """Return the unit vectors to the East and to the North of positions, shape (..., 3)."""
    lon, lat = np.broadcast_arrays(np.deg2rad(ra), np.deg2rad(dec))
    east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)], axis=-1)
    north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)], axis=-1)
    return east, north


def _wrap(degrees: _Floats) -> _Floats:
    """Return angles in [0, 360)."""
    wrapped = np.mod(degrees, 360.0)
    # The remainder of a tiny negative angle rounds to 360 itself.
    return np.where(wrapped >= 360.0, 0.0, wrapped)[()]
