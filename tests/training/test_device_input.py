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

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from lsst.meas.trails.core.normalize import CHANNELS, network_input
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.training.augmentation import apply_symmetry
from lsst.meas.trails.training.device_input import DEVICE_CHANNELS, device_input, symmetry_view


@pytest.mark.parametrize("has_template", [False, True])
def test_channels_are_those_of_arrays(make_planes: Callable[..., ImagePlanes], has_template: bool) -> None:
    assert list(DEVICE_CHANNELS) == list(CHANNELS)
    rng = np.random.default_rng(3)
    planes = make_planes((40, 50))
    planes.image[:] *= np.exp(rng.uniform(-3.0, 12.0, planes.shape))
    planes.variance[:] = np.exp(rng.uniform(-1.0, 5.0, planes.shape))
    template = None
    if has_template:
        template = rng.normal(0.0, 100.0, planes.shape).astype(np.float32)
        template[rng.random(planes.shape) < 0.1] = np.nan
    planes = dataclasses.replace(planes, template=template)
    level = np.full(planes.shape, 7.0, dtype=np.float32)
    signal, variance, bad = (
        torch.from_numpy(array)[None] for array in (planes.image - level, planes.variance, planes.bad())
    )
    given = None if template is None else torch.from_numpy(template)[None]
    found = device_input(signal, variance, bad, given, list(CHANNELS))
    expected = network_input(planes, level, list(CHANNELS))
    for name, channel, array in zip(CHANNELS, found, expected, strict=True):
        np.testing.assert_allclose(channel[0], array, rtol=2e-6, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("number", range(8))
def test_symmetries_are_those_of_arrays(number: int) -> None:
    array = np.arange(32).reshape(2, 4, 4)
    view = symmetry_view(torch.from_numpy(array), number)
    np.testing.assert_array_equal(view, apply_symmetry(array, number))
