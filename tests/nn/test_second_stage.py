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

from typing import Any

import numpy as np
import pydantic
import pytest

from lsst.meas.trails.core.candidates.numbers import CANDIDATE_NUMBERS
from lsst.meas.trails.core.candidates.stamps import STAMP_CHANNELS, STAMP_SHAPE
from lsst.meas.trails.nn.second_stage import SecondStageSection

from support.second_stages import random_stage

SMALL: dict[str, Any] = {"widths": (4, 8), "dense": 8, "dense_numbers": 4}


def inputs(count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    stamps = rng.normal(size=(count, len(STAMP_CHANNELS), *STAMP_SHAPE)).astype(np.float32)
    return stamps, rng.normal(size=(count, len(CANDIDATE_NUMBERS)))


def test_batches_do_not_matter() -> None:
    stage = random_stage(**SMALL)
    stamps, numbers = inputs(70)
    logits = stage.logits(stamps, numbers)
    assert logits.shape == (70,)
    assert logits.std() > 1e-3
    np.testing.assert_allclose(stage.logits(stamps[66:], numbers[66:]), logits[66:], atol=1e-5)
    assert stage.logits(stamps[:0], numbers[:0]).shape == (0,)


@pytest.mark.parametrize("left_out", ["template", "bad"])
def test_channels_that_are_left_out_do_not_matter(left_out: str) -> None:
    stage = random_stage(channels=tuple(name for name in STAMP_CHANNELS if name != left_out), **SMALL)
    stamps, numbers = inputs()
    before = stage.logits(stamps, numbers)
    stamps[:, STAMP_CHANNELS.index(left_out)] += 1.0
    np.testing.assert_array_equal(stage.logits(stamps, numbers), before)
    stamps[:, STAMP_CHANNELS.index("science")] += 1.0
    assert np.all(stage.logits(stamps, numbers) != before)


def test_stamps_or_numbers_alone() -> None:
    stamps, numbers = inputs()
    only_numbers, only_stamps = random_stage(channels=(), **SMALL), random_stage(numbers=(), **SMALL)
    np.testing.assert_array_equal(
        only_numbers.logits(stamps + 1.0, numbers), only_numbers.logits(stamps, numbers)
    )
    np.testing.assert_array_equal(
        only_stamps.logits(stamps, numbers + 1.0), only_stamps.logits(stamps, numbers)
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stamp_version", 0),
        ("channels", ("science", "moon")),
        ("channels", ("science", "science")),
        ("numbers", ("luck",)),
        ("widths", ()),
        ("widths", (4, -1)),
    ],
)
def test_wrong_sections_name_the_key(key: str, value: object) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        SecondStageSection(**{key: value})  # type: ignore[arg-type]
    assert key in str(caught.value.errors())
    with pytest.raises(pydantic.ValidationError):
        SecondStageSection(channels=(), numbers=())
