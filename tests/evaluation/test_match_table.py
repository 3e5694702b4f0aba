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
"""Cases of matching made by hand, and what the table says of them."""

from __future__ import annotations

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.matching import MatchCriteria
from lsst.meas.trails.evaluation.columns import MATCH_COLUMNS
from lsst.meas.trails.evaluation.match_table import ImageContext, MatchOptions, match_table, search_table

from .conftest import leak, make_candidates, make_truth, random_trails

AROUND = ImageContext(shape=(1000, 1000))


def categories(table: object) -> list[str]:
    return [str(name) for name in table["category"]]  # type: ignore[index]


def test_every_kind_of_candidate() -> None:
    truth = make_truth([(100.0, 100.0, 60.0, 20.0), (300.0, 150.0, 30.0, 90.0), (200.0, 400.0, 10.0, 45.0)])
    satellite = make_truth([(250.0, 300.0, 700.0, 0.0)], source_type="Satellite")
    rows = {
        (101.0, 99.0, 55.0, 22.0): "found",
        (110.0, 104.0, 40.0, 20.0): "duplicate",
        (400.0, 50.0, 40.0, 70.0): "false",
        (251.0, 301.0, 600.0, 0.5): "satellite",
        (420.0, 298.0, 50.0, 178.0): "satellite",  # a fragment
        (300.0, 150.0, 30.0, 30.0): "false",  # across the second trail
    }
    candidates = make_candidates(list(rows), score=np.array([0.9, 0.6, 0.7, 0.8, 0.5, 0.4]))
    table = match_table(candidates, astropy.table.vstack([truth, satellite]), AROUND)
    assert categories(table) == ["found", "missed", "missed", "distractor", *list(rows.values())[1:]]
    assert list(table["trailCandidateId"][4:]) == [1, 2, 3, 4, 5]


def test_highest_score_is_the_match() -> None:
    truth = make_truth([(100.0, 100.0, 60.0, 20.0)])
    rows = [(100.0, 100.0, 60.0, 20.0), (104.0, 101.0, 50.0, 20.0)]
    table = match_table(make_candidates(rows, score=np.array([0.3, 0.8])), truth, AROUND)
    assert table["trailCandidateId"][0] == 1


def test_a_flagged_streak_on_a_trail_is_found() -> None:
    truth = make_truth([(250.0, 300.0, 60.0, 0.0)])
    satellite = make_truth([(250.0, 300.0, 700.0, 0.0)], source_type="Satellite")
    table = match_table(
        make_candidates([(250.0, 300.0, 60.0, 0.0)], streak=True),
        astropy.table.vstack([truth, satellite]),
        AROUND,
    )
    assert categories(table) == ["found", "distractor"]


def test_criteria() -> None:
    truth = make_truth([(100.0, 100.0, 60.0, 20.0)])
    candidates = make_candidates([(100.0, 110.0, 60.0, 20.0)])
    assert categories(match_table(candidates, truth, AROUND)) == ["missed", "false"]
    options = MatchOptions(criteria=MatchCriteria(max_distance=12.0))
    assert categories(match_table(candidates, truth, AROUND, options=options)) == ["found"]


def test_two_trails_that_cross() -> None:
    truth = make_truth([(500.0, 500.0, 80.0, 20.0), (500.0, 500.0, 80.0, 110.0)])
    table = match_table(leak(truth), truth, AROUND)
    assert categories(table) == ["found", "found"]
    # Each with the candidate of its own angle.
    np.testing.assert_allclose(table["dAngle"], 0.0, atol=1e-9)
    # A candidate of one trail does not match the other trail.
    table = match_table(leak(truth)[1:], truth, AROUND)
    assert categories(table) == ["missed", "found"]


def test_a_trail_broken_in_three() -> None:
    truth = make_truth([(500.0, 500.0, 90.0, 0.0)])
    parts = [(470.0, 500.0, 24.0, 0.0), (500.0, 500.0, 40.0, 0.0), (530.0, 500.0, 24.0, 0.0)]
    table = match_table(make_candidates(parts, score=np.array([0.5, 0.9, 0.6])), truth, AROUND)
    assert categories(table) == ["found", "duplicate", "duplicate"]
    assert table["score"][0] == 0.9
    assert not np.any(table["isFalse"])


def test_one_candidate_over_two_trails() -> None:
    truth = make_truth([(460.0, 500.0, 60.0, 0.0), (540.0, 500.0, 60.0, 0.0)])
    table = match_table(make_candidates([(497.0, 500.0, 140.0, 0.0)]), truth, AROUND)
    # Its midpoint is 7 pixels from the one and 13 from the other: on neither.
    assert categories(table) == ["missed", "missed", "false"]
    table = match_table(make_candidates([(485.0, 500.0, 110.0, 0.0)]), truth, AROUND)
    assert categories(table) == ["found", "missed"]


def test_trail_at_the_edge() -> None:
    """A trail counts with half of its flux inside, not with a tenth."""
    truth = make_truth([(0.0, 500.0, 80.0, 0.0), (-30.0, 700.0, 80.0, 0.0)], visible=np.array([0.5, 0.1]))
    inside = make_candidates([(20.0, 500.0, 40.0, 0.0), (5.0, 700.0, 10.0, 0.0)])
    table = match_table(inside, truth, AROUND)
    assert categories(table)[:2] == ["found", "masked"]
    assert list(table["isCounted"])[:2] == [True, False]
    assert not np.any(table["isFalse"])


def test_trail_on_a_bleed() -> None:
    truth = make_truth([(500.0, 500.0, 40.0, 90.0), (200.0, 200.0, 40.0, 0.0)], visible=np.array([0.2, 1.0]))
    table = match_table(leak(truth), truth, AROUND)
    assert categories(table) == ["masked", "found"]
    assert list(table["isCounted"]) == [False, True]
    # A masked trail counts neither as missed nor, if found, as false.
    assert not np.any(table["isFalse"])


def test_no_truth() -> None:
    table = match_table(make_candidates([(100.0, 100.0, 30.0, 0.0)]), make_truth([]), AROUND)
    assert categories(table) == ["false"]
    assert np.isnan(table["trueX"][0])
    assert table["injection_id"][0] == -1


def test_no_candidates() -> None:
    truth = make_truth([(100.0, 100.0, 30.0, 0.0)])
    table = match_table(make_candidates([]), truth, AROUND)
    assert categories(table) == ["missed"]
    assert table["trailCandidateId"][0] == -1
    assert np.isnan(table["score"][0])


def test_nothing_at_all() -> None:
    table = match_table(make_candidates([]), make_truth([]), AROUND)
    assert len(table) == 0
    assert table.colnames == list(MATCH_COLUMNS)


def test_all_masked() -> None:
    truth = make_truth([(100.0, 100.0, 30.0, 0.0), (300.0, 100.0, 30.0, 0.0)], visible=0.0)
    table = match_table(leak(truth), truth, AROUND)
    assert categories(table) == ["masked", "masked"]
    assert not np.any(table["isCounted"])
    assert not np.any(table["isFalse"])


def test_satellites_are_neither_found_nor_false() -> None:
    satellite = make_truth([(500.0, 500.0, 1500.0, 30.0)], source_type="Satellite")
    star = make_truth([(200.0, 700.0, 0.0, 0.0)], source_type="Star")
    truth = astropy.table.vstack([satellite, star, make_truth([(100.0, 100.0, 30.0, 0.0)])])
    piece = make_candidates([(500.0, 500.0, 120.0, 30.0), (200.0, 700.0, 5.0, 0.0)])
    table = match_table(piece, truth, AROUND)
    assert categories(table) == ["distractor", "distractor", "missed", "satellite", "false"]


def test_residuals_and_pulls() -> None:
    truth = make_truth([(500.0, 500.0, 50.0, 90.0)], snr=20.0)
    found = make_candidates([(499.0, 502.0, 52.0, 89.0)], flux=760.0)
    row = match_table(found, truth, AROUND)[0]
    # Along +y, left of it is -x.
    assert row["dAlong"] == pytest.approx(2.0)
    assert row["dAcross"] == pytest.approx(1.0)
    assert row["dMidpoint"] == pytest.approx(np.sqrt(5.0))
    assert (row["dLength"], row["dAngle"]) == pytest.approx((2.0, -1.0))
    assert row["dMag"] == pytest.approx(-2.5 * np.log10(760.0 / 800.0))
    # Errors of 0.5 pixels, 0.1 arcsec of 0.2 a pixel, 1 degree and 40 nJy.
    pulls = [row[f"pull{name}"] for name in ("X", "Y", "Length", "Angle", "Flux")]
    assert pulls == pytest.approx([-2.0, 4.0, 4.0, -1.0, -1.0])
    # 50 pixels of 0.2 arcsec in 30 s.
    assert row["trueRate"] == pytest.approx(50.0 * 0.2 / 3600.0 * 2880.0)


def test_sources_around() -> None:
    truth = make_truth([(500.0, 500.0, 40.0, 0.0), (0.0, 0.0, 40.0, 0.0)])
    sources = np.array([[500.0, 510.0], [530.0, 500.0], [900.0, 900.0]])
    table = match_table(
        make_candidates([(905.0, 900.0, 0.0, 0.0)]), truth, ImageContext(shape=(1000, 1000), sources=sources)
    )
    # 10 pixels from the line and from its end, of 0.2 arcsec each.
    assert table["sourceDistance"][0] == pytest.approx(2.0)
    assert table["sourceDistance"][2] == pytest.approx(1.0)
    # Two in a circle of 40 arcsec, none in a quarter of one in the corner.
    assert table["sourceDensity"][0] == pytest.approx(2.0 / (np.pi * (40.0 / 60.0) ** 2), rel=0.01)
    assert table["sourceDensity"][1] == 0.0


@pytest.mark.parametrize("start", [(0, 0), (3000, 1000)])
def test_sources_are_counted_in_the_image_only(start: tuple[int, int]) -> None:
    """A uniform density is the same in the corner as in the middle."""
    rng = np.random.default_rng(1)
    sources = rng.uniform(0.0, 1000.0, (20_000, 2)) + start
    truth = make_truth(
        [(start[0] + 500.0, start[1] + 500.0, 9.0, 0.0), (start[0] + 5.0, start[1] + 5.0, 9.0, 0.0)]
    )
    around = ImageContext(shape=(1000, 1000), origin=start, sources=sources)
    density = match_table(make_candidates([]), truth, around)["sourceDensity"]
    expected = 20_000 / (1000.0 * 0.2 / 60.0) ** 2
    # 630 sources are in the quarter of a circle: 3 sigma.
    np.testing.assert_allclose(density, expected, rtol=0.12)


def test_inputs_are_not_changed_and_columns_are_needed() -> None:
    truth = make_truth(random_trails(np.random.default_rng(2), 5, 1000))
    candidates = leak(truth)
    before = truth.copy(), candidates.copy()
    match_table(candidates, truth, AROUND)
    for old, new in zip(before, (truth, candidates), strict=True):
        assert all(
            np.array_equal(old[name], new[name], equal_nan=old[name].dtype.kind == "f")
            for name in old.colnames
        )
    truth.remove_column("snr_optimal")
    with pytest.raises(ValueError, match="snr_optimal"):
        match_table(candidates, truth, AROUND)


def test_search_totals() -> None:
    truth = make_truth([(500.0, 500.0, 40.0, 0.0), (200.0, 200.0, 40.0, 0.0)], visible=np.array([1.0, 0.2]))
    candidates = make_candidates([(500.0, 500.0, 40.0, 0.0), (800.0, 100.0, 20.0, 0.0)])
    context = ImageContext(shape=(1000, 500), visit=7, detector=3, band="r")
    matches = match_table(candidates, truth, context)
    (row,) = search_table(matches, context, n_searched=400_000, measured={"nSources": 12})
    assert (row["visit"], row["detector"], row["band"]) == (7, 3, "r")
    assert (row["nPixels"], row["nSearched"], row["nSources"]) == (500_000, 400_000, 12)
    assert row["skyArea"] == pytest.approx(400_000 * (0.2 / 3600.0) ** 2)
    counts = ("nTrails", "nCounted", "nCandidates", "nFalse", "nDuplicates", "nSatellite")
    assert [row[name] for name in counts] == [2, 1, 2, 1, 0, 0]
    # Unknown values.
    assert row["nStack"] == -1
    assert np.isnan(row["modelThreshold1"])
    assert not row["hasPixels"]
