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

from lsst.meas.trails.ingest.noise import estimate_variance, measure_noise, noise_ratios, rescale_weight


def sky(shape: tuple[int, int], sigma: float = 7.0, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(100.0, sigma, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(300, 400), (64, 64), (32, 40), (33, 500)])
def test_blank_sky(shape: tuple[int, int]) -> None:
    image = sky(shape)
    bad = np.zeros(shape, dtype=bool)
    bad[:, -5:] = True
    image[bad] = np.nan
    variance = estimate_variance(image, bad)
    assert np.all(np.isfinite(variance))
    # Three times the statistical error of the variance of a block.
    pixels = min(shape[0] * shape[1], 64 * 64)
    assert np.median(variance) == pytest.approx(49.0, rel=3.0 * np.sqrt(2.0 / pixels) + 0.02)


def test_stars_are_not_noise() -> None:
    """Poisson noise requires a gain and does not follow the noise of the sky."""
    image = sky((256, 256), sigma=10.0)
    image[100:110, 100:110] += 1000.0
    bad = np.zeros(image.shape, dtype=bool)
    without, with_gain = estimate_variance(image, bad), estimate_variance(image, bad, gain=2.0)
    assert np.median(without) == pytest.approx(100.0, rel=0.05)
    assert np.mean(without[100:110, 100:110]) == pytest.approx(100.0, rel=0.1)
    assert np.mean(with_gain[100:110, 100:110]) == pytest.approx(600.0, rel=0.05)
    dark = np.delete(with_gain, slice(100, 110), axis=0)
    # 0.14% of the pixels are above three sigma.
    assert np.count_nonzero(dark != np.delete(without, slice(100, 110), axis=0)) < 0.003 * dark.size


def test_noise_that_varies() -> None:
    image = np.hstack([sky((256, 256), 5.0, 1), sky((256, 256), 15.0, 2)])
    variance = estimate_variance(image, np.zeros(image.shape, dtype=bool))
    assert np.median(variance[:, :128]) == pytest.approx(25.0, rel=0.05)
    assert np.median(variance[:, -128:]) == pytest.approx(225.0, rel=0.05)


def test_level_and_noise() -> None:
    image = sky((256, 256))
    measured = measure_noise(image, np.zeros(image.shape, dtype=bool))
    assert measured.level == pytest.approx(100.0, abs=0.2)
    assert measured.variance == pytest.approx(49.0, rel=0.03)
    assert measured.local == pytest.approx(49.0, rel=0.03)


@pytest.mark.parametrize("factor", [0.1, 1.0, 4.0])
def test_ratios(factor: float) -> None:
    image = sky((256, 256))
    bad = np.zeros(image.shape, dtype=bool)
    bad[10:20] = True
    image[bad] = np.nan
    variance = np.full(image.shape, 49.0 / factor, dtype=np.float32)
    assert noise_ratios(image, bad, variance) == pytest.approx((factor, factor), rel=0.05)


def test_no_noise() -> None:
    image = np.full((100, 100), 3.0, dtype=np.float32)
    assert np.all(estimate_variance(image, np.zeros(image.shape, dtype=bool)) == 0.0)


def test_mostly_bad() -> None:
    """Use the good pixels if no block has enough of them."""
    image = sky((128, 128))
    bad = np.ones(image.shape, dtype=bool)
    bad[40:80, 40:80] = False
    assert estimate_variance(image, bad)[0, 0] == pytest.approx(49.0, rel=0.15)


def test_weights() -> None:
    """Weights may be exposure times: only their ratios count."""
    image = np.hstack([sky((256, 256), 5.0, 1), sky((256, 256), 10.0, 2)])
    weight = np.hstack([np.full((256, 256), 4.0), np.full((256, 256), 1.0)]).astype(np.float32)
    weight[0, 0] = 0.0
    bad = weight == 0.0
    variance = rescale_weight(image, bad, weight)
    assert variance[0, 0] == np.inf
    assert np.median(variance[:, :256]) == pytest.approx(25.0, rel=0.05)
    assert np.median(variance[:, 256:]) == pytest.approx(100.0, rel=0.05)
