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
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsst.meas.trails.adcnn import checkpoints as adcnn
from lsst.meas.trails.adcnn.checkpoints import convert_checkpoint, read_adcnn_weights
from lsst.meas.trails.core.normalize import ADCNN_NORMALIZATION
from lsst.meas.trails.nn.model_file import ModelError, ModelSpecification, load_model
from lsst.meas.trails.nn.networks.network import TrailNetwork

from support.networks import random_unet_res_se

State = dict[str, Any]


@pytest.fixture
def network() -> TrailNetwork:
    return random_unet_res_se()


@pytest.fixture
def checkpoint(network: TrailNetwork) -> dict[str, Any]:
    """Return the content of a checkpoint with different parameters in each average."""
    shadows = [
        {name: parameter.detach() * factor for name, parameter in network.named_parameters()}
        for factor in (2.0, 3.0)
    ]
    return {
        "state": dict(network.state_dict()),
        "best_state_ema": {"decay": 0.999, "shadow": shadows[0]},
        "ema": shadows[1],
        "epoch": 12,
        "model_metadata": {"model_hparams": {"name": "UNetResSEASPP"}},
    }


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Any], Path]:
    """Return a function that writes a checkpoint."""

    def save(content: Any) -> Path:
        path = tmp_path / "ckpt_best.pt"
        torch.save(content, path)
        return path

    return save


def test_model_of_a_checkpoint(
    network: TrailNetwork, checkpoint: dict, saved: Callable[[Any], Path], tmp_path: Path
) -> None:
    path = saved(checkpoint)
    written = convert_checkpoint(path, tmp_path / "old.json")
    model = load_model(tmp_path / "old.json")
    specification = model.specification
    assert specification == written
    assert (specification.name, specification.architecture) == ("old", "UNetResSEASPP")
    assert specification.hyperparameters == {"width": 8, "concatenation": "up-skip"}
    assert specification.channels == ("science",)
    assert specification.normalization == ADCNN_NORMALIZATION == "medmad_clip_k5"
    assert specification.thresholds == {"grow": 0.2, "seed": 0.2}
    assert specification.score == {}
    assert specification.training == {
        "checkpoint": "ckpt_best.pt",
        "checkpoint_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "checkpoint_weights": "state",
    }
    assert json.loads((tmp_path / "old.json").read_text())["tile_size"] == 128
    tile = torch.randn(1, 1, 128, 128)
    with torch.inference_mode():
        torch.testing.assert_close(model.network(tile), network(tile), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("name", ["UNetResSE", "UNetResSEASPP"])
@pytest.mark.parametrize("width", [8, 16])
def test_architecture_and_width_are_inferred(
    name: str, width: int, saved: Callable[[Any], Path], tmp_path: Path
) -> None:
    state = random_unet_res_se(name, width=width).state_dict()
    specification = convert_checkpoint(saved({"state": state}), tmp_path / "x.json")
    assert (specification.architecture, specification.hyperparameters["width"]) == (name, width)


def test_averages(network: TrailNetwork, checkpoint: dict, saved: Callable[[Any], Path]) -> None:
    def factor(content: Any) -> float:
        state = read_adcnn_weights(saved(content), ema=True).state
        # Averages have no buffers.
        name = "stem.1.running_mean"
        torch.testing.assert_close(state[name], network.state_dict()[name])
        ratio = state["head.weight"] / network.state_dict()["head.weight"]
        assert float(ratio.std()) < 1.0e-6
        return round(float(ratio.mean()), 3)

    assert factor(checkpoint) == 2.0
    assert factor({**checkpoint, "best_state_ema": None}) == 3.0
    assert factor({**checkpoint, "best_state_ema": checkpoint["ema"]}) == 3.0
    del checkpoint["best_state_ema"]
    assert factor({**checkpoint, "ema": {"shadow": checkpoint["ema"]}}) == 3.0


def test_averages_that_cannot_be_used(checkpoint: dict, saved: Callable[[Any], Path]) -> None:
    def refused(message: str) -> None:
        with pytest.raises(ModelError, match=f"ckpt_best.pt: .*{message}"):
            read_adcnn_weights(saved(checkpoint), ema=True)

    shadow = checkpoint["best_state_ema"]["shadow"]
    shadow["extra"] = torch.zeros(1)
    refused("best_state_ema.shadow has extra")
    del shadow["extra"], shadow["head.bias"]
    refused("best_state_ema.shadow lacks the parameter head.bias")
    shadow["head.bias"] = torch.full((1,), torch.nan)
    refused("head.bias are not finite")
    del checkpoint["best_state_ema"], checkpoint["ema"]
    refused("no weights under 'ema'")
    assert read_adcnn_weights(saved(checkpoint)).architecture == "UNetResSEASPP"


def test_names_of_wrappers(network: TrailNetwork, saved: Callable[[Any], Path]) -> None:
    state = {f"module._orig_mod.{name}": tensor for name, tensor in network.state_dict().items()}
    assert set(read_adcnn_weights(saved({"state": state})).state) == set(network.state_dict())


def _state(change: Callable[[State], Any]) -> Callable[[dict], Any]:
    def changed(content: dict) -> dict:
        change(content["state"])
        return content

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: [content], "a list"),
        (lambda content: {}, "no weights under 'state'"),
        (lambda content: {"state": []}, "no weights under 'state'"),
        (lambda content: {"state": {}}, "no weights under 'state'"),
        (lambda content: {"state": {"x": torch.zeros(2)}}, "stem.0.weight"),
        (_state(lambda s: s.update({"stem.0.weight": torch.zeros(8)})), "stem.0.weight"),
        (_state(lambda s: s.update({"stem.0.weight": torch.zeros(12, 1, 3, 3)})), "multiple of 8"),
        (_state(lambda s: s.update({"stem.0.weight": torch.zeros(8, 2, 3, 3)})), "2 input channels"),
        (_state(lambda s: s.update({"stem.0.weight": torch.zeros(8, 1, 5, 5)})), "size mismatch for stem.0"),
        (_state(lambda s: s.update({"stem.0.weight": torch.zeros(16, 1, 3, 3)})), "size mismatch for stem.1"),
        (_state(lambda s: s.pop("head.bias")), 'UNetResSEASPP: Missing key.*"head.bias"'),
        (_state(lambda s: s.update(extra=torch.zeros(1))), 'Unexpected key.*"extra"'),
        (_state(lambda s: s.update({"head.bias": 1.0})), "something other than named weights: 'head.bias'"),
        (_state(lambda s: s.update({3: torch.zeros(1)})), "something other than named weights: '3'"),
        (_state(lambda s: s.update({"head.bias": torch.zeros(1).to_sparse()})), "head.bias of state are not"),
        (
            _state(lambda s: s.update({"head.bias": torch.zeros(1, dtype=torch.complex64)})),
            "head.bias of state are not",
        ),
        (_state(lambda s: s.update({"head.bias": torch.full((1,), torch.inf)})), "head.bias are not finite"),
        (
            _state(lambda s: s.update({"stem.1.running_var": torch.full((8,), torch.nan)})),
            "stem.1.running_var are not finite",
        ),
        # A few bytes that claim a terabyte.
        (
            _state(lambda s: s.update({"head.bias": torch.zeros(1).expand(2**40)})),
            "size mismatch for head.bias",
        ),
    ],
)
def test_invalid_checkpoints_are_refused(
    change: Callable[[dict], Any],
    message: str,
    checkpoint: dict,
    saved: Callable[[Any], Path],
    tmp_path: Path,
) -> None:
    path = saved(change(checkpoint))
    with pytest.raises(ModelError, match=f"ckpt_best.pt: .*{message}"):
        convert_checkpoint(path, tmp_path / "x.json")
    assert os.listdir(tmp_path) == ["ckpt_best.pt"]


class _Hostile:
    """Object that creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_not_executed(
    zipped: bool, checkpoint: dict, saved: Callable[[Any], Path], tmp_path: Path
) -> None:
    path, trap = tmp_path / "ckpt_best.pt", tmp_path / "trap"
    checkpoint["epoch"] = _Hostile(trap)
    torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match="ckpt_best.pt: .*mkdir") as caught:
        read_adcnn_weights(path)
    assert not trap.exists()
    # Torch's own message explains how to execute the code.
    assert "weights_only" not in str(caught.value)
    torch.load(path, weights_only=False)
    assert trap.exists()


def test_only_an_average_is_hostile(checkpoint: dict, saved: Callable[[Any], Path], tmp_path: Path) -> None:
    checkpoint["ema"] = {"head.bias": _Hostile(tmp_path / "trap")}
    with pytest.raises(ModelError, match="ckpt_best.pt"):
        read_adcnn_weights(saved(checkpoint))
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.5, 0.999])
def test_cut_short(fraction: float, checkpoint: dict, saved: Callable[[Any], Path]) -> None:
    path = saved(checkpoint)
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(ModelError, match="ckpt_best.pt: is not a complete checkpoint"):
        read_adcnn_weights(path)


def test_archives_that_grow(checkpoint: dict, saved: Callable[[Any], Path], tmp_path: Path) -> None:
    path = saved(checkpoint)
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as other:
        for entry in archive.infolist():
            other.writestr(entry.filename, bytes(entry.file_size))
    with pytest.raises(ModelError, match="bomb.pt: .*compressed"):
        read_adcnn_weights(bomb)


def test_too_large_and_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adcnn, "MAX_CHECKPOINT_BYTES", 10)
    (tmp_path / "big.pt").write_bytes(bytes(11))
    with pytest.raises(ModelError, match="big.pt: .*11 bytes.* 10"):
        read_adcnn_weights(tmp_path / "big.pt")
    with pytest.raises(ModelError, match=r"nothing.pt: cannot be read \(No such file"):
        read_adcnn_weights(tmp_path / "nothing.pt")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_random_bytes(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "random.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="random.pt: "):
        read_adcnn_weights(path)


def test_output(checkpoint: dict, saved: Callable[[Any], Path], tmp_path: Path) -> None:
    path = saved(checkpoint)
    with pytest.raises(ModelError, match="x.pt: .*NAME.json"):
        convert_checkpoint(path, tmp_path / "x.pt")
    with pytest.raises(ModelError, match="nowhere/x.safetensors"):
        convert_checkpoint(path, tmp_path / "nowhere" / "x.json")


def _adcnn_specification(**changes: Any) -> ModelSpecification:
    return ModelSpecification(
        **{
            "name": "old",
            "version": "1",
            "architecture": "UNetResSE",
            "hyperparameters": {"width": 8},
            "channels": ("science",),
            "normalization": ADCNN_NORMALIZATION,
            **changes,
        }
    )


def test_tile_size_of_a_specification() -> None:
    data = json.loads(_adcnn_specification().to_json())
    assert ModelSpecification.from_json(json.dumps(data)).tile_size == 128
    for size in (256, None, "128"):
        with pytest.raises(ModelError, match=f"{size!r}.*UNetResSE.*128"):
            ModelSpecification.from_json(json.dumps(data | {"tile_size": size}))
    own = {"architecture": "trail_unet", "hyperparameters": {}, "channels": ("science", "bad")}
    plain = _adcnn_specification(**own, normalization="background-variance-asinh-1")
    assert plain.tile_size is None
    with pytest.raises(ModelError, match="128.*trail_unet"):
        ModelSpecification.from_json(json.dumps(json.loads(plain.to_json()) | {"tile_size": 128}))


def test_adcnn_normalization_makes_one_channel() -> None:
    for channels in (("science", "bad"), ("bad",)):
        with pytest.raises(ModelError, match="medmad_clip_k5.*science"):
            _adcnn_specification(channels=channels)


def test_float16_state(network: TrailNetwork, saved: Callable[[Any], Path]) -> None:
    state = {n: t.half() if t.is_floating_point() else t for n, t in network.state_dict().items()}
    read = read_adcnn_weights(saved({"state": state})).state
    assert read["head.weight"].dtype == torch.float32
    np.testing.assert_allclose(read["head.weight"], state["head.weight"].numpy(), rtol=1.0e-3)
