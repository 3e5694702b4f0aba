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
"""Tests of the optics of the domains."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.meas.trails.core.psf import kernel_fwhm

from domain_optics import (
    Optics,
    SpikeArms,
    convolve,
    draw_core,
    draw_template_noise,
    resample_noise,
    subtract,
    wide_transform,
)

GRID = (256, 256)


def correlation(noise: np.ndarray, dy: int, dx: int) -> float:
    """Return the correlation of pixels at a distance."""
    return float(np.mean(noise * np.roll(noise, (dy, dx), axis=(0, 1))) / np.mean(np.square(noise)))


def make_optics(fwhm: float, template_fwhm: float, noise: float = 0.2) -> Optics:
    rng = np.random.default_rng(3)
    return Optics(
        draw_core(rng, fwhm)[None, None],
        draw_core(rng, template_fwhm),
        template_noise=noise,
        wide_fraction=0.0,
        spike_fraction=0.0,
    )


@pytest.mark.parametrize("fwhm", [3.5, 6.0, 10.0])
def test_cores_have_their_fwhm(fwhm: float) -> None:
    core = draw_core(np.random.default_rng(1), fwhm)
    assert kernel_fwhm(core) == pytest.approx(fwhm, rel=0.02)
    assert core.sum() == pytest.approx(1.0)


def test_halo_and_spikes_keep_the_flux() -> None:
    sky = np.zeros(GRID)
    sky[128, 128] = 1.0
    core = draw_core(np.random.default_rng(1), 5.0)
    wide, _ = wide_transform(np.random.default_rng(2), GRID, 0.05, 0.03)
    image = convolve(sky, core[None, None], wide)
    assert image.sum() == pytest.approx(1.0)
    near = image[116:141, 116:141].sum()
    assert 0.93 < near < 0.98


@pytest.mark.parametrize("fwhm", [4.0, 7.0])
def test_arms_end_where_they_sink_into_the_noise(fwhm: float) -> None:
    """A filter of the PSF on an arm has an SNR of 1 at the end of the arm, in unit noise."""
    core = draw_core(np.random.default_rng(1), fwhm)
    # All of the wide light is in the spikes.
    wide, arms = wide_transform(np.random.default_rng(2), (512, 512), 0.02, 0.02)
    stars = np.array([[256.0, 256.0, 2e5]])
    sky = np.zeros((512, 512))
    sky[256, 256] = stars[0, 2]
    response = convolve(convolve(sky, core[None, None], wide), core[None, None, ::-1, ::-1])
    response /= np.sqrt(np.sum(np.square(core)))
    ends = arms.segments(stars, 0, (512, 512), fwhm)
    assert len(ends) == len(arms.angles)
    assert np.hypot(*(ends[:, 2:] - 256.0).T) == pytest.approx(float(arms.lengths(2e5)))
    assert 3.0 * fwhm < arms.lengths(2e5) < arms.reach
    columns, rows = np.round(ends[:, 2:]).astype(int).T
    # A Moffat profile is not a Gaussian, and arms lie on whole pixels.
    np.testing.assert_allclose(response[rows, columns], 1.0, rtol=0.25)
    between = np.deg2rad(arms.angles + 180.0 / len(arms.angles))
    offset = arms.lengths(2e5) * np.stack([np.cos(between), np.sin(between)])
    columns, rows = np.round(256.0 + offset).astype(int)
    assert np.abs(response[rows, columns]).max() < 0.1


def test_arms_are_cut_at_the_image() -> None:
    arms = SpikeArms(np.array([0.0, 180.0]), 0.01, 300.0)
    # The light of arms falls with the power 1.4 of the distance: to 1 per pixel at 100 pixels for this flux.
    bright = 100.0**1.4 / 0.01
    assert arms.lengths([bright, 1e9]) == pytest.approx([100.0, 300.0])
    # One star in the image, a faint one, and one left of it, in the part of the grid outside the image.
    stars = np.array([[100.0, 80.0, bright], [100.0, 90.0, 1.0], [20.0, 100.0, bright]])
    right, left, outside, wrapped = arms.segments(stars, 50, (200, 200), 4.0)
    np.testing.assert_allclose(right, [50.0, 30.0, 150.0, 30.0])
    np.testing.assert_allclose(left, [50.0, 30.0, -0.5, 30.0])
    np.testing.assert_allclose(outside, [-0.5, 50.0, 70.0, 50.0])
    # Its other arm leaves the grid of 300 pixels, and enters on the other side.
    np.testing.assert_allclose(wrapped, [199.5, 50.0, 170.0, 50.0])


def test_a_changing_psf_is_that_of_the_corner() -> None:
    corners = np.array([[draw_core(np.random.default_rng(i + 2 * j), 5.0) for i in (0, 1)] for j in (0, 1)])
    sky = np.zeros(GRID)
    sky[40, 200] = 1.0
    image = convolve(sky, corners)
    fy, fx = 40.0 / 255.0, 200.0 / 255.0
    expected = (1 - fy) * ((1 - fx) * corners[0, 0] + fx * corners[0, 1])
    expected += fy * ((1 - fx) * corners[1, 0] + fx * corners[1, 1])
    half = expected.shape[0] // 2
    np.testing.assert_allclose(image[40 - half : 41 + half, 200 - half : 201 + half], expected, atol=1e-12)


def test_template_noise_is_correlated_as_measured() -> None:
    """Lag 1 and the negative lobes as in ``lsst_alerts.md`` of the real data."""
    noise = draw_template_noise(np.random.default_rng(1), (1024, 1024))
    assert noise.std() == pytest.approx(1.0)
    for lag in ((0, 1), (1, 0)):
        assert 0.12 < correlation(noise, *lag) < 0.26
    for lag in ((0, 2), (2, 0), (1, 1), (1, -1)):
        assert -0.13 < correlation(noise, *lag) < -0.02


def test_resampled_noise_has_the_stated_variance_and_the_same_large_scales() -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        white = rng.standard_normal((512, 512))
        noise, variance = resample_noise(white, rng)
        assert noise.var() == pytest.approx(float(variance))
        assert 0.3 < variance < 1.0
        assert correlation(noise, 0, 1) > 0.05
        binned = noise.reshape(64, 8, 64, 8).sum(axis=(1, 3))
        assert binned.var() == pytest.approx(64.0, rel=0.15)


@pytest.mark.parametrize("template_fwhm", [3.5, 6.5])
def test_constant_sources_vanish_and_noise_stays_white(template_fwhm: float) -> None:
    """Whichever of image and template is sharper."""
    optics = make_optics(5.0, template_fwhm)
    rng = np.random.default_rng(4)
    sky = np.zeros(GRID)
    sky[rng.integers(0, 256, 50), rng.integers(0, 256, 50)] = 1000.0
    image, template = convolve(sky, optics.cores), convolve(sky, optics.template_core[None, None])
    residual, kernel = subtract(image, template, optics, [1.0, 1.0])
    # A deconvolution is softened.
    assert np.abs(residual).max() < (0.01 if template_fwhm < 5.0 else 0.04) * image.max()
    assert kernel.sum() == pytest.approx(1.0, abs=0.01)
    noise, other = rng.standard_normal((2, 512, 512))
    difference, _ = subtract(noise, 0.2 * other, optics, [1.0, 1.0])
    assert difference.std() == pytest.approx(np.sqrt(1.0 + 0.2**2), rel=0.02)
    assert abs(correlation(difference, 0, 1)) < 0.01


def test_errors_of_the_kernel_leave_residuals() -> None:
    optics = make_optics(5.0, 3.5)
    sky = np.zeros(GRID)
    sky[128, 128] = 1000.0
    image, template = convolve(sky, optics.cores), convolve(sky, optics.template_core[None, None])
    good, _ = subtract(image, template, optics, [1.0, 1.0])
    wrong, _ = subtract(image, template, optics, [1.06, 1.0])
    assert np.abs(wrong).max() > 5.0 * np.abs(good).max()
    # The sources that the difference has lost or gained make a ring.
    assert wrong.min() < -0.005 * image.max()
