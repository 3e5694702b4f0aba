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
from lsst.meas.trails.training.candidate_sample import CandidateSample

from support.searched import PAIR, make_scene


def test_trails_are_numbered_over_all_scenes() -> None:
    sample = CandidateSample([make_scene(1), make_scene(2)], PAIR)
    assert len(sample.snr) == len(sample.candidate_of) == 80
    np.testing.assert_array_equal(sample.candidate_of, [*range(40), *range(140, 180)])
    assert np.all(sample.is_true[sample.candidate_of])
    assert sample.is_false.sum() == 200
    assert sample.n_pixels == 2 * int(DETECTOR_PIXELS)


def test_a_fit_never_sees_the_visit_that_it_scores() -> None:
    scenes = [make_scene(i, group=i // 2) for i in range(8)]
    sample = CandidateSample(scenes, PAIR)
    assert len(sample.group_pixels) == 4
    score = sample.cross_validated(4)
    for scene in scenes[:2]:
        scene.tables[PAIR]["is_true"] = ~scene.tables[PAIR]["is_true"]
    again = CandidateSample(scenes, PAIR).cross_validated(4)
    first = sample.group == 0
    np.testing.assert_allclose(again[first], score[first])
    assert np.abs(again[~first] - score[~first]).max() > 0.01


def test_likeness_to_a_spike_lowers_the_score() -> None:
    scene = make_scene(1)
    sample = CandidateSample([scene], PAIR)
    model = sample.fit()
    before = sample.scored(model)
    scene.tables[PAIR]["spikeLikeness"] = 0.75
    np.testing.assert_allclose(CandidateSample([scene], PAIR).scored(model), 0.25 * before)


@pytest.mark.parametrize("prior", [0.2, 1.0, 5.0])
def test_scores_are_probabilities_at_the_density_of_the_prior(prior: float) -> None:
    sample = CandidateSample([make_scene(i, false=400, trails=160) for i in range(20)], PAIR)
    score = sample.cross_validated(5, prior)
    assert sample.calibration_error(score, prior) < 0.02
    wrong = sample.cross_validated(5, prior / 4.0)
    assert sample.calibration_error(wrong, prior) > 0.03


def test_bright_trails_do_not_enter_the_completeness() -> None:
    scene = make_scene(1)
    bright = scene.snr > 30.0
    assert 5 < bright.sum() < 35
    table = scene.tables[PAIR]
    missed = np.flatnonzero(table["is_true"])[bright]
    table["is_true"][missed] = False
    table["ignored"][missed] = True
    _, metrics = CandidateSample([scene], PAIR).measure(np.ones(len(table)) * table["is_true"])
    assert metrics["completeness_at_10"] == 1.0


def test_nothing_to_join() -> None:
    with pytest.raises(ValueError, match="no scenes"):
        CandidateSample([], PAIR)
