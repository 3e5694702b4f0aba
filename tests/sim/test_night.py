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

"""Tests of simulated nights of candidates."""

from __future__ import annotations

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.linking.detections import LINKING_COLUMNS
from lsst.meas.trails.core.motion import motion
from lsst.meas.trails.sim.night import NightConfig, link_truth, simulate_night


def test_night_has_the_visits_and_counts() -> None:
    config = NightConfig(fields=3, detectors=9, false=20.0, objects=0.0, repeat=2)
    catalogs = list(simulate_night(config))
    assert len(catalogs) == 6
    assert all(catalog.colnames == [*LINKING_COLUMNS, "object"] for catalog in catalogs)
    times = np.array([catalog["midpointMjdTai"][0] for catalog in catalogs])
    assert (times[3:] - times[:3]) * 1440.0 == pytest.approx(30.0, abs=0.5)
    rows = sum(map(len, catalogs))
    # Poisson numbers about 6 visits of 9 detectors.
    assert abs(rows - 1080) < 5 * np.sqrt(1080)
    ids = np.concatenate([catalog["trailCandidateId"] for catalog in catalogs])
    assert len(np.unique(ids)) == rows
    assert np.unique(np.concatenate([catalog["detector"] for catalog in catalogs])).tolist() == list(range(9))


@pytest.mark.parametrize(("ra", "dec"), [(10.0, -20.0), (0.2, 0.0), (40.0, 89.5)])
def test_objects_move_as_their_trails(ra: float, dec: float) -> None:
    config = NightConfig(ra=ra, dec=dec, false=0.0, objects=20.0, detectors=45)
    table = astropy.table.vstack(list(simulate_night(config)))
    assert len(np.unique(table["visit"])) == 2
    pairs = 0
    for number in np.unique(table["object"]):
        rows = table[table["object"] == number]
        if len(rows) == 2:
            dt = float(rows["midpointMjdTai"][1] - rows["midpointMjdTai"][0])
            rate, angle = motion(rows["ra"][0], rows["dec"][0], rows["ra"][1], rows["dec"][1], dt)
            by_length = rows["trailLength"] / 3600.0 / rows["exposureTime"] * 86400.0
            # Five standard deviations of length and angle.
            assert np.all(
                np.abs(by_length / rate - 1.0) < 5.0 * rows["trailLengthErr"] / rows["trailLength"] + 0.02
            )
            if abs(dec) < 45.0:
                turn = np.mod(rows["trailAngle"] - angle + 90.0, 180.0) - 90.0
                assert np.all(np.abs(turn) < 5.0 * rows["trailAngleErr"] + 1.0)
            pairs += 1
    assert pairs > 5


def test_stationary_and_clustered_sources() -> None:
    config = NightConfig(detectors=4, false=50.0, objects=0.0, stationary=1.0)
    first, second = simulate_night(config)
    # Equal but for the errors of measurement.
    assert len(first) == len(second) == 200
    assert np.max(np.abs(np.asarray(first["dec"]) - second["dec"])) * 3600.0 < 1.5
    clustered = next(simulate_night(NightConfig(detectors=4, false=200.0, objects=0.0, clustered=1.0)))
    angle = np.asarray(clustered["trailAngle"])[np.asarray(clustered["trailLength"]) > 10.0]
    assert np.median(np.abs(np.mod(angle, 90.0) - 45.0)) < 5.0


def test_truth_of_tracklets() -> None:
    catalog = astropy.table.Table(
        {
            "trailCandidateId": [5, 1, 2, 3, 4, 6, 9],
            "visit": [1, 2, 1, 2, 2, 1, 1],
            # Object 9 has two candidates in one visit.
            "object": [7, 7, 8, -1, 8, 9, 9],
        }
    )
    tracklets = astropy.table.Table({"trackletId": [1, 2]})
    members = astropy.table.Table({"trackletId": [1, 1, 2, 2], "trailCandidateId": [1, 5, 2, 3]})
    truth = link_truth(tracklets, members, [catalog])
    assert (truth.twice, truth.linked, truth.false) == (2, 1, 1)
