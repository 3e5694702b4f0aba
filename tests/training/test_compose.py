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
from typing import Any

import numpy as np
import pytest
import torch

from lsst.meas.trails.core.background import fit_background
from lsst.meas.trails.core.geometry import Trail, Trails
from lsst.meas.trails.core.injection.fresh import TrailFreeImage, add_fresh_trails
from lsst.meas.trails.core.injection.population import trail_flux
from lsst.meas.trails.core.normalize import network_input
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.training.augmentation import apply_symmetry
from lsst.meas.trails.training.backgrounds import Background
from lsst.meas.trails.training.compose import compose_batch
from lsst.meas.trails.training.crop_plan import CropPlan, Line
from lsst.meas.trails.training.recipe_data import InjectionRecipe

type MakePlanes = Callable[..., ImagePlanes]

CHANNELS = ("science", "bad", "template", "template_missing")
SIZE = 96
PLAIN = CropPlan(
    background=0,
    x0=0,
    y0=0,
    symmetry=0,
    noise=0.0,
    gradient=(0.0, 0.0),
    masked=None,
    keeps_template=True,
    lines=(),
)
# Across the whole crop, inside, and out of its edge.
TRAILS = (Trail(50.3, 40.1, 60.0, 30.0), Trail(20.7, 70.2, 12.0, 100.0), Trail(90.2, 80.4, 40.0, 170.0))
SNR = (12.0, 30.0, 9.0)


def _image(make_planes: MakePlanes, *, template: bool = True, **options: Any) -> TrailFreeImage:
    planes = make_planes((SIZE, SIZE), seed=2)
    rng = np.random.default_rng(4)
    planes.variance[:] *= rng.uniform(0.7, 3.0, planes.shape)
    if template:
        pixels = rng.normal(0.0, 5.0, planes.shape).astype(np.float32)
        pixels[:, 60:64] = np.nan
        planes = dataclasses.replace(planes, template=pixels)
    planes.mask[:6] |= plane_bits(["NO_DATA"])
    ignored = np.zeros(planes.shape, dtype=bool)
    ignored[:, 10:13] = True
    return TrailFreeImage(planes, ignored, **options)


def _compose(
    image: TrailFreeImage | Background, *plans: CropPlan, seed: int = 1, **options: Any
) -> list[torch.Tensor]:
    background = image if isinstance(image, Background) else Background.from_image(image)
    arguments: dict[str, Any] = {
        "size": SIZE,
        "channels": CHANNELS,
        "injection": InjectionRecipe(),
        "balance": 0.0,
        "stride": 2,
        "device": torch.device("cpu"),
        "seed": seed,
    }
    return list(compose_batch([background], plans, **(arguments | options)))


def _with_trails(**changes: Any) -> CropPlan:
    lines = tuple(Line(trail, snr, True) for trail, snr in zip(TRAILS, SNR, strict=True))
    return dataclasses.replace(PLAIN, lines=lines, **changes)


def _fresh(image: TrailFreeImage) -> Any:
    """Add the same trails with the functions of arrays."""
    planes = image.planes
    sky = float(np.median(planes.variance[~planes.bad()]))
    trails = [
        dataclasses.replace(trail, flux=trail_flux("snr_optimal", snr, trail, planes, sky))
        for trail, snr in zip(TRAILS, SNR, strict=True)
    ]
    return add_fresh_trails(image, Trails.from_trails(trails), np.random.default_rng(0))


def _pooled(mask: np.ndarray, stride: int) -> np.ndarray:
    size = SIZE // stride
    return mask.reshape(size, stride, size, stride).any(axis=(1, 3))


@pytest.mark.parametrize("stride", [1, 2])
def test_pixels_and_truth_are_those_of_arrays(make_planes: MakePlanes, stride: int) -> None:
    image = _image(make_planes)
    fresh = _fresh(image)
    inputs, target, valid = _compose(image, _with_trails(), PLAIN, stride=stride)
    level = fit_background(image.planes.image, image.planes.bad()).level()
    # Half precision of the background.
    for number, planes in enumerate((fresh.planes, image.planes)):
        expected = network_input(planes, level, CHANNELS)
        np.testing.assert_allclose(inputs[number], expected, atol=4e-3)
    truth = _pooled(fresh.truth, stride)
    np.testing.assert_array_equal(target[0, 0], truth)
    ignored = _pooled(image.ignored, stride)
    no_data = ~_pooled(~image.planes.has("NO_DATA"), stride)
    np.testing.assert_array_equal(valid[0, 0], (truth | ~ignored) & ~no_data)
    np.testing.assert_array_equal(valid[1, 0], ~ignored & ~no_data)
    assert not target[1].any()
    assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_faint_trails_are_ignored_and_points_are_none(make_planes: MakePlanes) -> None:
    image = _image(make_planes)
    _, target, valid = _compose(image, _with_trails(), PLAIN, injection=InjectionRecipe(ignore_below=50.0))
    assert not target.any()
    np.testing.assert_array_equal(
        valid[0, 0] < valid[1, 0], _pooled(_fresh(image).truth, 2) & (valid[1, 0] > 0).numpy()
    )
    points = dataclasses.replace(PLAIN, lines=(Line(Trail(40.0, 40.0, 0.0, 0.0), 40.0, False),))
    inputs, target, valid_points = _compose(image, points, PLAIN)
    assert not target.any()
    assert torch.equal(valid_points[0], valid_points[1])
    assert (inputs[0, 0] - inputs[1, 0])[36:45, 36:45].max() > 3.0


@pytest.mark.parametrize("balance", [0.0, 0.5])
def test_real_trails_are_found(make_planes: MakePlanes, balance: float) -> None:
    image = _image(make_planes)
    real = np.zeros((SIZE, SIZE), dtype=bool)
    # Also where satellites are ignored; not where there is no data.
    real[4:10, 8:40] = True
    background = Background.from_image(image, real)
    _, target, valid = _compose(background, PLAIN, _with_trails(), balance=balance)
    np.testing.assert_array_equal(target[0, 0], _pooled(real, 2))
    np.testing.assert_array_equal(target[1, 0], _pooled(real | _fresh(image).truth, 2))
    assert (valid[0, 0, 3:5, 4:20] == 1.0).all()
    assert not valid[0, 0, :3].any()


@pytest.mark.parametrize("symmetry", range(8))
def test_symmetries_turn_everything(make_planes: MakePlanes, symmetry: int) -> None:
    image = _image(make_planes)
    masked = (1, 30, 40)
    plain = _compose(image, _with_trails(masked=masked))
    turned = _compose(image, _with_trails(masked=masked, symmetry=symmetry))
    assert (plain[0][0, 1, :, 30:40] == 1.0).all()
    for before, after in zip(plain, turned, strict=True):
        np.testing.assert_array_equal(after[0], apply_symmetry(before[0].numpy(), symmetry))


def test_each_crop_of_a_batch_has_its_own_symmetry(make_planes: MakePlanes) -> None:
    image = _image(make_planes)
    plans = [dataclasses.replace(PLAIN, masked=(1, 30, 40), symmetry=number) for number in (3, 0, 5, 3, 1)]
    together = _compose(image, *plans)
    for number, plan in enumerate(plans):
        for array, alone in zip(together, _compose(image, plan), strict=True):
            assert torch.equal(array[number], alone[0])


def test_place_of_the_crop(make_planes: MakePlanes) -> None:
    image = _image(make_planes)
    whole = _compose(image, PLAIN)
    part = _compose(image, dataclasses.replace(PLAIN, x0=20, y0=8), size=64)
    np.testing.assert_array_equal(part[0][0], whole[0][0, :, 8:72, 20:84])
    np.testing.assert_array_equal(part[2][0, 0], whole[2][0, 0, 4:36, 10:42])


def test_without_template(make_planes: MakePlanes) -> None:
    image = _image(make_planes)
    kept, dropped = _compose(image, PLAIN, dataclasses.replace(PLAIN, keeps_template=False))[0]
    assert torch.equal(kept[:2], dropped[:2])
    assert (dropped[2] == 0.0).all()
    assert (dropped[3] == 1.0).all()
    assert 0.0 < kept[3].mean() < 0.1
    none = _compose(_image(make_planes, template=False), PLAIN)[0][0]
    assert torch.equal(none, dropped)


def test_noise_has_the_variance_of_the_input(make_planes: MakePlanes) -> None:
    # Few electrons: the light of the trail dominates its noise.
    image = _image(make_planes, gain=0.05)
    line = (Line(Trail(48.0, 48.0, 60.0, 20.0), 400.0, True),)
    plans = [dataclasses.replace(PLAIN, lines=line, noise=noise) for noise in (0.0, 0.0, 1.0)]
    batches = [_compose(image, plan, seed=seed, stride=1) for seed, plan in enumerate(plans)]
    science = [np.sinh(inputs[0, 0].numpy() / 5.0) * 5.0 for inputs, _, _ in batches]
    good = ~image.planes.bad()
    bright = (batches[0][1][0, 0].numpy() > 0.0) & good
    assert bright.sum() > 100
    # Two independent noises in units of their variance.
    assert np.std((science[0] - science[1])[bright]) == pytest.approx(np.sqrt(2.0), rel=0.2)
    # Pixels of the fixture have more noise than their variance says; the added noise is of unit variance.
    blank = good & (np.hypot(*np.ogrid[-48:48, -48:48]) > 40.0)
    before, after = (float(np.var(science[i][blank])) for i in (0, 2))
    assert after == pytest.approx((before + 1.0) / 2.0, rel=0.05)


def test_the_brightest_saturate_and_bleed(make_planes: MakePlanes) -> None:
    image = _image(make_planes, full_well=200.0)
    line = (Line(Trail(48.0, 48.0, 30.0, 0.0), 1000.0, True),)
    plan = dataclasses.replace(PLAIN, lines=line)
    inputs, target, valid = _compose(image, plan, PLAIN)
    fresh_bad = (inputs[0, 1] - inputs[1, 1]).numpy() > 0.0
    trail = dataclasses.replace(line[0].trail, flux=0.0)
    sky = float(np.median(image.planes.variance[~image.planes.bad()]))
    trail = dataclasses.replace(trail, flux=trail_flux("snr_optimal", 1000.0, trail, image.planes, sky))
    fresh = add_fresh_trails(image, Trails.from_trails([trail]), np.random.default_rng(0))
    saturated = fresh.planes.has("SATURATED") & ~image.planes.bad()
    # Bleeds have random lengths in arrays.
    assert saturated.sum() > 50
    assert np.mean(fresh_bad[saturated]) > 0.9
    assert np.mean(saturated[fresh_bad]) > 0.75
    assert (inputs[0, 0].numpy()[fresh_bad] == 0.0).all()
    # A pixel at the border of the symmetric trail may be rounded.
    assert np.count_nonzero(target[0, 0].numpy() != _pooled(fresh.truth, 2)) <= 1
    faint = dataclasses.replace(PLAIN, lines=(Line(Trail(48.0, 48.0, 30.0, 0.0), 20.0, True),))
    assert torch.equal(_compose(image, faint)[0][0, 1], inputs[1, 1])


def test_balance_raises_the_weight_of_small_trails(make_planes: MakePlanes) -> None:
    image = _image(make_planes)
    _, target, valid = _compose(image, _with_trails(), balance=0.5)
    truth = target[0, 0].numpy() > 0.0
    short = np.zeros_like(truth)
    short[28:42, 5:16] = truth[28:42, 5:16]
    weights = valid[0, 0].numpy()
    area = 4.0 * short.sum()
    np.testing.assert_allclose(weights[short], np.sqrt(320.0 / area), rtol=1e-5)
    assert weights[truth & ~short].max() < weights[short].min()
    assert set(np.unique(weights[~truth])) == {0.0, 1.0}
