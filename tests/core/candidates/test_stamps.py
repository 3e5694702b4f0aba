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
from collections.abc import Callable

import numpy as np
import pytest

from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.candidates.stamps import STAMP_CHANNELS, STAMP_SHAPE, cut_stamps, stamp_steps
from lsst.meas.trails.core.fit.fit import fit_trail
from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.render import add_trail

type MakePlanes = Callable[..., ImagePlanes]

TRAIL = Trail(150.3, 120.6, 40.0, 30.0, 4000.0)


def stamp_of(planes: ImagePlanes, trail: Trail, probability: float = 0.0) -> dict[str, np.ndarray]:
    """Return the channels of a stamp."""
    sky = SkySubtracted(planes, np.zeros(planes.shape, dtype=np.float32), planes.bad())
    (stamp,) = cut_stamps(sky, np.full(planes.shape, probability, dtype=np.float32), [trail])
    return dict(zip(STAMP_CHANNELS, stamp, strict=True))


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 155.0])
@pytest.mark.parametrize("length", [8.0, 40.0, 120.0])
def test_a_trail_lies_along_x_in_the_middle(make_planes: MakePlanes, angle: float, length: float) -> None:
    planes = make_planes((300, 300))
    trail = Trail(150.3, 140.6, length, angle, 4000.0)
    add_trail(planes.image, planes.psf, trail)
    light = np.sinh(stamp_of(planes, trail)["science"])
    h, w = STAMP_SHAPE
    rows, columns = np.arange(h) - 0.5 * (h - 1), np.arange(w) - 0.5 * (w - 1)
    across, along = light.sum(axis=1), light.sum(axis=0)
    assert np.average(rows, weights=across) == pytest.approx(0.0, abs=0.15)
    assert np.average(columns, weights=along) == pytest.approx(0.0, abs=0.15)
    fwhm = planes.psf.fwhm(150.0, 140.0)
    step = stamp_steps(length, fwhm)
    # A uniform line has a variance of a twelfth of the square of its length.
    spread = np.sqrt(np.average(columns**2, weights=along)) * step[1]
    assert spread == pytest.approx(np.sqrt(length**2 / 12.0 + (fwhm / 2.355) ** 2), rel=0.06)
    assert np.sqrt(np.average(rows**2, weights=across)) * step[0] == pytest.approx(fwhm / 2.355, rel=0.06)


def test_a_stamp_covers_its_trail_at_any_length() -> None:
    for length in (0.0, 30.0, 150.0, 400.0):
        _, step = stamp_steps(length, 4.0)
        assert STAMP_SHAPE[1] * step >= length + 8.0 * 4.0


def test_noise_has_the_same_scale_in_every_seeing(make_planes: MakePlanes) -> None:
    """Cells hold the significance of their area: the standard deviation stays near one."""
    for length in (10.0, 150.0):
        planes = make_planes((300, 300), seed=3)
        noise = 5.0 * np.sinh(stamp_of(planes, dataclasses.replace(TRAIL, length=length))["science"])
        assert 0.6 < noise.std() < 1.2


def test_the_residual_of_a_good_fit_is_noise(make_planes: MakePlanes) -> None:
    planes = make_planes((300, 300), seed=2)
    add_trail(planes.image, planes.psf, TRAIL)
    sky = SkySubtracted(planes, np.zeros(planes.shape, dtype=np.float32), planes.bad())
    stamp = stamp_of(planes, fit_trail(sky, TRAIL))
    assert stamp["science"].max() > 1.5
    assert np.abs(stamp["residual"]).max() < 1.0
    assert stamp["trail"].max() == pytest.approx(stamp["science"].max(), abs=0.5)
    # Without a fit there is no model.
    plain = stamp_of(planes, TRAIL)
    np.testing.assert_array_equal(plain["trail"], 0.0)
    np.testing.assert_array_equal(plain["residual"], plain["science"])


def test_bad_pixels_and_edges(make_planes: MakePlanes) -> None:
    planes = make_planes((300, 300), seed=2)
    planes.mask[:, 150:] |= np.uint32(plane_bits(["BAD"]))
    planes.image[:, 150:] = np.nan
    stamp = stamp_of(planes, Trail(150.0, 150.0, 40.0, 0.0, 1.0))
    np.testing.assert_array_equal(stamp["bad"][:, 34:], 1.0)
    np.testing.assert_array_equal(stamp["bad"][:, :30], 0.0)
    np.testing.assert_array_equal(stamp["science"][:, 34:], 0.0)
    outside = stamp_of(make_planes((300, 300)), Trail(0.0, 150.0, 40.0, 0.0, 1.0))
    np.testing.assert_array_equal(outside["bad"][:, :30], 1.0)
    assert all(np.all(np.isfinite(channel)) for channel in (*stamp.values(), *outside.values()))


def test_template_and_probability(make_planes: MakePlanes) -> None:
    planes = make_planes((300, 300), seed=2)
    without = stamp_of(planes, TRAIL, probability=0.5)
    np.testing.assert_array_equal(without["template"], 0.0)
    np.testing.assert_array_equal(without["template_missing"], 1.0)
    np.testing.assert_allclose(without["probability"], 0.0, atol=1e-6)
    template = planes.image.copy()
    template[:, :100] = np.nan
    seen = stamp_of(dataclasses.replace(planes, template=template), Trail(150.0, 150.0, 40.0, 0.0))
    np.testing.assert_allclose(seen["template"], seen["science"], atol=1e-5)
    np.testing.assert_array_equal(seen["template_missing"], 0.0)
    missing = stamp_of(dataclasses.replace(planes, template=template), Trail(50.0, 150.0, 40.0, 0.0))
    np.testing.assert_array_equal(missing["template_missing"][:, 5:60], 1.0)
    np.testing.assert_array_equal(missing["template"][:, 5:60], 0.0)
