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

"""Tests of MatchTrailsTask."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.evaluation.columns import MATCH_COLUMNS, SEARCH_COLUMNS
from lsst.meas.trails.evaluation.metrics_table import select
from lsst.meas.trails.tasks import (
    InjectTrailsConfig,
    InjectTrailsTask,
    MatchTrailsConfig,
    MatchTrailsTask,
    SummarizeTrailsConfig,
    SummarizeTrailsTask,
    TrailCandidateConfig,
    TrailCandidateTask,
)
from lsst.meas.trails.tasks._input_image import read_input_image
from lsst.meas.trails.tasks._trail_images import make_probability_image
from lsst.pipe.base import InvalidQuantumError, Struct

from ..evaluation.conftest import leak
from .test_trail_candidate import SUMMARY

SHAPE = (250, 300)
TRAILS = ((80.0, 60.0, 50.0, 20.0, 60.0), (220.0, 150.0, 40.0, 100.0, 30.0), (60.0, 200.0, 30.0, 0.0, 4.0))


@pytest.fixture(scope="module")
def known(make_image: Callable[..., Any]) -> Any:
    masked = [("BAD", (slice(0, 10), slice(0, 300)))]
    return make_image(TRAILS, shape=SHAPE, start=(40, 30), masked=masked)


def match(known: Any, *, candidates: astropy.table.Table | None = None, **inputs: Any) -> Struct:
    if candidates is None:
        candidates = leak(known.truth[:2])
        candidates.meta["scoreAtFalsePerDetector"] = {"1": 0.7, "10": 0.4}
    task = MatchTrailsTask(config=MatchTrailsConfig())
    inputs = {"truth": known.truth, **inputs}
    return task.run(image=known.image, candidates=candidates, visit=12, detector=3, **inputs)


def test_tables_of_a_detector(known: Any) -> None:
    result = match(known)
    assert result.matches.colnames == list(MATCH_COLUMNS)
    assert list(result.matches["category"]) == ["found", "found", "missed"]
    assert list(result.matches["foundBySep5"]) == [1, 1, 0]
    assert np.all(result.matches["truthSource"] == "injected")
    # The truth has the scale of the point-source SNR of the candidates.
    np.testing.assert_allclose(result.matches["snrPsf"][:2], result.matches["snrPointSource"][:2], rtol=1e-3)
    (row,) = result.search
    assert result.search.colnames == list(SEARCH_COLUMNS)
    assert (row["visit"], row["detector"], row["band"]) == (12, 3, "r")
    assert (row["nPixels"], row["nSearched"]) == (250 * 300, 240 * 300)
    assert (row["nTrails"], row["nCandidates"], row["nFalse"]) == (3, 2, 0)
    assert [row[f"modelThreshold{rate}"] for rate in (1, 10)] == [0.7, 0.4]
    assert np.isnan(row["modelThreshold100"])
    assert not row["hasPixels"]


def test_known_trails_are_part_of_the_truth(known: Any) -> None:
    result = match(known, truth=known.truth[:1], known_truth=known.truth[1:])
    assert list(result.matches["category"]) == ["found", "found", "missed"]
    assert list(result.matches["truthSource"]) == ["injected", "known", "known"]


def test_sources_of_the_catalog_make_a_place_crowded(known: Any) -> None:
    catalog = astropy.table.Table({"x": known.truth["x"][:1] + 3.0, "y": known.truth["y"][:1]})
    result = match(known, known_catalog=catalog)
    assert result.search["nSources"][0] == 1
    assert 0.0 < result.matches["sourceDistance"][0] < 0.7
    # Without sources in the catalog, the detected ones count.
    assert match(known, known_catalog=catalog[:0]).search["nSources"][0] == match(known).search["nSources"][0]


def test_saturated_trails_are_found_and_count(make_image: Callable[..., Any]) -> None:
    """Bright trails from the injection to the metrics, most of their pixels saturated."""
    config = InjectTrailsConfig()
    config.number, config.minLength, config.maxLength = 8.0, 15.0, 60.0
    config.minBrightness, config.maxBrightness, config.brightnessIndex = 300.0, 3000.0, -1.0
    config.gain, config.fullWell = 2.0, 2000.0
    image = make_image(shape=(300, 400), start=(40, 30)).image
    injected = InjectTrailsTask(config=config).run(image=image, packed=5)
    pixels = injected.injected_mask.get("TRAIL").astype(np.float32)
    read = read_input_image(injected.injected_image)
    probability = make_probability_image(0.9 * pixels, read, SUMMARY)
    found = TrailCandidateTask(config=TrailCandidateConfig()).run(
        image=injected.injected_image, trail_probability=probability
    )
    known = SimpleNamespace(image=injected.injected_image, truth=injected.injected_catalog)
    result = match(known, candidates=found.trail_candidate_detector)
    rows = result.matches
    assert np.all(rows["isTrail"])
    counted = rows[rows["isCounted"]]
    # Others lie beyond the edge for the most part.
    assert len(counted) >= 6
    assert set(counted["category"]) == {"found"}
    assert 300.0 <= np.max(counted["snrOptimal"]) <= 3000.0
    saturated = counted[counted["pixelFlags_saturated"]]
    assert len(saturated) >= 4
    inside = saturated[(saturated["visibleFraction"] > 0.999) & ~saturated["trail_flag"]]
    assert len(inside) >= 3
    for name in ("pullX", "pullY", "pullLength", "pullFlux"):
        assert np.median(np.abs(inside[name])) < 2.0, name
    metrics = SummarizeTrailsTask(config=SummarizeTrailsConfig(makePlots=False)).run(
        matches=[rows], searches=[result.search]
    )
    bins = select(metrics.trail_metrics, section="completeness", by="snr", operatingPoint="all candidates")
    assert np.sum(bins["count"]) == len(counted)
    assert np.all(bins["low"] >= 150.0)
    assert np.all(bins["value"] == 1.0)


@pytest.mark.parametrize("table", ["truth", "known_truth"])
def test_columns_are_needed(known: Any, table: str) -> None:
    broken = known.truth.copy()
    broken.remove_column("snr_optimal")
    with pytest.raises(InvalidQuantumError, match="Visit 12, detector 3.*snr_optimal"):
        match(known, **{table: broken})


def test_thresholds_of_the_baselines() -> None:
    config = MatchTrailsConfig()
    with pytest.raises(ValueError, match="baselineThresholds"):
        config.baselineThresholds = [6]
