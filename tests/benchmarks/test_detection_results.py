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

"""Tests of the results of the detection benchmark."""

from __future__ import annotations

from pathlib import Path

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.operating_point import DETECTOR_PIXELS
from lsst.meas.trails.evaluation.match_table import ImageContext, MatchOptions, match_table, search_table

from ..evaluation.conftest import make_candidates, make_truth, random_trails
from detection import write
from detection_results import SNR_BINS, MethodResult, Tables, bin_table, operating_table, reliability_table
from support.marks import warnings_are_errors

SIDE = 1280
"""Ten of these scenes have the area of a detector."""


def make_scene(seed: int, *, false: int = 10) -> Tables:
    """Return a scene with 40 trails and some false candidates.

    Scores are SNR / 30 with some scatter, and 0 to 8/30 for false candidates.
    """
    rng = np.random.default_rng(seed)
    snr = rng.uniform(3.0, 30.0, 40)
    # On a grid, so that no candidate is on another trail.
    grid = [(160.0 * (i % 8 + 1) - 80.0, 160.0 * (i // 8 + 1) - 80.0) for i in range(64)]
    rows = random_trails(rng, 40 + false)
    rows[:, :2], rows[:, 2] = grid[: 40 + false], rng.uniform(6.0, 60.0, 40 + false)
    truth = make_truth(rows[:40], snr=snr)
    rank = np.maximum(snr + 0.5 * rng.standard_normal(40), 0.0)
    rows[:40, 0] += 0.5
    score = np.concatenate([rank, rng.uniform(0.0, 8.0, false)]) / 30.0
    context = ImageContext(shape=(SIDE, SIDE))
    candidates = make_candidates(rows, score=np.minimum(score, 1.0))
    matches = match_table(candidates, truth, context, options=MatchOptions(min_visible_fraction=0.0))
    return matches, search_table(matches, context)


@pytest.fixture(scope="module")
def result() -> MethodResult:
    return MethodResult([make_scene(seed) for seed in range(20)])


def test_operating_points_of_a_known_method(result: MethodResult) -> None:
    """The 200 false candidates on two detectors have ranks up to 8.

    1, 10 and 100 per detector are above 7.9, 7.2 and 0.
    """
    assert result.megapixels == pytest.approx(2.0 * DETECTOR_PIXELS / 1e6, rel=0.01)
    for rate, expected in ((1, 7.92), (10, 7.2)):
        threshold = 30.0 * result.detection("threshold", rate)[0]
        # The order statistics scatter by up to 0.2.
        assert threshold == pytest.approx(expected, abs=0.6)
        # A trail is found if its SNR is above the threshold.
        snr50, low, high = result.detection("snr50", rate)
        assert snr50 == pytest.approx(threshold, abs=0.4)
        assert low < snr50 < high
        value, low, high = result.detection("completeness", rate)
        assert low <= value <= high
        assert value == pytest.approx(np.mean(30.0 * result.sample.trail_score >= threshold), abs=1e-3)


def test_completeness_in_bins(result: MethodResult) -> None:
    found = result.bins(10, "snr")
    assert list(found) == list(SNR_BINS[:-1])
    assert sum(row["count"] for row in found.values()) == 800
    assert found[3.0]["value"] == pytest.approx(0.0, abs=0.02)
    assert found[9.0]["value"] == pytest.approx(1.0, abs=0.02)


def test_errors_of_found_trails(result: MethodResult) -> None:
    errors, count = result.median_errors(10)
    assert errors == pytest.approx([0.5, 0.0, 0.0], abs=1e-6)
    assert count == np.count_nonzero(result.sample.numbers("snrOptimal")[result.sample.counted] > 10.0)
    errors, count = result.median_errors(10, min_snr=99.0)
    assert count == 0
    assert np.isnan(errors).all()


def test_tables_have_all_rows(result: MethodResult) -> None:
    groups = {"field": {"one": result, "two": MethodResult([make_scene(99, false=3)])}}
    points = operating_table(groups)
    assert list(points["method"]) == ["one"] * 3 + ["two"] * 3
    assert points["trails"][0] == 800
    bins = bin_table(groups)
    assert set(bins["by"]) == {"snr", "length"}
    curve = reliability_table(groups)
    assert np.sum(curve["candidates"][curve["method"] == "one"]) == 1000
    assert curve["calibration_error"][0] == result.calibration_error


@warnings_are_errors
def test_files_are_written(result: MethodResult, tmp_path: Path) -> None:
    write(tmp_path / "results", {"field": {"one": result}}, ["one"])
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "operating_points.ecsv",
        "completeness.ecsv",
        "reliability.ecsv",
        "completeness_field.png",
        "froc.png",
        "reliability.png",
    }
    table = astropy.table.Table.read(tmp_path / "results" / "operating_points.ecsv")
    assert table["completeness"][0] == result.detection("completeness", 1)[0]
