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

from __future__ import annotations

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.catalog.observations import (
    DEFAULT_TIME_UNCERTAINTY,
    add_association,
    add_tracklets,
    check_observations,
    observation_table,
    without_fragments,
)

from support.observations import make_candidates, make_pair, make_tracklets


def test_facts_of_the_image() -> None:
    table = make_candidates(2, instrument="LSSTCam", physical_filter="r_57")
    assert table["instrument"].tolist() == ["LSSTCam"] * 2
    assert table["physical_filter"].tolist() == ["r_57"] * 2
    assert table["psfFwhm"].tolist() == [0.83] * 2
    assert table["timeUncertainty"].tolist() == [DEFAULT_TIME_UNCERTAINTY] * 2
    assert table["trackletId"].tolist() == [0, 0]
    assert table["firstEnd"].tolist() == [-1, -1]
    assert table["designation"].tolist() == ["", ""]


def test_unknown_facts() -> None:
    candidates = make_candidates(2)
    candidates.meta["timeUncertainty"] = 0.02
    candidates.meta["assumedZeroPoint"] = True
    table = observation_table(candidates)
    assert np.isnan(table["psfFwhm"]).all()
    assert table["timeUncertainty"].tolist() == [0.02] * 2
    assert table["assumedMagnitude"].all()
    # The input is unchanged.
    assert candidates["instrument"].tolist() == ["LSSTCam"] * 2
    assert not candidates["assumedMagnitude"].any()


def test_known_objects_give_designation_and_direction() -> None:
    """An object that moves to the West first was at the Eastern end."""
    table = make_candidates(5, trailCandidateId=[1, 2, 3, 4, 5], ra0=359.999, dec0=10.0, ra1=0.001, dec1=10.0)
    associated = astropy.table.Table(
        {
            "trailCandidateId": [3, 2, 1, 9],
            "designation": ["433", "2024 AB12", "", "Z"],
            "motionAngle": [95.0, 265.0, np.nan, 0.0],
        }
    )
    result = add_association(table, associated)
    assert result["designation"].tolist() == ["", "2024 AB12", "433", "", ""]
    assert result["firstEnd"].tolist() == [-1, 1, 0, -1, -1]
    assert not result["isFragment"].any()
    # Tracklets keep the direction of candidates that they do not have.
    linked = add_tracklets(result, *make_tracklets({1: [(1, 0), (4, 0)]}, chance=[0.1]))
    assert linked["firstEnd"].tolist() == [0, 1, 0, 0, -1]


def test_fragments_are_omitted(caplog: pytest.LogCaptureFixture) -> None:
    associated = astropy.table.Table(
        {
            "trailCandidateId": [1, 2, 3],
            "designation": ["433", "433", "2024 AB12"],
            "motionAngle": [np.nan] * 3,
        }
    )
    table = add_association(make_candidates(3, trailCandidateId=[1, 2, 3]), associated)
    assert table["isFragment"].tolist() == [True, True, False]
    assert table["firstEnd"].tolist() == [-1] * 3
    assert without_fragments(table)["trailCandidateId"].tolist() == [3]
    assert "2 candidates are omitted" in caplog.text
    assert "433" in caplog.text


def test_tracklets() -> None:
    table = make_pair()
    first = 2**61
    assert table["trackletId"].tolist() == [first + 1, first + 1, 0]
    assert table["firstEnd"].tolist() == [0, 1, -1]


def test_tracklets_that_share_a_candidate() -> None:
    """The candidate belongs to the tracklet that is least likely chance; the other one is ignored."""
    table = make_candidates(3, trailCandidateId=[1, 2, 3])
    tracklets, members = make_tracklets(
        {1: [(1, 0), (2, 0)], 2: [(2, 1), (3, 1)], 9: [(77, 0)]},
        chance=[0.5, 0.1, 0.0],
        designation=["", "433", ""],
    )
    result = add_tracklets(table, tracklets, members)
    assert result["trackletId"].tolist() == [0, 2, 2]
    assert result["firstEnd"].tolist() == [-1, 1, 1]
    assert result["designation"].tolist() == ["", "433", "433"]
    assert table["trackletId"].tolist() == [0, 0, 0]


def test_designations_of_candidates_go_first() -> None:
    table = make_candidates(2, trailCandidateId=[1, 2])
    table["designation"] = ["2024 AB12", ""]
    result = add_tracklets(table, *make_tracklets({1: [(1, 0), (2, 0)]}, chance=[0.1], designation=["433"]))
    assert result["designation"].tolist() == ["2024 AB12", "433"]


def test_check() -> None:
    check_observations(make_candidates(2))
    with pytest.raises(ValueError, match="no candidates"):
        check_observations(make_candidates(2)[:0])
    with pytest.raises(ValueError, match=f"Candidate {2**61 + 1} of visit 0, detector 0.*dec1 is NaN"):
        check_observations(make_candidates(2, dec1=[0.0, np.nan]))
    with pytest.raises(ValueError, match="assumedTimeFlag"):
        check_observations(make_candidates(2, assumedTimeFlag=[False, True]))
    # Tables of others may lack the flags.
    others = make_candidates(2)
    others.remove_columns(["assumedTimeFlag", "assumedExposureTimeFlag"])
    check_observations(astropy.table.Table(others))
