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

from collections.abc import Callable

import hypothesis
import numpy as np
import pytest

from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.psf import PsfGrid

# Examples have no deadline, for busy machines, and are reproducible.
hypothesis.settings.register_profile("core", deadline=None, derandomize=True)
hypothesis.settings.load_profile("core")

type MakePlanes = Callable[..., ImagePlanes]


@pytest.fixture
def make_planes() -> MakePlanes:
    """Return a function that makes an image of empty sky, or of white noise.

    Its arguments are the shape, the PSF (by default a Gaussian with a FWHM of
    4 pixels), the noise ``sigma``, and the ``seed`` of the noise; without a
    seed the image is zero.
    """

    def make(
        shape: tuple[int, int] = (64, 64),
        *,
        psf: PsfGrid | None = None,
        sigma: float = 1.0,
        seed: int | None = None,
    ) -> ImagePlanes:
        image = np.zeros(shape, dtype=np.float32)
        if seed is not None:
            image += np.random.default_rng(seed).normal(0.0, sigma, shape).astype(np.float32)
        return ImagePlanes(
            image=image,
            variance=np.full(shape, sigma**2, dtype=np.float32),
            mask=np.zeros(shape, dtype=np.uint32),
            psf=PsfGrid.gaussian(4.0) if psf is None else psf,
        )

    return make
