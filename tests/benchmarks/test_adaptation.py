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

import pickle

import numpy as np
from adaptation import SEED, DomainImage

from domain_scenes import DOMAINS


def test_images_of_a_domain_without_trails() -> None:
    image = DomainImage("typical", "template", 3, shape=(128, 128))
    known = pickle.loads(pickle.dumps(image)).read()
    assert image.name == "typical-template-3"
    assert known.planes.shape == known.planes.template.shape == (128, 128)


def test_seeds_are_those_of_no_other_benchmark() -> None:
    assert SEED > 880_000 + len(DOMAINS)
    assert np.isinf(DomainImage("blank", "direct", 1, shape=(64, 64)).read().full_well)


def test_the_full_well_is_that_of_the_cores_of_stars() -> None:
    images = [DomainImage("spikes", "direct", visit, shape=(256, 256)).read() for visit in range(3)]
    levels = [image.full_well for image in images if np.any(image.planes.has("SATURATED"))]
    assert levels
    # `domain_scenes.make_scene` draws it from 2000 to 5000.
    assert all(2000.0 <= level <= 5000.0 for level in levels)
