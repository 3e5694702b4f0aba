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

from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.fit.ends import end_variances, find_ends
from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import add_trail, optimal_snr, render_trail

type MakePlanes = Callable[..., ImagePlanes]

PSF = PsfGrid.gaussian(4.0)
X, Y, ANGLE = 120.3, 118.6, 30.0
C, S = np.cos(np.deg2rad(ANGLE)), np.sin(np.deg2rad(ANGLE))


def make_trail(make_planes: MakePlanes, length: float, snr: float, seed: int) -> ImagePlanes:
    planes = make_planes((240, 240), seed=seed)
    flux = snr / optimal_snr(render_trail(PSF, Trail(X, Y, length, ANGLE)), planes.variance, 1.0)
    add_trail(planes.image, PSF, Trail(X, Y, length, ANGLE, flux))
    return planes


def sky_of(planes: ImagePlanes) -> SkySubtracted:
    return SkySubtracted(planes, np.zeros(planes.shape), planes.bad())


def find(planes: ImagePlanes, length: float, x: float = X, y: float = Y) -> tuple[float, float, float]:
    trail = find_ends(sky_of(planes), Trail(x, y, length, ANGLE))
    assert trail.angle == ANGLE
    return trail.x, trail.y, trail.length


@pytest.mark.parametrize(("length", "start"), [(60.0, 60.0), (60.0, 30.0), (100.0, 60.0), (20.0, 25.0)])
def test_ends_are_found_from_a_part(make_planes: MakePlanes, length: float, start: float) -> None:
    found = np.array([find(make_trail(make_planes, length, 30.0, seed), length=start) for seed in range(10)])
    # The PSF blurs an end over two pixels, and noise moves it a few further.
    assert np.median(found[:, 2]) == pytest.approx(length, abs=3.0)
    assert np.abs(found[:, 2] - length).max() < 12.0
    # The midpoint stays on the line.
    np.testing.assert_allclose((found[:, 1] - Y) * C, (found[:, 0] - X) * S, atol=1e-9)
    assert np.hypot(found[:, 0] - X, found[:, 1] - Y).max() < 6.0


def test_a_start_off_the_middle(make_planes: MakePlanes) -> None:
    """The start covers 5 to 25 of a trail from -30 to 30."""
    planes = make_trail(make_planes, 60.0, 40.0, 1)
    x, y, length = find(planes, x=X + 15.0 * C, y=Y + 15.0 * S, length=20.0)
    # One end is found, the second one only to three FWHM beyond the start.
    middle = (x - X) * C + (y - Y) * S
    assert middle + 0.5 * length == pytest.approx(30.0, abs=3.0)
    assert middle - 0.5 * length == pytest.approx(-7.5, abs=1.0)


@pytest.mark.parametrize("along", [10.0, 48.0, 55.0])
@pytest.mark.parametrize("flux", [500.0, 3000.0, 1e5])
def test_a_star_on_the_line_is_not_the_trail(make_planes: MakePlanes, along: float, flux: float) -> None:
    """The star is on the trail or beyond its end."""
    planes = make_trail(make_planes, 60.0, 30.0, 2)
    add_trail(planes.image, PSF, Trail(X + along * C, Y + along * S, 0.0, 0.0, flux))
    x, y, length = find(planes, length=50.0)
    assert length == pytest.approx(60.0, abs=6.0)
    assert np.hypot(x - X, y - Y) < 4.0


def test_masked_pixels_do_not_count(make_planes: MakePlanes) -> None:
    planes = make_trail(make_planes, 60.0, 40.0, 3)
    planes.mask[:, 115:122] = plane_bits(["BAD"])
    planes.image[:, 115:122] = np.nan
    _, _, length = find(planes, length=50.0)
    assert length == pytest.approx(60.0, abs=5.0)


def test_no_light_keeps_the_start(make_planes: MakePlanes) -> None:
    given = (X, Y, 30.0)
    hole, missing = make_planes((240, 240)), make_planes((240, 240))
    hole.image[:] = -1.0
    missing.image[:] = np.nan
    for planes in (make_planes((240, 240)), hole, missing):
        assert find(planes, length=30.0) == given
    assert find(make_planes((240, 240), seed=1), x=-900.0, length=30.0) == (-900.0, Y, 30.0)


def test_units_do_not_matter(make_planes: MakePlanes) -> None:
    planes = make_trail(make_planes, 60.0, 20.0, 4)
    before = find(planes, length=40.0)
    planes.image[:] *= 1024.0
    planes.variance[:] *= 1024.0**2
    assert find(planes, length=40.0) == pytest.approx(before)


# Variances of the ends.


def variances(planes: ImagePlanes, length: float, snr: float, end_error: float) -> tuple[float, float]:
    return end_variances(sky_of(planes), Trail(X, Y, length, ANGLE), snr=snr, end_error=end_error)


def test_noise_moves_the_ends_of_a_faint_trail(make_planes: MakePlanes) -> None:
    """A change point scatters by 5.1 length / snr^2, here more than the PSF."""
    length, snr = 100.0, 10.0
    found = np.array(
        [variances(make_trail(make_planes, length, snr, seed), length, snr, 2.2) for seed in range(40)]
    )
    one_end = 5.1 * length / snr**2
    # The midpoint has half the variance of an end, the length twice as much.
    # They vary by a factor of two between images.
    assert np.sqrt(np.mean(found[:, 0])) == pytest.approx(one_end / np.sqrt(2.0), rel=0.25)
    assert np.sqrt(np.mean(found[:, 1])) == pytest.approx(one_end * np.sqrt(2.0), rel=0.25)


def test_a_bright_trail_has_no_other_ends(make_planes: MakePlanes) -> None:
    assert variances(make_trail(make_planes, 60.0, 60.0, 1), 60.0, 60.0, 0.3) == (0.0, 0.0)


def test_a_fit_far_off_the_ends_has_large_errors(make_planes: MakePlanes) -> None:
    """The fit says 60 pixels, the image 80."""
    right = variances(make_trail(make_planes, 80.0, 12.0, 3), 80.0, 12.0, 2.0)
    wrong = variances(make_trail(make_planes, 80.0, 12.0, 3), 60.0, 11.0, 2.0)
    assert wrong[1] > 10.0**2
    assert wrong[1] > 2.0 * right[1]


def test_no_light_and_no_pixels_have_no_variance(make_planes: MakePlanes) -> None:
    hole, missing = make_planes((240, 240)), make_planes((240, 240))
    hole.image[:] = -1.0
    missing.image[:] = np.nan
    for planes in (make_planes((240, 240)), hole, missing):
        assert variances(planes, 60.0, 6.0, 2.0) == (0.0, 0.0)
    assert variances(make_planes((240, 240), seed=1), 60.0, 6.0, np.nan) == (0.0, 0.0)
