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
from domain_calibration import DomainImage

import domain_scenes
from domain_scenes import DOMAINS, make_scene


def test_scenes_of_a_calibration_hold_neither_trails_nor_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_scenes, "SHAPE", (192, 256))
    image = DomainImage("blank", 1, 0, "direct", None)
    assert image.shape == (192, 256)
    planes = image.read().planes
    assert planes.shape == image.shape
    assert np.abs(planes.image / np.sqrt(planes.variance)).max() < 6.0
    # The scenes that are searched have both.
    scene = make_scene(DOMAINS["blank"], 1, 0, "direct", None, image.shape)
    assert len(scene.truth) > 0
    assert np.abs(scene.planes.image / np.sqrt(scene.planes.variance)).max() > 10.0
