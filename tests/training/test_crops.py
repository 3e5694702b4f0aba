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

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lsst.meas.trails.core.injection.fresh import TrailFreeImage
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.training.backgrounds import Background, write_background
from lsst.meas.trails.training.crops import InjectedCrops
from lsst.meas.trails.training.dataset import TileDatasetError
from lsst.meas.trails.training.recipe import AugmentationRecipe
from lsst.meas.trails.training.recipe_data import InjectionRecipe

CHANNELS = ("science", "bad")


@pytest.fixture
def files(make_planes: Callable[..., ImagePlanes], tmp_path: Path) -> list[Path]:
    """Files of three backgrounds."""
    paths = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for number, path in enumerate(paths):
        planes = make_planes((96, 128), seed=number)
        image = TrailFreeImage(planes, np.zeros(planes.shape, dtype=bool), gain=3.0)
        write_background(path, Background.from_image(image))
    return paths


def _crops(files: list[Path], **changes: Any) -> InjectedCrops:
    options: dict[str, Any] = {
        "size": 64,
        "seed": 3,
        "injection": InjectionRecipe(trails=2.0),
        "augmentation": AugmentationRecipe(noise=0.3),
    }
    return InjectedCrops(files, changes.pop("channels", CHANNELS), **(options | changes))


def test_a_key_gives_the_same_crop_and_an_epoch_new_trails(files: list[Path]) -> None:
    crops = _crops(files)
    assert len(crops) == 3 * 2
    keys = crops.draw(8, epoch=2)
    assert sorted(key.tile for key in keys[:6]) == [0, 0, 1, 1, 2, 2]
    batches = list(crops.load([keys[:4], keys[4:]]))
    assert [tuple(tensor.shape) for tensor in batches[0]] == [(4, 2, 64, 64), (4, 1, 32, 32), (4, 1, 32, 32)]
    again = next(iter(_crops(files).load([keys[4:]])))
    assert all(torch.equal(a, b) for a, b in zip(again, batches[1], strict=True))
    other = next(iter(crops.load([crops.draw(8, epoch=3)[:4]])))
    assert not torch.equal(other[1], batches[0][1])
    assert not torch.equal(next(iter(_crops(files, seed=4).load([keys[:4]])))[1], batches[0][1])
    plan = crops.plan(keys[0])
    assert crops.tile_name(keys[0]) == f"{files[plan.background]}, row {plan.y0}, column {plan.x0}"


def test_simulated_files_have_their_fraction(files: list[Path]) -> None:
    crops = _crops(files, simulated=1, simulated_fraction=0.25)
    drawn = [key.tile for key in crops.draw(16, epoch=0)]
    assert [drawn.count(number) for number in range(3)] == [4, 6, 6]
    assert drawn != sorted(drawn)


def test_range_of_the_seeing(files: list[Path]) -> None:
    (low, high), scale = _crops(files).sources
    assert (low, high) == pytest.approx((4.0, 4.0), abs=0.05)
    assert scale == 0.2


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"channels": ("science", "color")}, "color"),
        ({"size": 100}, "0.safetensors"),
        ({"size": 63}, "63"),
        ({"augmentation": AugmentationRecipe(blur=0.5)}, "blur"),
    ],
)
def test_what_cannot_be_trained_on(files: list[Path], changes: dict[str, Any], match: str) -> None:
    with pytest.raises(TileDatasetError, match=match):
        _crops(files, **changes)


def test_files_that_are_none(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(TileDatasetError, match="no scenes"):
        _crops([])
    with pytest.raises(TileDatasetError, match="missing"):
        _crops([tmp_path / "missing.safetensors"])
