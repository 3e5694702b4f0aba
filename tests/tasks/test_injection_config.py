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

from typing import Any

import numpy as np
import pytest

from lsst.meas.trails.tasks import InjectTrailsConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minLength": 50.0, "maxLength": 20.0}, "shortest <= longest"),
        ({"minAngle": 50.0, "maxAngle": 20.0}, "angle"),
        ({"minBrightness": 50.0, "maxBrightness": 20.0}, "brightness"),
        ({"minBrightness": -1.0}, "brightness"),
        ({"brightnessMode": "psf_mag", "maxBrightness": 2500.0}, "brightness"),
        ({"avoidPlanes": ["SAT", "NO_DATE"]}, "NO_DATE"),
        ({"minRate": 5.0, "maxRate": 2.0}, "minRate"),
        ({"lengthFrom": "rate", "maxRate": 1e4}, "longest <= 1000"),
        ({"minPointSourceSnr": 50.0, "maxPointSourceSnr": 20.0}, "point_source_snr"),
        ({"minSatelliteBrightness": 500.0}, "satellite_brightness"),
        ({"brightnessIndex": -1.35, "minBrightness": 0.0}, "brightness_index"),
    ],
)
def test_invalid_configuration(settings: dict[str, Any], message: str) -> None:
    config = InjectTrailsConfig()
    for name, value in settings.items():
        setattr(config, name, value)
    with pytest.raises(ValueError, match=message):
        config.validate()


def test_population_of_rates() -> None:
    config = InjectTrailsConfig()
    config.lengthFrom, config.minRate, config.maxRate = "rate", 2.0, 4.0
    config.per = "deg2"
    population = config.population(exposure_time=30.0, pixel_scale=0.2)
    # 6.25 pixels per deg/day, and 18 000 pixels per degree.
    assert population.length == pytest.approx((12.5, 25.0))
    assert population.density_area == pytest.approx(18_000.0**2)


def test_power_law_of_snrs() -> None:
    config = InjectTrailsConfig()
    assert config.population().brightness_index is None
    config.maxBrightness, config.brightnessIndex = 3000.0, -1.35
    population = config.population()
    snr = [population.draw_brightness(rng) for rng in np.random.default_rng(1).spawn(2000)]
    assert np.median(snr) == pytest.approx(17.0, rel=0.1)
    assert max(snr) > 1000.0


def test_distractors() -> None:
    config = InjectTrailsConfig()
    config.satelliteEnds, config.maxSatelliteBrightness = 0.5, 1e4
    assert config.distractors().satellite_ends == 0.5
    assert config.distractors().satellite_brightness == (2.0, 1e4)
    assert config.distractors().satellites == 0.0
    config.satellites, config.minPointSourceSnr = 2.0, 7.0
    assert (config.distractors().satellites, config.distractors().point_source_snr) == (2.0, (7.0, 100.0))
