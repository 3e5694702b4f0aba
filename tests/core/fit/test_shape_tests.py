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
import numpy.typing as npt
import pytest

from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.fit.shape_tests import ShapeTests, is_point, measure_shape
from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.render import add_trail, optimal_snr, render_trail

type MakePlanes = Callable[..., ImagePlanes]

PSF = PsfGrid.gaussian(4.0)


def measure(planes: ImagePlanes, length: float, x: float = 60.0, y: float = 60.0) -> ShapeTests:
    sky = SkySubtracted(planes, np.zeros(planes.shape), planes.bad())
    return measure_shape(sky, Trail(x, y, length, 30.0))


def flux_of_snr(snr: float, length: float) -> float:
    return snr / optimal_snr(render_trail(PSF, Trail(60.0, 60.0, length, 30.0)), np.ones((120, 120)), 1.0)


def table_of(tests: list[ShapeTests]) -> npt.NDArray[np.float64]:
    return np.array([(test.wide, test.core, test.length) for test in tests])


@pytest.mark.parametrize("length", [10.0, 40.0])
def test_a_trail_is_as_wide_and_even_as_expected(make_planes: MakePlanes, length: float) -> None:
    tests = []
    for seed in range(40):
        planes = make_planes((120, 120), seed=seed)
        add_trail(planes.image, PSF, Trail(60.0, 60.0, length, 30.0, flux_of_snr(25.0, length)))
        tests.append(measure(planes, length))
    wide, core, _ = table_of(tests).T
    # Standard normal: the mean of 40 is good to 0.16, the scatter to 0.11.
    for value in (wide, core):
        assert abs(np.mean(value)) < 0.5
        assert np.std(value) == pytest.approx(1.0, abs=0.35)


def test_a_wide_source_is_found_out(make_planes: MakePlanes) -> None:
    """A trail through a PSF of 6 pixels instead of 4."""
    planes = make_planes((120, 120), seed=1)
    add_trail(planes.image, PsfGrid.gaussian(6.0, 35), Trail(60.0, 60.0, 20.0, 30.0, flux_of_snr(40.0, 20.0)))
    assert measure(planes, 20.0).wide > 5.0


def test_a_bright_core_is_found_out(make_planes: MakePlanes) -> None:
    planes = make_planes((120, 120), seed=1)
    add_trail(planes.image, PSF, Trail(60.0, 60.0, 40.0, 30.0, flux_of_snr(25.0, 40.0)))
    add_trail(planes.image, PSF, Trail(60.0, 60.0, 10.0, 30.0, flux_of_snr(15.0, 10.0)))
    assert measure(planes, 40.0).core > 5.0


def test_length_separates_trails_and_points(make_planes: MakePlanes) -> None:
    trail, star = make_planes((120, 120), seed=1), make_planes((120, 120), seed=2)
    add_trail(trail.image, PSF, Trail(60.0, 60.0, 20.0, 30.0, flux_of_snr(25.0, 20.0)))
    add_trail(star.image, PSF, Trail(60.0, 60.0, 0.0, 0.0, flux_of_snr(25.0, 0.0)))
    assert measure(trail, 20.0).length > 10.0
    assert measure(star, 20.0).length < -10.0


def test_without_noise_a_trail_is_a_trail(make_planes: MakePlanes) -> None:
    planes = make_planes((120, 120))
    add_trail(planes.image, PSF, Trail(60.0, 60.0, 40.0, 30.0, 1000.0))
    planes.image[:] += 5.0
    tests = measure(planes, 40.0)
    # The tolerance is the single precision of a level of 5.
    assert (tests.wide, tests.core) == pytest.approx((0.0, 0.0), abs=1e-2)


def test_a_cosmic_ray_does_not_count(make_planes: MakePlanes) -> None:
    planes = make_planes((120, 120), seed=1)
    add_trail(planes.image, PSF, Trail(60.0, 60.0, 40.0, 30.0, flux_of_snr(25.0, 40.0)))
    before = measure(planes, 40.0)
    planes.image[64, 66] += 500.0
    assert measure(planes, 40.0).wide == pytest.approx(before.wide, abs=1.0)


@pytest.mark.parametrize(("x", "y"), [(2.0, 3.0), (119.0, 60.0), (60.0, -3.0)])
def test_at_the_edge(make_planes: MakePlanes, x: float, y: float) -> None:
    planes = make_planes((120, 120), seed=1)
    add_trail(planes.image, PSF, Trail(x, y, 20.0, 30.0, 500.0))
    tests = measure(planes, 20.0, x, y)
    assert abs(tests.wide) < 4.0
    assert abs(tests.core) < 4.0


def test_nothing_to_measure(make_planes: MakePlanes) -> None:
    nothing = ShapeTests(0.0, 0.0, 0.0)
    planes = make_planes((120, 120), seed=1)
    assert measure(planes, 20.0, x=-500.0) == nothing
    # The trail is too long to be fitted.
    assert measure(planes, 1e6) == nothing
    assert measure(planes, np.nan) == nothing
    planes.image[:] = np.nan
    assert measure(planes, 20.0) == nothing


def test_a_constant_image(make_planes: MakePlanes) -> None:
    tests = measure(make_planes((120, 120)), 20.0)
    assert (tests.wide, tests.core, tests.length) == pytest.approx((0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("length", "error", "fwhm", "expected"),
    [
        # At a length of one FWHM the limit is four errors.
        (4.0, 1.01, 4.0, True),
        (4.0, 0.99, 4.0, False),
        # At a quarter of it, eight errors; at twice of it, 2.83.
        (1.0, 0.126, 4.0, True),
        (1.0, 0.124, 4.0, False),
        (8.0, 2.84, 4.0, True),
        (8.0, 2.82, 4.0, False),
        # The end of a long trail is hidden.
        (11.9, 1e4, 4.0, True),
        (12.1, 1e4, 4.0, False),
        # A length at its lower bound has an error that is infinite or very large.
        (0.0, 1e6, 4.0, True),
        (0.0, np.inf, 4.0, True),
        # A fit that failed has no error.
        (4.0, np.nan, 4.0, False),
        (np.nan, 1.0, 4.0, False),
    ],
)
def test_a_point_by_length_error_and_psf(length: float, error: float, fwhm: float, expected: bool) -> None:
    assert is_point(length, error, fwhm) == expected
    assert is_point([length, 100.0], [error, 1.0], [fwhm, 4.0]).tolist() == [expected, False]
