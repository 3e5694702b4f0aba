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

import numpy as np

from lsst.meas.trails.training.crop_plan import CropPlan, draw_crop
from lsst.meas.trails.training.recipe import AugmentationRecipe
from lsst.meas.trails.training.recipe_data import InjectionRecipe

SIZE = 128
AUGMENTATION = AugmentationRecipe(noise=0.3, gradient=0.5, masked_columns=0.4, template_dropout=0.3)


def _plans(injection: InjectionRecipe, augmentation: AugmentationRecipe, **options: float) -> list[CropPlan]:
    return [
        draw_crop(np.random.default_rng(seed), 4, (256, 300), SIZE, injection, augmentation, **options)
        for seed in range(300)
    ]


def test_crops_lie_anywhere_in_the_background() -> None:
    plans = _plans(InjectionRecipe(), AUGMENTATION)
    x0, y0 = [plan.x0 for plan in plans], [plan.y0 for plan in plans]
    assert min(x0) < 5
    assert 300 - SIZE - 5 < max(x0) <= 300 - SIZE
    assert min(y0) < 5
    assert 256 - SIZE - 5 < max(y0) <= 256 - SIZE
    assert {plan.symmetry for plan in plans} == set(range(8))
    assert {plan.background for plan in plans} == {4}
    assert 0.0 <= min(plan.noise for plan in plans) < max(plan.noise for plan in plans) <= 0.3
    assert 0.4 < max(np.hypot(*plan.gradient) for plan in plans) <= 0.5
    masked = [plan.masked for plan in plans if plan.masked is not None]
    assert 90 <= len(masked) <= 150
    assert all(0 <= first < last <= SIZE and last - first <= 24 for _, first, last in masked)
    assert 180 <= sum(plan.keeps_template for plan in plans) <= 240


def test_trails_touch_the_crop_and_points_are_none() -> None:
    injection = InjectionRecipe(trails=2.0, points=1.0, length=(10.0, 100.0), snr=(3.0, 1000.0))
    lines = [line for plan in _plans(injection, AUGMENTATION) for line in plan.lines]
    trails = [line for line in lines if line.is_trail]
    points = [line for line in lines if not line.is_trail]
    assert 540 <= len(trails) <= 660
    assert 250 <= len(points) <= 350
    assert all(10.0 <= line.trail.length <= 100.0 for line in trails)
    assert all(line.trail.length <= injection.point_length for line in points)
    outside = 0
    for line in trails:
        x0, y0, x1, y1 = line.trail.ends
        assert max(x0, x1) >= -0.5
        assert min(x0, x1) <= SIZE - 0.5
        assert max(y0, y1) >= -0.5
        assert min(y0, y1) <= SIZE - 0.5
        outside += not (0.0 <= line.trail.x < SIZE and 0.0 <= line.trail.y < SIZE)
    assert outside > 50
    snr = np.array([line.snr for line in lines])
    assert 3.0 <= snr.min()
    assert 300.0 < snr.max() <= 1000.0
    # A power law of index -1.35.
    below = (1.0 - 5.0**-0.35) / (1.0 - (1000.0 / 3.0) ** -0.35)
    assert abs(np.mean(snr < 15.0) - below) < 0.05


def test_minimum_snr_is_for_trails_only() -> None:
    injection = InjectionRecipe(trails=2.0, points=2.0)
    lines = [line for plan in _plans(injection, AUGMENTATION, min_snr=20.0) for line in plan.lines]
    assert min(line.snr for line in lines if line.is_trail) >= 20.0
    assert min(line.snr for line in lines if not line.is_trail) < 5.0


def test_nothing_varies_without_augmentation() -> None:
    for plan in _plans(InjectionRecipe(), AugmentationRecipe(symmetries=False)):
        assert (plan.symmetry, plan.noise, plan.masked, plan.keeps_template) == (0, 0.0, None, True)
        assert plan.gradient == (0.0, 0.0)
