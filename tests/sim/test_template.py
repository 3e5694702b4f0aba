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

import numpy as np
import numpy.typing as npt
import pytest
import scipy.special

from lsst.images import Box
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.sim.profile_psf import PsfShape
from lsst.meas.trails.sim.sky import Sky
from lsst.meas.trails.sim.template import TemplateConfig, simulate_template

PSF = PsfGrid.gaussian(4.0, 25)

PERFECT = TemplateConfig(
    width=(1.0, 1.0),
    noise=(0.001, 0.001),
    shift=0.0,
    scale=0.0,
    variable=0.0,
    moved=0.0,
    absent=0.0,
    missing_chance=0.0,
    holes=0.0,
    trails=0.0,
    satellite_chance=0.0,
    background=0.0,
)


def one_star(flux: float = 10_000.0) -> Sky:
    return Sky(star_x=np.array([60.0]), star_y=np.array([70.0]), star_flux=np.array([flux]))


def make_template(
    config: TemplateConfig, sky: Sky | None, shape: tuple[int, int], noise: float, seed: int
) -> npt.NDArray[np.float32]:
    return simulate_template(config, sky, PSF, Box.from_shape(shape), noise, np.random.default_rng(seed))[0]


def moments(image: np.ndarray) -> tuple[float, float, float, float]:
    """Return flux, center and rms radius of the light within 30 pixels."""
    y, x = np.indices(image.shape)
    weight = np.where(np.hypot(x - 60.0, y - 70.0) < 30.0, image, 0.0)
    flux = weight.sum()
    cx, cy = (weight * x).sum() / flux, (weight * y).sum() / flux
    radius = np.sqrt((weight * ((x - cx) ** 2 + (y - cy) ** 2)).sum() / flux)
    return float(flux), float(cx), float(cy), float(radius)


def test_perfect_template_shows_the_star_where_it_is() -> None:
    template = make_template(PERFECT, one_star(), (140, 128), 1.0, 1)
    flux, x, y, _ = moments(template)
    # The wings of a Moffat profile beyond the PSF's stamp hold one percent.
    assert flux == pytest.approx(10_000.0, rel=0.03)
    assert (x, y) == pytest.approx((60.0, 70.0), abs=0.02)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_width_of_the_psf(factor: float) -> None:
    config = dataclasses.replace(PERFECT, width=(factor, factor))
    template = make_template(config, one_star(), (140, 128), 1.0, 2)
    # A PSF of effective area A has a peak of 1 / A.
    kernel = template[40:101, 30:91] / template[40:101, 30:91].sum()
    area = 1.0 / np.sum(np.square(kernel))
    expected = 1.0 / np.sum(np.square(PSF.mean_kernel))
    assert np.sqrt(area / expected) == pytest.approx(factor, rel=0.03)


def test_registration_error_is_limited() -> None:
    config = dataclasses.replace(PERFECT, shift=0.3)
    offsets = []
    for seed in range(12):
        template = make_template(config, one_star(), (140, 128), 1.0, seed)
        _, x, y, _ = moments(template)
        offsets.append(np.hypot(x - 60.0, y - 70.0))
    assert max(offsets) < 0.33
    assert max(offsets) > 0.1


def test_noise_is_less_and_correlated() -> None:
    config = dataclasses.replace(PERFECT, noise=(0.4, 0.4), correlation=(0.8, 0.8))
    template = make_template(config, None, (300, 300), 10.0, 3)
    assert template.std() == pytest.approx(4.0, rel=0.02)
    neighbors = np.corrcoef(template[:, :-1].ravel(), template[:, 1:].ravel())[0, 1]
    # White noise smoothed by a Gaussian: exp(-1 / (4 sigma^2)).
    assert neighbors == pytest.approx(np.exp(-1.0 / (4.0 * 0.8**2)), abs=0.02)


def test_band_limited_noise_has_negative_lobes() -> None:
    config = dataclasses.replace(PERFECT, noise=(0.4, 0.4), band_limit=1.0)
    template = make_template(config, None, (300, 300), 10.0, 3)
    assert template.std() == pytest.approx(4.0, rel=0.02)

    def correlation(dy: int, dx: int) -> float:
        moved = np.roll(template, (dy, dx), axis=(0, 1))
        return float(np.corrcoef(template.ravel(), moved.ravel())[0, 1])

    # 2 J1(pi r) / (pi r), to four sigma of 90 000 pixels.
    for dy, dx in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0)):
        k = np.pi * np.hypot(dy, dx)
        assert correlation(dy, dx) == pytest.approx(2.0 * scipy.special.j1(k) / k, abs=0.014)


def test_shaped_psf_follows_the_width() -> None:
    config = dataclasses.replace(PERFECT, width=(0.6, 0.6), psf=PsfShape(1.0, 3.0, 0.8))
    psf = simulate_template(config, None, PSF, Box.from_shape((128, 128)), 1.0, np.random.default_rng(1))[1]
    assert psf.fwhm(64.0, 64.0) == pytest.approx(max(0.6 * PSF.fwhm(0.0, 0.0), 2.5), rel=0.02)


def test_old_transients_are_in_the_template_alone() -> None:
    config = dataclasses.replace(PERFECT, transients=2000.0)
    template = make_template(config, None, (200, 200), 1.0, 5)
    # 80 sources of SNR 3 and more on noise of 0.001: peaks above 0.5.
    assert np.count_nonzero(template > 0.5) > 80
    assert template.min() > -1e-3 * template.max()


def test_absent_star_and_missing_regions() -> None:
    absent = dataclasses.replace(PERFECT, absent=1.0)
    template = make_template(absent, one_star(), (140, 128), 1.0, 4)
    assert np.abs(template).max() < 0.1
    missing = dataclasses.replace(PERFECT, missing_chance=1.0, holes=200.0)
    fractions = [np.isnan(make_template(missing, None, (140, 128), 1.0, seed)).mean() for seed in range(8)]
    assert 0.05 < np.mean(fractions) < 0.9


def test_residual_trails_are_positive() -> None:
    config = dataclasses.replace(PERFECT, trails=300.0, satellite_chance=1.0, noise=(0.3, 0.3))
    template = make_template(config, None, (200, 200), 1.0, 5)
    # Three of 40 000 pixels of noise exceed 4 sigma on each side.
    assert np.count_nonzero(template > 4.0 * 0.3) > 8
    assert np.count_nonzero(template < -4.0 * 0.3) < 10


@pytest.mark.parametrize("name", ["width", "noise", "correlation"])
@pytest.mark.parametrize("value", [(0.0, 1.0), (2.0, 1.0), (1.0, np.inf)])
def test_bad_ranges(name: str, value: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=name):
        TemplateConfig(**{name: value})
