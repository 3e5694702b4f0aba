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

import types
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lsst.meas.trails.core.psf import FWHM_PER_SIGMA, PsfGrid, kernel_fwhm


def gaussian(fwhm: float, size: int = 25) -> npt.NDArray[np.float64]:
    return PsfGrid.gaussian(fwhm, size).kernels[0, 0]


@pytest.mark.parametrize("fwhm", [2.5, 4.0, 6.0])
def test_fwhm_of_a_gaussian(fwhm: float) -> None:
    # Sampling at pixel centers and the cut at 12 pixels change the effective
    # area of these by less than 1e-4.
    assert kernel_fwhm(gaussian(fwhm)) == pytest.approx(fwhm, rel=1e-4)


def test_fwhm_does_not_depend_on_scale_or_stamp() -> None:
    assert kernel_fwhm(7.0 * gaussian(4.0)) == pytest.approx(kernel_fwhm(gaussian(4.0)))
    # 7 pixels are 4 sigma: 1e-4 of the flux is cut off.
    assert kernel_fwhm(gaussian(4.0, 15)) == pytest.approx(kernel_fwhm(gaussian(4.0, 51)), rel=5e-4)


def test_gaussian_is_centerd_with_unit_sum() -> None:
    kernel = gaussian(4.0)
    offset = np.arange(25) - 12
    assert kernel.sum() == pytest.approx(1.0)
    assert kernel[12, 12] == kernel.max()
    sigma = np.sqrt(np.sum(kernel * offset**2))
    assert sigma * FWHM_PER_SIGMA == pytest.approx(4.0, rel=1e-4)


def test_kernels_are_normalized() -> None:
    psf = PsfGrid.constant(5.0 * gaussian(3.0))
    assert psf.kernel(100.0, -3.0).sum() == pytest.approx(1.0)
    assert psf.size == 25


@pytest.fixture
def grid() -> PsfGrid:
    """Four different kernels on the corners of an image of 100 x 200."""
    kernels = np.array([[gaussian(3.0), gaussian(4.0)], [gaussian(5.0), gaussian(6.0)]])
    return PsfGrid(x=np.array([0.0, 199.0]), y=np.array([0.0, 99.0]), kernels=kernels)


def test_kernel_at_nodes_between_and_outside(grid: PsfGrid) -> None:
    np.testing.assert_allclose(grid.kernel(0.0, 0.0), gaussian(3.0))
    np.testing.assert_allclose(grid.kernel(199.0, 0.0), gaussian(4.0))
    np.testing.assert_allclose(grid.kernel(199.0, 99.0), gaussian(6.0))
    np.testing.assert_allclose(grid.kernel(99.5, 0.0), 0.5 * (gaussian(3.0) + gaussian(4.0)))
    np.testing.assert_allclose(grid.kernel(0.0, 24.75), 0.75 * gaussian(3.0) + 0.25 * gaussian(5.0))
    np.testing.assert_allclose(grid.kernel(99.5, 49.5), grid.mean_kernel)
    np.testing.assert_allclose(grid.kernel(-50.0, 1e6), gaussian(5.0))


def test_fwhm_follows_the_place(grid: PsfGrid) -> None:
    assert grid.fwhm(0.0, 0.0) == pytest.approx(3.0, rel=1e-3)
    assert grid.fwhm(199.0, 99.0) == pytest.approx(6.0, rel=1e-3)
    for x, y in ((99.5, 49.5), (20.0, 90.0), (-50.0, 30.0), (199.0, 1e6)):
        assert grid.fwhm(x, y) == pytest.approx(kernel_fwhm(grid.kernel(x, y)), rel=1e-12)


def test_sampled_reproduces_a_linear_model() -> None:
    """Bilinear interpolation is exact for a kernel that changes linearly."""
    narrow, wide = gaussian(3.0), gaussian(6.0)

    def model(x: float, y: float) -> npt.NDArray[np.float64]:
        t = (x + 2.0 * y) / 3500.0
        return (1.0 - t) * narrow + t * wide

    psf = PsfGrid.sampled(model, (1000, 1500), spacing=400.0)
    assert len(psf.x) == 5
    assert len(psf.y) == 4
    assert (psf.x[0], psf.x[-1], psf.y[0], psf.y[-1]) == (0.0, 1499.0, 0.0, 999.0)
    for x, y in ((0.0, 0.0), (700.3, 123.4), (1499.0, 999.0)):
        np.testing.assert_allclose(psf.kernel(x, y), model(x, y), atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "columns"), [((-3, 3), (-3, 3)), ((-3, 2), (-3, 2)), ((-2, 3), (-1, 4))], ids=str
)
def test_model_with_a_kernel_of_any_box(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    """Even sides, and sides that depend on the position, are padded around the pixel (0, 0)."""

    class Model:
        def compute_kernel_image(self, *, x: float, y: float) -> Any:
            (y0, y1), (x0, x1) = ((-5, 5), (-5, 5)) if x > 50.0 else (rows, columns)
            array = np.ones((y1 - y0 + 1, x1 - x0 + 1))
            array[-y0, -x0] = 100.0
            start = types.SimpleNamespace(
                x=types.SimpleNamespace(start=x0), y=types.SimpleNamespace(start=y0)
            )
            return types.SimpleNamespace(array=array, bbox=start)

    psf = PsfGrid.from_model(Model(), (0, 0), (10, 100))
    assert psf.size == 11
    for x in (0.0, 99.0):
        kernel = psf.kernel(x, 0.0)
        assert np.unravel_index(np.argmax(kernel), kernel.shape) == (5, 5)
    (y0, y1), (x0, x1) = rows, columns
    lit = np.zeros((11, 11), dtype=bool)
    lit[5 + y0 : 6 + y1, 5 + x0 : 6 + x1] = True
    np.testing.assert_array_equal(psf.kernel(0.0, 0.0) > 0.0, lit)


def test_kernel_without_its_center_is_refused() -> None:
    box = types.SimpleNamespace(x=types.SimpleNamespace(start=1), y=types.SimpleNamespace(start=0))
    image = types.SimpleNamespace(array=np.ones((5, 5)), bbox=box)
    model = types.SimpleNamespace(compute_kernel_image=lambda *, x, y: image)
    with pytest.raises(ValueError, match=r"\(0, 0\)"):
        PsfGrid.from_model(model, (0, 0), (10, 10))


def test_sampled_on_a_single_pixel() -> None:
    psf = PsfGrid.sampled(lambda x, y: gaussian(4.0), (1, 1))
    assert psf.kernels.shape == (1, 1, 25, 25)


@pytest.mark.parametrize(
    ("kernels", "message"),
    [
        (np.ones((2, 1, 5, 5)), r"\(2, 1, 5, 5\).* 1 x 1 "),
        (np.ones((5, 5)), r"\(5, 5\).* 1 x 1 "),
        (np.ones((1, 1, 4, 4)), r"\(4, 4\)"),
        (np.ones((1, 1, 5, 3)), r"\(5, 3\)"),
        (np.zeros((1, 1, 5, 5)), "positive"),
        (np.full((1, 1, 5, 5), np.nan), "finite"),
        (np.full((1, 1, 5, 5), -1.0), "positive"),
    ],
)
def test_bad_kernels_are_refused(kernels: npt.NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PsfGrid(x=np.zeros(1), y=np.zeros(1), kernels=kernels)
