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

"""Engines that run a network: OpenVINO on CPUs, torch on CPUs and GPUs.

Torch is the reference: networks are trained in it, and tests compare the results.
"""

from __future__ import annotations

__all__ = (
    "ENGINES",
    "Engine",
    "EngineChoice",
    "OpenVinoEngine",
    "TorchEngine",
    "choose_engine",
    "create_engine",
)

import threading
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from .hardware import choose_device, cpu_has_bfloat16, has_openvino, has_torch, use_bfloat16
from .model_file import TrailModel
from .networks.registry import Inner, NetworkPlan

type _Array = npt.NDArray[np.float32]

ENGINES = ("auto", "openvino", "torch")
"""Names of engines; ``auto`` is OpenVINO on CPUs if it is installed and can run the network, else torch."""

_MAX_GRAPHS = 4
"""Compiled graphs that are kept, one for each shape of window."""


class Engine(Protocol):
    """A network that is ready to run."""

    def logits(self, inputs: _Array, inner: Inner | None = None) -> _Array:
        """Return logits.

        Parameters
        ----------
        inputs
            Input, shape (B, C, H, W).
        inner
            The part of the input whose logits are needed, h x w pixels; by default all.

        Returns
        -------
        logits
            Shape (B, h/s, w/s), float32, where s is the network's output stride.
        """

    def release(self) -> None:
        """Free the memory of intermediate results."""


# The engines hold no reference to their model.
_ENGINES_OF_MODELS: WeakKeyDictionary[TrailModel, dict[object, Engine]] = WeakKeyDictionary()


class EngineChoice(NamedTuple):
    """Engine, device and precision of a prediction."""

    engine: str
    """Library that runs the network, ``openvino`` or ``torch``."""

    device: str
    """Device, as `lsst.meas.trails.nn.hardware.choose_device` returns it."""

    bfloat16: bool
    """Use of bfloat16 to compute, otherwise of float32."""

    @property
    def precision(self) -> str:
        """Name of the precision, ``bfloat16`` or ``float32``."""
        return "bfloat16" if self.bfloat16 else "float32"


def choose_engine(
    plan: NetworkPlan, *, engine: str = "auto", device: str = "auto", dtype: str = "auto"
) -> EngineChoice:
    """Choose engine, device and precision.

    Parameters
    ----------
    plan
        Plan of the network.
    engine
        One of `ENGINES`.
    device, dtype
        As for `lsst.meas.trails.nn.predict.predict_probability`.

    Raises
    ------
    ValueError
        Raised if a value is unknown, the device does not exist, or the engine is not installed or cannot run
        the network.

    Notes
    -----
    OpenVINO computes in bfloat16 only on CPUs with its instructions; torch emulates them.
    """
    if engine not in ENGINES:
        raise ValueError(f"The engine must be one of {', '.join(ENGINES)}, not {engine!r}.")
    device = choose_device(device, engine)
    bfloat16 = use_bfloat16(dtype, device)
    emulated = bfloat16 and not cpu_has_bfloat16()
    if engine == "auto":
        possible = device == "cpu" and plan.graph is not None and not emulated and has_openvino()
        engine = "openvino" if possible else "torch"
    if engine == "openvino":
        if device != "cpu":
            raise ValueError(
                f"The engine 'openvino' runs on the device 'cpu', not on {device!r}; use 'torch'."
            )
        if plan.graph is None:
            raise ValueError("The engine 'openvino' cannot run this architecture; use 'torch'.")
        if emulated:
            raise ValueError("OpenVINO cannot emulate bfloat16 on this CPU; use float32, or 'torch'.")
        if not has_openvino():
            raise ValueError("OpenVINO is not installed; pip install openvino, or use the engine 'torch'.")
    elif not has_torch():
        raise ValueError(
            "This model or device needs torch, which is not installed; pip install 'lsst-meas-trails[train]'."
        )
    return EngineChoice(engine, device, bfloat16)


def create_engine(model: TrailModel, choice: EngineChoice, threads: int | None = None) -> Engine:
    """Return a model's network, ready to run; it is kept as long as the model.

    Parameters
    ----------
    model
        The model.
    choice
        Engine, device and precision.
    threads
        CPU threads; by default all cores with OpenVINO, and torch's current number with torch.
    """
    # Torch's threads are set around each call.
    key = choice, threads if choice.engine == "openvino" else None
    engines = _ENGINES_OF_MODELS.setdefault(model, {})
    if key not in engines:
        engines[key] = (
            OpenVinoEngine(model, bfloat16=choice.bfloat16, threads=threads)
            if choice.engine == "openvino"
            else TorchEngine(model, device=choice.device, bfloat16=choice.bfloat16)
        )
    return engines[key]


class OpenVinoEngine:
    """A network in OpenVINO, on the CPU; calls of several threads take turns.

    Parameters
    ----------
    model
        The model; its plan must have a graph.
    bfloat16
        Whether to compute in bfloat16, otherwise in float32.
    threads
        Number of threads; by default all cores.
    """

    def __init__(self, model: TrailModel, *, bfloat16: bool, threads: int | None) -> None:
        from .networks.openvino_runtime import openvino

        self._plan, self._weights = model.plan, model.weights
        self._core = openvino.Core()
        self._options: dict[str, str | int] = {
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            # Other processes share the cores, and pinned threads of several would meet on one.
            "ENABLE_CPU_PINNING": "NO",
        }
        if threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._graphs: dict[tuple[int, ...], openvino.CompiledModel] = {}
        self._last: tuple[int, ...] = ()
        # A compiled graph refuses a second use at the same time, and the release of its memory in use.
        self._lock = threading.RLock()

    def logits(self, inputs: _Array, inner: Inner | None = None) -> _Array:
        with self._lock:
            return self._logits(inputs, inner)

    def _logits(self, inputs: _Array, inner: Inner | None) -> _Array:
        shape = inputs.shape[2:]
        if inner is None:
            inner = slice(0, shape[0]), slice(0, shape[1])
        key = (*shape, *(edge for part in inner for edge in (part.start, part.stop)))
        if key != self._last:
            # Each graph has its own intermediate results.
            self.release()
        self._last = key
        if key not in self._graphs:
            if len(self._graphs) >= _MAX_GRAPHS:
                self._graphs.pop(next(iter(self._graphs)))
            graph = self._plan.create_graph(self._weights, (shape[0], shape[1]), inner)
            self._graphs[key] = self._core.compile_model(graph, "CPU", self._options)
        results = [self._graphs[key](image[None], share_inputs=True)[0][0, 0] for image in inputs]
        return np.stack(results)

    def release(self) -> None:
        with self._lock:
            for graph in self._graphs.values():
                graph.release_memory()


class TorchEngine:
    """A network in torch.

    Parameters
    ----------
    model
        The model.
    device
        Device, as `lsst.meas.trails.nn.hardware.choose_device` returns it.
    bfloat16
        Whether to compute in bfloat16, otherwise in float32.
    """

    def __init__(self, model: TrailModel, *, device: str, bfloat16: bool) -> None:
        import torch

        self._device = torch.device(device)
        self._dtype = torch.bfloat16 if bfloat16 else torch.float32
        self.network = model.network.prepared_for_inference().to(self._dtype)
        self.network.to(  # type: ignore[call-overload]
            device=self._device, memory_format=torch.channels_last
        )

    def logits(self, inputs: _Array, inner: Inner | None = None) -> _Array:
        import torch

        with torch.inference_mode():
            tensor = torch.from_numpy(inputs).to(device=self._device, dtype=self._dtype)
            tensor = tensor.contiguous(memory_format=torch.channels_last)
            output = self.network(tensor) if inner is None else self.network(tensor, inner)
            logits: _Array = output[:, 0].float().cpu().numpy()
        return logits

    def release(self) -> None:
        # Torch frees intermediate results itself.
        pass
