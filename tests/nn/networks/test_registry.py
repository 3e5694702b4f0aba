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

from lsst.meas.trails.nn.networks.network import count_parameters
from lsst.meas.trails.nn.networks.registry import create_network, network_names, register
from lsst.meas.trails.nn.networks.trail_unet import TrailUNet
from lsst.meas.trails.nn.networks.trail_unet_plan import TrailUNetPlan


def test_registry() -> None:
    assert "trail_unet" in network_names()
    network = create_network("trail_unet", in_channels=2)
    assert isinstance(network, TrailUNet)
    assert count_parameters(network) == sum(parameter.numel() for parameter in network.parameters()) > 0
    with pytest.raises(ValueError, match="trail_unet"):
        register("trail_unet")(TrailUNetPlan)


@pytest.mark.parametrize(
    ("name", "channels", "hyperparameters", "message"),
    [
        ("nothing", 2, {}, "'nothing'.*trail_unet"),
        ("trail_unet", 2, {"depth": 3}, "'depth'.*widths"),
        ("trail_unet", 0, {}, "in 1..16"),
        ("trail_unet", True, {}, "True"),
        ("trail_unet", 2, {"widths": [8]}, "2 to 6 entries"),
        ("trail_unet", 2, {"widths": "88"}, "widths"),
        ("trail_unet", 2, {"widths": [8, 10**9]}, "integers in 1..1024"),
        ("trail_unet", 2, {"widths": [8, 8], "blocks": [1, 1], "decoder_blocks": [1, 1]}, "1 to 1 entries"),
        ("trail_unet", 2, {"dilations": [0]}, "integers in 1..64"),
    ],
)
def test_refuses(name: str, channels: int, hyperparameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_network(name, in_channels=channels, **hyperparameters)
