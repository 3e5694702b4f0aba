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

"""Tests of the errors of a summary."""

from __future__ import annotations

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.evaluation.metrics_table import select

from .conftest import Detectors


def test_pulls_of_right_errors_are_one(metrics: astropy.table.Table) -> None:
    for name in ("X", "Y", "Length", "Angle", "Flux"):
        (spread,) = select(metrics, section="pull", metric=f"pull{name}_spread")
        # Of some 130 trails; lengths are off by 0.5 pixels, which is 0.1 arcsec.
        assert spread["value"] == pytest.approx(1.0, abs=0.25)
        total = select(metrics, section="pull", by=f"pull{name}")["value"].sum()
        assert total == pytest.approx(1.0)


def test_errors_in_bins(metrics: astropy.table.Table, collection: Detectors) -> None:
    """The median of the bright trails is that of the match tables."""
    values = np.concatenate(
        [
            matches["dLength"][
                matches["isCounted"] & matches["isCandidate"] & (matches["snrOptimal"] >= 10.0)
            ]
            for matches, _ in collection
        ]
    )
    (row,) = select(metrics, section="error", metric="dLength_median", high=np.inf)
    assert row["count"] == len(values)
    assert row["value"] == pytest.approx(np.median(values), abs=1e-6)
    assert row["valueLow"] <= row["value"] <= row["valueHigh"]
    (row,) = select(metrics, section="error", metric="dLength_scatter", high=np.inf)
    assert row["value"] == pytest.approx(0.5 * np.ptp(np.percentile(values, [15.865, 84.135])), rel=1e-5)
