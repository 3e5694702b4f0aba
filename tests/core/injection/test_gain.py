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

import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.injection.gain import Box, GainMap, fit_gains
from lsst.meas.trails.core.injection.inject import add_light, paint_trails
from lsst.meas.trails.core.planes import ImagePlanes

type MakePlanes = Callable[..., ImagePlanes]

HALVES: tuple[Box, Box] = ((slice(0, 200), slice(0, 100)), (slice(0, 200), slice(100, 200)))
GAINS = (0.5, 4.0)


def starry(make_planes: MakePlanes, halves: tuple[bool, bool] = (True, True)) -> ImagePlanes:
    """Return planes with stars in some halves, whose variance depends on the gain."""
    planes = make_planes((200, 200), sigma=10.0, seed=1)
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.uniform(100.0 * i, 100.0 * i + 100.0, 20) for i in (0, 1) if halves[i]])
    zero = np.zeros(len(x))
    stars = Trails(x=x, y=rng.uniform(0.0, 200.0, len(x)), length=zero, angle=zero, flux=zero + 1e5)
    light = paint_trails(planes, stars)
    for box, gain in zip(HALVES, GAINS, strict=True):
        planes.variance[box] += light[box] / gain
    planes.image[...] += light
    return planes


def test_each_amplifier_has_its_gain(make_planes: MakePlanes) -> None:
    gains = fit_gains(starry(make_planes), HALVES)
    # Stars on the border have light in both.
    assert gains.gains == pytest.approx(GAINS, rel=0.05)
    assert gains.default == gains.typical == pytest.approx(np.mean(gains.gains))
    at = gains.at(np.array([5, 5, 199]), np.array([99, 100, 3]))
    np.testing.assert_array_equal(at, [gains.gains[0], gains.gains[1], gains.gains[0]])


def test_one_gain_without_amplifiers(make_planes: MakePlanes) -> None:
    gains = fit_gains(starry(make_planes, (True, False)))
    assert gains.boxes == ()
    assert gains.typical == pytest.approx(GAINS[0], rel=0.05)


def test_an_amplifier_without_stars_has_the_median_gain(make_planes: MakePlanes) -> None:
    planes = starry(make_planes, (True, False))
    planes.image[:, 95:] = 0.0
    planes.variance[:, 95:] = 100.0
    gains = fit_gains(planes, HALVES)
    assert gains.gains[1] == gains.gains[0] == pytest.approx(GAINS[0], rel=0.05)


def test_a_flat_variance_has_no_gain(make_planes: MakePlanes) -> None:
    planes = starry(make_planes)
    planes.variance[...] = 100.0
    gains = fit_gains(planes, HALVES)
    assert not gains.finite
    assert np.isinf(gains.typical)


def test_pixels_in_no_box_have_the_default() -> None:
    gains = GainMap(default=3.0, boxes=((slice(0, 2), slice(0, 2)),), gains=(5.0,))
    np.testing.assert_array_equal(gains.at(np.array([0, 2, 1]), np.array([0, 0, 2])), [5.0, 3.0, 3.0])


def test_noise_follows_the_amplifier(make_planes: MakePlanes) -> None:
    """Half of the light is on each amplifier; only one adds noise."""
    planes = make_planes((200, 200), sigma=10.0)
    light = np.full(planes.shape, 1000.0, dtype=np.float32)
    gains = GainMap(default=1.0, boxes=HALVES, gains=(0.5, np.inf))
    lit = add_light(planes, light, np.random.default_rng(1), gains)
    np.testing.assert_allclose(lit.variance[HALVES[0]], 100.0 + 2000.0)
    np.testing.assert_array_equal(lit.variance[HALVES[1]], 100.0)
    noise = lit.image - light
    # 20 000 pixels: one percent is two sigma.
    assert noise[HALVES[0]].var() == pytest.approx(2000.0, rel=0.03)
    assert not noise[HALVES[1]].any()


def test_impossible_gains_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        GainMap.uniform(0.0)
    with pytest.raises(ValueError, match="positive"):
        GainMap(default=1.0, boxes=HALVES, gains=(1.0, float("nan")))
    with pytest.raises(ValueError, match="2 amplifiers"):
        GainMap(default=1.0, boxes=HALVES, gains=(1.0,))
