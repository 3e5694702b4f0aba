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

"""Diffraction spikes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.candidates.spikes import BrightStars, find_bright_stars, spike_likeness
from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.render import add_trail

type MakePlanes = Callable[..., ImagePlanes]

FWHM = 4.0
STAR_FLUX = 1e6
SHARE = 0.006
"""Light of a star in its spike, per pixel at a distance of one pixel."""


def star(x: float = 100.0, y: float = 100.0, flux: float = STAR_FLUX, saturated: bool = False) -> BrightStars:
    values = (np.array([value]) for value in (x, y, flux, 10.0))
    return BrightStars(*values, saturated=np.array([saturated]))


def likeness(
    stars: BrightStars,
    distance: float,
    length: float,
    *,
    angle: float = 0.0,
    offset: float = 0.0,
    brightness: float | None = None,
) -> float:
    """Return the likeness of a candidate to the right of (100, 100).

    Its surface brightness is by default the brightness of a spike there.
    """
    if brightness is None:
        brightness = SHARE * STAR_FLUX / distance**2
    row = {
        "x": 100.0 + distance,
        "y": 100.0 + offset,
        "trailLengthPix": length,
        "trailAnglePix": angle,
        "flux": brightness * length,
        "psfFwhm": FWHM,
    }
    return float(spike_likeness({name: [value] for name, value in row.items()}, stars)[0])


@pytest.mark.parametrize("distance", [20.0, 50.0, 120.0])
def test_a_spike_is_one_at_any_distance(distance: float) -> None:
    assert likeness(star(), distance, 15.0) > 0.99


def test_both_arms_through_a_star() -> None:
    assert likeness(star(), 0.0, 60.0, brightness=SHARE * STAR_FLUX / 30.0**2) > 0.99


def test_a_trail_that_is_too_bright_for_the_star_is_none() -> None:
    spike = SHARE * STAR_FLUX / 50.0**2
    assert likeness(star(), 50.0, 30.0, brightness=5.0 * spike) == 0.0
    # The flux of a saturated star is a lower limit.
    assert likeness(star(saturated=True), 50.0, 30.0, brightness=5.0 * spike) > 0.99


def test_a_trail_that_points_elsewhere_is_none() -> None:
    assert likeness(star(), 50.0, 30.0, angle=25.0) < 0.01
    assert likeness(star(), 50.0, 30.0, angle=3.0) > 0.7
    assert likeness(star(), 50.0, 30.0, offset=20.0) < 0.01


def test_a_trail_across_a_faint_star_is_none() -> None:
    # A star of 1000 sigma (peak of 55 sigma) on a trail of SNR 10 (sky noise
    # of 1 a pixel, 4.3 pixels wide).
    brightness = 10.0 * np.sqrt(4.3 / 40.0)
    assert likeness(star(flux=1000.0), 3.0, 40.0, brightness=brightness) == 0.0


def test_a_candidate_without_a_flux_is_none() -> None:
    assert likeness(star(), 60.0, 30.0, brightness=np.nan) == 0.0


def test_a_bright_trail_is_no_star_on_itself(make_planes: MakePlanes) -> None:
    planes = make_planes((120, 200), seed=3)
    add_trail(planes.image, planes.psf, Trail(100.0, 60.0, 120.0, 10.0, 3e5))
    stars = find_bright_stars(SkySubtracted(planes, np.zeros(planes.shape), planes.bad()))
    assert len(stars.x) == 1
    row = {"x": [100.0], "y": [60.0], "trailLengthPix": [120.0], "trailAnglePix": [10.0]}
    assert spike_likeness({**row, "flux": [3e5], "psfFwhm": [FWHM]}, stars)[0] == 0.0


def test_no_stars_and_no_candidates() -> None:
    nothing = BrightStars(*(np.zeros(0) for _ in range(4)), saturated=np.zeros(0, dtype=bool))
    assert likeness(nothing, 50.0, 15.0) == 0.0
    names = ("x", "y", "trailLengthPix", "trailAnglePix", "flux", "psfFwhm")
    assert spike_likeness({name: [] for name in names}, star()).shape == (0,)


def test_stars_are_found(make_planes: MakePlanes) -> None:
    planes = make_planes((100, 100), seed=5)
    for x, y, flux in ((30.25, 40.5, 1e4), (70.0, 20.0, 1000.0)):
        add_trail(planes.image, planes.psf, Trail(x, y, 0.0, 0.0, flux))
    # One star is saturated without valid pixels.
    planes.image[60:63, 80:84] = np.nan
    planes.mask[60:63, 80:84] = plane_bits(["SATURATED"])
    planes.variance[0, 0] = np.nan
    stars = find_bright_stars(SkySubtracted(planes, np.zeros(planes.shape), planes.bad()))
    # The peak of the second is below 100 sigma.
    assert list(stars.saturated) == [False, True]
    # The centroid of pixels above a threshold is within a tenth of a pixel.
    assert [stars.x[0], stars.y[0]] == pytest.approx([30.25, 40.5], abs=0.1)
    assert [stars.x[1], stars.y[1], stars.flux[1]] == pytest.approx([81.5, 61.0, 0.0])
    # Half of the light of a Gaussian is within its FWHM; all pixels above
    # 100 of 551 sigma have 82% of it.
    assert stars.flux[0] == pytest.approx(0.82e4, rel=0.05)
