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

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import astropy.table
import numpy as np
import pytest
import torch

from lsst.meas.trails.core.background import fit_background
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.core.tiles.layout import TILE_CLASSES, TileSource
from lsst.meas.trails.core.tiles.writer import TrailTiles
from lsst.meas.trails.nn.model_file import ModelSpecification, TrailModel, load_model, save_model
from lsst.meas.trails.nn.networks.network import TrailNetwork
from lsst.meas.trails.nn.networks.registry import create_network

TINY = {"widths": (8, 12, 16), "blocks": (1, 0, 0), "decoder_blocks": (0, 0), "dilations": (1, 2)}
"""Hyperparameters of a network that is quick and has all its parts."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep tests from fighting over cores, and from one another's seeds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    yield
    torch.set_num_threads(before)


def line_mask(shape: tuple[int, int], x: float, y: float, angle: float, length: float) -> np.ndarray:
    """Return the pixels within 2 pixels of a line segment."""
    yy, xx = np.indices(shape)
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    along, across = (xx - x) * c + (yy - y) * s, (yy - y) * c - (xx - x) * s
    return (np.abs(across) <= 2.0) & (np.abs(along) <= 0.5 * length)


@pytest.fixture
def make_tiles(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a file of tiles.

    Every second tile has a bright line on unit noise over a sky of 100.
    """

    def make(name: str = "tiles.h5", *, count: int = 8, size: int = 32, seed: int = 1) -> Path:
        rng = np.random.default_rng(seed)
        image = rng.normal(100.0, 1.0, (count * size, size)).astype(np.float32)
        background = fit_background(image, np.zeros(image.shape, dtype=bool))
        source = TileSource(
            data_id={"visit": seed}, shape=image.shape, psf_kernel=PsfGrid.gaussian(4.0).mean_kernel
        )
        catalog = astropy.table.Table({"x": [1.0], "y": [1.0]})
        tiles = TrailTiles.allocate(count, size, source=source, background=background, catalog=catalog)
        tiles.pixels["image"][:] = image.reshape(count, size, size)
        tiles.pixels["variance"][:] = 1.0
        tiles.table["y0"] = size * np.arange(count)
        for i in range(0, count, 2):
            x, y = rng.uniform(0.3 * size, 0.7 * size, 2)
            mask = line_mask((size, size), x, y, rng.uniform(0.0, 180.0), 0.6 * size)
            tiles.pixels["image"][i][mask] += 8.0
            tiles.pixels["truth"][i][mask] = 1
            tiles.table["tile_class"][i] = TILE_CLASSES["missed"]
        path = tmp_path / name
        tiles.write(path)
        return path

    return make


def random_network(channels: int = 2, hyperparameters: dict | None = None) -> TrailNetwork:
    """Return a network with random weights, including normalizations and the head."""
    torch.manual_seed(3)
    network = create_network("trail_unet", in_channels=channels, **(hyperparameters or TINY))
    for name, tensor in network.state_dict().items():
        if name.endswith(("norm.weight", "running_var")):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("norm.bias", "running_mean")):
            tensor.normal_(0.0, 0.2)
        elif name.startswith("head"):
            tensor.normal_(0.0, 0.5)
    return network.eval()


def random_unet_res_se(name: str = "UNetResSEASPP", *, seed: int = 3, **hyperparameters: Any) -> TrailNetwork:
    """Return a narrow network with all of its numbers random."""
    torch.manual_seed(seed)
    network = create_network(name, in_channels=1, **{"width": 8, **hyperparameters})
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0.0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.num_batches_tracked.fill_(100)  # type: ignore[operator]
    return network.eval()


def make_specification(**changes: Any) -> ModelSpecification:
    """Return the specification of a network as small as `TINY`, with some values changed."""
    values: dict[str, Any] = {
        "name": "tiny",
        "version": "1",
        "architecture": "trail_unet",
        "hyperparameters": {key: list(value) for key, value in TINY.items()},
        "channels": ("science", "bad"),
        "pixel_scale": 0.2,
        "fwhm_range": (3.0, 6.0),
        "score": {"features": ["snr"], "coefficients": [1.5]},
        "metrics": {"loss": 0.25, "nothing": None},
    }
    return ModelSpecification(**(values | changes))


@pytest.fixture
def model_stem(tmp_path: Path) -> Path:
    """Return the folder and name of a model in files."""
    specification = ModelSpecification(
        name="tiny",
        version="1",
        architecture="trail_unet",
        hyperparameters={key: list(value) for key, value in TINY.items()},
        channels=("science", "bad"),
    )
    save_model(tmp_path / "tiny", random_network(), specification)
    return tmp_path / "tiny"


@pytest.fixture
def model(model_stem: Path) -> TrailModel:
    """Return a small model with random weights."""
    return load_model(model_stem)


@pytest.fixture
def make_planes() -> Callable[..., ImagePlanes]:
    """Return a function that makes an image of noise and some bad pixels."""

    def make(shape: tuple[int, int], seed: int = 5) -> ImagePlanes:
        rng = np.random.default_rng(seed)
        return ImagePlanes(
            image=rng.normal(0.0, 3.0, shape).astype(np.float32),
            variance=np.full(shape, 4.0, dtype=np.float32),
            mask=(rng.random(shape) < 0.01).astype(np.uint32),
            psf=PsfGrid.gaussian(4.0),
        )

    return make
