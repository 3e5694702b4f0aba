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

"""Tests of the sample of a collection."""

from __future__ import annotations

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.operating_point import DETECTOR_PIXELS, score_threshold
from lsst.meas.trails.evaluation.collection_sample import COLUMNS, CollectionSample

from .conftest import SIDE

Detectors = list[tuple[astropy.table.Table, astropy.table.Table]]


@pytest.fixture(scope="module")
def sample(collection: Detectors) -> CollectionSample:
    return CollectionSample([matches for matches, _ in collection], [search for _, search in collection])


def test_number_of_tables_must_agree(collection: Detectors) -> None:
    with pytest.raises(ValueError, match="6 match tables and 5 search tables"):
        CollectionSample([m for m, _ in collection], [s for _, s in collection[1:]])
    with pytest.raises(ValueError, match="0 match tables"):
        CollectionSample([], [])


def test_counts_of_a_collection(sample: CollectionSample, collection: Detectors) -> None:
    assert sample.n_detectors == len(collection)
    assert len(sample.counted) == sum(np.sum(matches["isCounted"]) for matches, _ in collection)
    assert len(sample.false_score) == sum(np.sum(matches["isFalse"]) for matches, _ in collection)
    assert np.count_nonzero(sample.is_true) == np.count_nonzero(np.isfinite(sample.trail_score))
    np.testing.assert_array_equal(np.bincount(sample.trail_group), [40] * len(collection))
    assert set(COLUMNS) <= set(collection[0][0].colnames)


def test_weighted_threshold_is_that_of_repeated_detectors(
    sample: CollectionSample, collection: Detectors
) -> None:
    weight = np.array([2.0, 0.0, 1.0, 3.0, 0.0, 0.0])
    scores = np.concatenate(
        [
            np.asarray(matches["score"])[np.asarray(matches["isFalse"])].astype(np.float32)
            for i, (matches, _) in enumerate(collection)
            for _ in range(int(weight[i]))
        ]
    ).astype(np.float64)
    for rate in (1.0, 10.0, 100.0):
        expected = score_threshold(scores, np.ones(len(scores), dtype=bool), 6.0 * SIDE**2, rate)
        assert sample.threshold(rate, weight) == expected
        assert sample.threshold(rate, np.ones(6)) == sample.threshold(rate)
    allowed = np.floor(10.0 * 6 * SIDE**2 / DETECTOR_PIXELS)
    assert np.count_nonzero(sample.false_score >= sample.threshold(10.0)) == allowed


def test_histograms_add_up(sample: CollectionSample) -> None:
    total = sample.histogram()
    parts = [sample.histogram([i]) for i in range(6)]
    np.testing.assert_array_equal(total.true, np.sum([part.true for part in parts], axis=0))
    np.testing.assert_array_equal(sample.histogram([1, 1]).false, 2 * parts[1].false)


def test_unknown_methods_are_left_out(sample: CollectionSample) -> None:
    assert list(sample.methods()) == ["sep 3 sigma", "sep 4 sigma", "sep 5 sigma"]
