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

from typing import Any

import pytest
import torch

from lsst.meas.trails.nn.networks.network import count_parameters
from lsst.meas.trails.nn.networks.registry import create_network
from lsst.meas.trails.nn.networks.unet_res_se import ADCNN_TILE_SIZE, UNetResSE, UNetResSEASPP

from support.networks import random_unet_res_se


def test_is_the_network_of_the_checkpoints() -> None:
    network = create_network("UNetResSEASPP", in_channels=1, width=32)
    assert isinstance(network, UNetResSEASPP)
    assert count_parameters(network) == 14_014_133
    assert len(network.state_dict()) == 188


def test_without_the_pyramid() -> None:
    full, plain = (
        create_network(name, in_channels=1, width=32).state_dict() for name in ("UNetResSEASPP", "UNetResSE")
    )
    assert set(full) - set(plain) == {name for name in full if name.startswith("aspp.")}
    assert all(plain[name].shape == full[name].shape for name in plain)
    # Four branches of 6 entries, and the projection.
    assert len(full) - len(plain) == 26


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("stem.0.weight", (48, 1, 3, 3)),
        ("stem.1.running_var", (48,)),
        ("stem.3.se.fc1.weight", (6, 48, 1, 1)),
        ("d4.rb.c1.weight", (768, 384, 3, 3)),
        ("d4.rb.proj.weight", (768, 384, 1, 1)),
        ("u1.up.weight", (768, 768, 2, 2)),
        ("u1.rb1.bn1.weight", (768 + 384,)),
        ("u4.rb2.c2.weight", (48, 48, 3, 3)),
        ("aspp.blocks.3.0.weight", (192, 768, 3, 3)),
        ("aspp.blocks.0.1.running_mean", (192,)),
        ("aspp.project.weight", (768, 768, 1, 1)),
        ("head.bias", (1,)),
    ],
)
def test_names_and_shapes(name: str, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        state = create_network("UNetResSEASPP", in_channels=1, width=48).state_dict()
    assert tuple(state[name].shape) == shape


def test_dilations() -> None:
    network = random_unet_res_se()
    blocks = network.aspp.blocks  # type: ignore[union-attr]
    assert [block[0].dilation for block in blocks] == [(1, 1), (6, 6), (12, 12), (18, 18)]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["UNetResSE", "UNetResSEASPP"])
def test_full_resolution_and_nothing_but_tiles(name: str) -> None:
    network = random_unet_res_se(name)
    tiles = torch.randn(2, 1, ADCNN_TILE_SIZE, ADCNN_TILE_SIZE)
    with torch.inference_mode():
        logits = network(tiles)
        assert logits.shape == tiles.shape
        # What is in one tile of a batch means nothing to another.
        torch.testing.assert_close(network(tiles[1:]), logits[1:], rtol=1.0e-4, atol=1.0e-4)
        for shape in ((64, 64), (256, 256), (128, 256)):
            with pytest.raises(ValueError, match=f"128x128.* {shape[0]}x{shape[1]}"):
                network(torch.zeros(1, 1, *shape))


def test_weights_in_other_spellings() -> None:
    """Linear layers for the excitation; ``u1`` the finest level."""
    network, other = random_unet_res_se(), random_unet_res_se(seed=4)
    tile = torch.randn(1, 1, ADCNN_TILE_SIZE, ADCNN_TILE_SIZE)
    with torch.inference_mode():
        expected = network(tile)
        assert not torch.allclose(other(tile), expected)
        state = {}
        for name, tensor in network.state_dict().items():
            if name.startswith("u"):
                name = f"u{5 - int(name[1])}{name[2:]}"
            state[name] = tensor[:, :, 0, 0] if ".se." in name and tensor.ndim == 4 else tensor
        before = list(state)
        other.load_state_dict(state, strict=True)
        torch.testing.assert_close(other(tile), expected)
    # The state that was given is another's.
    assert list(state) == before


def test_order_of_concatenation() -> None:
    network, swapped = random_unet_res_se(), random_unet_res_se(concatenation="skip-up")
    tile = torch.randn(1, 1, ADCNN_TILE_SIZE, ADCNN_TILE_SIZE)
    state = network.state_dict()
    for name, fine in (("u1", 64), ("u2", 32), ("u3", 16), ("u4", 8)):
        for key in (f"{name}.rb1.bn1.weight", f"{name}.rb1.bn1.bias"):
            state[key] = torch.roll(state[key], fine)
        for key in (f"{name}.rb1.c1.weight", f"{name}.rb1.proj.weight"):
            state[key] = torch.roll(state[key], fine, dims=1)
    swapped.load_state_dict(state)
    with torch.inference_mode():
        # The groups of the normalization hold other channels, but for its
        # weights the two are the same function where all are alike.
        for module in (*network.modules(), *swapped.modules()):
            if isinstance(module, torch.nn.GroupNorm):
                module.num_groups = 1
        torch.testing.assert_close(swapped(tile), network(tile), rtol=1.0e-3, atol=1.0e-4)


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"width": 12}, "multiple of 8"),
        ({"width": 0}, "multiple of 8 in 8..128"),
        ({"width": 10**6}, "multiple of 8 in 8..128"),
        ({"width": "32"}, "'32'"),
        ({"width": True}, "True"),
        ({"concatenation": "sum"}, "up-skip, skip-up.*'sum'"),
        ({"concatenation": [1]}, "concatenation"),
        ({"widths": [32]}, "'widths'.* width, concatenation"),
    ],
)
def test_refuses(hyperparameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_network("UNetResSE", in_channels=1, **hyperparameters)


def test_prepared_for_inference_is_the_same_function() -> None:
    network = random_unet_res_se("UNetResSE")
    assert isinstance(network, UNetResSE)
    tile = torch.randn(1, 1, ADCNN_TILE_SIZE, ADCNN_TILE_SIZE)
    with torch.inference_mode():
        torch.testing.assert_close(network.prepared_for_inference()(tile), network(tile))
