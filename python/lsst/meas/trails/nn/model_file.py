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

"""The model file: a specification in JSON and weights in safetensors.

A model is two files, ``NAME.json`` and ``NAME.safetensors``; neither can hold code. Before any weight is
used, the architecture and its shapes, the input channels, the normalization and the checksum of the weights
are checked.
"""

from __future__ import annotations

__all__ = (
    "FORMAT_VERSION",
    "ModelError",
    "ModelSpecification",
    "TrailModel",
    "find_model",
    "load_model",
    "model_from_bytes",
    "read_model_bytes",
    "rounded",
    "save_model",
    "shipped_model_path",
    "write_model_bytes",
    "write_specification",
)

import copy
import dataclasses
import datetime
import functools
import hashlib
import importlib.resources
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import safetensors

from .. import __version__
from ..core.atomic import atomic_path
from .model_specification import FORMAT_VERSION, MAX_WEIGHTS_BYTES, ModelError, ModelSpecification
from .networks.registry import NetworkPlan

if TYPE_CHECKING:
    import torch

    from .networks.network import TrailNetwork

_MAX_SPECIFICATION_BYTES = 1_000_000
_DTYPES = ("float16", "bfloat16", "float32")
_STORED = {"F16": "<f2", "F32": "<f4"}


@dataclasses.dataclass(frozen=True, eq=False)
class TrailModel:
    """Weights of a network with their specification."""

    specification: ModelSpecification
    """The specification."""

    weights: Mapping[str, npt.NDArray[np.float32]]
    """The weights by name."""

    checksum: str
    """SHA-256 of specification and weights together, hexadecimal."""

    @classmethod
    def from_network(cls, specification: ModelSpecification, network: TrailNetwork) -> Self:
        """Return a model that is not stored in a file.

        Parameters
        ----------
        specification
            Its specification.
        network
            Its network, in evaluation mode. The model is valid until the network is trained on.
        """
        weights = {name: tensor.detach().cpu().numpy() for name, tensor in _weights(network).items()}
        model = cls(specification=specification, weights=weights, checksum="")
        model.__dict__["network"] = network
        return model

    @functools.cached_property
    def plan(self) -> NetworkPlan:
        """Plan of the network."""
        return self.specification.create_plan()

    @functools.cached_property
    def network(self) -> TrailNetwork:
        """The network in torch, float32, in evaluation mode."""
        import torch

        network = self.specification.create_network()
        tensors = {name: torch.from_numpy(array) for name, array in self.weights.items()}
        network.load_state_dict(tensors, strict=False)
        return network.eval().requires_grad_(False)


def save_model(
    stem: str | os.PathLike[str],
    network: TrailNetwork,
    specification: ModelSpecification,
    *,
    dtype: str = "float16",
) -> ModelSpecification:
    """Write a model.

    Parameters
    ----------
    stem
        Folder and name; ``.json`` and ``.safetensors`` are added.
    network
        Network whose weights to store.
    specification
        Its specification; the fields about the weights' file are replaced.
    dtype
        Stored precision of convolutions: ``float16``, ``bfloat16`` or ``float32``. The few other weights are
        always float32.

    Returns
    -------
    specification
        The specification as written.

    Raises
    ------
    ModelError
        Raised if the network and the specification disagree, or a weight is not finite or too large for the
        precision.
    """
    import safetensors.torch
    import torch

    stem = Path(stem)
    if dtype not in _DTYPES:
        raise ModelError(f"The precision must be one of {', '.join(_DTYPES)}, not {dtype!r}.")
    tensors = {}
    for name, tensor in _weights(network).items():
        # Variances of normalizations may underflow in 16 bits.
        stored = tensor.detach().cpu().to(getattr(torch, dtype) if tensor.ndim >= 2 else torch.float32)
        if not bool(torch.isfinite(stored).all()):
            raise ModelError(f"{stem}: the weights {name} are not finite as {dtype}; nothing was written.")
        tensors[name] = stored.clone(memory_format=torch.contiguous_format)
    _check_shapes(specification, {name: tuple(t.shape) for name, t in tensors.items()}, str(stem))
    content = safetensors.torch.save(tensors, metadata={"format": "pt"})
    weights_path = stem.with_name(stem.name + ".safetensors")
    specification = specification.replace(
        weights_file=weights_path.name,
        weights_sha256=hashlib.sha256(content).hexdigest(),
        weights_bytes=len(content),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        package_version=str(__version__),
    )
    _write(weights_path, content)
    write_specification(stem.with_name(stem.name + ".json"), specification)
    return specification


def write_specification(path: str | os.PathLike[str], specification: ModelSpecification) -> None:
    """Write the specification of a model whose weights exist."""
    try:
        text = specification.to_json()
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: cannot be written as JSON: {error}.") from error
    _write(Path(path), text.encode() + b"\n")


def load_model(path: str | os.PathLike[str]) -> TrailModel:
    """Read a model.

    Parameters
    ----------
    path
        Either of its two files, or their common stem.

    Raises
    ------
    ModelError
        Raised if a file is missing or damaged, the files disagree, or the model needs another version of the
        package.
    """
    text, weights, weights_path = read_model_bytes(path)
    return model_from_bytes(text, weights, source=str(weights_path))


def read_model_bytes(path: str | os.PathLike[str]) -> tuple[bytes, bytes, Path]:
    """Return the contents of a model's two files, and the path of the weights.

    Parameters
    ----------
    path
        Either of the files, or their common stem.

    Raises
    ------
    ModelError
        Raised if a file cannot be read or is too large for a model.
    """
    path = Path(path)
    if path.suffix not in (".json", ".safetensors"):
        path = path.with_name(path.name + ".json")
    specification_path = path.with_suffix(".json")
    text = _read(specification_path, _MAX_SPECIFICATION_BYTES)
    weights_path = specification_path.with_name(_parse(text, str(specification_path)).weights_file)
    return text, _read(weights_path, MAX_WEIGHTS_BYTES), weights_path


def write_model_bytes(path: Path, text: bytes, weights: bytes) -> None:
    """Write the two files of a model.

    Parameters
    ----------
    path
        The ``.json`` file.
    text, weights
        Contents of the files; the specification names the file of the weights, in the same folder.
    """
    # The specification only accepts names without a folder.
    _write(path.with_name(_parse(text, str(path)).weights_file), weights)
    _write(path, text)


def _parse(text: bytes, source: str) -> ModelSpecification:
    specification = ModelSpecification.from_json(text, source)
    if not specification.weights_file:
        raise ModelError(f"{source}: weights_file is empty; export the model again.")
    return specification


def model_from_bytes(text: bytes, weights: bytes, *, source: str) -> TrailModel:
    """Return a model from its specification and weights.

    Parameters
    ----------
    text
        The specification, JSON.
    weights
        The weights, safetensors.
    source
        Name of their file, for messages.

    Raises
    ------
    ModelError
        Raised if one of them is damaged, they disagree, or the model needs another version of the package.
    """
    if len(text) > _MAX_SPECIFICATION_BYTES or len(weights) > MAX_WEIGHTS_BYTES:
        raise ModelError(f"{source}: has {len(text)} and {len(weights)} bytes, too many for a model.")
    specification = _parse(text, source)
    if len(weights) != specification.weights_bytes:
        raise ModelError(
            f"{source}: the weights have {len(weights)} bytes instead of {specification.weights_bytes}; the "
            "file is cut short or belongs to another model: copy both files again."
        )
    digest = hashlib.sha256(weights).hexdigest()
    if digest != specification.weights_sha256:
        raise ModelError(
            f"{source}: the weights have SHA-256 {digest[:16]}... instead of "
            f"{specification.weights_sha256[:16]}...; the file is damaged or belongs to another model: copy "
            "both files again."
        )
    arrays = _read_weights(specification, weights, source)
    checksum = hashlib.sha256(text + digest.encode()).hexdigest()
    return TrailModel(specification=specification, weights=arrays, checksum=checksum)


def _read_weights(
    specification: ModelSpecification, content: bytes, source: str
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the weights in a file of safetensors, in single precision."""
    try:
        tensors = dict(safetensors.deserialize(content))
    except (safetensors.SafetensorError, ValueError) as error:
        raise ModelError(f"{source}: is not valid safetensors: {error}; copy both files again.") from error
    _check_shapes(specification, {name: tuple(t["shape"]) for name, t in tensors.items()}, source)
    arrays = {}
    for name, tensor in tensors.items():
        kind, data = tensor["dtype"], tensor["data"]
        if kind == "BF16":
            # The upper half of a single-precision number.
            array = (np.frombuffer(data, dtype="<u2").astype("<u4") << 16).view(np.float32)
        elif kind in _STORED:
            array = np.frombuffer(data, dtype=_STORED[kind]).astype(np.float32)
        else:
            raise ModelError(f"{source}: the weights {name} are {kind}, not F16, BF16 or F32.")
        if not np.all(np.isfinite(array)):
            raise ModelError(f"{source}: the weights {name} are not finite; train again.")
        arrays[name] = array.reshape(tensor["shape"])
    return arrays


def shipped_model_path(name: str = "direct") -> Path:
    """Return the path of the specification of a model in the package.

    Parameters
    ----------
    name
        Its name.

    Raises
    ------
    ModelError
        Raised if the model does not exist.
    """
    folder = Path(str(importlib.resources.files("lsst.meas.trails.resources") / "models"))
    path = folder / f"{name}.json"
    if path.parent != folder or not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in folder.glob("*.json"))) or "none"
        raise ModelError(f"The package has no model {name!r}; its models are {known}.")
    return path


def find_model(name: str | os.PathLike[str]) -> Path:
    """Return the file of a model.

    Parameters
    ----------
    name
        A path, or the name of a model in the package.

    Raises
    ------
    ModelError
        Raised if neither the file nor the name exists.
    """
    path = Path(name)
    if path.suffix in (".json", ".safetensors") or path.with_name(path.name + ".json").is_file():
        return path
    try:
        return shipped_model_path(str(name))
    except ModelError as error:
        raise ModelError(f"There is no file {name}. {error}") from error


def rounded(network: TrailNetwork, dtype: str = "float16") -> TrailNetwork:
    """Return a copy of a network with its weights rounded as in a file."""
    import torch

    network = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in _weights(network).values():
            if tensor.ndim >= 2:
                tensor.copy_(tensor.to(getattr(torch, dtype)).float())
    return network


def _weights(network: TrailNetwork) -> dict[str, torch.Tensor]:
    """Return the stored weights: all but counters of batches, only for training."""
    return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}


def _check_shapes(
    specification: ModelSpecification, shapes: Mapping[str, tuple[int, ...]], source: str
) -> None:
    try:
        expected = specification.weight_shapes()
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{source}: the architecture {specification.architecture} needs {error.name}, which is not "
            "installed; pip install 'lsst-meas-trails[train]'."
        ) from error
    for name, shape in expected.items():
        if name not in shapes:
            raise ModelError(f"{source}: the weights lack {name}, which {specification.architecture} needs.")
        if shapes[name] != shape:
            raise ModelError(f"{source}: the weights {name} have shape {shapes[name]} instead of {shape}.")
    if extra := sorted(set(shapes) - set(expected)):
        raise ModelError(f"{source}: the weights hold {extra[0]}, unknown to {specification.architecture}.")


def _read(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise ModelError(f"{path}: has {size} bytes, more than the limit of {limit}.")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); a model is NAME.json and NAME.safetensors together."
        ) from error


def _write(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as partial:
        partial.write_bytes(content)
