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

import numpy as np
import pytest

from lsst.meas.trails.core.geometry import Trail
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import PsfGrid, kernel_fwhm
from lsst.meas.trails.core.render import add_trail
from lsst.meas.trails.sim.difference import Subtraction, subtract_template
from lsst.meas.trails.sim.profile_psf import PsfShape, make_profile_psf

SHAPE = (260, 300)
NOISE, TEMPLATE_NOISE = 10.0, 4.0


def make_planes(fwhm: float, noise: float, seed: int, *stars: tuple[float, float, float]) -> ImagePlanes:
    """Return white noise and stars: x, y, flux."""
    planes = ImagePlanes(
        image=np.zeros(SHAPE, dtype=np.float32),
        variance=np.full(SHAPE, noise**2, dtype=np.float32),
        mask=np.zeros(SHAPE, dtype=np.uint32),
        psf=PsfGrid.gaussian(fwhm, 33),
    )
    for x, y, flux in stars:
        add_trail(planes.image, planes.psf, Trail(x, y, 0.0, 0.0, flux))
    planes.image[...] += noise * np.random.default_rng(seed).standard_normal(SHAPE, dtype=np.float32)
    return planes


def around(array: np.ndarray, x: float, y: float, r: int = 16) -> np.ndarray:
    ix, iy = round(x), round(y)
    return array[iy - r : iy + r + 1, ix - r : ix + r + 1]


WIDTHS = pytest.mark.parametrize(("fwhm", "template_fwhm"), [(4.0, 4.0), (4.0, 5.0), (5.0, 4.0)])


@WIDTHS
def test_constant_star_vanishes(fwhm: float, template_fwhm: float) -> None:
    star = (150.0, 120.0, 2e5)
    image = make_planes(fwhm, NOISE, 1, star)
    template = make_planes(template_fwhm, TEMPLATE_NOISE, 2, star)
    before = image.image.copy()
    planes = subtract_template(image, template).planes
    # Between Gaussians the kernel is exact; one pixel held thousands.
    assert np.abs(around(planes.image, 150, 120)).max() < 7.0 * np.sqrt(planes.variance.max())
    assert not planes.has("DETECTED_NEGATIVE").any()
    np.testing.assert_array_equal(image.image, before)


@WIDTHS
def test_new_star_has_flux_and_psf(fwhm: float, template_fwhm: float) -> None:
    image = make_planes(fwhm, NOISE, 3, (150.0, 120.0, 1e5))
    planes = subtract_template(image, make_planes(template_fwhm, TEMPLATE_NOISE, 4)).planes
    seen = around(planes.image, 150, 120)
    # 33 x 33 pixels of noise of 11 sum up to 360.
    assert seen.sum() == pytest.approx(1e5, rel=0.015)
    expected = 1e5 * planes.psf.kernel(150.0, 120.0)
    assert np.abs(seen - expected).max() < 5.0 * np.sqrt(planes.variance.max())
    assert planes.has("DETECTED")[120, 150]
    # At a signal-to-noise of 1200, 5 sigma are reached 10 pixels away.
    assert planes.has("DETECTED").sum() < np.pi * 16.0**2
    if template_fwhm == fwhm:
        np.testing.assert_allclose(planes.psf.kernel(0.0, 0.0), image.psf.kernel(0.0, 0.0), atol=1e-12)


@WIDTHS
def test_noise_is_white_with_the_nominal_variance(fwhm: float, template_fwhm: float) -> None:
    image, template = make_planes(fwhm, NOISE, 5), make_planes(template_fwhm, TEMPLATE_NOISE, 6)
    planes = subtract_template(image, template).planes
    inner = planes.image[25:-25, 25:-25]
    # The standard deviation of 50 000 pixels has an error of 0.3%.
    assert inner.std() == pytest.approx(np.sqrt(np.median(planes.variance)), rel=0.015)
    assert inner.std() == pytest.approx(np.hypot(NOISE, TEMPLATE_NOISE), rel=0.02)
    assert abs(np.corrcoef(inner[1:].ravel(), inner[:-1].ravel())[0, 1]) < 0.02


def test_registration_and_variability_are_marked() -> None:
    image = make_planes(4.0, NOISE, 7, (60.0, 60.0, 3e4), (200.0, 80.0, 1e4), (100.0, 200.0, 1e4))
    moved = ((60.6, 60.0, 3e4), (200.0, 80.0, 2e4), (100.0, 200.0, 4e3))
    planes = subtract_template(image, make_planes(4.0, TEMPLATE_NOISE, 8, *moved)).planes
    positive, negative = planes.has("DETECTED"), planes.has("DETECTED_NEGATIVE")
    assert positive[60, 57]
    assert not positive[60, 65]
    assert negative[60, 63]
    assert not negative[60, 55]
    assert negative[80, 200]
    assert not positive[80, 200]
    assert positive[200, 100]
    assert not negative[200, 100]


def test_missing_data() -> None:
    image, template = make_planes(4.0, NOISE, 9), make_planes(5.0, TEMPLATE_NOISE, 10)
    template.image[:, :40] = np.nan
    template.variance[:, :40] = np.nan
    image.image[100:110, 200:210] = np.nan
    image.mask[100:110, 200:210] = plane_bits(["BAD", "NO_DATA"])
    image.mask[50, 150] = plane_bits(["COSMIC_RAY", "DETECTED"])
    planes = subtract_template(image, template).planes
    bad = planes.bad()
    assert np.all(bad[:, :40])
    assert planes.has("NO_DATA")[130, 20]
    assert np.all(bad[100:110, 200:210])
    # Convolution spreads bad pixels.
    assert planes.has("COSMIC_RAY")[50, 151]
    assert not planes.has("COSMIC_RAY")[50, 165]
    assert not planes.has("DETECTED")[50, 150]
    assert not np.any(bad[:90, 60:140])
    assert np.all(np.isfinite(planes.image[~bad]))
    # Good pixels have the usual noise.
    assert planes.image[~bad].std() == pytest.approx(np.hypot(NOISE, TEMPLATE_NOISE), rel=0.03)


def test_only_missing_data() -> None:
    image, template = make_planes(4.0, NOISE, 11), make_planes(4.0, TEMPLATE_NOISE, 12)
    template.image[...] = np.nan
    planes = subtract_template(image, template).planes
    assert np.all(planes.bad())
    assert np.all(planes.has("NO_DATA"))


def test_shapes_must_agree() -> None:
    image = make_planes(4.0, NOISE, 13)
    other = ImagePlanes(
        image=image.image[1:], variance=image.variance[1:], mask=image.mask[1:], psf=image.psf
    )
    with pytest.raises(ValueError, match=r"\(259, 300\).*\(260, 300\)"):
        subtract_template(image, other)


def star_of(shape: PsfShape, noise: float) -> ImagePlanes:
    """Return a star of 2e5 without noise."""
    psf = make_profile_psf(shape, SHAPE, np.random.default_rng(0), 41)
    planes = make_planes(4.0, 0.0, 1)
    add_trail(planes.image, psf, Trail(150.0, 120.0, 0.0, 0.0, 2e5))
    return dataclasses.replace(planes, psf=psf, variance=np.full(SHAPE, noise**2, dtype=np.float32))


def test_quality_of_the_kernel_decides_the_residuals() -> None:
    image = star_of(PsfShape(6.0, 3.0, 0.8, 30.0, coma=0.1), 1.0)
    template = star_of(PsfShape(4.5, 4.0, 0.95, 100.0), 0.2)
    good, fair, poor = (
        np.abs(around(subtract_template(image, template, Subtraction(*quality)).planes.image, 150, 120)).max()
        for quality in ((1.0, 0.0), (0.0, 0.0), (0.0, 0.3))
    )
    peak = image.image.max()
    assert good < 0.03 * peak < fair < 0.3 * peak
    assert poor > 1.2 * fair


def test_a_difference_may_state_a_narrower_psf_than_that_of_its_light() -> None:
    image = star_of(PsfShape(6.0), 1.0)
    difference = subtract_template(
        image, make_planes(5.0, TEMPLATE_NOISE, 2), Subtraction(states_image_psf=True, excess_width=0.25)
    )
    stated, light = (psf.kernel(150.0, 120.0) for psf in (difference.planes.psf, difference.light_psf))
    assert kernel_fwhm(image.psf.kernel(150.0, 120.0)) / kernel_fwhm(stated) == pytest.approx(1.25, rel=0.02)
    seen = around(difference.planes.image, 150, 120, 20)
    assert np.abs(seen - 2e5 * light).max() < 8.0 * np.sqrt(difference.planes.variance.max())
