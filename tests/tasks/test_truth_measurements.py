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

"""Tests of measurements of pixels and candidates against the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.render import truth_mask
from lsst.meas.trails.tasks._input_image import read_input_image
from lsst.meas.trails.tasks._trail_images import ModelSummary, make_probability_image, make_trail_mask
from lsst.meas.trails.tasks._truth_measurements import candidate_snr, compare_pixels

from ..evaluation.conftest import make_candidates

START = (40, 30)
SUMMARY = ModelSummary(
    name="drawn",
    version="7",
    sha256="ab",
    thresholds={"grow": 0.2, "seed": 0.5},
    min_area=12,
    score={},
    template_coverage=0.75,
)
STREAK, BAD = (slice(200, 210), slice(0, 300)), (slice(0, 10), slice(0, 300))


@pytest.fixture(scope="module")
def known(make_image: Callable[..., Any]) -> Any:
    return make_image(
        [(80.0, 60.0, 50.0, 20.0, 60.0), (220.0, 150.0, 40.0, 100.0, 30.0)],
        shape=(250, 300),
        start=START,
        masked=[("STREAK", STREAK), ("BAD", BAD)],
    )


def test_pixels_of_a_perfect_network(known: Any) -> None:
    image = read_input_image(known.image)
    truth = image.to_array_coordinates(known.truth)
    truth["truthSource"] = "injected"
    pixels = truth_mask(image.planes.psf, Trails.from_table(truth), image.planes.shape, 0.25)
    probability = make_probability_image(0.9 * pixels.astype(np.float32), image, SUMMARY)
    mask = make_trail_mask(pixels, image)
    results = [
        compare_pixels(
            image, truth, probability, given, masked_source="injected", truth_fraction=0.25, adcnn=True
        )
        for given in (None, mask)
    ]
    for measured, columns in results:
        assert measured["growThreshold"] == 0.2
        assert np.sum(measured["pixelTrue"]) == np.count_nonzero(pixels)
        assert measured["nIgnoredBad"] == 3000
        assert measured["nIgnoredSatellite"] == 3000
        assert np.sum(measured["pixelFalse"]) == 250 * 300 - 6000 - np.count_nonzero(pixels)
        assert np.all(columns["adcnnScore"] > 0.8)
        assert np.sum(measured["adcnnComponents"]) == 2
    measured, columns = compare_pixels(
        image, truth, probability, mask, masked_source="injected", truth_fraction=0.25, adcnn=False
    )
    assert columns == {}
    assert "adcnnComponents" not in measured


def test_without_a_probability_nothing_is_compared(known: Any) -> None:
    image = read_input_image(known.image)
    truth = image.to_array_coordinates(known.truth)
    options: Any = {"masked_source": "injected", "truth_fraction": 0.25, "adcnn": True}
    assert compare_pixels(image, truth, None, None, **options) == ({}, {})


def test_snr_of_candidates_is_on_the_scale_of_the_truth(known: Any) -> None:
    image = read_input_image(known.image)
    rows = np.stack([known.truth[name] for name in ("x", "y", "trail_length", "beta")], axis=1)
    candidates = make_candidates(rows, flux=np.asarray(known.truth["flux"]))
    np.testing.assert_allclose(candidate_snr(image, candidates), known.truth["SNR"], rtol=1e-3)
    assert len(candidate_snr(image, candidates[:0])) == 0
