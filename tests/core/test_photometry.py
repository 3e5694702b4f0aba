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
from hypothesis import given
from hypothesis import strategies as st

from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.photometry import (
    detection_magnitude_loss,
    estimate_gain,
    flux_to_mag,
    mag_to_flux,
    point_source_flux_limit,
)
from lsst.meas.trails.core.psf import FWHM_PER_SIGMA, PsfGrid
from lsst.meas.trails.core.render import add_trail, optimal_snr, render_trail

from support.marks import warnings_are_errors


def test_ab_magnitudes() -> None:
    assert flux_to_mag(1.0) == pytest.approx(31.4)
    # The AB system's zero point is 3631 Jy to a few times 1e-4 mag.
    assert flux_to_mag(3631e9) == pytest.approx(0.0, abs=1e-3)
    assert flux_to_mag(100.0) == pytest.approx(26.4)
    assert flux_to_mag(10.0, zeropoint=27.0) == pytest.approx(24.5)
    np.testing.assert_allclose(mag_to_flux(np.array([31.4, 26.4])), [1.0, 100.0])


@warnings_are_errors
def test_fluxes_that_are_not_positive_have_no_magnitude() -> None:
    assert np.isnan(flux_to_mag(np.array([0.0, -1.0, np.nan]))).all()
    assert np.isnan(flux_to_mag(0.0))


@given(st.floats(-10.0, 60.0), st.floats(20.0, 35.0))
def test_round_trip(mag: float, zeropoint: float) -> None:
    assert flux_to_mag(mag_to_flux(mag, zeropoint), zeropoint) == pytest.approx(mag, abs=1e-9)


def test_loss_of_point_source_detection() -> None:
    assert detection_magnitude_loss(0.0, 4.0) == 0.0
    # x = 10: 1.25 log10(43).
    assert detection_magnitude_loss(40.0, 4.0) == pytest.approx(2.04184, abs=1e-5)
    # For long trails SNR falls as 1/L: 2.5 mag per factor of ten.
    long = detection_magnitude_loss(np.array([1e4, 1e5]), 4.0)
    assert long[1] - long[0] == pytest.approx(2.5, abs=1e-5)


def test_flux_limit_is_where_the_optimal_snr_is() -> None:
    psf = PsfGrid.gaussian(4.0)
    limit = point_source_flux_limit(psf.kernel(0.0, 0.0), 9.0, nsigma=5.0)
    assert limit == pytest.approx(5.0 * 3.0 * np.sqrt(4.0 * np.pi) * 4.0 / FWHM_PER_SIGMA, rel=1e-4)
    stamp = render_trail(psf, Trail(30.0, 30.0, 0.0, 0.0))
    assert optimal_snr(stamp, np.full((60, 60), 9.0), limit) == pytest.approx(5.0)


@pytest.mark.parametrize("stars", [10, 200])
@pytest.mark.parametrize("from_counts", [False, True])
def test_gain_of_a_star_field(stars: int, from_counts: bool) -> None:
    """The variance comes from a model or, as in the stack, from the counts."""
    gain, sky = 0.7, 500.0
    rng = np.random.default_rng(1)
    signal = np.zeros((400, 400))
    for _ in range(stars):
        x, y = rng.uniform(0.0, 399.0, 2)
        add_trail(signal, PsfGrid.gaussian(4.0), Trail(x, y, 0.0, 0.0, 10.0 ** rng.uniform(3.0, 5.5)))
    electrons = rng.poisson((signal + sky) * gain)
    image = (electrons / gain - sky).astype(np.float32)
    variance = ((electrons / gain if from_counts else signal + sky) / gain).astype(np.float32)
    bad = np.zeros(image.shape, dtype=bool)
    image[:, 30], bad[:, 30] = np.nan, True
    # Noise selects pixels near 5 sigma, which biases their signal by a few
    # per cent.
    assert estimate_gain(image, variance, bad) == pytest.approx(gain, rel=0.05)
    # A sample of the pixels gives the same gain.
    assert estimate_gain(image, variance, bad, max_pixels=40_000) == pytest.approx(gain, rel=0.05)


def test_no_gain_without_sources_or_growth() -> None:
    rng = np.random.default_rng(2)
    image = rng.standard_normal((200, 200), dtype=np.float32)
    flat, good = np.ones_like(image), np.zeros(image.shape, dtype=bool)
    assert estimate_gain(image, flat, good) == np.inf
    add_trail(image, PsfGrid.gaussian(4.0), Trail(100.0, 100.0, 0.0, 0.0, 1e5))
    assert estimate_gain(image, flat, good) == np.inf
    assert estimate_gain(image, flat, ~good) == np.inf
    assert estimate_gain(image[:5, :5], flat[:5, :5], good[:5, :5]) == np.inf
