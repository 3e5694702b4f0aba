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

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from lsst.meas.trails.nn.candidate_score import add_second_stage, second_stage, write_weights
from lsst.meas.trails.nn.model_file import find_model, load_model
from lsst.meas.trails.survey.average import average_with_start

from support.second_stages import copy_first_stage, copy_shipped_model, random_stage


def test_the_average_lies_between_both_models(tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    start, trained = copy_shipped_model(tmp_path / "start"), copy_first_stage(tmp_path)
    first = load_model(trained).specification
    other = {name: tensor + 0.1 for name, tensor in read_weights(trained).items()}
    before, stage = read_weights(start), random_stage(3)
    # A second stage is neither needed nor changed.
    for section in (None, stage.section):
        write_weights(trained, first, other)
        if section is not None:
            add_second_stage(trained, section, stage.weights)
        specification = average_with_start(trained, start, 0.25)
        mean = read_weights(trained)
        for name, tensor in other.items():
            # Matrices are stored in half precision.
            expected = torch.lerp(before[name].float(), tensor.float(), 0.25)
            torch.testing.assert_close(mean[name].float(), expected, rtol=2e-3, atol=2e-3)
        kept = second_stage(load_model(trained))
        assert (kept is None) == (section is None)
        if kept is not None:
            for name, weights in stage.weights.items():
                np.testing.assert_allclose(kept.weights[name], weights, rtol=1e-3, atol=1e-3)
    assert specification == load_model(trained).specification
    assert specification.score == {}
    assert specification.training["trained_fraction"] == 0.25


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    weights = load_model(path).specification.weights_file
    return safetensors.torch.load_file(path.with_name(weights))


def test_other_layers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    start = copy_shipped_model(tmp_path / "start")
    # With other input channels.
    source = find_model("direct")
    for path in (source, source.with_name("sky.safetensors")):
        shutil.copy(path, tmp_path)
    trained = tmp_path / source.name
    with pytest.raises(ValueError, match="has other layers than"):
        average_with_start(trained, start)
