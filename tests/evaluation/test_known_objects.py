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

from lsst.meas.trails.core.association.columns import KNOWN_TRAIL_COLUMNS
from lsst.meas.trails.core.catalog.columns import table_of
from lsst.meas.trails.evaluation.figures.known_objects import known_objects_figure
from lsst.meas.trails.evaluation.known_objects import (
    KNOWN_NEEDED,
    MISSED_COLUMNS,
    known_object_metrics,
    missed_objects,
)
from lsst.meas.trails.evaluation.metrics_table import select


def known_objects(count: int = 200) -> astropy.table.Table:
    """Make known objects, found above SNR 10; measured lengths are 2% short, magnitudes 0.1 faint."""
    random = np.random.default_rng(3)
    columns = {
        name: np.zeros(count, dtype="U9" if kind is np.str_ else kind)
        for name, (kind, _, _) in KNOWN_TRAIL_COLUMNS.items()
    }
    columns["expectedSnr"] = np.exp(random.uniform(np.log(2.0), np.log(60.0), count))
    columns["expectedLengthPix"] = np.exp(random.uniform(np.log(6.0), np.log(150.0), count))
    columns["expectedLength"] = 0.2 * columns["expectedLengthPix"]
    columns["expectedMag"] = random.uniform(20.0, 24.0, count)
    columns["onImageFraction"], columns["goodFraction"] = np.ones(count), np.ones(count)
    found = columns["expectedSnr"] > 10.0
    columns["isFound"] = found
    columns["nCandidates"] = found.astype(int)
    columns["missedReason"] = np.where(found, "", "faint")
    columns["score"] = np.where(found, np.where(columns["expectedSnr"] > 20.0, 0.9, 0.3), np.nan)
    columns["trailLength"] = np.where(found, 0.98 * columns["expectedLength"], np.nan)
    columns["trailMag"] = np.where(found, columns["expectedMag"] + 0.1, np.nan)
    columns["designation"] = np.array([f"object {i}" for i in range(count)])
    # Half of these trails is masked: they do not count.
    columns["goodFraction"][:20] = 0.3
    return table_of(columns, KNOWN_TRAIL_COLUMNS)


def value(metrics: astropy.table.Table, metric: str, **equal: str) -> float:
    (row,) = select(metrics, section="known", metric=metric, by="", **equal)
    return float(row["value"])


def test_completeness() -> None:
    known = known_objects()
    metrics = known_object_metrics(known)
    assert value(metrics, "objects") == 200
    assert value(metrics, "counted") == 180
    snr = np.asarray(known["expectedSnr"])[20:]
    assert value(metrics, "completeness", operatingPoint="all candidates") == pytest.approx(np.mean(snr > 10))
    assert value(metrics, "completeness", operatingPoint="score above 0.5") == pytest.approx(
        np.mean(snr > 20)
    )
    assert value(metrics, "missed_faint") == np.sum(snr <= 10)
    bins = select(metrics, metric="completeness", by="snr", operatingPoint="all candidates")
    assert np.all(np.asarray(bins["value"]) == (np.asarray(bins["low"]) >= 10.0))
    assert np.sum(bins["count"]) == 180
    # Ends of intervals at 0 and 1 are rounded.
    assert np.all(np.asarray(bins["valueLow"]) <= np.asarray(bins["value"]) + 1e-12)
    assert np.all(np.asarray(bins["value"]) <= np.asarray(bins["valueHigh"]) + 1e-12)


def test_biases() -> None:
    metrics = known_object_metrics(known_objects())
    assert value(metrics, "length_bias") == pytest.approx(-2.0, abs=0.01)
    assert value(metrics, "mag_bias") == pytest.approx(0.1, abs=1e-6)


def test_fragments_and_cut_trails_have_no_bias() -> None:
    known = known_objects()
    known["nCandidates"] *= 2
    assert len(select(known_object_metrics(known), metric="length_bias")) == 0


def test_missed_objects_are_listed_by_brightness() -> None:
    missed = missed_objects(known_objects())
    assert np.all(np.diff(missed["expectedSnr"]) <= 0.0)
    assert not np.any(missed["isFound"])
    assert set(MISSED_COLUMNS) <= set(missed.colnames)


def test_columns_exist() -> None:
    assert set(KNOWN_NEEDED) <= set(KNOWN_TRAIL_COLUMNS)


def test_no_objects() -> None:
    assert len(known_object_metrics(known_objects()[:0])) == 0


def test_nothing_found() -> None:
    known = known_objects()
    known = known[np.asarray(known["expectedSnr"]) < 10.0]
    metrics = known_object_metrics(known)
    assert value(metrics, "completeness", operatingPoint="all candidates") == 0.0
    known_objects_figure(metrics).draw_without_rendering()
