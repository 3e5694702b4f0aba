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

import pytest
import torch
from torch import nn

from lsst.meas.trails.nn.networks.blocks import ConvUnit, Join, ResidualBlock


def _randomized(module: nn.Module) -> nn.Module:
    """Return a module in evaluation mode with random normalizations."""
    torch.manual_seed(1)
    for name, tensor in module.state_dict().items():
        if name.endswith(("norm.weight", "running_var")):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("norm.bias", "running_mean")):
            tensor.normal_(0.0, 0.2)
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize("options", [{}, {"kernel": 1}, {"dilation": 2}, {"stride": 2}, {"activate": False}])
def test_folded_unit_is_the_same_function(options: dict) -> None:
    unit = _randomized(ConvUnit(3, 5, **options))
    x = torch.randn(2, 3, 12, 16)
    before = unit(x)
    unit.fold()  # type: ignore[operator]
    assert isinstance(unit.norm, nn.Identity)
    torch.testing.assert_close(unit(x), before, rtol=1.0e-5, atol=1.0e-5)
    assert (before.min() < 0.0) == (not options.get("activate", True))


def test_join_is_a_convolution_of_repeated_pixels() -> None:
    join = _randomized(Join(4))
    skip, coarse = torch.randn(2, 4, 12, 16), torch.randn(2, 4, 6, 8)
    fine = torch.nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
    expected = ConvUnit.forward(join, torch.cat((skip, fine), dim=1))
    torch.testing.assert_close(join(skip, coarse), expected, rtol=1.0e-5, atol=1.0e-5)
    join.fold()  # type: ignore[operator]
    torch.testing.assert_close(join(skip, coarse), expected, rtol=1.0e-5, atol=1.0e-5)


def test_residual_block_starts_as_the_identity() -> None:
    x = torch.rand(1, 4, 9, 9)
    torch.testing.assert_close(ResidualBlock(4, dilation=2).eval()(x.clone()), x)
    # Its radius covers every pixel that an output depends on.
    block = _randomized(ResidualBlock(4, dilation=2))
    x = torch.rand(1, 4, 15, 15)
    changed = x.clone()
    changed[:, :, 7, 7] += 1.0
    rows, columns = torch.nonzero((block(changed) != block(x)).any(dim=1)[0], as_tuple=True)
    assert int((rows - 7).abs().max()) == int((columns - 7).abs().max()) == block.radius == 3
