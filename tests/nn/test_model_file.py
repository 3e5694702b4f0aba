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

import hashlib
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsst.meas.trails.core.normalize import NORMALIZATION
from lsst.meas.trails.nn.model_file import (
    ModelError,
    ModelSpecification,
    find_model,
    load_model,
    rounded,
    save_model,
    shipped_model_path,
    write_specification,
)

from support.networks import make_specification, random_network, random_unet_res_se

_HOSTILE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _changed(stem: Path, change: Callable[[dict], Any]) -> None:
    """Change the specification of a model on disk."""
    path = stem.with_suffix(".json")
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def _replace_weights(stem: Path, content: bytes) -> None:
    """Change the weights of a model, with a checksum that is right."""
    stem.with_suffix(".safetensors").write_bytes(content)
    weights = {
        "weights_file": stem.name + ".safetensors",
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "weights_bytes": len(content),
    }
    _changed(stem, lambda data: data.update(weights))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 0.0), ("float16", 1.0e-3), ("bfloat16", 8.0e-3)]
)
def test_round_trip(tmp_path: Path, dtype: str, tolerance: float) -> None:
    network = random_network()
    specification = save_model(tmp_path / "tiny", network, make_specification(), dtype=dtype)
    for name in ("tiny", "tiny.json", "tiny.safetensors"):
        model = load_model(tmp_path / name)
        assert model.specification == specification
        assert not model.network.training
    stored = model.network.state_dict()
    for name, tensor in network.state_dict().items():
        # Relative to the largest: half a unit in the last place.
        assert (stored[name] - tensor).abs().max() <= tolerance * max(1.0, float(tensor.abs().max()))
        if tensor.is_floating_point():
            assert torch.equal(stored[name], rounded(network, dtype).state_dict()[name])
    assert specification.created.endswith("+00:00")
    assert ModelSpecification.from_json(specification.to_json()) == specification


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    big = {"widths": [64, 64], "blocks": [1, 1], "decoder_blocks": [0], "dilations": []}
    network = random_network(hyperparameters=big)
    half, full = (
        save_model(
            tmp_path / dtype, network, make_specification(hyperparameters=big), dtype=dtype
        ).weights_bytes
        for dtype in ("float16", "float32")
    )
    # But for the normalizations and the header.
    assert half == pytest.approx(0.5 * full, rel=0.05)


def test_checksum_covers_both_files(model_stem: Path) -> None:
    before = load_model(model_stem)
    write_specification(
        model_stem.with_suffix(".json"),
        before.specification.replace(thresholds={"seed": 0.6, "grow": 0.3}),
    )
    after = load_model(model_stem)
    assert after.specification.thresholds == {"seed": 0.6, "grow": 0.3}
    assert after.checksum != before.checksum
    assert after.specification.weights_sha256 == before.specification.weights_sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format_version=3), "format version 3,"),
        (lambda d: d.pop("format_version"), "format version None"),
        (lambda d: d.pop("channels"), "channels is missing"),
        (lambda d: d.pop("normalization"), "normalization is missing"),
        (lambda d: d.pop("weights_bytes"), "weights_bytes is missing"),
        (lambda d: d.update(color="red"), "unknown key 'color'"),
        (lambda d: d.update(channels=["science", "color"]), r"channels .*'color'"),
        (lambda d: d.update(channels=[["science"]]), r"channels\[0\]"),
        (lambda d: d.update(channels="science"), "channels .*'science'"),
        (lambda d: d.update(channels=[]), "channels"),
        (lambda d: d.update(channels=["science"]), "shape"),
        (lambda d: d.update(normalization="medmad"), f"normalization .*'medmad'.*{NORMALIZATION}"),
        (lambda d: d.update(architecture="resnet"), "architecture .*'resnet'.*trail_unet"),
        (lambda d: d.update(hyperparameters={"depth": 1}), "hyperparameters .*'depth'"),
        (lambda d: d["hyperparameters"].update(widths=[8, 12, 10**9]), "hyperparameters .*widths"),
        (lambda d: d["hyperparameters"].update(widths=[8, 12, 20]), "have shape"),
        (lambda d: d["hyperparameters"].update(blocks=[2, 0, 0]), "lack encoder.0.1"),
        (lambda d: d["hyperparameters"].update(blocks=[0, 0, 0]), "hold encoder.0.0"),
        (lambda d: d.update(thresholds={"seed": 0.2, "grow": 0.5}), "thresholds .*0.5"),
        (lambda d: d.update(thresholds={"seed": 0.5}), "thresholds .*'grow'"),
        (lambda d: d.update(thresholds={"seed": "much", "grow": 0.1}), "thresholds.seed .*'much'"),
        (lambda d: d.update(pixel_scale=-0.2), "pixel_scale .*-0.2"),
        (lambda d: d.update(pixel_scale=10**400), "pixel_scale .*1000"),
        (lambda d: d.update(fwhm_range=[5.0]), "fwhm_range"),
        (lambda d: d.update(fwhm_range=[5.0, 4.0]), "fwhm_range .*5.0"),
        (lambda d: d.update(metrics={"loss": math.nan}), "NaN"),
        (lambda d: d.update(score=3), "score .*3"),
        (lambda d: d.update(tile_size=64), "tile_size is 64"),
        (lambda d: d.update(weights_file="../tiny.safetensors"), "weights_file .*'../tiny.safetensors'"),
        (lambda d: d.update(weights_file=""), "weights_file"),
        (lambda d: d.update(weights_file="other.safetensors"), r"other.safetensors: cannot be read"),
        (lambda d: d.update(weights_bytes=10), "bytes instead of 10"),
        (lambda d: d.update(weights_bytes=True), "weights_bytes .*True"),
        (lambda d: d.update(weights_sha256="0" * 64), "SHA-256 .*0000"),
    ],
)
def test_specification_that_cannot_be_honored(
    model_stem: Path, change: Callable[[dict], Any], message: str
) -> None:
    _changed(model_stem, change)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(model_stem)
    assert str(model_stem.parent) in str(caught.value)


def test_missing_and_oversized_files(model_stem: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing.json"):
        load_model(tmp_path / "nothing")
    with pytest.raises(ModelError, match="x.json"):
        load_model(tmp_path / "folder.json" / "x.json")
    (tmp_path / "big.json").write_bytes(b" " * 1_000_001)
    with pytest.raises(ModelError, match="big.json: .*1000000"):
        load_model(tmp_path / "big")
    with pytest.raises(ModelError, match="'nothing'.*direct"):
        shipped_model_path("nothing")
    with pytest.raises(ModelError, match="config/x"):
        shipped_model_path("../config/x")


@pytest.mark.parametrize("part", ["json", "safetensors"])
@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.99])
def test_cut_short(model_stem: Path, part: str, fraction: float) -> None:
    path = model_stem.with_suffix("." + part)
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(ModelError, match=f"{path.name}: .*cut short"):
        load_model(model_stem)


def test_weights_that_are_not_what_they_claim(model_stem: Path) -> None:
    good = safetensors.torch.load_file(model_stem.with_suffix(".safetensors"))

    def stored(**changes: torch.Tensor) -> bytes:
        return safetensors.torch.save(
            {**good, **{k.replace("_weight", ".weight"): v for k, v in changes.items()}}
        )

    cases = [
        (stored(head_weight=torch.full_like(good["head.weight"], math.nan)), "head.weight are not finite"),
        (stored(head_weight=good["head.weight"].to(torch.int32)), "head.weight are I32, not F16"),
        (stored(head_weight=good["head.weight"].double()), "head.weight are F64, not F16"),
        (stored(head_weight=good["head.weight"][:, :4].clone()), "head.weight have shape"),
        (stored(extra=torch.zeros(1)), "hold extra, unknown to trail_unet"),
        (b"PK\x03\x04 a zip file, as torch.save writes", "not valid safetensors"),
        # A header that claims more than there is.
        ((2**62).to_bytes(8, "little") + b"{}", "not valid safetensors"),
        (
            _with_header({"head.weight": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}),
            "not valid safetensors",
        ),
    ]
    for content, message in cases:
        _replace_weights(model_stem, content)
        with pytest.raises(ModelError, match=message):
            load_model(model_stem)


def _with_header(header: dict) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"\0\0\0\0"


@_HOSTILE
@given(content=st.binary(max_size=400))
def test_random_weights(model_stem: Path, content: bytes) -> None:
    _replace_weights(model_stem, content)
    with pytest.raises(ModelError, match="not valid safetensors|the weights lack"):
        load_model(model_stem)


@_HOSTILE
@given(data=st.data())
def test_every_changed_byte_is_noticed(model_stem: Path, data: st.DataObject) -> None:
    path = model_stem.with_suffix(".safetensors")
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    change = data.draw(st.integers(1, 255))
    content[position] ^= change
    path.write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256"):
        load_model(model_stem)
    # The next example begins with what is in the file.
    content[position] ^= change
    path.write_bytes(content)


def test_save_refuses(tmp_path: Path) -> None:
    network = random_network()
    with pytest.raises(ModelError, match="'int8'"):
        save_model(tmp_path / "x", network, make_specification(), dtype="int8")
    with pytest.raises(ModelError, match="shape"):
        save_model(tmp_path / "x", network, make_specification(channels=("science",)))
    with pytest.raises(ModelError, match="x.json"):
        save_model(tmp_path / "x", network, make_specification(training={"when": np.float32(1.0)}))
    with torch.no_grad():
        network.head.weight.fill_(1.0e6)  # type: ignore[union-attr, operator]
    with pytest.raises(ModelError, match="head.weight .*float16"):
        save_model(tmp_path / "y", network, make_specification())
    assert not list(tmp_path.glob("y*"))
    save_model(tmp_path / "y", network, make_specification(), dtype="bfloat16")
    assert load_model(tmp_path / "y").specification.name == "tiny"


def test_weights_are_those_of_the_network(model_stem: Path) -> None:
    model = load_model(model_stem)
    state = model.network.state_dict()
    assert {name: array.shape for name, array in model.weights.items()} == model.plan.weight_shapes()
    for name, array in model.weights.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, state[name].numpy())


def test_architecture_that_needs_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_unet_res_se()
    specification = make_specification(
        architecture="UNetResSEASPP", hyperparameters={"width": 8}, channels=("science",)
    )
    save_model(tmp_path / "tiles", network, specification)
    assert load_model(tmp_path / "tiles").plan.tile_size == 128
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match=r"tiles.*UNetResSEASPP needs torch.*\[train\]"):
        load_model(tmp_path / "tiles")


def test_find_model(model_stem: Path) -> None:
    assert find_model("direct") == shipped_model_path("direct")
    for path in (model_stem, model_stem.with_suffix(".json")):
        assert load_model(find_model(path)).specification.name == "tiny"
    with pytest.raises(ModelError, match=r"nothing.*direct"):
        find_model("nothing")
