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

from lsst.meas.trails.core.photometry import mag_to_flux
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.sim.galaxies import Galaxies
from lsst.meas.trails.sim.sky import Sky, SkyConfig, draw_sky, paint_sky

PSF = PsfGrid.gaussian(4.0, 25)
SHAPE = (160, 180)


def make_sky(*, stars: tuple[float, float, float] | None = None, disk: bool | None = None) -> Sky:
    """Return a sky with a star (x, y, flux), a galaxy of flux 1000, or nothing."""
    star = np.array([] if stars is None else [stars], dtype=np.float64).reshape(-1, 3)
    one = np.ones(0 if disk is None else 1)
    return Sky(
        *star.T,
        Galaxies(
            x=80.3 * one,
            y=70.6 * one,
            flux=1000.0 * one,
            radius=4.0 * one,
            axis_ratio=0.5 * one,
            angle=30.0 * one,
            index=one if disk else 4.0 * one,
        ),
    )


@pytest.mark.parametrize(("x", "y"), [(90.0, 80.0), (90.5, 79.25)])
def test_star_is_the_shifted_psf(x: float, y: float) -> None:
    image = paint_sky(make_sky(stars=(x, y, 1000.0)), PSF, SHAPE, noise=10.0)
    rows, columns = np.indices(SHAPE)
    assert image.sum() == pytest.approx(1000.0, rel=1e-3)
    assert (columns * image).sum() / image.sum() == pytest.approx(x, abs=0.03)
    assert (rows * image).sum() / image.sum() == pytest.approx(y, abs=0.03)
    peak = 1000.0 * PSF.mean_kernel.max() * np.exp(-0.5 * offset(x, y))
    assert image.max() == pytest.approx(peak, rel=0.01)


def offset(x: float, y: float) -> float:
    """Return the squared distance to the closest pixel in units of the PSF's sigma."""
    return ((x - round(x)) ** 2 + (y - round(y)) ** 2) / (4.0 / 2.3548) ** 2


@pytest.mark.parametrize("disk", [True, False])
def test_galaxy_has_flux_and_orientation(disk: bool) -> None:
    image = paint_sky(make_sky(disk=disk), PSF, SHAPE, noise=10.0).astype(np.float64)
    assert image.sum() == pytest.approx(1000.0, rel=2e-3)
    y, x = np.indices(SHAPE)
    x, y = x - (x * image).sum() / image.sum(), y - (y * image).sum() / image.sum()
    xx, yy, xy = ((a * b * image).sum() for a, b in ((x, x), (y, y), (x, y)))
    assert np.rad2deg(0.5 * np.arctan2(2.0 * xy, xx - yy)) == pytest.approx(30.0, abs=3.0)


def test_bright_stars_have_halos_and_spikes() -> None:
    flux = float(mag_to_flux(15.0))
    image = paint_sky(make_sky(stars=(90.0, 80.0, flux)), PSF, SHAPE, noise=10.0)
    # 40 pixels from the star, on a spike at 45 degrees and between spikes.
    assert image[80 + 28, 90 + 28] > 1.5 * image[80, 90 + 40] > 1.0
    faint = paint_sky(make_sky(stars=(90.0, 80.0, float(mag_to_flux(19.0)))), PSF, SHAPE, noise=10.0)
    assert faint[80, 90 + 40] == pytest.approx(0.0, abs=1e-2)


def test_source_counts() -> None:
    config = SkyConfig(star_density=20.0, galaxy_density=30.0)
    sky = draw_sky(config, (3000, 3000), np.random.default_rng(1))
    # The margin of 60 pixels included: 108 square arcminutes.
    area = (3120 * 0.2 / 60.0) ** 2
    bright = np.count_nonzero(sky.star_flux > mag_to_flux(24.0))
    assert bright == pytest.approx(20.0 * area, rel=0.1)
    assert np.count_nonzero(sky.galaxies.flux > mag_to_flux(25.0)) == pytest.approx(30.0 * area, rel=0.1)
    assert sky.star_x.min() < 0.0
    assert sky.star_x.max() > 3000.0
