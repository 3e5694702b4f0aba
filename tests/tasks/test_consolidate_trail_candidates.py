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

from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS, empty_catalog
from lsst.meas.trails.tasks import ConsolidateTrailCandidatesConfig, ConsolidateTrailCandidatesTask

MODEL = {"name": "m", "version": "1", "sha256": "ab"}


def catalog(detector: int, count: int, model: dict[str, str] = MODEL) -> astropy.table.Table:
    table = empty_catalog()
    columns = {name: np.zeros(count, dtype=table[name].dtype) for name in table.colnames}
    columns["detector"] += detector
    columns["band"] = np.full(count, "r")
    columns["trailCandidateId"] += 1000 * detector + np.arange(count)
    filled = astropy.table.Table(columns, units={name: table[name].unit for name in table.colnames})
    filled.meta.update(trailModel=model, scoreAtFalsePerDetector={"10": 0.4}, imageShape=[10, 20])
    return filled


def consolidate(*catalogs: astropy.table.Table) -> astropy.table.Table:
    task = ConsolidateTrailCandidatesTask(config=ConsolidateTrailCandidatesConfig())
    joined = task.run(catalogs=list(catalogs)).trail_candidate
    assert task.metadata["nCandidates"] == len(joined)
    assert joined.colnames == list(CANDIDATE_COLUMNS)
    assert joined.meta["nDetectors"] == len(catalogs)
    # The shape of one image is not a property of the visit.
    assert "imageShape" not in joined.meta
    for name in joined.colnames:
        assert joined[name].unit == empty_catalog()[name].unit
    return joined


def test_in_order_of_detector() -> None:
    joined = consolidate(catalog(94, 2), catalog(3, 3), catalog(12, 1))
    assert list(joined["detector"]) == [3, 3, 3, 12, 94, 94]
    assert list(joined["trailCandidateId"]) == [3000, 3001, 3002, 12000, 94000, 94001]
    assert joined.meta["trailModel"] == MODEL
    assert joined.meta["scoreAtFalsePerDetector"] == {"10": 0.4}


def test_largest_error_of_the_time() -> None:
    first, second = catalog(1, 1), catalog(2, 1)
    first.meta["timeUncertainty"], second.meta["timeUncertainty"] = 0.01, 0.5
    assert consolidate(first, second).meta["timeUncertainty"] == 0.5
    assert "timeUncertainty" not in consolidate(catalog(1, 1)).meta


def test_one() -> None:
    assert list(consolidate(catalog(5, 2))["detector"]) == [5, 5]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_nothing_found(count: int) -> None:
    joined = consolidate(*(catalog(detector, 0) for detector in range(count)))
    assert len(joined) == 0
    assert joined.meta.get("trailModel") == (MODEL if count else None)
    assert joined["trailCandidateId"].dtype == np.int64


def test_some_are_empty() -> None:
    joined = consolidate(catalog(1, 0), catalog(2, 2), catalog(3, 0))
    assert list(joined["detector"]) == [2, 2]
    assert list(joined["band"]) == ["r", "r"]


def test_of_different_models() -> None:
    """One detector had a template; no model has more false candidates than wanted."""
    first, second = catalog(1, 1), catalog(2, 1, model={**MODEL, "name": "template"})
    first.meta.update(templateCoverage=0.0, scoreAtFalsePerDetector={"1": 0.8, "10": 0.5})
    second.meta.update(templateCoverage=0.9, scoreAtFalsePerDetector={"1": 0.9, "10": 0.4, "100": 0.1})
    joined = consolidate(first, second)
    assert "trailModel" not in joined.meta
    assert joined.meta["scoreAtFalsePerDetector"] == {"1": 0.9, "10": 0.5}
    assert joined.meta["nDetectorsWithTemplate"] == 1
    # A model without calibration.
    second.meta["scoreAtFalsePerDetector"] = {}
    assert consolidate(first, second).meta["scoreAtFalsePerDetector"] == {}


def test_inputs_are_not_changed() -> None:
    one = catalog(1, 2)
    consolidate(one)
    assert one.meta["imageShape"] == [10, 20]
