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

from lsst.meas.trails.nn.networks.network import count_parameters
from lsst.meas.trails.nn.networks.registry import create_network

from support.networks import TINY, random_network


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_output_is_half_resolution_and_starts_with_few_trails(channels: int) -> None:
    network = create_network("trail_unet", in_channels=channels, **TINY).eval()
    side = 3 * network.stride
    with torch.inference_mode():
        logits = network(torch.randn(2, channels, side, 2 * side))
    assert logits.shape == (2, 1, side // network.output_stride, 2 * side // network.output_stride)
    torch.testing.assert_close(torch.sigmoid(logits), torch.full_like(logits, 0.01))


def test_default_fits_the_package() -> None:
    network = create_network("trail_unet", in_channels=3)
    # Two models ship, in 16 bits, together under 8 MB.
    assert 1.0e6 < count_parameters(network) < 1.95e6
    # A trail of 150 pixels must fit into what its end sees.
    assert network.receptive_radius > 150


@pytest.mark.parametrize(
    "hyperparameters",
    [
        {"widths": (2, 2), "blocks": (1, 0), "decoder_blocks": (0,), "dilations": ()},
        {"widths": (2, 2, 2), "blocks": (0, 1, 1), "decoder_blocks": (1, 0), "dilations": (1, 3)},
    ],
)
def test_receptive_radius_is_exact(hyperparameters: dict) -> None:
    network = create_network("trail_unet", in_channels=1, **hyperparameters).double().eval()
    # With nothing negative no path is cut by a ReLU or canceled by another,
    # and a gradient is not zero exactly where the input matters.
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.abs() + 0.1)
    side = network.stride * (2 * network.receptive_radius // network.stride + 4)
    reach = 0
    for offset in range(network.stride // 2):
        inputs = torch.ones(1, 1, side, side, dtype=torch.float64, requires_grad=True)
        pixel = side // 4 // network.stride * network.stride + offset
        network(inputs)[0, 0, pixel, pixel].backward()
        assert inputs.grad is not None
        touched = torch.nonzero(inputs.grad[0, 0].sum(dim=0)).flatten()
        low, high = int(touched.min()), int(touched.max())
        assert 0 < low < high < side - 1
        reach = max(reach, 2 * pixel - low, high - (2 * pixel + 1))
    assert reach == network.receptive_radius


@pytest.mark.parametrize("blocks", [(0, 1), (2, 0)])
@pytest.mark.parametrize("prepared", [False, True])
def test_part_of_the_output(blocks: tuple[int, ...], prepared: bool) -> None:
    """Wherever it lies, and if it is all."""
    hyperparameters = {
        "widths": (4, 4, 4),
        "blocks": (1, 0, 1),
        "decoder_blocks": blocks,
        "dilations": (1, 2),
    }
    network = random_network(hyperparameters=hyperparameters)
    if prepared:
        network = network.prepared_for_inference()
    stride = network.stride
    inputs = torch.randn(1, 2, 12 * stride, 10 * stride)
    with torch.inference_mode():
        whole = network(inputs)
        for y0, y1, x0, x1 in ((0, 12, 0, 10), (5, 6, 4, 5), (0, 3, 7, 10), (2, 12, 0, 9)):
            inner = (slice(y0 * stride, y1 * stride), slice(x0 * stride, x1 * stride))
            part = whole[:, :, y0 * stride // 2 : y1 * stride // 2, x0 * stride // 2 : x1 * stride // 2]
            torch.testing.assert_close(network(inputs, inner), part, rtol=1.0e-4, atol=1.0e-5)


@pytest.mark.parametrize("hyperparameters", [TINY, {}])
def test_prepared_network_is_the_same_function(hyperparameters: dict) -> None:
    network = random_network(hyperparameters=hyperparameters)
    inputs = torch.randn(1, 2, 48, 32)
    with torch.inference_mode():
        expected = network(inputs)
        folded = network.prepared_for_inference()
        # The order of float32 operations differs.
        torch.testing.assert_close(folded(inputs), expected, rtol=1.0e-4, atol=1.0e-5)
        torch.testing.assert_close(network(inputs), expected)
    assert not any("norm" in name for name, _ in folded.named_parameters())
