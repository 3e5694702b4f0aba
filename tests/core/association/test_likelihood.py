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

import numpy as np
import pytest
import scipy.stats

from lsst.meas.trails.core.association.likelihood import (
    AssociationOptions,
    CandidateTrails,
    ExpectedTrails,
    log_normal,
    rate_pairs,
)
from lsst.meas.trails.core.geometry import Trails

AREA = 4.0e6


def trails(*rows: tuple[float, float, float, float]) -> Trails:
    return Trails(*np.array([(*row, np.nan) for row in rows]).T)


def candidates(*rows: tuple[float, float, float, float], mag: float = np.nan) -> CandidateTrails:
    """Make candidates of x, y, length and angle with the errors of a fit at SNR 10."""
    n = len(rows)
    small, length, angle = np.full(n, 0.5), np.full(n, 2.0), np.full(n, 2.0)
    nothing = np.full(n, np.nan)
    return CandidateTrails(
        trails(*rows), small, small, length, angle, np.full(n, mag), np.full(n, 0.1), nothing
    )


def expected(
    *rows: tuple[float, float, float, float], err: float = 1.5, mag: float = np.nan, edge: bool = False
) -> ExpectedTrails:
    n, part = len(rows), trails(*rows)
    return ExpectedTrails(part, part, np.full(n, edge), np.full(n, err), np.full(n, mag), np.full(n, 0.5))


def odds(found: CandidateTrails, known: ExpectedTrails) -> float:
    """Return the log odds of one pair, minus infinity if it is not allowed."""
    pairs = rate_pairs(found, known, AREA, AssociationOptions())
    return float(pairs.log_odds[0, 0]) if pairs.allowed[0, 0] else -np.inf


TRAIL = (1000.0, 800.0, 60.0, 30.0)


def test_a_candidate_at_the_predicted_place_is_the_object() -> None:
    # A chance alignment within 2 pixels, 3 pixels of length and 3 degrees.
    assert odds(candidates(TRAIL), expected(TRAIL)) > 8.0


def test_offsets_are_along_and_across_the_predicted_line() -> None:
    radians = np.deg2rad(30.0)
    x, y = 1000.0 + 10.0 * np.cos(radians), 800.0 + 10.0 * np.sin(radians)
    pairs = rate_pairs(candidates((x, y, 60.0, 30.0)), expected(TRAIL), AREA, AssociationOptions())
    assert pairs.along[0, 0] == pytest.approx(10.0)
    assert pairs.cross[0, 0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param((1000.0, 820.0, 60.0, 30.0), id="far across"),
        pytest.param((1060.0, 835.0, 60.0, 30.0), id="far along"),
        pytest.param((1000.0, 800.0, 60.0, 60.0), id="another angle"),
        pytest.param((1000.0, 800.0, 150.0, 30.0), id="too long"),
    ],
)
def test_uncertainties_forbid(row: tuple[float, float, float, float]) -> None:
    assert odds(candidates(row), expected(TRAIL)) == -np.inf


def test_magnitudes_forbid() -> None:
    assert odds(candidates(TRAIL, mag=20.0), expected(TRAIL, mag=24.0)) == -np.inf
    assert np.isfinite(odds(candidates(TRAIL, mag=20.0), expected(TRAIL, mag=np.nan)))


def test_angles_are_compared_modulo_180() -> None:
    across, within = (1000.0, 800.0, 60.0, 0.5), (1000.0, 800.0, 60.0, 1.5)
    found = odds(candidates((1000.0, 800.0, 60.0, 179.5)), expected(across))
    assert found == pytest.approx(odds(candidates(within), expected(across)))


def test_a_larger_uncertainty_allows_more_and_convinces_less() -> None:
    away = candidates((1000.0, 815.0, 60.0, 30.0))
    assert odds(away, expected(TRAIL)) == -np.inf
    assert odds(away, expected(TRAIL, err=25.0)) > 0.0
    assert odds(candidates(TRAIL), expected(TRAIL, err=25.0)) < odds(candidates(TRAIL), expected(TRAIL))


def test_short_trails_have_no_angle() -> None:
    short = (1000.0, 800.0, 1.0, 10.0)
    assert np.isfinite(odds(candidates((1000.0, 800.0, 1.5, 95.0)), expected(short)))


def test_a_fragment_is_a_match() -> None:
    radians = np.deg2rad(30.0)
    part = (1000.0 + 18.0 * np.cos(radians), 800.0 + 18.0 * np.sin(radians), 22.0, 30.0)
    assert odds(candidates(part), expected(TRAIL)) > 2.0
    # The same piece beyond the end of the trail is not.
    beyond = (1000.0 + 50.0 * np.cos(radians), 800.0 + 50.0 * np.sin(radians), 22.0, 30.0)
    assert odds(candidates(beyond), expected(TRAIL)) == -np.inf


def test_a_trail_merged_with_a_source_is_a_match() -> None:
    radians = np.deg2rad(30.0)
    merged = (1000.0 + 15.0 * np.cos(radians), 800.0 + 15.0 * np.sin(radians), 90.0, 30.0)
    assert 2.0 < odds(candidates(merged), expected(TRAIL)) < odds(candidates(TRAIL), expected(TRAIL)) - 2.0
    # A candidate that does not cover the predicted trail is not.
    beside = (1000.0 + 45.0 * np.cos(radians), 800.0 + 45.0 * np.sin(radians), 90.0, 30.0)
    assert odds(candidates(beside), expected(TRAIL)) == -np.inf


def test_a_higher_score_is_more_convincing() -> None:
    def log_odds(score: float) -> float:
        found = candidates(TRAIL, (100.0, 100.0, 20.0, 5.0))
        found.score[:] = score, 0.2
        return float(rate_pairs(found, expected(TRAIL), AREA, AssociationOptions()).log_odds[0, 0])

    # The ratio of the score to the mean score.
    assert log_odds(0.8) - log_odds(0.2) == pytest.approx(np.log((0.8 / 0.5) / (0.2 / 0.2)))


def test_crowded_candidates_are_less_convincing() -> None:
    random = np.random.default_rng(2)
    crowd = [(x, y, 60.0, a) for x, y, a in random.uniform(0.0, (2000.0, 2000.0, 180.0), (400, 3))]
    pairs = rate_pairs(candidates(TRAIL, *crowd), expected(TRAIL), AREA, AssociationOptions())
    assert pairs.log_odds[0, 0] < odds(candidates(TRAIL), expected(TRAIL)) - 2.0


def test_failed_fits_have_default_errors() -> None:
    nothing = np.full(1, np.nan)
    failed = CandidateTrails(trails(TRAIL), *[nothing] * 7)
    assert np.isfinite(odds(failed, expected(TRAIL)))


def test_candidates_without_a_place_match_nothing() -> None:
    assert odds(candidates((np.nan, np.nan, 60.0, 30.0)), expected(TRAIL)) == -np.inf


def test_log_normal() -> None:
    difference, sigma = np.linspace(-40.0, 40.0, 9)[:, None], np.array([0.01, 1.0, 30.0])
    np.testing.assert_allclose(
        log_normal(difference, sigma), scipy.stats.norm.logpdf(difference, scale=sigma)
    )
