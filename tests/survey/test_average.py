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

from pathlib import Path

import numpy as np
import pytest

from lsst.meas.trails.nn.candidate_score import add_second_stage, second_stage
from lsst.meas.trails.nn.model_file import load_model
from lsst.meas.trails.survey.average import average_with_start

from support.second_stages import copy_first_stage, copy_shipped_model, random_stage


def test_the_average_lies_between_both_models(tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    start, trained = copy_shipped_model(tmp_path / "start"), copy_shipped_model(tmp_path)
    before, other = second_stage(load_model(start)), random_stage(3)
    assert before is not None
    add_second_stage(trained, other.section, other.weights)
    first_stage = load_model(start).network.state_dict()
    specification = average_with_start(trained, start, 0.25)
    model = load_model(trained)
    mean = second_stage(model)
    assert mean is not None
    for name, weights in mean.weights.items():
        expected = 0.75 * before.weights[name] + 0.25 * other.weights[name]
        # Matrices are stored in half precision.
        np.testing.assert_allclose(weights, expected, rtol=2e-3, atol=2e-3)
    for name, tensor in model.network.state_dict().items():
        np.testing.assert_allclose(tensor, first_stage[name], rtol=1e-3, atol=1e-6)
    assert specification == model.specification
    assert specification.score == {}
    assert specification.training["trained_fraction"] == 0.25


def test_other_layers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    start = copy_first_stage(tmp_path / "start")
    trained = copy_shipped_model(tmp_path)
    with pytest.raises(ValueError, match="has other layers than"):
        average_with_start(trained, start)
