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

from lsst.meas.trails.nn.networks.registry import NetworkPlan, create_plan

from support.networks import TINY


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(
    "hyperparameters",
    [{}, TINY, {"widths": (2, 3, 4), "blocks": (0, 2, 1), "decoder_blocks": (2, 0), "dilations": ()}],
)
def test_weights_are_those_of_the_network(channels: int, hyperparameters: dict) -> None:
    plan = create_plan("trail_unet", in_channels=channels, **hyperparameters)
    assert plan.weight_shapes() == NetworkPlan.weight_shapes(plan)
