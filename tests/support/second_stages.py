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

"""Second stages with random weights, and random candidates for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lsst.meas.trails.core.candidates.numbers import CANDIDATE_NUMBERS
from lsst.meas.trails.core.candidates.score import FEATURES, ScoreModel
from lsst.meas.trails.core.candidates.stamps import STAMP_CHANNELS, STAMP_SHAPE
from lsst.meas.trails.nn.model_file import (
    load_model,
    read_model_bytes,
    save_model,
    shipped_model_path,
    write_model_bytes,
)
from lsst.meas.trails.nn.second_stage import SecondStage, SecondStageSection
from lsst.meas.trails.training.stamp_samples import StampSamples


def random_stage(seed: int = 0, **changes: Any) -> SecondStage:
    """Return a second stage with random weights."""
    section = SecondStageSection(**changes)
    rng = np.random.default_rng(seed)
    weights = {
        name: rng.normal(0.0, 1.0 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        for name, shape in section.weight_shapes().items()
    }
    if section.numbers:
        weights["numbers.scale"] = np.ones(len(section.numbers), dtype=np.float32)
    return SecondStage(section, weights)


def copy_shipped_model(folder: Path, name: str = "difference") -> Path:
    """Copy a model of the package to a folder, and return its specification's path."""
    path = folder / f"{name}.json"
    write_model_bytes(path, *read_model_bytes(shipped_model_path(name))[:2])
    return path


def copy_first_stage(folder: Path, name: str = "difference") -> Path:
    """Copy a model of the package without its second stage, with a score that is .5 for all candidates.

    Return its specification's path.
    """
    model = load_model(shipped_model_path(name))
    flat, unit = np.zeros(len(FEATURES)), np.ones(len(FEATURES))
    score = ScoreModel(mean=flat, scale=unit, coefficients=flat, intercept=0.0).to_mapping()
    specification = model.specification.replace(second_stage=None, score=score)
    save_model(folder / name, model.network, specification)
    return folder / f"{name}.json"


def random_samples(count: int = 400, *, in_stamp: bool = True, seed: int = 1) -> StampSamples:
    """Return noise, and trails that show in their stamps or in a number."""
    rng = np.random.default_rng(seed)
    is_true = rng.random(count) < 0.3
    stamps = rng.normal(0.0, 0.2, (count, len(STAMP_CHANNELS), *STAMP_SHAPE)).astype(np.float16)
    numbers = rng.normal(3.0, 2.0, (count, len(CANDIDATE_NUMBERS))).astype(np.float32)
    if in_stamp:
        stamps[is_true, 0, 14:18, 16:48] += np.float16(1.0)
    else:
        numbers[:, 4] += 8.0 * is_true
    return StampSamples(stamps, numbers, is_true)
