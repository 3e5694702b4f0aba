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
from astropy.io.fits import Header

from lsst.meas.trails.ingest.gain import Gain, check_gain, find_gain
from lsst.meas.trails.ingest.noise import SkyNoise


def make_header(cards: dict[str, object]) -> Header:
    header = Header()
    for keyword, value in cards.items():
        header[keyword if len(keyword) <= 8 else f"HIERARCH {keyword}"] = value
    return header


@pytest.mark.parametrize(
    ("cards", "gain"),
    [
        ({"GAIN": 2.5}, 2.5),
        ({"GAIN": "2.5", "BUNIT": "ADU"}, 2.5),
        ({"GAINA": 4.0, "GAINB": 4.2}, 4.1),
        ({"GAIN": 2.5, "BUNIT": "electron"}, 1.0),
        ({"GAIN": 2.5, "BUNIT": "adu/s", "EXPTIME": 60.0}, 150.0),
        ({"BUNIT": "electron s-1", "EXPTIME": 60.0}, 60.0),
        ({"GAIN": 2.5, "BUNIT": "adu/s"}, None),
        # The gain applies to counts.
        ({"GAIN": 2.5, "BUNIT": "nJy"}, None),
        ({"GAIN": 0.0}, None),
        # The setting of a camera, and electrons per unit.
        ({"GAIN": 100.0, "EGAIN": 0.25}, 0.25),
        ({"GAIN": "2.5 e-/ADU"}, 2.5),
        ({"GAIN": "0.4 ADU/e-"}, 2.5),
        ({"GAIN": ("0.4", "ADU per electron")}, 2.5),
        ({"GAIN": (100.0, "[dB] camera")}, None),
        ({"GAIN": (139, "Gain setting")}, None),
        ({}, None),
    ],
)
def test_gain(cards: dict[str, object], gain: float | None) -> None:
    found = find_gain(make_header(cards))
    assert (None if found is None else found.value) == (None if gain is None else pytest.approx(gain))


def test_two_gains_that_differ() -> None:
    found = find_gain(Header({"GAIN": 100.0, "EGAIN": 0.25}))
    assert found is not None
    assert "EGAIN = 0.25" in found.warning
    assert "GAIN = 100" in found.warning
    same = find_gain(Header({"GAIN": 0.26, "EGAIN": 0.25}))
    assert same is not None
    assert not same.warning


def noise(gain: float, electrons: float, *, read_noise: float = 5.0, level: float | None = None) -> SkyNoise:
    """Return level and noise of a sky with a number of electrons."""
    variance = (electrons + read_noise**2) / gain**2
    return SkyNoise(electrons / gain if level is None else level, variance, variance)


@pytest.mark.parametrize("electrons", [1.0, 30.0, 400.0, 2e4])
@pytest.mark.parametrize("gain", [0.25, 1.5, 10.0])
def test_true_gains(gain: float, electrons: float) -> None:
    given = Gain(gain, "GAIN")
    assert check_gain(given, noise(gain, electrons), Header()) == given
    # The sky was subtracted: its level tells nothing.
    assert check_gain(given, noise(gain, electrons, level=0.0), Header()) == given
    # A large read noise is in the header.
    loud = noise(gain, electrons, read_noise=100.0)
    assert check_gain(given, loud, Header({"RDNOISE": 100.0})) == given


def test_setting_of_a_camera() -> None:
    """A setting of 100 makes the noise of the sky thousands of electrons."""
    checked = check_gain(Gain(100.0, "GAIN = 100"), noise(0.25, 400.0), Header())
    # The read noise makes the estimate a little too small.
    assert checked.value == pytest.approx(0.25, rel=0.1)
    assert "GAIN = 100" in checked.warning
    assert "--gain" in checked.warning
    subtracted = check_gain(Gain(100.0, "GAIN = 100"), noise(0.25, 400.0, level=0.0), Header())
    assert np.isinf(subtracted.value)
    assert "--gain" in subtracted.warning


def test_less_noise_than_electrons() -> None:
    """A mean of 16 exposures has 16 times the gain of one; only a warning can tell."""
    checked = check_gain(Gain(1.5, "GAIN = 1.5"), noise(24.0, 6400.0, read_noise=20.0), Header())
    assert checked.value == 1.5
    assert "GAIN = 1.5" in checked.warning
    assert "--gain" in checked.warning


def test_crowded_stars_and_correlated_noise() -> None:
    """One of the two variances is false, but the other agrees with the gain."""
    true = noise(1.5, 400.0)
    given = Gain(1.5, "GAIN")
    assert check_gain(given, true._replace(variance=20.0 * true.variance), Header()) == given
    assert check_gain(given, true._replace(local=0.1 * true.local), Header()) == given


def test_no_noise() -> None:
    assert check_gain(Gain(1.5, "GAIN"), SkyNoise(100.0, 0.0, 0.0), Header()) == Gain(1.5, "GAIN")
