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

import torch
from torch.utils.data import TensorDataset

from lsst.meas.trails.training.distributed import Ranks
from lsst.meas.trails.training.nonfinite import describe_nonfinite


def test_tiles_of_all_ranks_are_named() -> None:
    class _Two(Ranks):
        def all_gather(self, values: Any) -> list[Any]:
            return [*values, "a tile of the other"]

    good, bad = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    bad[1, 0, 2, 2] = torch.nan
    dataset = TensorDataset(good)
    assert (
        describe_nonfinite(dataset, [5, 7], bad, good, good, Ranks())
        == ": the input is not finite in tile 7."
    )
    text = describe_nonfinite(dataset, [5, 7], good, good, bad, Ranks())
    assert text == ": the output is not finite in tile 7."
    # Also where the own tiles are as they should be.
    text = describe_nonfinite(dataset, [5, 7], good, good, good, _Two(world_size=2))
    assert text == ": the input is not finite in a tile of the other."
