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

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lsst.images import Image, MaskedImage, MaskPlane, MaskSchema, VisitImage
from lsst.meas.trails.core.normalize import ADCNN_NORMALIZATION
from lsst.meas.trails.nn.model_file import ModelSpecification, load_model, save_model, shipped_model_path
from lsst.meas.trails.nn.networks.registry import create_network
from lsst.meas.trails.tasks import (
    TrailCandidateConfig,
    TrailCandidateTask,
    TrailSegmentationConfig,
    TrailSegmentationTask,
)
from lsst.pipe.base import InvalidQuantumError, Struct, UpstreamFailureNoWorkFound


def make_task(**settings: Any) -> TrailSegmentationTask:
    config = TrailSegmentationConfig()
    for name, value in settings.items():
        setattr(config, name, value)
    config.validate()
    return TrailSegmentationTask(config=config)


@pytest.fixture(scope="module")
def known(make_image: Callable[..., Any], bright_trails: Any) -> Any:
    """Return an image with bright trails and a strip without data, not at the origin."""
    return make_image(bright_trails, start=(40, 30), masked=[("NO_DATA", (slice(0, 20), slice(None)))])


@pytest.fixture(scope="module")
def segmented(known: Any) -> Struct:
    return make_task().run(image=known.image)


@pytest.fixture
def model_copy(tmp_path: Path) -> Path:
    """Return the path of a copy of a shipped model without template channels."""
    path = shipped_model_path("difference")
    for file in (path, path.with_suffix(".safetensors")):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path / path.name


@pytest.fixture(scope="module")
def template_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an untrained small model with template channels."""
    specification = ModelSpecification(
        name="untrained",
        version="0",
        architecture="trail_unet",
        hyperparameters={"widths": [4, 4], "blocks": [0, 0], "decoder_blocks": [0], "dilations": []},
        channels=("science", "bad", "template", "template_missing"),
        pixel_scale=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = create_network("trail_unet", in_channels=4, **specification.hyperparameters)
        torch.nn.init.normal_(network.head.weight, std=3.0)
    stem = tmp_path_factory.mktemp("model") / "untrained"
    save_model(stem, network, specification)
    return f"{stem}.json"


def make_template(image: VisitImage, value: float = 0.0) -> MaskedImage:
    array = np.full(image.bbox.shape, value, dtype=np.float32)
    array[60:70, 60:70] += 500.0
    schema = MaskSchema([MaskPlane("NO_DATA", "No data.")])
    return MaskedImage(Image(array, bbox=image.bbox, unit=image.unit), mask_schema=schema)


def name_and_coverage(result: Struct, task: TrailSegmentationTask) -> tuple[str, float]:
    """Return the model and the coverage of the template, on which all outputs agree."""
    summary = json.loads(result.trail_probability.metadata["TRAIL_MODEL"])
    metadata = result.trail_mask.metadata
    name, covered = summary["name"], summary["template_coverage"]
    assert (metadata["TRAIL_MODEL_NAME"], metadata["TRAIL_TEMPLATE_COVERAGE"]) == (name, covered)
    assert (task.metadata["trailModel"].split()[0], task.metadata["templateCoverage"]) == (name, covered)
    return name, covered


def test_template_is_used_where_there_is_one(known: Any, template_model: str) -> None:
    task = make_task(templateModel=template_model, precision="float32")
    flat = task.run(image=known.image, template=make_template(known.image, 20.0))
    assert name_and_coverage(flat, task) == ("untrained", 1.0)
    # A source in the template changes the probabilities near it.
    other = make_template(known.image, 20.0)
    other.image.array[150:160, 60:70] += 500.0
    changed = task.run(image=known.image, template=other)
    difference = np.abs(changed.trail_probability.array - flat.trail_probability.array)
    assert difference[140:170, 50:80].max() > 0.0
    assert not difference[:, 200:].any()


def test_shipped_model_for_templates_is_the_default(known: Any, segmented: Struct) -> None:
    task = make_task()
    result = task.run(image=known.image, template=make_template(known.image))
    assert name_and_coverage(result, task) == ("template", 1.0)


@pytest.mark.parametrize(
    ("covered", "name"), [(None, "direct"), (0.0, "direct"), (0.1, "direct"), (0.3, "untrained")]
)
def test_no_template_is_no_failure(
    known: Any,
    segmented: Struct,
    template_model: str,
    caplog: pytest.LogCaptureFixture,
    covered: float | None,
    name: str,
) -> None:
    """The model for images without is used if a template has data for less than a fifth of the image."""
    caplog.set_level(logging.INFO)
    task = make_task(templateModel=template_model)
    template = None
    if covered is not None:
        template = make_template(known.image)
        template.image.array[round(covered * len(template.image.array)) :] = np.nan
    result = task.run(image=known.image, template=template)
    assert name_and_coverage(result, task) == (name, pytest.approx(covered or 0.0, abs=0.01))
    if name == "direct":
        assert ("using the model direct" in caplog.text) == (template is not None)
    if not covered:
        np.testing.assert_array_equal(result.trail_probability.array, segmented.trail_probability.array)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("direct", {"useTemplate": False}), ("difference", {"model": "difference", "templateModel": None})],
)
def test_unused_template_is_not_read(known: Any, name: str, settings: dict[str, Any]) -> None:
    task = make_task(**settings)
    result = task.run(image=known.image, template=object())
    assert name_and_coverage(result, task) == (name, 0.0)


def test_one_model_for_all_images(known: Any, template_model: str) -> None:
    """A model with template channels uses a template where there is one, however little it covers."""
    task = make_task(model=template_model, templateModel=None, precision="float32")
    alone = task.run(image=known.image)
    assert name_and_coverage(alone, task) == ("untrained", 0.0)
    empty = task.run(image=known.image, template=make_template(known.image, np.nan))
    assert name_and_coverage(empty, task) == ("untrained", 0.0)
    np.testing.assert_array_equal(empty.trail_probability.array, alone.trail_probability.array)
    partly = make_template(known.image)
    partly.image.array[80:] = np.nan
    both = task.run(image=known.image, template=partly)
    ny, nx = known.image.bbox.shape
    assert name_and_coverage(both, task) == ("untrained", pytest.approx(80 / ny))
    # Far from the template, its channels are as without one.
    np.testing.assert_array_equal(both.trail_probability.array[-40:], alone.trail_probability.array[-40:])
    assert np.any(both.trail_probability.array[20:80] != alone.trail_probability.array[20:80])
    # The candidates have the model of their probabilities.
    for result, covered in ((alone, 0.0), (both, 80 / ny)):
        table = (
            TrailCandidateTask(config=TrailCandidateConfig())
            .run(image=known.image, trail_probability=result.trail_probability)
            .trail_candidate_detector
        )
        assert table.meta["trailModel"]["name"] == "untrained"
        assert table.meta["templateCoverage"] == pytest.approx(covered)


def test_model_without_template_channels(known: Any, model_copy: Path) -> None:
    task = make_task(templateModel=str(model_copy))
    with pytest.raises(InvalidQuantumError, match="template channel"):
        task.run(image=known.image, template=make_template(known.image))


def test_bright_trails_are_in_the_mask(known: Any, segmented: Struct) -> None:
    mask = segmented.trail_mask
    pixels = mask.get("TRAIL")
    for row in known.truth:
        t = np.linspace(0.1, 0.9, 60)
        x = np.rint(row["x0"] + t * (row["x1"] - row["x0"])).astype(int) - mask.bbox.x.start
        y = np.rint(row["y0"] + t * (row["y1"] - row["y0"])).astype(int) - mask.bbox.y.start
        assert np.mean(pixels[y, x]) > 0.9


def test_boxes_and_projection(known: Any, segmented: Struct) -> None:
    for plane in (segmented.trail_mask, segmented.trail_probability):
        assert plane.bbox == known.image.bbox
        assert plane.sky_projection is not None
    assert list(segmented.trail_mask.schema.names) == ["TRAIL"]


def test_probabilities(segmented: Struct) -> None:
    probability = segmented.trail_probability.array
    assert probability.dtype == np.float32
    assert probability.min() >= 0.0
    # Probabilities are zero without data.
    assert not probability[:20].any()
    # The mask has the pixels above the thresholds, except small components.
    thresholds = load_model(shipped_model_path()).specification.thresholds
    pixels = segmented.trail_mask.get("TRAIL")
    assert thresholds["seed"] <= probability.max() <= 1.0
    assert probability[pixels].min() >= thresholds["grow"]
    assert np.mean(probability[~pixels] >= thresholds["seed"]) < 1e-3


def test_outputs_name_the_model(segmented: Struct) -> None:
    model = load_model(shipped_model_path())
    specification = model.specification
    summary = json.loads(segmented.trail_probability.metadata["TRAIL_MODEL"])
    identity = (specification.name, specification.version, model.checksum)
    assert (summary["name"], summary["version"], summary["sha256"]) == identity
    assert summary["thresholds"] == specification.thresholds
    metadata = segmented.trail_mask.metadata
    assert tuple(metadata[f"TRAIL_MODEL_{key}"] for key in ("NAME", "VERSION", "SHA256")) == identity


def test_task_metadata(known: Any) -> None:
    task = make_task()
    result = task.run(image=known.image)
    assert task.metadata["trailPixels"] == np.count_nonzero(result.trail_mask.get("TRAIL"))
    assert task.metadata["psfFwhm"] == pytest.approx(4.0, abs=0.02)
    specification = load_model(shipped_model_path()).specification
    assert task.metadata["trailModel"] == f"{specification.name} {specification.version}"


def test_same_result_again(known: Any, segmented: Struct) -> None:
    again = make_task().run(image=known.image)
    np.testing.assert_array_equal(again.trail_probability.array, segmented.trail_probability.array)
    np.testing.assert_array_equal(again.trail_mask.array, segmented.trail_mask.array)


def test_result_does_not_depend_on_the_window(known: Any) -> None:
    whole = make_task(precision="float32").run(image=known.image)
    parts = make_task(precision="float32", window=128).run(image=known.image)
    # A different order of sums may change the rounding of a probability.
    np.testing.assert_allclose(
        parts.trail_probability.array, whole.trail_probability.array, rtol=0.0, atol=1.01 / 256.0
    )


def test_thresholds_can_be_configured(known: Any, segmented: Struct) -> None:
    peak = float(segmented.trail_probability.array.max())
    strict = make_task(growThreshold=0.8 * peak, seedThreshold=0.9 * peak).run(image=known.image)
    pixels = strict.trail_mask.get("TRAIL")
    assert pixels.any()
    assert np.all(strict.trail_probability.array[pixels] >= 0.8 * peak)
    np.testing.assert_array_equal(strict.trail_probability.array, segmented.trail_probability.array)


def test_thresholds_out_of_order(known: Any) -> None:
    with pytest.raises(ValueError, match="growThreshold.*seedThreshold"):
        make_task(growThreshold=0.9, seedThreshold=0.5)
    # Only the grow threshold is configured, and exceeds the seed threshold of the model.
    with pytest.raises(InvalidQuantumError, match="growThreshold and seedThreshold"):
        make_task(growThreshold=0.999).run(image=known.image)


@pytest.mark.parametrize("shape", [(17, 23), (16, 300), (131, 67)])
def test_any_shape(make_image: Callable[..., Any], shape: tuple[int, int]) -> None:
    """Images may be smaller than a tile or the receptive field, and have odd sides."""
    result = make_task().run(image=make_image(shape=shape).image)
    assert result.trail_probability.array.shape == shape
    assert np.all(np.isfinite(result.trail_probability.array))


def test_scattered_nan(known: Any) -> None:
    image = known.image.copy()
    image.image.array[::7, ::5] = np.nan
    image.variance.array[::11] = np.nan
    probability = make_task().run(image=image).trail_probability.array
    assert np.all(np.isfinite(probability))
    assert not probability[::7, ::5].any()


def test_ruined_image(make_image: Callable[..., Any]) -> None:
    image: VisitImage = make_image(shape=(60, 60)).image
    image.image.array[...] = np.nan
    with pytest.raises(UpstreamFailureNoWorkFound, match="no good pixel"):
        make_task().run(image=image)


def test_model_by_path(known: Any, model_copy: Path) -> None:
    by_name, by_path = (
        make_task(model=model).run(image=known.image).trail_probability.array
        for model in ("difference", str(model_copy))
    )
    np.testing.assert_array_equal(by_path, by_name)


def test_model_that_takes_only_tiles(known: Any, tmp_path: Path) -> None:
    """A converted checkpoint, with its own normalization, tiles and thresholds."""
    specification = ModelSpecification(
        name="old",
        version="1",
        architecture="UNetResSEASPP",
        hyperparameters={"width": 8},
        channels=("science",),
        normalization=ADCNN_NORMALIZATION,
        thresholds={"grow": 0.2, "seed": 0.2},
    )
    save_model(tmp_path / "old", specification.create_network(), specification, dtype="float32")
    model = str(tmp_path / "old.json")
    result = make_task(model=model).run(image=known.image)
    probability = result.trail_probability.array
    assert not probability[:20].any()
    assert probability.std() > 0.0
    summary = json.loads(result.trail_probability.metadata["TRAIL_MODEL"])
    assert (summary["thresholds"], summary["score"]) == ({"grow": 0.2, "seed": 0.2}, {})
    overlapping = make_task(model=model, tileOverlap=32).run(image=known.image).trail_probability.array
    assert np.any(overlapping != probability)
    with pytest.raises(InvalidQuantumError, match="0 to 64.*100"):
        make_task(model=model, tileOverlap=100).run(image=known.image)
    # Without a calibrated score, candidates have the probability of the network.
    table = (
        TrailCandidateTask(config=TrailCandidateConfig())
        .run(image=known.image, trail_probability=result.trail_probability)
        .trail_candidate_detector
    )
    assert table.meta["scoreCalibrated"] is False


def test_model_is_read_once(known: Any, model_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every quantum has its own task, but a model is read again only if it was replaced."""
    reads = []

    def counted(path: Path) -> Any:
        reads.append(path)
        return load_model(path)

    monkeypatch.setattr("lsst.meas.trails.nn.model_file.load_model", counted)
    task = make_task(model=str(model_copy))
    task.run(image=known.image)
    make_task(model=str(model_copy)).run(image=known.image)
    assert reads == [model_copy]
    model = load_model(model_copy)
    specification = model.specification.replace(second_stage=None, score={})
    save_model(model_copy.with_suffix(""), model.network, specification, dtype="float32")
    # The two times may be equal on a file system with coarse times.
    os.utime(model_copy, ns=(0, 0))
    task.run(image=known.image)
    assert reads == [model_copy] * 2


def edit(path: Path, **changes: Any) -> None:
    specification = json.loads(path.read_text())
    for key, value in changes.items():
        if isinstance(value, dict):
            specification[key].update(value)
        else:
            specification[key] = value
    path.write_text(json.dumps(specification))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "yolo"}, "architecture.*'yolo'.*trail_unet"),
        ({"hyperparameters": {"depth_of_field": 3}}, "hyperparameters do not fit"),
        ({"normalization": "zscale"}, "normalization.*'zscale'"),
        ({"channels": ["science", "bad", "infrared"]}, "channels.*'infrared'"),
        ({"channels": ["science"]}, "shape"),
        ({"format_version": 99}, "format version 99"),
        ({"thresholds": {"grow": 0.9, "seed": 0.1}}, "thresholds"),
        ({"weights_sha256": "0" * 64}, "SHA-256"),
        ({"weights_file": "../other.safetensors"}, "weights_file"),
    ],
    ids=str,
)
def test_invalid_model(known: Any, model_copy: Path, changes: dict[str, Any], message: str) -> None:
    edit(model_copy, **changes)
    with pytest.raises(InvalidQuantumError, match=message) as caught:
        make_task(model=str(model_copy)).run(image=known.image)
    assert str(model_copy) in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "message"), [(".json", "not valid JSON.*cut short"), (".safetensors", "cut short")]
)
def test_model_cut_short(known: Any, model_copy: Path, suffix: str, message: str) -> None:
    path = model_copy.with_suffix(suffix)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InvalidQuantumError, match=message):
        make_task(model=str(model_copy)).run(image=known.image)


def test_model_without_weights(known: Any, model_copy: Path) -> None:
    model_copy.with_suffix(".safetensors").unlink()
    with pytest.raises(InvalidQuantumError, match=r"difference\.safetensors"):
        make_task(model=str(model_copy)).run(image=known.image)


@pytest.mark.parametrize(
    ("name", "message"),
    [("indirect", "'indirect'.*direct"), ("/no/such.json", "No such file")],
)
def test_missing_model(known: Any, name: str, message: str) -> None:
    with pytest.raises(InvalidQuantumError, match=message):
        make_task(model=name).run(image=known.image)


def test_missing_device(known: Any) -> None:
    with pytest.raises(InvalidQuantumError, match="abacus"):
        make_task(device="abacus").run(image=known.image)


def test_seeing_outside_of_the_training(
    known: Any, model_copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit(model_copy, fwhm_range=[5.0, 7.0])
    with caplog.at_level(logging.WARNING):
        make_task(model=str(model_copy)).run(image=known.image)
    assert "PSF has a FWHM of 4.00 pixels; the model was trained on 5.0 to 7.0 pixels" in caplog.text
