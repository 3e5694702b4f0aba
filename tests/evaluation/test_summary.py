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

"""Metrics by hand, by scikit-learn, of a leak and of chance."""

from __future__ import annotations

import resource
import time

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.operating_point import DETECTOR_PIXELS
from lsst.meas.trails.evaluation.figures.captions import CAPTIONS
from lsst.meas.trails.evaluation.figures.metrics import metric_figures
from lsst.meas.trails.evaluation.match_table import ImageContext, match_table
from lsst.meas.trails.evaluation.metrics_table import METRIC_COLUMNS, select
from lsst.meas.trails.evaluation.report.headlines import headlines
from lsst.meas.trails.evaluation.summary import SummaryOptions

from .conftest import (
    SIDE,
    leak,
    make_candidates,
    make_detector,
    make_search,
    make_truth,
    number,
    random_trails,
    summary,
)


def test_a_leak_finds_everything_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    detectors = []
    for _ in range(3):
        truth = make_truth(random_trails(rng, 20), snr=rng.uniform(3.0, 30.0, 20))
        matches = match_table(leak(truth), truth, ImageContext(shape=(SIDE, SIDE)))
        detectors.append((matches, make_search(matches)))
    metrics = summary(detectors)
    for point in ("1 false per detector", "10 false per detector", "all candidates"):
        for metric in ("completeness", "purity"):
            assert number(metrics, section="detection", metric=metric, operatingPoint=point) == 1.0
    assert np.all(select(metrics, section="completeness")["value"] == 1.0)
    assert np.all(select(metrics, section="froc")["value"] == 1.0)
    # An interval of a fraction is not empty where all were found.
    assert np.all(select(metrics, section="completeness")["valueLow"] < 1.0)
    # Half of them are found at no SNR.
    assert np.isnan(number(metrics, section="detection", metric="snr50", operatingPoint="all candidates"))


def test_random_candidates_find_what_chance_gives() -> None:
    """Candidates match by chance within 6 pixels of a trail, at its angle."""
    rng = np.random.default_rng(2)
    detectors = []
    for _ in range(15):
        truth = make_truth(np.stack([*random_trails(rng, 60)[:, :2].T, np.full(60, 60.0), np.zeros(60)], 1))
        rows = np.stack([*random_trails(rng, 800)[:, :2].T, np.full(800, 60.0), rng.uniform(0, 180, 800)], 1)
        matches = match_table(
            make_candidates(rows, score=rng.uniform(size=800)), truth, ImageContext(shape=(SIDE, SIDE))
        )
        detectors.append((matches, make_search(matches)))
    metrics = summary(detectors, SummaryOptions(resamples=20))
    found = number(metrics, section="detection", metric="completeness", operatingPoint="all candidates")
    # Within 6 pixels of a line of 60, at an angle of at most 20 degrees; the
    # overlap, which asks for 0.3, cuts the ends off.
    area = (12.0 * 60.0 + np.pi * 36.0) * (40.0 / 180.0)
    expected = 1.0 - np.exp(-800 * area / SIDE**2)
    # 900 trails, of which 30 are found: 3 sigma.
    assert found == pytest.approx(expected, abs=0.018)
    purity = number(metrics, section="detection", metric="purity", operatingPoint="all candidates")
    assert purity == pytest.approx(60 * found / 800, abs=0.003)
    # At a rate of false candidates as many are left, of trails too.
    low = number(metrics, section="detection", metric="completeness", operatingPoint="100 false per detector")
    assert low == pytest.approx(expected * 100 / (800 * DETECTOR_PIXELS / SIDE**2), abs=0.006)


def test_counts_by_hand() -> None:
    """Four trails, three candidates on them, two false ones."""
    truth = make_truth(
        [(200.0 * (i + 1), 500.0, 40.0, 0.0) for i in range(4)], snr=np.array([25.0, 16.0, 9.0, 4.5])
    )
    places = [(200.0, 500.0), (400.0, 500.0), (600.0, 500.0), (1500.0, 1500.0), (1700.0, 300.0)]
    candidates = make_candidates(
        [(x, y, 40.0, 0.0) for x, y in places], score=np.array([0.95, 0.6, 0.3, 0.7, 0.2])
    )
    matches = match_table(candidates, truth, ImageContext(shape=(SIDE, SIDE)))
    metrics = summary([(matches, make_search(matches))])
    # One false candidate in a quarter of a detector is 4.1 per detector.
    at = {"section": "detection", "operatingPoint": "1 false per detector"}
    assert number(metrics, metric="completeness", **at) == 0.25
    assert number(metrics, metric="purity", **at) == 1.0
    at["operatingPoint"] = "10 false per detector"
    assert number(metrics, metric="completeness", **at) == 0.75
    assert number(metrics, metric="purity", **at) == 0.6
    assert number(metrics, metric="false_per_detector", **at) == pytest.approx(2 * DETECTOR_PIXELS / SIDE**2)
    degrees = (SIDE * 0.2 / 3600.0) ** 2
    assert number(metrics, metric="false_per_square_degree", **at) == pytest.approx(2 / degrees)
    bins = select(metrics, section="completeness", by="snr", operatingPoint="1 false per detector")
    assert {(row["low"], row["high"]): row["value"] for row in bins} == {
        (4.0, 5.0): 0.0, (8.0, 10.0): 0.0, (14.0, 20.0): 0.0, (20.0, 30.0): 1.0,
    }  # fmt: skip
    cells = select(metrics, section="completeness2d", low=20.0)
    assert (list(cells["low2"]), list(cells["value"])) == ([20.0], [1.0])
    # Nothing is known of the spread of one detector.
    assert np.all(np.isnan(select(metrics, section="detection")["valueLow"]))


def test_calibration_by_hand() -> None:
    truth = make_truth([(200.0 * (i + 1), 500.0, 40.0, 0.0) for i in range(6)])
    false = make_candidates(random_trails(np.random.default_rng(3), 4) + [0.0, 1000.0, 0.0, 0.0], score=0.65)
    candidates = astropy.table.vstack([leak(truth, score=0.65), false])
    matches = match_table(candidates, truth, ImageContext(shape=(SIDE, SIDE)))
    metrics = summary([(matches, make_search(matches))])
    (row,) = select(metrics, section="calibration", metric="fraction")
    assert (row["low"], row["value"], row["count"]) == (pytest.approx(0.6), 0.6, 10)
    error = number(metrics, section="calibration", metric="expected_calibration_error")
    # Scores are kept with 24 bits.
    assert error == pytest.approx(0.05, abs=1e-6)


def test_snr50_is_recovered(metrics: astropy.table.Table) -> None:
    (row,) = select(metrics, section="detection", metric="snr50", operatingPoint="all candidates")
    # The network of the collection finds half of the trails at 7.
    assert row["valueLow"] < 7.0 < row["valueHigh"]
    assert 0.3 < row["valueHigh"] - row["valueLow"] < 3.0


def test_bright_trails_have_bins_and_do_not_shift_snr50() -> None:
    """A network that finds trails of SNR 7 to 100 and no brighter ones."""
    rng = np.random.default_rng(5)
    detectors = []
    for _ in range(4):
        snr = np.exp(rng.uniform(np.log(3.0), np.log(3e4), 150))
        truth = make_truth(random_trails(rng, 150), snr=snr)
        found = truth[(snr > 7.0) & (snr < 100.0)]
        matches = match_table(leak(found), truth, ImageContext(shape=(SIDE, SIDE)))
        detectors.append((matches, make_search(matches)))
    metrics = summary(detectors)
    point = "all candidates"
    assert number(metrics, section="detection", metric="snr50", operatingPoint=point) == pytest.approx(
        7.0, abs=0.5
    )
    for rows in (
        select(metrics, section="completeness", by="snr", operatingPoint=point),
        select(metrics, section="completeness2d"),
    ):
        bright = rows[rows["low"] >= 150.0]
        assert set(bright["low"]) == {150.0, 300.0, 1000.0, 3000.0, 10000.0}
        # A few brighter trails lie on a fainter one.
        assert np.average(bright["value"], weights=bright["count"]) < 0.05
        assert np.average(rows["value"], weights=rows["count"]) > 0.2
    (axis, *_) = metric_figures(metrics)["trail_snr_length_plot"].axes
    assert axis.get_xscale() == "log"
    assert axis.get_xlim()[1] > 3000.0
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["6-10", "10-20", "20-60", "60-150"]


def test_froc_rises_to_all_candidates(metrics: astropy.table.Table) -> None:
    curve = select(metrics, section="froc", by="false_per_detector")
    assert np.all(np.diff(curve["value"]) >= 0.0)
    assert np.all(np.diff(curve["low"]) > 0.0)
    everything = number(metrics, section="detection", metric="completeness", operatingPoint="all candidates")
    assert curve["value"][-1] == pytest.approx(everything)
    degrees = select(metrics, section="froc", by="false_per_square_degree")
    # 16.4 Mpix of 0.2 arcsec are 0.0506 square degrees.
    np.testing.assert_allclose(degrees["low"] / curve["low"], 1.0 / (DETECTOR_PIXELS * (0.2 / 3600.0) ** 2))


def test_parts_of_the_comparison_add_up(metrics: astropy.table.Table) -> None:
    for name in ("sep 3 sigma", "sep 4 sigma", "sep 5 sigma"):
        part = {
            str(row["metric"]): row["value"] for row in select(metrics, section="stack", method=name, by="")
        }
        assert part["both"] + part["other_only"] == pytest.approx(part["completeness"])
        assert part["both"] + part["other_only"] + part["network_only"] == pytest.approx(part["union"])
        assert part["union"] + part["neither"] == pytest.approx(1.0)
        rescue = select(metrics, section="rescue", method=name)
        assert np.all(np.diff(rescue["value"]) >= 0.0)
        at_end = part["network_only"] / (part["network_only"] + part["neither"])
        assert rescue["value"][-1] >= at_end
    # The stack did not run, and nothing is said of it.
    assert "stack" not in set(metrics["method"])


@pytest.mark.parametrize("case", ["nothing", "no trails", "no candidates", "masked"])
def test_empty_collections(case: str) -> None:
    rng = np.random.default_rng(5)
    rows, others = random_trails(rng, 20), random_trails(rng, 20)
    truth = make_truth([] if case in ("nothing", "no trails") else rows, visible=float(case != "masked"))
    candidates = make_candidates([] if case in ("nothing", "no candidates") else others)
    matches = match_table(candidates, truth, ImageContext(shape=(SIDE, SIDE)))
    metrics = summary([(matches, make_search(matches))] * 2)
    assert metrics.colnames == list(METRIC_COLUMNS)
    found = number(metrics, section="detection", metric="completeness", operatingPoint="all candidates")
    assert np.isnan(found) if case != "no candidates" else found == 0.0
    assert set(metric_figures(metrics)) <= set(CAPTIONS)
    assert headlines(metrics)


def test_many_detectors_fast_and_in_little_memory() -> None:
    """Five detectors take a twentieth of the time of a hundred."""
    detectors = [make_detector(seed, trails=20, false=500) for seed in range(5)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    summary(detectors, SummaryOptions(resamples=50))
    # A twentieth of the detectors, a quarter of the samples.
    assert time.process_time() - start < 10.0
    # Kilobytes: the columns of 2500 rows are 1 MB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
