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

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from lsst.meas.trails.core.background import fit_background
from lsst.meas.trails.core.normalize import (
    ADCNN_NORMALIZATION,
    NORMALIZATION,
    adcnn_input,
    measure_panel,
    network_input,
)
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.nn import hardware
from lsst.meas.trails.nn.model_file import ModelSpecification, TrailModel
from lsst.meas.trails.nn.predict import predict_probability

from support.networks import TINY, random_network, random_unet_res_se

MakePlanes = Callable[..., ImagePlanes]


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_does_not_depend_on_the_window(model: TrailModel, make_planes: MakePlanes, engine: str) -> None:
    planes = make_planes((517, 301))
    assert model.network.receptive_radius > 30
    whole = predict_probability(model, planes, window=4096, dtype="float32", engine=engine)
    assert whole.shape == (517, 301)
    assert whole.dtype == np.float32
    # A network that says the same everywhere would prove nothing.
    assert whole.std() > 0.05
    for window in (1024, 256, 100, 57):
        windowed = predict_probability(model, planes, window=window, dtype="float32", engine=engine)
        # Sums of float32 in another order.
        np.testing.assert_allclose(windowed, whole, rtol=0.0, atol=1.0e-5)


def test_margin_is_needed(model: TrailModel, make_planes: MakePlanes) -> None:
    planes = make_planes((96, 96))
    whole = predict_probability(model, planes, dtype="float32")
    model.plan.receptive_radius = 0
    windowed = predict_probability(model, planes, window=32, dtype="float32")
    assert np.abs(windowed - whole).max() > 1.0e-3


def test_openvino_beside_a_gpu(
    model: TrailModel, make_planes: MakePlanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = make_planes((32, 32))
    expected = predict_probability(model, planes, device="cpu", engine="openvino")
    monkeypatch.setattr(hardware, "_may_have_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    np.testing.assert_array_equal(predict_probability(model, planes, engine="openvino"), expected)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_is_the_network_of_training(model: TrailModel, make_planes: MakePlanes, engine: str) -> None:
    planes = make_planes((64, 96))
    level = fit_background(planes.image, planes.bad()).level()
    inputs = torch.from_numpy(network_input(planes, level, model.specification.channels))[None]
    with torch.inference_mode():
        expected = torch.sigmoid(model.network(inputs))[0, 0].numpy()
    probability = predict_probability(model, planes, dtype="float32", engine=engine)
    # Pixels 0 and 1 lie a quarter of the way on either side of block 0's
    # center: outside the centers the value is that of the first block.
    logit = np.log(expected / (1.0 - expected))
    np.testing.assert_allclose(probability[0, 0], expected[0, 0], atol=1.0e-5)
    between = 0.75 * logit[10, 0] + 0.25 * logit[11, 0]
    np.testing.assert_allclose(probability[21, 0], 1.0 / (1.0 + np.exp(-between)), atol=1.0e-5)


def test_shift_by_the_stride_shifts_the_result(model: TrailModel, make_planes: MakePlanes) -> None:
    planes = make_planes((160, 160))
    stride, radius = model.network.stride, model.network.receptive_radius
    flat = fit_background(np.zeros(planes.shape, dtype=np.float32), np.zeros(planes.shape, dtype=bool))

    def shifted(plane: np.ndarray) -> np.ndarray:
        return np.roll(plane, stride, axis=1)

    moved = dataclasses.replace(
        planes, image=shifted(planes.image), variance=shifted(planes.variance), mask=shifted(planes.mask)
    )
    first, second = (
        predict_probability(model, each, background=flat, dtype="float32") for each in (planes, moved)
    )
    inner = slice(radius + stride, 160 - radius - stride)
    np.testing.assert_allclose(shifted(first)[:, inner], second[:, inner], atol=1.0e-5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (15, 17), (64, 64)])
def test_small_images(model: TrailModel, make_planes: MakePlanes, shape: tuple[int, int]) -> None:
    probability = predict_probability(model, make_planes(shape), dtype="float32")
    assert probability.shape == shape
    assert np.all((probability >= 0.0) & (probability <= 1.0))


def test_nothing_where_there_are_no_data(model: TrailModel, make_planes: MakePlanes) -> None:
    planes = make_planes((80, 80))
    planes.image[10:20, 10:20] = np.nan
    planes.mask[30:40, 30:40] = plane_bits(["NO_DATA"])
    planes.mask[50:60, 50:60] = plane_bits(["SATURATED"])
    planes.variance[70:72] = np.inf
    probability = predict_probability(model, planes, dtype="float32")
    assert np.all(np.isfinite(probability))
    assert np.all(probability[10:20, 10:20] == 0.0)
    assert np.all(probability[30:40, 30:40] == 0.0)
    # Trails are to be bridged over bad pixels.
    assert np.all(probability[50:60, 50:60] > 0.0)
    assert np.count_nonzero(probability == 0.0) == 200

    empty = dataclasses.replace(planes, image=np.full_like(planes.image, np.nan))
    assert not predict_probability(model, empty).any()


def test_bfloat16_is_close(model: TrailModel, make_planes: MakePlanes) -> None:
    planes = make_planes((96, 96))
    exact = predict_probability(model, planes, dtype="float32")
    coarse = predict_probability(model, planes, dtype="bfloat16")
    # 8 bits through seven layers.
    assert np.abs(exact - coarse).mean() < 0.02
    assert np.corrcoef(exact.ravel(), coarse.ravel())[0, 1] > 0.99


def test_threads_are_restored(model: TrailModel, make_planes: MakePlanes) -> None:
    before = torch.get_num_threads()
    predict_probability(model, make_planes((32, 32)), threads=before + 1, engine="torch")
    assert torch.get_num_threads() == before


def test_image_is_not_changed(model: TrailModel, make_planes: MakePlanes) -> None:
    planes, same = make_planes((50, 50)), make_planes((50, 50))
    predict_probability(model, planes)
    for name in ("image", "variance", "mask"):
        np.testing.assert_array_equal(getattr(planes, name), getattr(same, name))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window"),
        ({"threads": 0}, "threads"),
        ({"dtype": "float64"}, "'float64'"),
        ({"device": "abacus"}, "'abacus'"),
        ({"device": "cuda:99"}, "'cuda:99'"),
        ({"engine": "abacus"}, "'abacus'"),
    ],
)
def test_refuses(model: TrailModel, make_planes: MakePlanes, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predict_probability(model, make_planes((16, 16)), **options)


def test_other_channels(make_planes: MakePlanes) -> None:
    specification = ModelSpecification(
        name="one", version="1", architecture="trail_unet", hyperparameters=dict(TINY), channels=("science",)
    )
    model = TrailModel.from_network(specification, random_network(channels=1))
    assert predict_probability(model, make_planes((40, 40))).shape == (40, 40)


@pytest.fixture(scope="module")
def adcnn_model() -> TrailModel:
    """Return a model that is valid on tiles of 128 pixels."""
    specification = ModelSpecification(
        name="old",
        version="1",
        architecture="UNetResSEASPP",
        hyperparameters={"width": 8},
        channels=("science",),
        normalization=ADCNN_NORMALIZATION,
    )
    return TrailModel.from_network(specification, random_unet_res_se())


def test_tiles_of_a_fixed_size(adcnn_model: TrailModel, make_planes: MakePlanes) -> None:
    planes = make_planes((200, 300))
    planes.image[...] += 40.0
    probability = predict_probability(adcnn_model, planes, dtype="float32")
    assert probability.shape == (200, 300)
    assert probability.std() > 0.01
    scale = measure_panel(planes.image)
    # Padded before the normalization, so that beyond the edge the sky is not
    # zero but far below what it is.
    padded = np.zeros((256, 384), dtype=np.float32)
    padded[:200, :300] = planes.image
    for y, x in ((0, 0), (128, 128), (128, 256)):
        tile = torch.from_numpy(adcnn_input(padded[y : y + 128, x : x + 128], scale))[None]
        with torch.inference_mode():
            expected = torch.sigmoid(adcnn_model.network(tile))[0, 0].numpy()
        part = probability[y : y + 128, x : x + 128]
        np.testing.assert_allclose(part, expected[: part.shape[0], : part.shape[1]], atol=1.0e-4)
    # Not a matter of the window.
    again = predict_probability(adcnn_model, planes, window=64, dtype="float32")
    np.testing.assert_array_equal(again, probability)


def test_overlap_of_tiles(adcnn_model: TrailModel, make_planes: MakePlanes) -> None:
    planes = make_planes((128, 224))
    inputs = adcnn_input(planes.image, measure_panel(planes.image))
    with torch.inference_mode():
        tiles = torch.from_numpy(np.stack([inputs[:, :, :128], inputs[:, :, 96:]]))
        left, right = adcnn_model.network(tiles)[:, 0].numpy()
    probability = predict_probability(adcnn_model, planes, tile_overlap=32, dtype="float32")
    logit = np.log(probability / (1.0 - probability))
    np.testing.assert_allclose(logit[:, :96], left[:, :96], rtol=1.0e-3, atol=1.0e-3)
    np.testing.assert_allclose(logit[:, 128:], right[:, 32:], rtol=1.0e-3, atol=1.0e-3)
    weight = np.arange(1, 33) / 33.0
    blended = weight[::-1] * left[:, 96:] + weight * right[:, :32]
    np.testing.assert_allclose(logit[:, 96:128], blended, rtol=1.0e-3, atol=1.0e-3)


@pytest.mark.parametrize("overlap", [0, 1, 64])
@pytest.mark.parametrize("shape", [(1, 1), (40, 130), (129, 128)])
def test_tiles_on_any_shape(
    adcnn_model: TrailModel, make_planes: MakePlanes, shape: tuple[int, int], overlap: int
) -> None:
    planes = make_planes(shape)
    planes.image[0, 0] = np.nan
    probability = predict_probability(adcnn_model, planes, tile_overlap=overlap)
    assert probability.shape == shape
    assert np.all((probability >= 0.0) & (probability <= 1.0))
    assert probability[0, 0] == 0.0


@pytest.mark.parametrize("overlap", [-1, 65])
def test_refuses_an_overlap(adcnn_model: TrailModel, make_planes: MakePlanes, overlap: int) -> None:
    with pytest.raises(ValueError, match=f"tile_overlap .*64.* {overlap}"):
        predict_probability(adcnn_model, make_planes((8, 8)), tile_overlap=overlap)


def test_own_normalization_in_tiles(adcnn_model: TrailModel, make_planes: MakePlanes) -> None:
    planes = make_planes((128, 128))
    specification = adcnn_model.specification.replace(normalization=NORMALIZATION)
    probability = predict_probability(
        dataclasses.replace(adcnn_model, specification=specification), planes, dtype="float32"
    )
    level = fit_background(planes.image, planes.bad()).level()
    with torch.inference_mode():
        inputs = torch.from_numpy(network_input(planes, level, ["science"]))[None]
        expected = torch.sigmoid(adcnn_model.network(inputs))[0, 0].numpy()
    np.testing.assert_allclose(probability, expected, atol=1.0e-4)
