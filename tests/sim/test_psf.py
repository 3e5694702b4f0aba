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

import galsim
import numpy as np
import pytest

from lsst.images import Box
from lsst.meas.trails.repository.visit_image import sample_psf
from lsst.meas.trails.sim.psf import Seeing, draw_seeing, make_psf, pixel_psf

DETECTOR = Box.factory[0:4000, 0:4072]


def moments(kernel: np.ndarray) -> galsim.hsm.ShapeData:
    return galsim.hsm.FindAdaptiveMom(galsim.Image(np.ascontiguousarray(kernel)))


def test_seeing_is_in_range() -> None:
    drawn = [draw_seeing(np.random.default_rng(seed)) for seed in range(200)]
    fwhm = np.array([seeing.fwhm for seeing in drawn])
    assert fwhm.min() >= 3.0
    assert fwhm.max() <= 6.0
    # The median of 200 draws with a spread of 18% has an error of 1.6%.
    assert np.median(fwhm) == pytest.approx(3.9, rel=0.06)
    assert max(np.hypot(seeing.e1, seeing.e2) for seeing in drawn) <= 0.15


def test_shape_is_that_of_the_seeing() -> None:
    """Variations cancel in the mean over many detectors."""
    seeing = Seeing(fwhm=4.0, beta=3.5, e1=0.08, e2=-0.05)
    expected = galsim.Moffat(fwhm=4.0, beta=3.5).shear(galsim.Shear(e1=0.08, e2=-0.05))
    reference = moments(expected.drawImage(nx=25, ny=25, scale=1.0).array)
    shapes = []
    for seed in range(30):
        psf = make_psf(seeing, np.random.default_rng(seed), DETECTOR)
        shapes.append(moments(psf.compute_kernel_image(x=2035.5, y=1999.5).array))
    # In the middle of the detector the polynomials have their mean values.
    # Half of the ellipticity approximates the shear to 1%.
    assert np.mean([s.moments_sigma for s in shapes]) == pytest.approx(reference.moments_sigma, rel=0.01)
    assert np.mean([s.observed_shape.e1 for s in shapes]) == pytest.approx(
        reference.observed_shape.e1, rel=0.02
    )
    assert np.mean([s.observed_shape.e2 for s in shapes]) == pytest.approx(
        reference.observed_shape.e2, rel=0.02
    )


def test_varies_over_the_detector() -> None:
    seeing = Seeing(fwhm=4.0, beta=3.5, e1=0.0, e2=0.0)
    spreads = []
    for seed in range(20):
        psf = make_psf(seeing, np.random.default_rng(seed), DETECTOR)
        sizes = [
            moments(psf.compute_kernel_image(x=x, y=y).array).moments_sigma
            for x in (0, 4071)
            for y in (0, 3999)
        ]
        spreads.append(np.ptp(sizes) / np.mean(sizes))
    # Gradients of 2% in both axes: 5% between the extreme corners.
    assert 0.03 < np.median(spreads) < 0.12


def test_ellipticity_is_limited() -> None:
    seeing = Seeing(fwhm=4.0, beta=3.5, e1=0.15, e2=0.0)
    for seed in range(10):
        psf = make_psf(seeing, np.random.default_rng(seed), DETECTOR)
        for x in (0, 4071):
            for y in (0, 3999):
                shape = moments(psf.compute_kernel_image(x=x, y=y).array).observed_shape
                # Pixel integration reduces the ellipticity.
                assert np.hypot(shape.e1, shape.e2) < 0.151


def test_reproducible() -> None:
    seeing = draw_seeing(np.random.default_rng(1))
    first, second, other = (make_psf(seeing, np.random.default_rng(seed), DETECTOR) for seed in (5, 5, 6))
    kernel = first.compute_kernel_image(x=100, y=3000).array
    np.testing.assert_array_equal(kernel, second.compute_kernel_image(x=100, y=3000).array)
    assert np.abs(kernel - other.compute_kernel_image(x=100, y=3000).array).max() > 1e-5


def test_sampled_in_array_coordinates() -> None:
    psf = make_psf(draw_seeing(np.random.default_rng(1)), np.random.default_rng(2), DETECTOR)
    cut = Box.factory[1000:2200, 3000:3700]
    grid = sample_psf(psf, cut, spacing=300.0)
    for x, y in ((0, 0), (699, 1199), (350, 610)):
        truth = psf.compute_kernel_image(x=x + 3000, y=y + 1000).array
        # Linear between nodes 300 pixels apart: 2e-4 of the peak at most.
        np.testing.assert_allclose(grid.kernel(x, y), truth, atol=3e-4 * truth.max())


@pytest.mark.parametrize(
    ("bbox", "tolerance"),
    # Small images have a linear polynomial without mixed term.
    [(Box.factory[1000:1200, 500:760], 2e-3), (DETECTOR, 2e-3)],
    ids=["corners", "detector"],
)
def test_psf_of_pixels(bbox: Box, tolerance: float) -> None:
    psf = make_psf(Seeing(fwhm=4.0, beta=3.5, e1=0.05, e2=0.02), np.random.default_rng(3), bbox)
    again = pixel_psf(sample_psf(psf, bbox, spacing=1500.0), bbox)
    assert again.bounds == psf.bounds
    for fx, fy in ((0.0, 0.0), (0.4, 0.7), (1.0, 1.0)):
        x, y = bbox.x.min + fx * (bbox.x.size - 1), bbox.y.min + fy * (bbox.y.size - 1)
        expected = psf.compute_kernel_image(x=x, y=y).array
        kernel = again.compute_kernel_image(x=x, y=y).array
        assert kernel.sum() == pytest.approx(1.0)
        np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=0.0, atol=tolerance * kernel.max())
    # Images off the center of a pixel are interpolated.
    moved = again.compute_stellar_image(x=bbox.x.min + 100.4, y=bbox.y.min + 90.3)
    expected = psf.compute_stellar_image(x=bbox.x.min + 100.4, y=bbox.y.min + 90.3)
    assert moved.bbox == expected.bbox
    np.testing.assert_allclose(moved.array, expected.array, rtol=0.0, atol=0.01 * expected.array.max())
