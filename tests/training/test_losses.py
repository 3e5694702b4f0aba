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

import math
from collections.abc import Callable

import pytest
import torch

from lsst.meas.trails.training import losses

ALL = [
    losses.weighted_bce,
    losses.focal,
    losses.asymmetric_focal,
    losses.dice,
    losses.tversky,
    losses.focal_tversky,
]


def _logit(p: float) -> float:
    return math.log(p / (1.0 - p))


@pytest.fixture
def pixels() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return probabilities 0.8 on a trail, 0.4 next to it, and on an ignored pixel."""
    logits = torch.tensor([_logit(0.8), _logit(0.4), 7.0]).reshape(1, 1, 1, 3)
    target = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
    valid = torch.tensor([1.0, 1.0, 0.0]).reshape(1, 1, 1, 3)
    return logits, target, valid


# One pixel is added to either side of an overlap.
_TVERSKY = 1.0 - 1.8 / (1.0 + 0.8 + 0.3 * 0.4 + 0.7 * 0.2)


@pytest.mark.parametrize(
    ("function", "parameters", "expected"),
    [
        (losses.weighted_bce, {}, -(math.log(0.8) + math.log(0.6)) / 2.0),
        (losses.weighted_bce, {"positive_weight": 3.0}, -(3.0 * math.log(0.8) + math.log(0.6)) / 2.0),
        (losses.focal, {}, -(0.25 * 0.2**2 * math.log(0.8) + 0.75 * 0.4**2 * math.log(0.6)) / 2.0),
        (
            losses.asymmetric_focal,
            {"gamma_positive": 0.0, "gamma_negative": 3.0, "positive_weight": 2.0},
            -(2.0 * math.log(0.8) + 0.4**3 * math.log(0.6)) / 2.0,
        ),
        (losses.dice, {}, 1.0 - (2.0 * 0.8 + 2.0) / (1.2 + 1.0 + 2.0)),
        (losses.tversky, {}, _TVERSKY),
        (losses.focal_tversky, {"gamma": 0.5}, math.sqrt(_TVERSKY)),
    ],
)
def test_values(
    function: Callable[..., torch.Tensor],
    parameters: dict[str, float],
    expected: float,
    pixels: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    # float32, a few operations.
    assert function(*pixels, **parameters).item() == pytest.approx(expected, rel=1.0e-5)


@pytest.mark.parametrize("function", ALL)
def test_extremes_are_finite(function: Callable[..., torch.Tensor]) -> None:
    logits = torch.tensor([-200.0, 200.0, -200.0, 200.0, math.nan]).reshape(1, 1, 1, 5).requires_grad_()
    target = torch.tensor([1.0, 0.0, 0.0, 1.0, math.nan]).reshape(1, 1, 1, 5)
    valid = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]).reshape(1, 1, 1, 5)
    loss = function(logits, target, valid)
    loss.backward()
    assert math.isfinite(loss.item())
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    assert logits.grad[..., 4].item() == 0.0


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize("ignored", [True, False])
def test_nothing_to_find(function: Callable[..., torch.Tensor], ignored: bool) -> None:
    logits = torch.full((2, 1, 4, 4), -30.0, requires_grad=True)
    zeros = torch.zeros(2, 1, 4, 4)
    loss = function(logits, zeros, zeros if ignored else torch.ones_like(zeros))
    loss.backward()
    # The power in focal_tversky is kept off zero, where its slope diverges.
    assert loss.item() == pytest.approx(0.0, abs=1.0e-4)
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("function", ALL)
def test_gradient_points_to_the_truth(function: Callable[..., torch.Tensor]) -> None:
    logits = torch.zeros(1, 1, 1, 2, requires_grad=True)
    function(logits, torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2), torch.ones(1, 1, 1, 2)).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0, 0, 0] < 0.0 < logits.grad[0, 0, 0, 1]


def test_half_precision_logits_are_computed_in_full() -> None:
    logits = torch.full((1, 1, 64, 64), -9.0, dtype=torch.bfloat16)
    zeros, ones = torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64)
    loss = losses.weighted_bce(logits, zeros, ones)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log1p(math.exp(-9.0)), rel=1.0e-3)


def test_blend_ramps(pixels: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    blend = losses.BlendedLoss({"bce": {"weight": [1.0, 0.0], "positive_weight": 3.0}, "dice": 0.5})
    bce = losses.weighted_bce(*pixels, positive_weight=3.0).item()
    dice = losses.dice(*pixels).item()
    for progress in (0.0, 0.25, 1.0):
        expected = (1.0 - progress) * bce + 0.5 * dice
        assert blend(*pixels, progress).item() == pytest.approx(expected, rel=1.0e-6)
    assert blend.weights(0.5) == {"bce": 0.5, "dice": 0.5}


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, "at least one term"),
        ({"hinge": 1.0}, "'hinge'.*bce"),
        ({"bce": "much"}, "bce"),
        ({"bce": -1.0}, "at least 0"),
        ({"bce": math.nan}, "finite"),
        ({"bce": 10**400}, "finite"),
        ({"bce": 0.0}, "zero"),
        ({"bce": [1.0, 0.5, 0.0]}, "bce"),
        ({"bce": {"weight": 1.0, "alpha": 2.0}}, "'alpha'.*weight, positive_weight"),
        ({"focal": {"alpha": 1.0}}, "focal.alpha"),
    ],
)
def test_blend_refuses(terms: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        losses.BlendedLoss(terms)
