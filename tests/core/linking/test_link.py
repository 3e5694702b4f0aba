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

"""Tests of linking on catalogs with known truth."""

from __future__ import annotations

import astropy.table
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from lsst.meas.trails.core.linking.columns import TRACKLET_COLUMNS, TRACKLET_MEMBER_COLUMNS
from lsst.meas.trails.core.linking.link import link_candidates
from lsst.meas.trails.core.linking.options import LinkOptions
from lsst.meas.trails.core.motion import move, separation
from lsst.meas.trails.sim.night import NightConfig, link_truth, simulate_night

from support.linking import START, moving_object


@pytest.mark.parametrize(
    ("ra", "dec", "angle"),
    [
        (30.0, -10.0, 70.0),
        (359.99, 5.0, 90.0),
        (0.01, 5.0, 270.0),
        (120.0, 89.97, 10.0),
        (7.0, -89.99, 200.0),
    ],
    ids=["plain", "RA wrap eastward", "RA wrap westward", "across the pole", "at the pole"],
)
@pytest.mark.parametrize("reverse", range(4))
def test_a_pair_gives_the_motion(ra: float, dec: float, angle: float, reverse: int) -> None:
    catalogs = moving_object([0.0, 30.0], ra=ra, dec=dec, angle=angle, reverse=reverse)
    result = link_candidates(catalogs)
    (row,) = result.tracklets
    assert row["nMembers"] == 2
    # Positions are exact, so that only rounding is left.
    assert row["rate"] == pytest.approx(5.0, abs=1e-6)
    middle = move(ra, dec, 5.0, angle, 15.0 / 1440.0)
    assert separation(row["ra"], row["dec"], *middle) * 3600.0 < 1e-5
    assert row["midpointMjdTai"] == pytest.approx(START + 15.0 / 1440.0, abs=1e-9)
    ahead = move(row["ra"], row["dec"], row["rate"], row["positionAngle"], 15.0 / 1440.0)
    assert separation(*ahead, *move(ra, dec, 5.0, angle, 30.0 / 1440.0)) * 3600.0 < 1e-4
    assert list(result.members["firstEnd"]) == [reverse & 1, reverse >> 1]
    assert np.hypot(row["rateRa"], row["rateDec"]) == pytest.approx(row["rate"])
    assert row["chi2"] < 0.01
    assert row["greatCircleResidual"] < 0.01


def test_tables_have_the_layout() -> None:
    for result in (link_candidates(moving_object([0.0, 30.0])), link_candidates([])):
        assert result.tracklets.colnames == list(TRACKLET_COLUMNS)
        assert result.members.colnames == list(TRACKLET_MEMBER_COLUMNS)


def test_chain_across_midnight_and_detectors() -> None:
    # The fraction of the day of `START` is 0.2: the last visits are on the next day.
    shift = 0.79 * 1440.0
    catalogs = moving_object([shift, shift + 20.0, shift + 45.0, shift + 80.0], bands="gri")
    result = link_candidates(catalogs)
    (row,) = result.tracklets
    assert (row["nMembers"], row["bands"]) == (4, "grig")
    assert list(result.members["detector"]) == [0, 1, 2, 3]
    assert np.floor(row["firstMjdTai"]) < np.floor(row["lastMjdTai"])
    assert np.all(np.abs(result.members["residualAlong"]) < 1e-3)
    assert row["trackletId"] == 1


def test_exposure_times_may_differ() -> None:
    catalogs = moving_object([0.0, 30.0], exposure=[30.0, 15.0])
    assert catalogs[0]["trailLength"][0] > 1.9 * catalogs[1]["trailLength"][0]
    result = link_candidates(catalogs)
    assert len(result.tracklets) == 1
    assert np.all(np.abs(result.members["residualLength"]) < 1e-3)


@pytest.mark.parametrize(
    ("change", "linked"),
    [
        ({}, True),
        ({"minutes": [0.0, 89.0]}, True),
        ({"minutes": [0.0, 91.0]}, False),
        ({"minutes": [0.0, 0.0]}, False),
        ({"mags": [21.0, 21.5]}, True),
        ({"mags": [21.0, 24.0]}, False),
        # The colors of an asteroid: a third of a magnitude redder than g - r = 0 is.
        ({"bands": "gi", "mags": [21.5, 20.9]}, True),
        ({"bands": "gi", "mags": [20.0, 23.0]}, False),
    ],
)
def test_limits_of_pairs(change: dict, linked: bool) -> None:
    catalogs = moving_object(**({"minutes": [0.0, 30.0]} | change))
    assert len(link_candidates(catalogs).tracklets) == linked


@pytest.mark.parametrize(("column", "value"), [("trailLength", 30.0), ("angle", 40.0), ("place", 60.0)])
def test_disagreement_is_not_linked(column: str, value: float) -> None:
    first, second = moving_object([0.0, 30.0])
    other = moving_object([30.0], angle=70.0 + (value if column == "angle" else 0.0), ra=30.0)[0]
    second = second.copy()
    if column == "angle":
        for name in ("ra0", "dec0", "ra1", "dec1"):
            center = "ra" if name.startswith("ra") else "dec"
            second[name] = second[center] + (other[name] - other[center])
        second["trailAngle"] = other["trailAngle"]
    elif column == "trailLength":
        second["trailLength"] = value
    else:
        for name in ("dec", "dec0", "dec1"):
            second[name] = second[name] + value / 3600.0
    assert len(link_candidates([first, second]).tracklets) == 0


def test_one_wrong_length_is_tolerated() -> None:
    # A neighbor on its line lengthens a trail of 6 arcsec by 60%, 13 times its error.
    exact = link_candidates(moving_object([0.0, 30.0])).tracklets["logLikelihoodRatio"][0]
    for wrong in (0, 1):
        catalogs = moving_object([0.0, 30.0])
        catalogs[wrong]["trailLength"] *= 1.6
        (row,) = link_candidates(catalogs).tracklets
        assert row["rate"] == pytest.approx(5.0, abs=1e-6)
        assert row["logLikelihoodRatio"] < exact - 3.0
    for catalog in (catalogs := moving_object([0.0, 30.0])):
        catalog["trailLength"] *= 1.6
    assert len(link_candidates(catalogs).tracklets) == 0


def test_stationary_sources_are_left_out() -> None:
    (first,), (second,) = moving_object([0.0]), moving_object([0.0], first_id=2)
    second["visit"], second["midpointMjdTai"] = 101, second["midpointMjdTai"] + 0.02
    result = link_candidates([first, second])
    assert (result.stationary, len(result.tracklets)) == (2, 0)


def known(catalogs, names, rate=(0.0, 0.0)):
    for catalog, name in zip(catalogs, names, strict=True):
        catalog["designation"], catalog["ssObjectId"] = [name], [len(name)]
        catalog["ephRateRa"], catalog["ephRateDec"] = [rate[0]], [rate[1]]
    return catalogs


def test_designation_of_members() -> None:
    result = link_candidates(known(moving_object([0.0, 30.0, 50.0]), ["", "2026 AB", ""]))
    assert list(result.tracklets["designation"]) == ["2026 AB"]
    assert list(result.tracklets["ssObjectId"]) == [7]
    assert len(link_candidates(known(moving_object([0.0, 30.0]), ["2026 AB", "2026 AC"])).tracklets) == 0
    chain = link_candidates(known(moving_object([0.0, 30.0, 50.0]), ["2026 AB", "", "2026 AC"]))
    assert set(chain.tracklets["designation"]) <= {"2026 AB", "2026 AC"}
    assert max(chain.tracklets["nMembers"]) == 2


@pytest.mark.parametrize("ids", [(0, 7), (7, 0)])
def test_one_object_of_two_ephemerides(ids: tuple[int, int]) -> None:
    """Not every ephemeris has identifiers."""
    pair = known(moving_object([0.0, 30.0]), ["2026 AB", "2026 AB"])
    for catalog, identifier in zip(pair, ids, strict=True):
        catalog["ssObjectId"] = [identifier]
    tracklets = link_candidates(pair).tracklets
    assert (list(tracklets["designation"]), list(tracklets["ssObjectId"])) == (["2026 AB"], [7])


def test_direction_of_known_objects() -> None:
    forward = (np.sin(np.deg2rad(70.0)), np.cos(np.deg2rad(70.0)))
    pair = moving_object([0.0, 30.0])
    assert len(link_candidates(known(pair, ["A", "A"], forward)).tracklets) == 1
    backward = (-forward[0], -forward[1])
    assert len(link_candidates(known(pair, ["A", "A"], backward)).tracklets) == 0


def test_repeated_candidates_are_refused() -> None:
    catalogs = moving_object([0.0, 30.0])
    with pytest.raises(ValueError, match="trailCandidateId 1 "):
        link_candidates([*catalogs, catalogs[0]])


@pytest.mark.parametrize("name", ["assumedTimeFlag", "assumedExposureTimeFlag", "streakFlag"])
def test_flagged_candidates_are_left_out(name: str) -> None:
    catalogs = moving_object([0.0, 30.0])
    for catalog in catalogs:
        catalog[name] = [False]
    assert len(link_candidates(catalogs).tracklets) == 1
    catalogs[1][name] = [True]
    assert link_candidates(catalogs).detections == 1


def test_missing_column_is_named() -> None:
    catalog = moving_object([0.0])[0]
    catalog.remove_column("trailLength")
    with pytest.raises(ValueError, match="trailLength"):
        link_candidates([catalog])


@pytest.mark.parametrize("name", ["max_gap", "max_chi2", "max_chance"])
def test_options_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        LinkOptions(**{name: float("nan")})


@pytest.mark.parametrize(
    "scene",
    [
        {"objects": 40.0},
        {"objects": 40.0, "clustered": 0.5},
        {"objects": 40.0, "stationary": 0.4, "clustered": 0.3},
    ],
    ids=["uniform", "clustered", "stationary"],
)
def test_chance_agrees_with_the_truth(scene: dict) -> None:
    # Dense, so that a few visits have enough chance pairs.
    expected = false = twice = linked = 0.0
    for seed in range(4):
        config = NightConfig(seed=seed, fields=2, detectors=36, false=40.0, **scene)
        catalogs = list(simulate_night(config))
        result = link_candidates(catalogs, LinkOptions(max_chance=0.9))
        truth = link_truth(result.tracklets, result.members, catalogs)
        expected += result.expected_false
        false += truth.false
        twice += truth.twice
        linked += truth.linked
    assert false > 20
    # Poisson errors of both, the decoys being seven times as many, and 15% for the shape of the model.
    assert abs(expected - false) < 3.0 * np.sqrt(false * 8.0 / 7.0) + 0.15 * false
    assert linked > 0.9 * twice


numbers = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-300, 1e300, 95.0, 360.0, 30.0])


COLUMNS = (
    *("ra", "dec", "ra1", "raErr", "midpointMjdTai", "exposureTime", "trailLength", "trailLengthErr"),
    *("trailAngle", "trailAngleErr", "trailFlux", "trailFluxErr", "trailMag", "score"),
)


@pytest.mark.filterwarnings("error")
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(COLUMNS), numbers), max_size=8),
    st.lists(st.integers(0, 3), min_size=6, max_size=6),
)
def test_hostile_values(changes: list, visits: list[int]) -> None:
    table = astropy.table.vstack(
        moving_object([0.0, 30.0, 50.0]) + moving_object([0.0, 30.0, 50.0], dec=-10.1, first_id=10)
    )
    table["visit"] = visits
    for row, name, value in changes:
        table[name][row] = value
    before = table.copy()
    result = link_candidates([table])
    assert np.all(table["ra"][np.isfinite(table["ra"])] == before["ra"][np.isfinite(before["ra"])])
    members = result.members
    # Each candidate is in one tracklet at most, and members of a tracklet are of different visits.
    assert len(np.unique(members["trailCandidateId"])) == len(members)
    for tracklet in result.tracklets:
        own = members[members["trackletId"] == tracklet["trackletId"]]
        assert len(own) == tracklet["nMembers"] == len(np.unique(own["visit"]))
        assert np.all(np.diff(own["midpointMjdTai"]) > 0.0)
        assert 0.0 <= tracklet["chanceProbability"] <= 0.5
        assert np.isfinite([tracklet["ra"], tracklet["dec"], tracklet["rate"]]).all()


def test_no_rows_and_one_visit() -> None:
    catalog = moving_object([0.0])[0]
    for catalogs in ([], [catalog[:0]], [catalog], [catalog[:0], catalog]):
        result = link_candidates(catalogs)
        assert (len(result.tracklets), len(result.members), result.pairs) == (0, 0, 0)
