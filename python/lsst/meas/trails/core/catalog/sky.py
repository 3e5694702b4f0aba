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

"""Positions, errors and angles of candidates on the sky."""

from __future__ import annotations

__all__ = ("sky_columns",)

import astropy.coordinates
import astropy.table
import numpy as np
import numpy.typing as npt

from ..geometry import PixelToSky, wrap_angle
from ..motion import tangent_offsets

type _Floats = npt.NDArray[np.float64]


def sky_columns(
    candidates: astropy.table.Table, pixels: dict[str, _Floats], pixel_to_sky: PixelToSky
) -> dict[str, _Floats]:
    """Return positions, errors, length and angle of trails on the sky.

    Parameters
    ----------
    candidates
        Output of `~lsst.meas.trails.core.candidates.find.find_candidates`.
    pixels
        Columns ``x``, ``y``, ``x0``, ``y0``, ``x1``, ``y1`` in the coordinates of the image, shape (n,).
    pixel_to_sky
        Map from the image's coordinates to the sky.

    Returns
    -------
    columns
        The columns of a candidate catalog, shape (n,) each. ``raErr`` and ``ra_dec_Cov`` include the factor
        cos(dec), as in the APDB.
    """
    columns: dict[str, _Floats] = {}
    for suffix in ("", "0", "1"):
        ra, dec = pixel_to_sky(pixels[f"x{suffix}"], pixels[f"y{suffix}"])
        columns[f"ra{suffix}"], columns[f"dec{suffix}"] = np.asarray(ra), np.asarray(dec)
    x, y, ra, dec = pixels["x"], pixels["y"], columns["ra"], columns["dec"]
    # Local Jacobian of the projection, from steps of one pixel.
    (east_x, north_x), (east_y, north_y) = (
        tangent_offsets(*pixel_to_sky(*to), ra, dec) for to in ((x + 1.0, y), (x, y + 1.0))
    )
    x_var, y_var = np.square(np.asarray(candidates["xErr"])), np.square(np.asarray(candidates["yErr"]))
    xy_cov = np.asarray(candidates["xyCovariance"])

    def covariance(a_x: _Floats, a_y: _Floats, b_x: _Floats, b_y: _Floats) -> _Floats:
        return np.asarray(a_x * b_x * x_var + a_y * b_y * y_var + (a_x * b_y + a_y * b_x) * xy_cov)

    columns["raErr"] = np.sqrt(np.maximum(covariance(east_x, east_y, east_x, east_y), 0.0))
    columns["decErr"] = np.sqrt(np.maximum(covariance(north_x, north_y, north_x, north_y), 0.0))
    columns["ra_dec_Cov"] = covariance(east_x, east_y, north_x, north_y)
    radians = np.deg2rad(np.asarray(candidates["trailAnglePix"]))
    cosine, sine = np.cos(radians), np.sin(radians)
    east, north = east_x * cosine + east_y * sine, north_x * cosine + north_y * sine
    ends = (np.deg2rad(columns[name]) for name in ("ra0", "dec0", "ra1", "dec1"))
    columns["trailLength"] = np.rad2deg(astropy.coordinates.angular_separation(*ends)) * 3600.0
    columns["trailLengthErr"] = np.asarray(candidates["trailLengthPixErr"]) * np.hypot(east, north) * 3600.0
    # The local direction, as the ends of a trail without length coincide. Rounding can reach 180 degrees.
    columns["trailAngle"] = wrap_angle(np.rad2deg(np.arctan2(east, north)).astype(np.float32))
    columns["trailAngleErr"] = np.asarray(candidates["trailAnglePixErr"])
    return columns
