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

import gc
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsst.meas.trails.nn import engines
from lsst.meas.trails.nn.engines import (
    EngineChoice,
    OpenVinoEngine,
    TorchEngine,
    choose_engine,
    create_engine,
)
from lsst.meas.trails.nn.hardware import cpu_has_bfloat16
from lsst.meas.trails.nn.model_file import TrailModel, load_model, shipped_model_path
from lsst.meas.trails.nn.networks.registry import Inner, NetworkPlan
from lsst.meas.trails.nn.networks.unet_res_se_plan import UNetResSEPlan

from support.networks import make_specification, random_network


def _model(hyperparameters: dict, channels: tuple[str, ...] = ("science", "bad")) -> TrailModel:
    network = random_network(channels=len(channels), hyperparameters=hyperparameters)
    specification = make_specification(hyperparameters=hyperparameters, channels=channels)
    return TrailModel.from_network(specification, network)


def _engines(model: TrailModel) -> tuple[OpenVinoEngine, TorchEngine]:
    return (
        OpenVinoEngine(model, bfloat16=False, threads=1),
        TorchEngine(model, device="cpu", bfloat16=False),
    )


def _inputs(model: TrailModel, shape: tuple[int, int], *, batch: int = 1, seed: int = 1) -> np.ndarray:
    size = (batch, model.plan.in_channels, *shape)
    return np.random.default_rng(seed).normal(0.0, 2.0, size).astype(np.float32)


@pytest.mark.parametrize("name", ["direct", "template", "difference"])
def test_shipped_models(name: str) -> None:
    """The engines agree within the rounding of sums in another order."""
    model = load_model(shipped_model_path(name))
    inputs = _inputs(model, (160, 208))
    fast, reference = (engine.logits(inputs) for engine in _engines(model))
    assert reference.shape == fast.shape == (1, 80, 104)
    assert reference.std() > 0.3
    np.testing.assert_allclose(fast, reference, rtol=1.0e-4, atol=1.0e-4)


_LEVELS = st.integers(2, 4)


@st.composite
def _hyperparameters(draw: st.DrawFn) -> dict[str, list[int]]:
    levels = draw(_LEVELS)

    def numbers(low: int, high: int, count: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    return {
        "widths": numbers(1, 9, levels),
        "blocks": numbers(0, 2, levels),
        "decoder_blocks": numbers(0, 2, levels - 1),
        "dilations": draw(st.lists(st.integers(1, 3), max_size=3)),
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(hyperparameters=_hyperparameters(), data=st.data())
def test_every_plan_and_part(hyperparameters: dict, data: st.DataObject) -> None:
    model = _model(hyperparameters)
    stride = model.plan.stride
    counts = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))

    def part(count: int) -> slice:
        low = data.draw(st.integers(0, count - 1))
        return slice(low * stride, data.draw(st.integers(low + 1, count)) * stride)

    inner: Inner | None = data.draw(st.one_of(st.none(), st.just((part(counts[0]), part(counts[1])))))
    inputs = _inputs(model, (counts[0] * stride, counts[1] * stride))
    fast, reference = (engine.logits(inputs, inner) for engine in _engines(model))
    # Relative to the scale, because random weights make logits of any size.
    scale = max(1.0, float(np.abs(reference).max()))
    np.testing.assert_allclose(fast, reference, rtol=0.0, atol=1.0e-4 * scale)


def test_bfloat16_is_as_close_as_in_torch() -> None:
    """With the engine of choice, which is OpenVINO only on a CPU with bfloat16."""
    model = load_model(shipped_model_path("direct"))
    inputs = _inputs(model, (256, 256))
    exact = TorchEngine(model, device="cpu", bfloat16=False).logits(inputs)
    choice = choose_engine(model.plan, device="cpu", dtype="bfloat16")
    assert choice.engine == ("openvino" if cpu_has_bfloat16() else "torch")
    chosen = create_engine(model, choice, 1), TorchEngine(model, device="cpu", bfloat16=True)
    fast, reference = (engine.logits(inputs) - exact for engine in chosen)
    assert np.sqrt(np.mean(fast**2)) <= 1.5 * np.sqrt(np.mean(reference**2))


def test_batches_and_graphs() -> None:
    """Graphs of several shapes and batches do not disturb one another."""
    model = load_model(shipped_model_path("template"))
    fast, reference = _engines(model)
    for shape in ((32, 32), (48, 32), (32, 48), (48, 48), (64, 32), (32, 32)):
        inputs = _inputs(model, shape, batch=2)
        np.testing.assert_allclose(fast.logits(inputs), reference.logits(inputs), rtol=1.0e-4, atol=1.0e-4)
        fast.release()
    assert fast.logits(inputs).shape == (2, 16, 16)


def test_threads_take_turns() -> None:
    """A shared engine gives each thread its own result."""
    model = load_model(shipped_model_path("direct"))
    engine = OpenVinoEngine(model, bfloat16=False, threads=1)
    inputs = [_inputs(model, shape) for shape in ((64, 96), (64, 96), (96, 64), (32, 32))]
    expected = [engine.logits(array) for array in inputs]

    def use(i: int) -> np.ndarray:
        logits = engine.logits(inputs[i])
        engine.release()
        return logits

    with ThreadPoolExecutor(4) as executor:
        for i, logits in zip(range(40), executor.map(use, (i % 4 for i in range(40)))):
            np.testing.assert_array_equal(logits, expected[i % 4])


def test_engine_is_created_once(model: TrailModel) -> None:
    first = create_engine(model, EngineChoice("openvino", "cpu", False), 1)
    assert create_engine(model, EngineChoice("openvino", "cpu", False), 1) is first
    assert create_engine(model, EngineChoice("openvino", "cpu", False), 2) is not first
    assert create_engine(model, EngineChoice("openvino", "cpu", True), 1) is not first
    torch_engine = create_engine(model, EngineChoice("torch", "cpu", False), 1)
    assert isinstance(torch_engine, TorchEngine)
    # Threads are set around each call.
    assert create_engine(model, EngineChoice("torch", "cpu", False), 2) is torch_engine


def test_engines_do_not_keep_their_model(model_stem: Path) -> None:
    model = load_model(model_stem)
    create_engine(model, EngineChoice("openvino", "cpu", False), 1)
    create_engine(model, EngineChoice("torch", "cpu", False), 1)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_choice_of_the_engine(model: TrailModel, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = UNetResSEPlan(1)

    def name(engine: str, plan: NetworkPlan = model.plan, device: str = "cpu", bfloat16: bool = False) -> str:
        dtype = "bfloat16" if bfloat16 else "float32"
        choice = choose_engine(plan, engine=engine, device=device, dtype=dtype)
        assert (choice.device, choice.bfloat16, choice.precision) == (device, bfloat16, dtype)
        return choice.engine

    # GPUs that this machine may lack.
    monkeypatch.setattr(engines, "choose_device", lambda device, engine: device)

    assert name("auto") == "openvino"
    assert name("auto", device="cuda") == "torch"
    assert name("auto", tiles) == "torch"
    assert name("torch") == "torch"
    with pytest.raises(ValueError, match="'abacus'"):
        name("abacus")
    with pytest.raises(ValueError, match="'cuda:0'"):
        name("openvino", device="cuda:0")
    with pytest.raises(ValueError, match="architecture"):
        name("openvino", tiles)

    for supported, chosen in ((True, "openvino"), (False, "torch")):
        monkeypatch.setattr(engines, "cpu_has_bfloat16", lambda supported=supported: supported)
        assert name("auto", bfloat16=True) == chosen
    with pytest.raises(ValueError, match="emulate bfloat16"):
        name("openvino", bfloat16=True)

    monkeypatch.setattr(engines, "has_openvino", lambda: False)
    assert name("auto") == "torch"
    with pytest.raises(ValueError, match="pip install openvino"):
        name("openvino")
    monkeypatch.setattr(engines, "has_torch", lambda: False)
    with pytest.raises(ValueError, match=r"lsst-meas-trails\[train\]"):
        name("auto")


_PREDICT = """
import sys
from pathlib import Path

import numpy as np

from lsst.meas.trails import ImagePlanes, load_model, predict_probability
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.nn.hardware import cpu_has_bfloat16
from lsst.meas.trails.nn.model_file import shipped_model_path

image = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
planes = ImagePlanes(
    image=image, variance=np.ones_like(image), mask=np.zeros((64, 64), np.uint32), psf=PsfGrid.gaussian(4.0)
)
predict_probability(load_model(shipped_model_path()), planes, device="cpu")
loaded = [name for name in ("torch", "openvino_telemetry") if sys.modules.get(name)]
print(loaded, list(Path.home().iterdir()))
"""


@pytest.mark.process
def test_prediction_needs_no_torch_and_sends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's telemetry would write an identifier into the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", _PREDICT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
