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

from pathlib import Path

import astropy.table
import numpy as np
import pytest
from matplotlib.figure import Figure

from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.operating_point import DETECTOR_PIXELS

from detection_figures import completeness_figure, froc_figure, reliability_figure
from detection_sample import DetectionSample, ImageSearch, search_result


def make_search(seed: int, *, scatter: float = 0.5, false: int = 10) -> ImageSearch:
    """Return an image a tenth of a detector with 40 trails, found at a rank
    of their SNR with some scatter, and false candidates of rank 0 to 8.
    """
    rng = np.random.default_rng(seed)
    snr, length = rng.uniform(3.0, 30.0, 40), np.geomspace(6.0, 150.0, 40)
    rank = np.maximum(snr + scatter * rng.standard_normal(40), 0.0)
    return ImageSearch(
        rank=np.concatenate([rank, rng.uniform(0.0, 8.0, false)]),
        is_true=np.arange(40 + false) < 40,
        is_false=np.arange(40 + false) >= 40,
        trail_rank=rank,
        snr=snr,
        length=length,
        midpoint_error=np.full(40, 0.5),
        angle_error=np.full(40, 2.0),
        length_error=np.where(snr > 10.0, 0.1, 0.9),
        n_pixels=round(0.1 * DETECTOR_PIXELS),
    )


def make_scored(seed: int, wrong: float = 0.0) -> ImageSearch:
    """Return candidates whose score is the probability that they are true, or
    too high.
    """
    rng = np.random.default_rng(seed)
    p = rng.random(2000)
    is_true = rng.random(2000) < p
    count = int(is_true.sum())
    nothing = np.full(count, np.nan)
    score = np.minimum(p + wrong, 1.0)
    return ImageSearch(
        score, is_true, ~is_true, score[is_true], 10.0 + rng.random(count), np.full(count, 30.0),
        nothing, nothing, nothing, 10**6,
    )  # fmt: skip


SAMPLE = DetectionSample([make_search(seed) for seed in range(20)])


def truth_table(*rows: tuple[float, float, float, float, float, str]) -> astropy.table.Table:
    names = ("x", "y", "trail_length", "beta", "snr_optimal", "source_type")
    table = astropy.table.Table(rows=rows, names=names)
    table["flux"] = 1.0
    return table


def test_a_search() -> None:
    truth = truth_table(
        (100.0, 100.0, 40.0, 10.0, 12.0, "Trail"),
        (300.0, 300.0, 20.0, 90.0, 7.0, "Trail"),
        (500.0, 200.0, 800.0, 45.0, np.nan, "Satellite"),
    )
    x, y = np.array([103.0, 101.0, 900.0, 520.0]), np.array([104.0, 100.0, 900.0, 220.0])
    length, angle = np.array([44.0, 20.0, 15.0, 100.0]), np.array([15.0, 10.0, 0.0, 45.0])
    found = Trails(x, y, length, angle, np.ones(4))
    search = search_result(found, [0.9, 0.5, 0.4, 0.3], truth, 10**6)
    # The best on the first trail, another on it, one on nothing, a satellite.
    assert search.is_true.tolist() == [True, False, False, False]
    assert search.is_false.tolist() == [False, False, True, False]
    assert search.trail_rank.tolist() == [0.9, -np.inf]
    assert search.snr.tolist() == [12.0, 7.0]
    assert search.midpoint_error[0] == pytest.approx(5.0)
    assert search.angle_error[0] == pytest.approx(5.0)
    assert search.length_error[0] == pytest.approx(0.1)
    assert np.isnan([search.midpoint_error[1], search.angle_error[1], search.length_error[1]]).all()
    flagged = search_result(found, [0.9, 0.5, 0.4, 0.3], truth, 10**6, streak_flag=[0, 0, 1, 0])
    assert not flagged.is_false.any()


def test_copies_of_the_truth_are_complete() -> None:
    truth = truth_table((100.0, 100.0, 40.0, 10.0, 5.0, "Trail"), (300.0, 300.0, 20.0, 90.0, 7.0, "Trail"))
    sample = DetectionSample([search_result(Trails.from_table(truth), [0.5, 0.5], truth, 10**6)])
    assert sample.found_at(1.0).all()
    assert not sample.all.is_false.any()


def test_operating_points_of_a_known_detector() -> None:
    """200 false ranks up to 8 on two detectors: 1, 10 and 90 a detector are
    above 7.9, 7.2 and 0.8.
    """
    points = SAMPLE.operating_points((1.0, 10.0, 90.0), resamples=60)
    for point, expected in zip(points, (7.92, 7.2, 0.8), strict=True):
        # The order statistics scatter by up to 0.2, that of 90 by 0.35.
        assert point.threshold == pytest.approx(expected, abs=0.6)
        if expected > 3.0:
            # A trail is found where its SNR is above the threshold.
            assert point.snr50[0] == pytest.approx(point.threshold, abs=0.4)
            assert point.snr50[1] < point.snr50[0] < point.snr50[2]
            assert point.snr50_long[0] == pytest.approx(point.threshold, abs=0.6)
        value, low, high = point.completeness
        assert low <= value <= high
        assert value == pytest.approx(np.mean(SAMPLE.all.trail_rank >= point.threshold))
    assert points[0].completeness[0] < points[1].completeness[0] < points[2].completeness[0]


def test_completeness_in_bins() -> None:
    fraction, low, high, count = SAMPLE.completeness(10.0, "snr", (3.0, 6.0, 9.0, 30.0, 40.0))
    assert count.sum() == 800
    assert fraction[:3] == pytest.approx([0.0, 0.6, 1.0], abs=0.15)
    assert np.isnan(fraction[3])
    # The end at 1 is good to rounding.
    assert np.all((low[:3] <= fraction[:3]) & (fraction[:3] <= high[:3] + 1e-12))
    # The SNR does not depend on the length.
    fraction, *_ = SAMPLE.completeness(10.0, "length", (6.0, 30.0, 151.0))
    assert fraction[0] == pytest.approx(fraction[1], abs=0.1)


def test_errors_of_what_is_found() -> None:
    errors, count = SAMPLE.median_errors(10.0)
    assert errors.tolist() == [0.5, 2.0, 0.1]
    assert count == np.count_nonzero(SAMPLE.all.snr > 10.0)
    errors, count = SAMPLE.median_errors(10.0, min_snr=99.0)
    assert count == 0
    assert np.isnan(errors).all()


def test_froc_rises_to_what_there_is() -> None:
    curve = SAMPLE.froc([1.0, 10.0, 50.0, 1e4])
    assert np.all(np.diff(curve) >= 0.0)
    assert curve[-1] == 1.0


def test_a_score_that_is_a_probability() -> None:
    curve = DetectionSample([make_scored(seed) for seed in range(5)]).reliability()
    # A thousand in each bin: 0.016 at most, and 0.012 on average.
    assert curve.error < 0.02
    np.testing.assert_allclose(curve.score, np.arange(10) / 10 + 0.05, atol=0.02)
    assert np.mean((curve.low <= curve.score) & (curve.score <= curve.high)) >= 0.7
    assert curve.count.sum() == 10_000
    wrong = DetectionSample([make_scored(1, wrong=0.2)]).reliability()
    # All but the fifth that cannot be above 1 are 0.2 too high.
    assert wrong.error == pytest.approx(0.18, abs=0.03)


def test_a_rank_is_no_probability() -> None:
    with pytest.raises(ValueError, match="within"):
        SAMPLE.reliability()


def test_no_images() -> None:
    with pytest.raises(ValueError, match="no images"):
        DetectionSample([])


def test_nothing_found() -> None:
    """And no trails at all."""
    empty = truth_table((1.0, 1.0, 10.0, 1.0, 5.0, "Satellite"))
    sample = DetectionSample([search_result(Trails.empty(), [], empty, 10**6)] * 3)
    point = sample.operating_points((10.0,), resamples=5)[0]
    assert np.isnan([*point.completeness, *point.snr50]).all()
    assert np.isnan(sample.completeness(1.0, "snr", (3.0, 30.0))[0]).all()
    assert np.isnan(sample.reliability().error)


def drawn(figure: Figure, path: Path) -> None:
    """Check that a figure can be drawn, is labeled, and has one legend
    outside its panels.
    """
    figure.savefig(path)
    assert path.stat().st_size > 10_000
    assert len(figure.legends) == 1
    assert all(axis.get_legend() is None for axis in figure.axes)
    box = figure.legends[0].get_window_extent()
    assert not any(axis.get_window_extent().overlaps(box) for axis in figure.axes)


@pytest.mark.filterwarnings("error")
def test_figures(tmp_path: Path) -> None:
    scored = {
        "Field": {"one": DetectionSample([make_scored(1)]), "two": DetectionSample([make_scored(2, 0.1)])}
    }
    groups = {"Field": {"one": SAMPLE, "other": DetectionSample([make_search(9, false=3)])}}
    figure = completeness_figure(
        groups["Field"],
        title="Field",
        rates=(1, 10),
        snr_edges=(3.0, 7.0, 30.0),
        length_edges=(6.0, 20.0, 150.0),
    )
    drawn(figure, tmp_path / "completeness.png")
    assert {axis.get_xlabel() for axis in figure.axes} == {
        "optimal SNR of the trail",
        "length of the trail (pixels)",
    }
    figure = froc_figure(groups)
    drawn(figure, tmp_path / "froc.png")
    # The second has found nothing false beyond 30 per detector.
    line = figure.axes[0].get_lines()[1]
    assert np.max(line.get_xdata()) == pytest.approx(30.0, rel=0.01)
    figure = reliability_figure(scored)
    drawn(figure, tmp_path / "reliability.png")
    assert "two 0.0" in figure.axes[0].get_title() or "two 0.1" in figure.axes[0].get_title()
