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
from pathlib import Path

import numpy as np
import pytest
import torch

from lsst.meas.trails.core.background import fit_background
from lsst.meas.trails.core.injection.fresh import TrailFreeImage
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.training.backgrounds import (
    BAD,
    IGNORED,
    NO_DATA,
    Background,
    read_background,
    write_background,
)

type MakePlanes = Callable[..., ImagePlanes]


def _image(make_planes: MakePlanes) -> TrailFreeImage:
    planes = make_planes((70, 90))
    planes = dataclasses.replace(planes, image=planes.image + 50.0, template=planes.image * 2.0)
    assert planes.template is not None
    planes.template[:5] = np.nan
    planes.variance[10, 10] = np.nan
    planes.image[20, 20] = 1.0e9
    planes.mask[30, 30] = plane_bits(["NO_DATA"])
    ignored = np.zeros(planes.shape, dtype=bool)
    ignored[40] = True
    return TrailFreeImage(
        planes, ignored, gain=0.5, full_well=4000.0, light_psf=PsfGrid.gaussian(6.0, planes.psf.size)
    )


def test_units_are_those_of_the_sky_noise(make_planes: MakePlanes) -> None:
    image = _image(make_planes)
    planes, background = image.planes, Background.from_image(image)
    bad = planes.bad()
    signal, variance, template = background.pixels.float().numpy()
    level = fit_background(planes.image, bad).level()
    # The variance is 4, the sky noise 2.
    expected = np.clip(np.where(bad, 0.0, (planes.image - level) / 2.0), -6.0e4, 6.0e4)
    np.testing.assert_allclose(signal, expected, rtol=1e-3, atol=1e-6)
    assert (variance == 1.0).all()
    assert np.isnan(template[:5]).all()
    assert np.isnan(template[10, 10])
    assert planes.template is not None
    np.testing.assert_allclose(template[41:], planes.template[41:] / 2.0, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(background.flags & BAD != 0, bad)
    assert background.flags[30, 30] == BAD | NO_DATA
    assert (background.flags[40] & IGNORED != 0).all()
    assert not (background.flags[41] & IGNORED).any()
    assert (background.electrons, background.full_well) == (1.0, 2000.0)
    assert background.psf is image.light_psf


def test_written_and_read(make_planes: MakePlanes, tmp_path: Path) -> None:
    background = Background.from_image(_image(make_planes))
    path = tmp_path / "scene.safetensors"
    write_background(path, background)
    read = read_background(path)
    assert torch.equal(read.flags, background.flags)
    assert torch.equal(read.pixels.view(torch.int16), background.pixels.view(torch.int16))
    np.testing.assert_allclose(read.psf.kernels, background.psf.kernels, atol=1e-7)
    assert (read.electrons, read.full_well) == (background.electrons, background.full_well)
    assert (read.shape, read.has_template) == ((70, 90), True)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=path.name):
        read_background(path)


def test_a_dead_image_is_refused(make_planes: MakePlanes) -> None:
    planes = make_planes((20, 20))
    planes.mask[:] = plane_bits(["BAD"])
    with pytest.raises(ValueError, match="no good pixel"):
        Background.from_image(TrailFreeImage(planes, np.zeros((20, 20), dtype=bool)))
