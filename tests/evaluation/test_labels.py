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

from lsst.meas.trails.core.catalog.labels import empty_labels
from lsst.meas.trails.evaluation.labels import label_metrics
from lsst.meas.trails.evaluation.metrics_table import select


def make_labels(*rows: tuple[str, str, float]) -> astropy.table.Table:
    """Return labels of given label, kind and score."""
    label, kind, score = zip(*rows, strict=True)
    return astropy.table.Table({"label": label, "kind": kind, "score": score})


LABELS = make_labels(
    *[("trail", "", 0.95)] * 9,
    ("artifact", "spike", 0.95),
    *[("artifact", "galaxy", 0.32)] * 3,
    ("trail", "", 0.38),
    *[("unsure", "", 0.5)] * 2,
)


def test_purity() -> None:
    """Unsure candidates count neither as trails nor as artifacts."""
    metrics = label_metrics(LABELS)
    (total,) = select(metrics, metric="purity", by="")
    assert total["value"] == pytest.approx(10 / 14)
    assert total["count"] == 14
    assert total["valueLow"] < total["value"] < total["valueHigh"]
    (unsure,) = select(metrics, metric="unsure")
    assert (unsure["value"], unsure["count"]) == (pytest.approx(2 / 16), 16)


def test_purity_by_score() -> None:
    metrics = label_metrics(LABELS)
    bins = select(metrics, metric="purity", by="score")
    np.testing.assert_allclose(bins["low"], [0.3, 0.9])
    np.testing.assert_allclose(bins["value"], [0.25, 0.9])
    assert bins["count"].tolist() == [4, 10]
    # Wilson's interval of 9 of 10.
    assert bins["valueLow"][1] == pytest.approx(0.596, abs=1e-3)
    assert bins["valueHigh"][1] == pytest.approx(0.982, abs=1e-3)
    np.testing.assert_allclose(select(metrics, metric="mean_score")["value"], [(3 * 0.32 + 0.38) / 4, 0.95])
    (error,) = select(metrics, metric="expected_calibration_error")
    assert error["value"] == pytest.approx((4 * (0.335 - 0.25) + 10 * (0.95 - 0.9)) / 14)


def test_kinds_of_artifacts() -> None:
    metrics = label_metrics(LABELS)
    fractions = {row["metric"]: row["value"] for row in metrics if row["metric"].startswith("kind_")}
    assert fractions == {"kind_spike": pytest.approx(0.25), "kind_galaxy": pytest.approx(0.75)}


def test_few_labels() -> None:
    assert len(label_metrics(empty_labels())) == 0
    metrics = label_metrics(make_labels(("unsure", "", 0.5)))
    assert len(select(metrics, metric="purity")) == 0
    assert select(metrics, metric="unsure")["value"].tolist() == [1.0]
