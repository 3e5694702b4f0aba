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

import pytest

from lsst.meas.trails.tasks import TrailCandidateConfig, TrailSegmentationConfig
from lsst.meas.trails.tasks._thresholds import TrailPixels, TrailPixelsConfig
from lsst.pipe.base import InvalidQuantumError

DEFAULT = TrailPixels(grow=0.2, seed=0.5, min_area=12)


def configured(**settings: float) -> TrailPixelsConfig:
    config = TrailPixelsConfig()
    for name, value in settings.items():
        setattr(config, name, value)
    config.validate()
    return config


def test_configured_values_win() -> None:
    assert configured().trail_pixels(DEFAULT) == DEFAULT
    assert configured(seedThreshold=0.7).trail_pixels(DEFAULT) == TrailPixels(0.2, 0.7, 12)
    every = configured(growThreshold=0.1, seedThreshold=0.3, minArea=5)
    assert every.trail_pixels(DEFAULT) == TrailPixels(0.1, 0.3, 5)


def test_out_of_order() -> None:
    with pytest.raises(ValueError, match="growThreshold.*seedThreshold"):
        configured(growThreshold=0.9, seedThreshold=0.5)
    # Only the grow threshold is configured, and exceeds the default seed threshold.
    with pytest.raises(InvalidQuantumError, match="growThreshold and seedThreshold"):
        configured(growThreshold=0.6).trail_pixels(DEFAULT)


def test_both_tasks_have_the_same_fields() -> None:
    for name, field in TrailPixelsConfig._fields.items():
        for task_config in (TrailSegmentationConfig, TrailCandidateConfig):
            assert task_config._fields[name].doc == field.doc
            assert getattr(task_config(), name) is None
