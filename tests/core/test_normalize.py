# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from lsst.meas.trails.core.normalize import compress, network_input
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import PsfGrid

PSF = PsfGrid.gaussian(4.0)


def zeros(shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    return np.zeros(shape, dtype=np.float32)


@pytest.fixture
def planes() -> ImagePlanes:
    """Pixels of 0, 1, -1, 5 and 1000 sigma over a level of 100, and two bad
    ones.
    """
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
    # A factor of ten is a constant step beyond.
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
    # The saturated pixel has a template, the one without noise has no unit.
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
