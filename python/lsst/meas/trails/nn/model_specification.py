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

"""Specification of a model: its network, input, training and calibration."""

from __future__ import annotations

__all__ = (
    "FORMAT_VERSION",
    "MAX_WEIGHTS_BYTES",
    "SECOND_STAGE_PREFIX",
    "ModelError",
    "ModelSpecification",
    "NetworkSection",
)

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pydantic
from pydantic import Field

from ..core.normalize import ADCNN_CHANNELS, ADCNN_NORMALIZATION, CHANNELS, NORMALIZATION, NORMALIZATIONS
from ..core.section import Section, describe_error, require
from .networks.registry import NetworkPlan, create_plan, network_names
from .second_stage import SecondStageSection

if TYPE_CHECKING:
    from .networks.network import TrailNetwork

FORMAT_VERSION = 2
"""Version of the specification that is written and read."""

MAX_WEIGHTS_BYTES = 500_000_000
"""Maximum size of a file of weights."""

SECOND_STAGE_PREFIX = "second_stage."
"""Start of the names of the weights of a second stage in the file of a model."""


class ModelError(ValueError):
    """Raised if a model cannot be used; the message names its file and a remedy."""


class NetworkSection(Section):
    """Section that defines a network."""

    name: str = Field(min_length=1)
    """Name of the model."""

    version: str = Field(min_length=1)
    """Version of the model."""

    architecture: str
    """Name of the architecture."""

    hyperparameters: dict[str, object] = {}
    """Hyperparameters of the architecture."""

    channels: tuple[str, ...] = Field(min_length=1)
    """Input channels, in order."""

    @pydantic.model_validator(mode="after")
    def _check_network(self) -> Self:
        self._require_known("architecture", [self.architecture], network_names())
        self._require_known("channels", self.channels, CHANNELS)
        require(len(set(self.channels)) == len(self.channels), "channels", "names a channel twice")
        try:
            self.create_plan()
        except (ValueError, TypeError) as error:
            require(False, "hyperparameters", f"do not fit the architecture: {error}")
        return self

    @staticmethod
    def _require_known(key: str, names: Iterable[str], known: Collection[str]) -> None:
        unknown = ", ".join(repr(name) for name in names if name not in known)
        require(not unknown, key, f"must not be {unknown}; this version supports {', '.join(known)}")

    def create_plan(self) -> NetworkPlan:
        """Return the plan of the network."""
        return create_plan(self.architecture, in_channels=len(self.channels), **self.hyperparameters)

    def create_network(self, *, meta: bool = False) -> TrailNetwork:
        """Return the network in torch, with random weights.

        Parameters
        ----------
        meta
            Whether to create it without memory, for its shapes.
        """
        import torch

        with torch.random.fork_rng(devices=[]), torch.device("meta" if meta else "cpu"):
            network: TrailNetwork = self.create_plan().create_network()
        return network


class ModelSpecification(NetworkSection):
    """Description of a network, its input and its training.

    Raises
    ------
    ModelError
        Raised if a value has the wrong type, is out of range, or needs another version of the package.
    """

    normalization: str = NORMALIZATION
    """Name and version of the normalization of the input."""

    pixel_scale: float | None = Field(None, gt=0.0)
    """Pixel scale of the training images, arcsec; `None` if mixed."""

    fwhm_range: tuple[float, float] | None = None
    """Range of the PSF's FWHM in the training images, pixels."""

    thresholds: dict[str, float] = {"seed": 0.5, "grow": 0.2}
    """Probabilities above which a pixel seeds (``seed``) and belongs to (``grow``) a candidate."""

    second_stage: SecondStageSection | None = None
    """Network that scores candidates; by default a regression does."""

    score: dict[str, object] = {}
    """Calibration of the candidates' score: of the second stage, or coefficients by feature."""

    training: dict[str, object] = {}
    """Data and recipe."""

    metrics: dict[str, float | None] = {}
    """Metrics of the stored weights on the validation data."""

    weights_file: str = ""
    """Name of the file of the weights, in the same folder."""

    weights_sha256: str = ""
    """Checksum of that file, hexadecimal."""

    weights_bytes: int = Field(0, ge=0, le=MAX_WEIGHTS_BYTES)
    """Size of that file."""

    created: str = ""
    """Time of writing, ISO 8601, UTC."""

    package_version: str = ""
    """Version of this package that wrote the model."""

    def __init__(self, /, **values: object) -> None:
        try:
            super().__init__(**values)  # type: ignore[arg-type]
        except pydantic.ValidationError as error:
            raise ModelError(describe_error(error)) from None

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        self._require_known("normalization", [self.normalization], NORMALIZATIONS)
        require(
            self.normalization != ADCNN_NORMALIZATION or self.channels == ADCNN_CHANNELS,
            "normalization",
            f"{ADCNN_NORMALIZATION} supports only the channel {ADCNN_CHANNELS[0]}",
        )
        if self.fwhm_range is not None:
            low, high = self.fwhm_range
            require(0.0 < low <= high, "fwhm_range", "must be a range of positive widths")
        require(set(self.thresholds) == {"seed", "grow"}, "thresholds", "must hold 'seed' and 'grow'")
        ordered = 0.0 < self.thresholds["grow"] <= self.thresholds["seed"] < 1.0
        require(ordered, "thresholds", "must satisfy 0 < grow <= seed < 1")
        # An exported model is written to a file of this name.
        weights = Path(self.weights_file)
        is_plain = weights.name == self.weights_file and "\\" not in self.weights_file
        require(
            not self.weights_file
            or (is_plain and weights.suffix == ".safetensors" and self.weights_file.isprintable()),
            "weights_file",
            "must be a plain file name that ends in .safetensors",
        )
        return self

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all weights by name."""
        shapes = dict(self.create_plan().weight_shapes())
        if self.second_stage is not None:
            of_stage = self.second_stage.weight_shapes()
            shapes |= {SECOND_STAGE_PREFIX + name: shape for name, shape in of_stage.items()}
        return shapes

    @property
    def tile_size(self) -> int | None:
        """Side of valid tiles, pixels; `None` if any size is valid."""
        return self.create_plan().tile_size

    def to_json(self) -> str:
        """Return the specification as JSON text."""
        tile_size = self.tile_size
        sizes = {} if tile_size is None else {"tile_size": tile_size}
        values = {"format_version": FORMAT_VERSION, **self.model_dump(), **sizes}
        return json.dumps(values, indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "specification") -> Self:
        """Return the specification in a JSON text.

        Parameters
        ----------
        text
            The text.
        source
            Name of the file, for messages.

        Raises
        ------
        ModelError
            Raised if the text is not a specification that this version of the package supports.
        """
        try:
            data = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ModelError(
                f"{source}: is not valid JSON ({error}); it may be cut short: copy it again."
            ) from None
        if not isinstance(data, dict):
            raise ModelError(f"{source}: is not a JSON object; copy it again.")
        version = data.pop("format_version", None)
        if type(version) is not int or version != FORMAT_VERSION:
            raise ModelError(
                f"{source}: has format version {version!r}, and this version of meas_trails reads "
                f"{FORMAT_VERSION}; use the version that wrote it."
            )
        tile_size = data.pop("tile_size", None)
        for key in ("normalization", "weights_file", "weights_sha256", "weights_bytes"):
            if key not in data:
                raise ModelError(f"{source}: {key} is missing; export the model again.")
        try:
            specification = cls(**data)
        except ModelError as error:
            writer = f" It was written by meas_trails {data.get('package_version') or '?'}."
            raise ModelError(f"{source}: {error}{writer}") from None
        if tile_size != specification.tile_size:
            raise ModelError(
                f"{source}: tile_size is {tile_size!r}, and {specification.architecture} needs "
                f"{specification.tile_size}; export the model again."
            )
        return specification


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not valid in JSON")
