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

"""Conversion of checkpoints of Asteroid_detection_CNN to model files.

A checkpoint is a file of `torch.save`, which can contain code. It is read as weights only, and used only
after its types, shapes and values are checked.
"""

from __future__ import annotations

__all__ = ("MAX_CHECKPOINT_BYTES", "AdcnnWeights", "convert_checkpoint", "read_adcnn_weights")

import dataclasses
import hashlib
import os
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..core.normalize import ADCNN_CHANNELS, ADCNN_NORMALIZATION
from ..nn.model_file import ModelError, ModelSpecification, save_model
from ..nn.networks.network import TrailNetwork

MAX_CHECKPOINT_BYTES = 4_000_000_000
"""Largest checkpoint: weights, averages and optimizer state of the widest network are below one gigabyte."""

_THRESHOLDS = {"grow": 0.2, "seed": 0.2}
"""Thresholds of the original post-processing: support and peak."""

_WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes of names in states of distributed and compiled networks."""


@dataclasses.dataclass(frozen=True, eq=False)
class AdcnnWeights:
    """Checked weights of a checkpoint and their network."""

    architecture: str
    """Name of the architecture."""

    width: int
    """Number of channels at full resolution."""

    state: dict[str, torch.Tensor]
    """State of the network, float32."""


def convert_checkpoint(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    ema: bool = False,
    concatenation: str = "up-skip",
) -> ModelSpecification:
    """Write a checkpoint of Asteroid_detection_CNN as a model file.

    Parameters
    ----------
    path
        The checkpoint, such as ``ckpt_best.pt``.
    output
        Specification to write, ``NAME.json``; the weights go next to it.
    ema
        Whether to use the moving average of the parameters; see `read_adcnn_weights`.
    concatenation
        Order of channels where skip connections join; see
        `~lsst.meas.trails.nn.networks.unet_res_se.UNetResSE`.

    Returns
    -------
    specification
        The specification as written.

    Raises
    ------
    ModelError
        Raised if the checkpoint cannot be used or the model cannot be written.

    Notes
    -----
    The model has the original normalization and thresholds (probability 0.2) and no calibrated score.
    """
    path, output = Path(path), Path(output)
    if output.suffix != ".json":
        raise ModelError(f"{output}: the name of the model does not end with .json; pass NAME.json.")
    weights = read_adcnn_weights(path, ema=ema)
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        specification = _specification(
            weights.architecture,
            weights.width,
            name=output.stem,
            hyperparameters={"width": weights.width, "concatenation": concatenation},
            training={
                "checkpoint": path.name,
                "checkpoint_sha256": digest,
                "checkpoint_weights": "ema" if ema else "state",
            },
        )
        network = specification.create_network()
        network.load_state_dict(weights.state, strict=True)
        return save_model(output.with_suffix(""), network, specification, dtype="float32")
    except OSError as error:
        raise ModelError(f"{error.filename or output}: {error.strerror or error}.") from error


def read_adcnn_weights(path: str | os.PathLike[str], *, ema: bool = False) -> AdcnnWeights:
    """Read the weights of a checkpoint of Asteroid_detection_CNN.

    Parameters
    ----------
    path
        The checkpoint.
    ema
        Whether to take the parameters from ``best_state_ema``, or else ``ema``, instead of ``state``. Buffers
        always come from ``state``.

    Raises
    ------
    ModelError
        Raised if the file cannot be read, contains more than weights, or has weights that do not fit the
        architecture or are not finite.
    """
    path = Path(path)
    content = _load(path)
    state = _tensors(content.get("state"), path, "state")
    if ema:
        key = "best_state_ema" if content.get("best_state_ema") is not None else "ema"
        average = content.get(key)
        if isinstance(average, Mapping) and "shadow" in average:
            average, key = average["shadow"], f"{key}.shadow"
        averages = _tensors(average, path, key)
        if unknown := sorted(set(averages) - set(state)):
            raise ModelError(f"{path}: {key} has {unknown[0]}, which state lacks.")
    stem = state.get("stem.0.weight")
    if stem is None or stem.ndim != 4:
        raise ModelError(
            f"{path}: state has no stem.0.weight, from which the widths are inferred; pass a checkpoint of "
            "UNetResSE or UNetResSEASPP."
        )
    width, channels = int(stem.shape[0]), int(stem.shape[1])
    if channels != len(ADCNN_CHANNELS):
        raise ModelError(f"{path}: the network has {channels} input channels; only one is supported.")
    architecture = "UNetResSEASPP" if any(name.startswith("aspp.") for name in state) else "UNetResSE"
    try:
        network = _specification(architecture, width).create_network(meta=True)
    except ModelError as error:
        raise ModelError(f"{path}: {error}.") from error
    if ema:
        parameters = {name for name, _ in network.named_parameters()}
        if missing := sorted(parameters - set(averages)):
            raise ModelError(f"{path}: {key} lacks the parameter {missing[0]}.")
        state |= averages
    _check_names_and_shapes(network, state, path)
    # Only after the shapes: a tensor of a few bytes can claim any size.
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{path}: the weights {name} are not finite: the training failed.")
    floats = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    return AdcnnWeights(architecture=architecture, width=width, state=floats)


def _load(path: Path) -> Mapping[str, object]:
    """Return the content of a file of `torch.save` that has plain data."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if size > MAX_CHECKPOINT_BYTES:
        raise ModelError(f"{path}: has {size} bytes, more than {MAX_CHECKPOINT_BYTES}.")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                # Torch never compresses.
                if sum(entry.file_size for entry in archive.infolist()) > size:
                    raise ModelError(f"{path}: is a compressed archive, not a checkpoint.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except Exception as error:
        # Damaged and hostile files raise almost anything inside torch.
        raise ModelError(f"{path}: {_reason(error)}") from error
    if not isinstance(content, Mapping):
        raise ModelError(f"{path}: has a {type(content).__name__}, not the dictionary of a checkpoint.")
    return content


def _reason(error: Exception) -> str:
    """Return the reason for refusing a checkpoint.

    Torch's own text would advise to execute the code in the file.
    """
    if found := re.search(r"GLOBAL ([\w.]{1,100})", str(error)):
        return f"refers to {found[1]}, which is not a weight; nothing was executed or loaded."
    if type(error).__name__ == "UnpicklingError":
        return "contains more than weights; nothing was executed or loaded."
    return f"is not a complete checkpoint ({type(error).__name__}); copy it again."


def _tensors(value: object, path: Path, key: str) -> dict[str, torch.Tensor]:
    """Return a state of a checkpoint, checked to have only plain tensors."""
    if not isinstance(value, Mapping) or not value:
        raise ModelError(f"{path}: has no weights under {key!r}.")
    tensors = {}
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ModelError(f"{path}: {key} has something other than named weights: {str(name)[:80]!r}.")
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not plain or tensor.is_complex():
            raise ModelError(f"{path}: the weights {name[:80]} of {key} are not a plain array.")
        tensors[name] = tensor.detach()
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in tensors):
            tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    return tensors


def _specification(architecture: str, width: int, **fields: Any) -> ModelSpecification:
    """Return the specification of a checkpoint's network."""
    return ModelSpecification(
        architecture=architecture,
        channels=ADCNN_CHANNELS,
        normalization=ADCNN_NORMALIZATION,
        thresholds=dict(_THRESHOLDS),
        **{"name": "adcnn", "version": "1", "hyperparameters": {"width": width}, **fields},
    )


def _check_names_and_shapes(network: TrailNetwork, state: dict[str, torch.Tensor], path: Path) -> None:
    """Check that a state fits a network on the device ``meta``."""
    try:
        network.load_state_dict({name: tensor.to("meta") for name, tensor in state.items()}, strict=True)
    except RuntimeError as error:
        problems = " ".join(line.strip() for line in str(error).splitlines()[1:])
        raise ModelError(
            f"{path}: the weights do not fit {type(network).__name__}: {problems[:300]}"
        ) from error
