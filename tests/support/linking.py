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

"""Catalogs of moving objects with known motions, for tests of linking."""

from __future__ import annotations

import astropy.table
import numpy as np

from lsst.meas.trails.core.linking.detections import LINKING_COLUMNS
from lsst.meas.trails.core.motion import motion, move
from lsst.meas.trails.core.photometry import mag_to_flux

START = 60_000.2
"""Middle of the first exposure, MJD, TAI."""


def moving_object(
    minutes,
    *,
    ra: float = 30.0,
    dec: float = -10.0,
    rate: float = 5.0,
    angle: float = 70.0,
    exposure: float | list[float] = 30.0,
    bands: str = "r",
    mags: float | list[float] = 21.0,
    first_id: int = 1,
    reverse: int = 0,
) -> list[astropy.table.Table]:
    """Return one catalog per visit with an object that is at a position at `START`.

    Bit i of ``reverse`` exchanges the ends of the trail in visit i.
    """
    catalogs = []
    for i, minute in enumerate(minutes):
        time = exposure[i] if isinstance(exposure, list) else exposure
        dt = minute / 1440.0
        place = move(ra, dec, rate, angle, dt)
        ends = [move(ra, dec, rate, angle, dt + sign * 0.5 * time / 86400.0) for sign in (-1.0, 1.0)]
        if reverse >> i & 1:
            ends.reverse()
        length, bearing = motion(*ends[0], *ends[1])
        mag = mags[i] if isinstance(mags, list) else mags
        row = {
            "trailCandidateId": first_id + i,
            "visit": 100 + i,
            "detector": i,
            "band": bands[i % len(bands)],
            "midpointMjdTai": START + dt,
            "exposureTime": time,
            "ra": place[0],
            "dec": place[1],
            "raErr": 0.1 / 3600.0,
            "decErr": 0.1 / 3600.0,
            "ra0": ends[0][0],
            "dec0": ends[0][1],
            "ra1": ends[1][0],
            "dec1": ends[1][1],
            "trailLength": length * 3600.0,
            "trailLengthErr": 0.3,
            "trailAngle": bearing % 180.0,
            "trailAngleErr": 2.0,
            "trailFlux": mag_to_flux(mag),
            "trailFluxErr": 0.05 * mag_to_flux(mag),
            "trailMag": mag,
            "score": 0.9,
            "streakFlag": False,
            "trail_flag": False,
            "trail_flag_edge": False,
        }
        assert tuple(row) == LINKING_COLUMNS
        catalogs.append(astropy.table.Table({name: np.array([value]) for name, value in row.items()}))
    return catalogs
