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

"""Tests of SummarizeTrailsTask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lsst.meas.trails.core.association.columns import KNOWN_TRAIL_COLUMNS
from lsst.meas.trails.core.catalog.columns import table_of
from lsst.meas.trails.core.catalog.labels import LABEL_COLUMNS
from lsst.meas.trails.evaluation.metrics_table import ALL_CANDIDATES, select
from lsst.meas.trails.tasks import SummarizeTrailsConfig, SummarizeTrailsTask
from lsst.pipe.base import NoWorkFound

from ..evaluation.conftest import make_detector


@pytest.fixture(scope="module")
def detectors() -> list[Any]:
    return [make_detector(seed) for seed in range(3)]


def make_task(**settings: Any) -> SummarizeTrailsTask:
    config = SummarizeTrailsConfig()
    config.resamples = 20
    for name, value in settings.items():
        setattr(config, name, value)
    config.validate()
    return SummarizeTrailsTask(config=config)


def test_metrics_and_metadata(detectors: list[Any]) -> None:
    task = make_task(makePlots=False)
    result = task.run(matches=[pair[0] for pair in detectors], searches=[pair[1] for pair in detectors])
    assert set(result.getDict()) == {"trail_metrics"}
    (row,) = select(
        result.trail_metrics, section="detection", metric="snr50", operatingPoint="10 false per detector"
    )
    assert task.metadata["snr50_at_10"] == row["value"]
    assert task.metadata["nDetectors"] == 3
    assert {"pixel_auc", "pixel_average_precision", "expected_calibration_error"} <= set(task.metadata)


def test_labels_give_the_purity_on_real_images(detectors: list[Any]) -> None:
    columns: dict[str, Any] = dict.fromkeys(LABEL_COLUMNS, np.zeros(4))
    columns |= {"label": ["trail", "trail", "artifact", "unsure"], "kind": ["", "", "spike", ""]}
    labels = table_of(columns, LABEL_COLUMNS)
    task = make_task()
    result = task.run(
        matches=[pair[0] for pair in detectors],
        searches=[pair[1] for pair in detectors],
        labels=[labels, labels],
    )
    (row,) = select(result.trail_metrics, section="label", metric="purity", by="")
    assert (row["value"], row["count"]) == (pytest.approx(2 / 3), 6)
    assert "trail_label_plot" in result.getDict()
    assert task.metadata["nLabels"] == 8


def test_known_objects_need_no_truth() -> None:
    columns: dict[str, Any] = dict.fromkeys(KNOWN_TRAIL_COLUMNS, np.zeros(4))
    columns |= {"isFound": [True, True, True, False], "missedReason": ["", "", "", "faint"]}
    columns |= {"onImageFraction": np.ones(4), "goodFraction": np.ones(4), "score": np.full(4, 0.9)}
    columns |= {"expectedSnr": np.full(4, 12.0), "expectedLengthPix": np.full(4, 20.0)}
    known = table_of(columns, KNOWN_TRAIL_COLUMNS)
    task = make_task(evaluateTruth=False)
    result = task.run(known=[known, known[:0], known])
    (row,) = select(
        result.trail_metrics, section="known", metric="completeness", by="", operatingPoint=ALL_CANDIDATES
    )
    assert (row["value"], row["count"]) == (0.75, 8)
    assert "trail_known_plot" in result.getDict()
    assert task.metadata["nKnown"] == 8
    with pytest.raises(NoWorkFound, match="known object"):
        make_task(evaluateTruth=False).run(known=[known[:0]])


def test_detectors_without_both_tables_are_left_out(
    detectors: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    task = make_task(makePlots=False)
    task.run(matches=[pair[0] for pair in detectors], searches=[pair[1] for pair in detectors[:2]])
    assert task.metadata["nDetectors"] == 2
    assert "Ignored 1 tables" in caplog.text


def test_no_detectors() -> None:
    with pytest.raises(NoWorkFound, match="search table"):
        make_task().run(matches=[], searches=[])


def test_main_rate_must_be_one_of_the_rates() -> None:
    with pytest.raises(ValueError, match="mainRate"):
        make_task(mainRate=3.0)
