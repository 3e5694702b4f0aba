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
import torch

from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import render_trail
from lsst.meas.trails.training.light import box_size, render_stamps

SHAPE = (400, 400)


@pytest.mark.parametrize("length", [0.0, 0.4, 6.0, 43.0, 150.0])
@pytest.mark.parametrize("angle", [0.0, 37.0, 90.0, 140.0])
def test_stamps_are_those_of_the_renderer(length: float, angle: float) -> None:
    kernel = PsfGrid.gaussian(4.3, 31).kernels[0, 0]
    # Not symmetric, so that a mirrored kernel would show.
    kernel = kernel * np.linspace(0.5, 1.5, 31)[:, None] * np.linspace(0.8, 1.2, 31)
    psf = PsfGrid.constant(kernel)
    trail = Trail(200.3, 180.8, length, angle)
    expected = np.zeros(SHAPE)
    where, part = render_trail(psf, trail).clipped(SHAPE)
    expected[where] = part
    x0, y0, x1, y1 = trail.ends
    size = box_size(max(abs(x1 - x0), abs(y1 - y0)), psf.size)
    corner = np.array([round(trail.x) - size // 2, round(trail.y) - size // 2])
    stamps = render_stamps(
        torch.tensor(psf.kernels[0], dtype=torch.float32),
        torch.tensor(np.array([[trail.x, trail.y]]) - corner, dtype=torch.float32),
        torch.tensor([[x1 - x0, y1 - y0]], dtype=torch.float32),
        size,
    )
    found = np.zeros(SHAPE)
    found[corner[1] : corner[1] + size, corner[0] : corner[0] + size] = stamps[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())
