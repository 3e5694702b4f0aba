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
from pathlib import Path

import numpy as np
import pytest

from lsst.meas.trails.core.planes import plane_bits
from lsst.meas.trails.training.augmentation import apply_symmetry, augment_tile
from lsst.meas.trails.training.dataset import TrailTileDataset
from lsst.meas.trails.training.recipe import AugmentationRecipe

CHANNELS = ("science", "bad")


@pytest.mark.parametrize("number", range(8))
def test_symmetries_are_distinct_and_keep_truth_with_image(number: int) -> None:
    array = np.arange(16).reshape(4, 4)
    turned = [apply_symmetry(array, other).tolist() for other in range(8)]
    assert turned.count(apply_symmetry(array, number).tolist()) == 1
    stack = np.stack([array, array + 100])
    np.testing.assert_array_equal(apply_symmetry(stack, number)[1], apply_symmetry(array, number) + 100)


def test_augmentation_keeps_image_and_variance_consistent(make_tiles: Callable[..., Path]) -> None:
    tile = TrailTileDataset([make_tiles(size=128, count=2)], CHANNELS).read(1)
    rng = np.random.default_rng(1)
    noisy = augment_tile(tile, AugmentationRecipe(noise=2.0), rng)
    added = float(np.std(noisy.planes.image - tile.planes.image))
    assert added > 0.2
    # 128^2 pixels give the scatter to half a per cent.
    assert float(noisy.planes.variance.mean()) == pytest.approx(1.0 + added**2, rel=0.03)

    sloped = augment_tile(tile, AugmentationRecipe(gradient=3.0), rng)
    plane = sloped.planes.image - tile.planes.image
    assert float(np.ptp(plane)) <= 3.0 * np.sqrt(2.0) + 1.0e-3
    # A plane has no second derivative; float32 at a level of 100.
    assert np.abs(np.diff(plane, n=2, axis=0)).max() < 1.0e-4

    masked = augment_tile(tile, AugmentationRecipe(masked_columns=1.0), rng)
    bad = masked.planes.bad()
    assert bad.any()
    assert not tile.planes.bad().any()
    assert bad.all(axis=0).any() or bad.all(axis=1).any()


def test_blur_widens_and_keeps_the_noise(make_tiles: Callable[..., Path]) -> None:
    tile = TrailTileDataset([make_tiles(size=256, count=2)], CHANNELS).read(1)
    image, mask = tile.planes.image.copy(), tile.planes.mask.copy()
    variance = np.full_like(image, 4.0)
    rng = np.random.default_rng(1)
    image = (tile.background + rng.normal(0.0, 2.0, image.shape)).astype(np.float32)
    image[60, 60] += 1.0e5
    image[100:102, 100:102] = 1.0e5
    mask[100:102, 100:102] = plane_bits(["COSMIC_RAY"])
    image[150, 150], variance[150, 150] = np.nan, np.nan
    planes = dataclasses.replace(tile.planes, image=image, variance=variance, mask=mask)
    tile = dataclasses.replace(tile, planes=planes)
    rng = np.random.default_rng(4)
    sigma = np.random.default_rng(4).uniform(0.0, 1.0)
    assert sigma > 0.9
    blurred = augment_tile(tile, AugmentationRecipe(blur=1.0), rng).planes

    # A point becomes a Gaussian with all of its flux.
    excess = (blurred.image - tile.background)[40:81, 40:81]
    y, x = np.mgrid[-20:21, -20:21]
    expected = 1.0e5 * np.exp(-0.5 * (x**2 + y**2) / sigma**2) / (2.0 * np.pi * sigma**2)
    np.testing.assert_allclose(excess, expected, atol=20.0)
    # The rest is noise of the variance that it says, 22000 pixels.
    rest = (blurred.image - tile.background)[:, 170:]
    assert np.std(rest) == pytest.approx(2.0, rel=0.03)
    np.testing.assert_allclose(blurred.variance[:, 170:], 4.0)
    # Part of it is common to neighbors: two Gaussians a pixel apart.
    common = np.exp(-0.25 / sigma**2) / (4.0 * np.pi * sigma**2)
    # 22000 pairs give a correlation to 0.007.
    assert np.mean(rest[:, 1:] * rest[:, :-1]) / 4.0 == pytest.approx(common, abs=0.025)
    # Neither a cosmic ray nor a pixel without value is spread.
    assert np.all(blurred.image[100:102, 100:102] == 1.0e5)
    assert np.abs((blurred.image - tile.background)[98:104, 103]).max() < 10.0
    assert np.argwhere(~np.isfinite(blurred.image)).tolist() == [[150, 150]]
    assert np.isfinite(image).sum() == image.size - 1


def test_templates_are_dropped(make_tiles: Callable[..., Path]) -> None:
    tile = TrailTileDataset([make_tiles()], CHANNELS).read(0)
    planes = dataclasses.replace(tile.planes, template=np.ones_like(tile.planes.image))
    tile = dataclasses.replace(tile, planes=planes)
    rng = np.random.default_rng(1)
    recipe = AugmentationRecipe(template_dropout=0.3)
    dropped = [augment_tile(tile, recipe, rng).planes.template is None for _ in range(200)]
    # 3 standard deviations of a binomial.
    assert 0.2 < np.mean(dropped) < 0.4
    kept = augment_tile(tile, AugmentationRecipe(), rng).planes.template
    assert kept is planes.template
    assert tile.planes.template is planes.template
