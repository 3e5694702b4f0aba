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

from lsst.meas.trails.training import graphs
from lsst.meas.trails.training.distributed import Ranks
from lsst.meas.trails.training.graphs import network_passes


def make_network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1)).train()


def test_passes_are_those_of_the_network() -> None:
    inputs = torch.randn(2, 1, 8, 8)
    gradients = []
    for compute in (make_network(), network_passes(network := make_network(), Ranks(), bfloat16=False)):
        logits = compute(inputs)
        logits.square().sum().backward()
        source = compute if isinstance(compute, nn.Module) else network
        gradients.append([parameter.grad for parameter in source.parameters()])
    for first, second in zip(*gradients, strict=True):
        assert first is not None
        assert torch.equal(first, second)


def test_layers_may_compute_in_bfloat16() -> None:
    compute = network_passes(make_network(), Ranks(), bfloat16=True)
    assert compute(torch.randn(2, 1, 8, 8)).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
def test_a_recording_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def record(holder: nn.Module, samples: tuple[torch.Tensor, ...]) -> nn.Module:
        # As torch does: some passes before the recording, on samples that it keeps.
        for _ in range(3):
            holder(*samples).sum().backward()
        samples[0].zero_()
        holder.zero_grad()
        return holder

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    network, other = make_network(), make_network()
    inputs = torch.randn(2, 1, 8, 8)
    before = inputs.clone()
    compute = graphs._record(network, inputs, bfloat16=False)
    assert torch.equal(inputs, before)
    for name, value in other.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name
    assert torch.equal(compute(inputs), other(inputs))
