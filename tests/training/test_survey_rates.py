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

import numpy as np
import pytest

from lsst.meas.trails.core.operating_point import DETECTOR_PIXELS
from lsst.meas.trails.training.survey_rates import FalseRates


def make_rates(rng: np.random.Generator, detectors: int, spread: float = 0.0) -> FalseRates:
    """Return about 100 false candidates a detector of scores between 0 and 1, one detector a visit.

    ``spread`` is the relative scatter of the number between visits.
    """
    mean = 100.0 * rng.gamma(1.0 / spread**2, spread**2, detectors) if spread else np.full(detectors, 100.0)
    count = rng.poisson(mean)
    scores = rng.random(count.sum()) ** 3
    return FalseRates(scores, np.repeat(np.arange(detectors), count), np.full(detectors, DETECTOR_PIXELS))


@pytest.mark.parametrize("rate", [1.0, 10.0])
def test_other_images_have_the_rate_on_average(rate: float) -> None:
    """The score of a rate is chosen in some images, and its candidates are counted in others."""
    rng = np.random.default_rng(1)
    held_back = make_rates(rng, 2000)
    measured = [held_back.at(make_rates(rng, 5).score_for(rate)) for _ in range(400)]
    # Five detectors have 5 or 50 such candidates.
    assert np.mean(measured) == pytest.approx(rate, rel=4.0 / np.sqrt(400 * 5 * rate))
    assert np.std(measured) == pytest.approx(rate / np.sqrt(5 * rate), rel=0.2)


@pytest.mark.parametrize("spread", [0.0, 0.6])
def test_the_error_is_that_of_other_visits(spread: float) -> None:
    rng = np.random.default_rng(2)
    samples = [make_rates(rng, 12, spread) for _ in range(300)]
    rates = np.array([sample.at(0.7) for sample in samples])
    errors = np.array([sample.error(0.7) for sample in samples])
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(rates), rel=0.2)
    # Much more than that of independent candidates.
    assert (np.std(rates) > 1.5 * np.sqrt(np.mean(rates) / 12)) == (spread > 0.0)


def test_few_candidates() -> None:
    area = np.full(3, DETECTOR_PIXELS)
    none = FalseRates(np.zeros(0), np.zeros(0, dtype=np.int64), area)
    assert none.score_for(10.0) == 0.0
    assert none.at(0.0) == none.error(0.0) == 0.0
    one = FalseRates(np.array([0.4]), np.zeros(1, dtype=np.int64), area)
    # All may stay.
    assert one.score_for(10.0) == 0.0
    assert one.score_for(0.1) == 0.4
    assert one.at(0.4) == pytest.approx(1.0 / 3.0)
