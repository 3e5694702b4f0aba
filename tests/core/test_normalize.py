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
import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from lsst.meas.trails.core.normalize import PanelScale, adcnn_input, compress, measure_panel, network_input
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import PsfGrid

PSF = PsfGrid.gaussian(4.0)


def zeros(shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    return np.zeros(shape, dtype=np.float32)


@pytest.fixture
def planes() -> ImagePlanes:
    """Return pixels of 0 to 1000 sigma over a level of 100, and two bad ones."""
    significance = np.array([[0.0, 1.0, -1.0, 5.0, 1000.0, 3.0, np.nan]], dtype=np.float32)
    mask = np.zeros(significance.shape, dtype=np.uint32)
    mask[0, 5] = plane_bits(["SATURATED"])
    return ImagePlanes(
        image=100.0 + 20.0 * significance, variance=np.full_like(significance, 400.0), mask=mask, psf=PSF
    )


def test_science_is_the_compressed_significance(planes: ImagePlanes) -> None:
    science, bad = network_input(planes, np.full((1, 7), 100.0, dtype=np.float32), ["science", "bad"])
    expected = 5.0 * np.arcsinh(np.array([0.0, 0.2, -0.2, 1.0, 200.0, 0.0, 0.0]))
    np.testing.assert_allclose(science[0], expected, rtol=1e-5)
    assert bad[0].tolist() == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]


def test_type_shape_and_order(planes: ImagePlanes) -> None:
    level = zeros((1, 7))
    array = network_input(planes, level, ["bad", "science", "bad"])
    assert array.shape == (3, 1, 7)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array[0], array[2])
    np.testing.assert_array_equal(array[1:2], network_input(planes, level, ["science"]))


def test_units_do_not_matter(planes: ImagePlanes) -> None:
    level = np.full((1, 7), 100.0, dtype=np.float32)
    scale = np.float32(1024.0)
    other = dataclasses.replace(planes, image=planes.image * scale, variance=planes.variance * scale**2)
    np.testing.assert_allclose(
        network_input(other, level * scale, ["science"]), network_input(planes, level, ["science"]), rtol=1e-6
    )


def test_compression_is_linear_within_the_noise() -> None:
    z = np.array([-0.5, 0.0, 0.5], dtype=np.float32)
    # asinh(u) = u - u^3/6: at half a sigma 0.2% less.
    np.testing.assert_allclose(compress(z), z, rtol=2e-3)
    far = compress(np.array([1e4, 1e5], dtype=np.float32))
    # A factor of ten is a constant step in the logarithmic part.
    assert far[1] - far[0] == pytest.approx(5.0 * np.log(10.0), rel=1e-4)
    np.testing.assert_allclose(compress(-z), -compress(z))


def test_unknown_channels_are_named(planes: ImagePlanes) -> None:
    with pytest.raises(ValueError, match=r"\['phase'\].*science"):
        network_input(planes, zeros((1, 7)), ["science", "phase"])


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_absurd_pixels_are_finite(value: float) -> None:
    image, variance = np.full((1, 1), value, dtype=np.float32), np.full((1, 1), 1e-30, dtype=np.float32)
    planes = ImagePlanes(image=image, variance=variance, mask=np.zeros((1, 1), dtype=np.uint32), psf=PSF)
    array = network_input(planes, zeros((1, 1)), ["science"])
    assert np.isfinite(array[0, 0, 0])
    assert np.sign(array[0, 0, 0]) == np.sign(value)


@given(
    image=hnp.arrays(np.float32, (2, 5)),
    variance=hnp.arrays(np.float32, (2, 5)),
    mask=hnp.arrays(np.uint32, (2, 5)),
)
def test_input_is_finite_whatever_the_image(
    image: npt.NDArray[np.float32], variance: npt.NDArray[np.float32], mask: npt.NDArray[np.uint32]
) -> None:
    planes = ImagePlanes(image=image, variance=variance, mask=mask, psf=PSF)
    array = network_input(planes, zeros((2, 5)), ["science", "bad"])
    assert np.all(np.isfinite(array))
    assert not np.any(array[0][array[1] == 1.0])


def test_template_is_in_units_of_the_noise_of_the_image(planes: ImagePlanes) -> None:
    template = np.array([[0.0, 20.0, np.nan, 100.0, 0.0, 40.0, 60.0]], dtype=np.float32)
    variance = planes.variance.copy()
    variance[0, 6] = np.nan
    with_template = dataclasses.replace(planes, template=template, variance=variance)
    channel, missing = network_input(
        with_template, np.full((1, 7), 100.0, dtype=np.float32), ["template", "template_missing"]
    )
    # The saturated pixel has a template, the pixel without noise has not.
    assert missing[0].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    expected = 5.0 * np.arcsinh(np.array([0.0, 0.2, 0.0, 1.0, 0.0, 0.4, 0.0]))
    np.testing.assert_allclose(channel[0], expected, rtol=1e-5)


def test_no_template_is_a_template_that_is_missing_everywhere(planes: ImagePlanes) -> None:
    level = zeros((1, 7))
    nothing = dataclasses.replace(planes, template=np.full((1, 7), np.nan, dtype=np.float32))
    channels = ["science", "template", "template_missing"]
    np.testing.assert_array_equal(
        network_input(planes, level, channels), network_input(nothing, level, channels)
    )


def test_panel_is_measured_at_its_center() -> None:
    rng = np.random.default_rng(2)
    image = np.full((700, 600), 1e6, dtype=np.float32)
    # 94 rows below the center and 44 columns to its left.
    image[94:606, 44:556] = rng.normal(100.0, 20.0, (512, 512))
    scale = measure_panel(image)
    # The standard error of a median of 262144 pixels is 0.05.
    assert scale.median == pytest.approx(100.0, abs=0.2)
    assert scale.sigma == pytest.approx(20.0, abs=0.2)
    center = image[94:606, 44:556].astype(np.float64)
    deviation = np.median(np.abs(center - np.median(center)))
    assert scale == PanelScale(median=np.median(center), sigma=1.4826 * (deviation + 1e-12))


def test_small_panel_is_measured_whole() -> None:
    assert measure_panel(np.array([[1.0, 2.0, 9.0]], dtype=np.float32)) == PanelScale(
        2.0, 1.4826 * (1 + 1e-12)
    )


def test_adcnn_input_is_clipped() -> None:
    image = np.array([[100.0, 120.0, 60.0, 1e5, -1e5, 0.0]], dtype=np.float32)
    array = adcnn_input(image, PanelScale(median=100.0, sigma=20.0))
    assert array.shape == (1, 1, 6)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array[0, 0], [0.0, 1.0, -2.0, 5.0, -5.0, -5.0])


def test_adcnn_input_of_a_flat_image() -> None:
    image = np.full((4, 4), 7.0, dtype=np.float32)
    image[0, 0] = 7.5
    array = adcnn_input(image, measure_panel(image))[0]
    assert array[0, 0] == 5.0
    assert np.count_nonzero(array) == 1


def test_pixels_that_are_no_numbers_are_sky() -> None:
    image = np.random.default_rng(2).normal(100.0, 20.0, (64, 64)).astype(np.float32)
    holes = image.copy()
    holes[::7], holes[1::7, 0], holes[2::7, 1] = np.nan, np.inf, -np.inf
    good = np.isfinite(holes)
    scale = measure_panel(holes)
    assert scale.median == np.median(holes[good].astype(np.float64))
    assert scale.sigma == pytest.approx(20.0, rel=0.05)
    array = adcnn_input(holes, scale)[0]
    assert not np.any(array[~good])
    np.testing.assert_array_equal(array[good], adcnn_input(image, scale)[0][good])


def test_panel_without_pixels_at_its_center() -> None:
    image = np.full((600, 600), np.nan, dtype=np.float32)
    assert measure_panel(image) == PanelScale(median=0.0, sigma=1.0)
    assert not np.any(adcnn_input(image, measure_panel(image)))
    image[0] = 3.0
    assert measure_panel(image).median == 3.0


@given(image=hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)))
def test_adcnn_input_is_finite_whatever_the_image(image: npt.NDArray[np.float32]) -> None:
    array = adcnn_input(image, measure_panel(image))
    assert array.shape == (1, *image.shape)
    assert np.all(np.abs(array) <= 5.0)


def test_memory_of_the_network_input() -> None:
    shape = (1024, 1024)
    image = np.full(shape, 101.0, dtype=np.float32)
    mask = np.zeros(shape, dtype=np.uint32)
    planes = ImagePlanes(image=image, variance=np.ones_like(image), mask=mask, psf=PsfGrid.gaussian(4.0))
    level = np.full(shape, 100.0, dtype=np.float32)
    tracemalloc.start()
    channels = network_input(planes, level, ["science", "bad"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < channels.nbytes + 0.5 * image.nbytes
