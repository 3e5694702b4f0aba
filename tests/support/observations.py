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

"""Observations with given values, for the tests of exports."""

from __future__ import annotations

from typing import Any

import astropy.table
import numpy as np

from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS, ColumnLayout, table_of
from lsst.meas.trails.core.catalog.observations import add_tracklets, observation_table
from lsst.meas.trails.core.linking.columns import TRACKLET_COLUMNS, TRACKLET_MEMBER_COLUMNS

MIDPOINT_TAI = 60955.0 + 37.0 / 86400.0
"""Midnight UTC of 7 October 2025: TAI is 37 s ahead."""


def make_candidates(
    number: int = 1, instrument: str = "LSSTCam", physical_filter: str = "r_57", **values: Any
) -> astropy.table.Table:
    """Return observations of trails at the equator with given values."""
    columns: dict[str, Any] = {
        name: np.full(number, "r") if kind is np.str_ else np.zeros(number, dtype=kind)
        for name, (kind, _, _) in CANDIDATE_COLUMNS.items()
    }
    known = {
        "trailCandidateId": 2**61 + np.arange(number),
        "midpointMjdTai": MIDPOINT_TAI,
        "exposureTime": 30.0,
        "ra0": 10.0,
        "dec0": -1.0,
        "ra1": 10.002,
        "dec1": -1.001,
        "raErr": 1e-5,
        "decErr": 2e-5,
        "trailLength": 8.0,
        "trailLengthErr": 0.4,
        "trailAngle": 60.0,
        "trailAngleErr": 2.0,
        "trailMag": 21.5,
        "snr": 10.0,
        "score": 0.875,
    }
    for name, value in {**known, **values}.items():
        columns[name] = np.broadcast_to(value, number)
    table = astropy.table.Table({name: columns[name] for name in columns}, meta={"psfFwhm": 0.83})
    return observation_table(table, instrument=instrument, physical_filter=physical_filter)


def make_pair(**values: Any) -> astropy.table.Table:
    """Return the two trails of a tracklet, 30 minutes apart, the later one first, and a single trail.

    The second end of the earlier trail, and the first end of the later trail, are the first in time.
    """
    table = make_candidates(
        3,
        midpointMjdTai=MIDPOINT_TAI + np.array([1800.0, 0.0, 0.0]) / 86400.0,
        ra0=[10.1, 10.0, 20.0],
        **values,
    )
    later, earlier, _ = table["trailCandidateId"].tolist()
    return add_tracklets(table, *make_tracklets({earlier: [(earlier, 1), (later, 0)]}, chance=[0.01]))


def make_tracklets(
    members: dict[int, list[tuple[int, int]]], chance: list[float], designation: list[str] | None = None
) -> tuple[astropy.table.Table, astropy.table.Table]:
    """Return the tables of tracklets and members.

    Parameters
    ----------
    members
        Identifiers and first ends of the members of each tracklet, by its identifier.
    chance, designation
        Values of each tracklet.
    """
    rows = [
        {"trackletId": identifier, "chanceProbability": probability, "designation": name}
        for identifier, probability, name in zip(
            members, chance, designation or [""] * len(members), strict=True
        )
    ]
    member_rows = [
        {"trackletId": identifier, "trailCandidateId": candidate, "firstEnd": end}
        for identifier, found in members.items()
        for candidate, end in found
    ]
    return _filled(rows, TRACKLET_COLUMNS), _filled(member_rows, TRACKLET_MEMBER_COLUMNS)


def _filled(rows: list[dict[str, Any]], layout: ColumnLayout) -> astropy.table.Table:
    """Return a table of rows, with zeros and empty texts for missing values."""
    return table_of(
        {
            name: [row.get(name, "" if kind is np.str_ else 0) for row in rows]
            for name, (kind, _, _) in layout.items()
        },
        layout,
    )
