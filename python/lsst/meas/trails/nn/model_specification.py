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

"""The specification of a model: what it is, what it expects, how it was made."""

from __future__ import annotations

__all__ = ("FORMAT_VERSION", "MAX_WEIGHTS_BYTES", "ModelError", "ModelSpecification")

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch

from ..core.normalize import (
    ADCNN_CHANNELS,
    ADCNN_NORMALIZATION,
    CHANNELS,
    NORMALIZATION,
    NORMALIZATIONS,
)
from .networks.registry import TrailNetwork, create_network, network_names

FORMAT_VERSION = 1
"""Version of the specification that is written and read."""

MAX_WEIGHTS_BYTES = 500_000_000
"""Largest file of weights that is read."""


class ModelError(ValueError):
    """A model that cannot be used; the message says what differs and what
    to do.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpecification:
    """What a network is, what it expects, and how it was made.

    Raises
    ------
    ModelError
        Raised if a value is of the wrong type or out of range, or asks for
        what this version of the package does not have.
    """

    name: str
    """Name of the model."""

    version: str
    """Version of the model."""

    architecture: str
    """Name of the architecture."""

    hyperparameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Hyperparameters of the architecture."""

    channels: tuple[str, ...]
    """Input channels, in order."""

    normalization: str = NORMALIZATION
    """Name and version of the normalization of the input."""

    pixel_scale: float | None = None
    """Pixel scale of the training images, arcsec; `None` if mixed."""

    fwhm_range: tuple[float, float] | None = None
    """Range of the PSF's FWHM in the training images, pixels."""

    thresholds: dict[str, float] = dataclasses.field(default_factory=lambda: {"seed": 0.5, "grow": 0.2})
    """Probabilities above which a pixel seeds (``seed``) and belongs to
    (``grow``) a candidate.
    """

    score: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Calibration of the candidates' score: coefficients by feature."""

    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Data and recipe."""

    metrics: dict[str, float | None] = dataclasses.field(default_factory=dict)
    """Measures on the validation data, of the weights as stored."""

    weights_file: str = ""
    """Name of the file of the weights, in the same folder."""

    weights_sha256: str = ""
    """Checksum of that file, hexadecimal."""

    weights_bytes: int = 0
    """Size of that file."""

    created: str = ""
    """When the weights were written, ISO 8601, UTC."""

    package_version: str = ""
    """Version of this package that wrote them."""

    def __post_init__(self) -> None:
        for key in ("name", "version", "architecture", "normalization"):
            _expect(bool(getattr(self, key)), f"{key} is empty")
        if self.architecture not in network_names():
            raise ModelError(
                f"it needs the architecture {self.architecture!r}, and this version of meas_trails has "
                f"{', '.join(network_names())}; use the version that wrote it ({self.package_version or '?'})"
            )
        if self.normalization not in NORMALIZATIONS:
            raise ModelError(
                f"it needs the normalization {self.normalization!r}, and this version of meas_trails applies "
                f"{' or '.join(map(repr, NORMALIZATIONS))}; use the version that wrote it "
                f"({self.package_version or '?'}) or retrain"
            )
        _expect(len(self.channels) > 0, "channels is empty")
        _expect(len(set(self.channels)) == len(self.channels), "channels names one twice")
        if unknown := [name for name in self.channels if name not in CHANNELS]:
            raise ModelError(
                f"it needs the input channels {unknown}, and this version of meas_trails has "
                f"{', '.join(CHANNELS)}; use the version that wrote it ({self.package_version or '?'})"
            )
        _expect(
            self.normalization != ADCNN_NORMALIZATION or self.channels == ADCNN_CHANNELS,
            f"the normalization {self.normalization} makes the channel {ADCNN_CHANNELS[0]} and no other",
        )
        _expect(self.pixel_scale is None or self.pixel_scale > 0.0, "pixel_scale is not positive")
        if self.fwhm_range is not None:
            _expect(0.0 < self.fwhm_range[0] <= self.fwhm_range[1], "fwhm_range is not a range of widths")
        _expect(set(self.thresholds) == {"seed", "grow"}, "thresholds must hold 'seed' and 'grow'")
        grow, seed = self.thresholds["grow"], self.thresholds["seed"]
        _expect(
            0.0 < grow <= seed < 1.0, f"thresholds (grow {grow}, seed {seed}) are not 0 < grow <= seed < 1"
        )
        # A model that is exported or copied writes a file of this name.
        weights = Path(self.weights_file)
        plain = weights.name == self.weights_file and "\\" not in self.weights_file
        plain = plain and weights.suffix == ".safetensors" and self.weights_file.isprintable()
        _expect(
            plain or not self.weights_file,
            f"weights file {self.weights_file!r} is not a plain file name that ends in .safetensors",
        )
        _expect(0 <= self.weights_bytes <= MAX_WEIGHTS_BYTES, f"weights of {self.weights_bytes} bytes")
        self.create_network(meta=True)

    @property
    def tile_size(self) -> int | None:
        """Side of the only tiles that the network is valid on, pixels, or
        `None` if it has no such limit (`int` | `None`).
        """
        return self.create_network(meta=True).tile_size

    def create_network(self, *, meta: bool = False) -> TrailNetwork:
        """Return the network with fresh weights.

        Parameters
        ----------
        meta
            Whether to create it without memory, for its shapes.

        Raises
        ------
        ModelError
            Raised if the architecture does not accept the hyperparameters.
        """
        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta" if meta else "cpu"):
                return create_network(
                    self.architecture, in_channels=len(self.channels), **self.hyperparameters
                )
        except (ValueError, TypeError) as error:
            raise ModelError(f"its hyperparameters do not fit the architecture: {error}") from None

    def to_json(self) -> str:
        """Return the specification as JSON text."""
        tile_size = self.tile_size
        return json.dumps(
            {
                "format_version": FORMAT_VERSION,
                "name": self.name,
                "version": self.version,
                "architecture": {"name": self.architecture, "hyperparameters": self.hyperparameters},
                **({} if tile_size is None else {"tile_size": tile_size}),
                "channels": list(self.channels),
                "normalization": {"name": self.normalization},
                "pixel_scale": self.pixel_scale,
                "fwhm_range": None if self.fwhm_range is None else list(self.fwhm_range),
                "thresholds": self.thresholds,
                "score": self.score,
                "training": self.training,
                "metrics": self.metrics,
                "weights": {
                    "file": self.weights_file,
                    "sha256": self.weights_sha256,
                    "bytes": self.weights_bytes,
                },
                "created": self.created,
                "package_version": self.package_version,
            },
            indent=2,
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the specification in a JSON text.

        Raises
        ------
        ModelError
            Raised if the text is no specification that this version of the
            package can honor.
        """
        try:
            data = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"it is not valid JSON ({error}); it may be cut short: copy it again") from None
        _expect(isinstance(data, dict), "it is not a JSON object")
        version = data.get("format_version")
        if type(version) is not int or version != FORMAT_VERSION:
            raise ModelError(
                f"it has format version {version!r}, and this version of meas_trails reads {FORMAT_VERSION}"
            )
        required = {
            "format_version",
            "name",
            "version",
            "architecture",
            "channels",
            "normalization",
            "weights",
        }
        optional = {
            "tile_size",
            "pixel_scale",
            "fwhm_range",
            "thresholds",
            "score",
            "training",
            "metrics",
            "created",
            "package_version",
        }
        _expect_keys("the specification", data, required, optional)
        architecture = _take(data, "architecture", dict)
        _expect_keys("architecture", architecture, {"name"}, {"hyperparameters"})
        normalization = _take(data, "normalization", dict)
        _expect_keys("normalization", normalization, {"name"}, set())
        weights = _take(data, "weights", dict)
        _expect_keys("weights", weights, {"file", "sha256", "bytes"}, set())
        values: dict[str, Any] = {
            "name": _take(data, "name", str),
            "version": _take(data, "version", str),
            "architecture": _take(architecture, "name", str),
            "channels": tuple(_take(data, "channels", list)),
            "normalization": _take(normalization, "name", str),
            "weights_file": _take(weights, "file", str),
            "weights_sha256": _take(weights, "sha256", str),
            "weights_bytes": _take(weights, "bytes", int),
        }
        _expect(all(isinstance(name, str) for name in values["channels"]), "channels must hold names")
        if "hyperparameters" in architecture:
            values["hyperparameters"] = _take(architecture, "hyperparameters", dict)
        for key in ("score", "training"):
            if key in data:
                values[key] = _take(data, key, dict)
        for key in ("created", "package_version"):
            if key in data:
                values[key] = _take(data, key, str)
        if "thresholds" in data:
            thresholds = _take(data, "thresholds", dict)
            values["thresholds"] = {key: _number(thresholds, key) for key in thresholds}
        if "metrics" in data:
            metrics = _take(data, "metrics", dict)
            values["metrics"] = {
                key: None if value is None else _number(metrics, key) for key, value in metrics.items()
            }
        if data.get("pixel_scale") is not None:
            values["pixel_scale"] = _number(data, "pixel_scale")
        if data.get("fwhm_range") is not None:
            limits = _take(data, "fwhm_range", list)
            _expect(len(limits) == 2, "fwhm_range must hold two numbers")
            values["fwhm_range"] = tuple(_number({"fwhm_range": limit}, "fwhm_range") for limit in limits)
        specification = cls(**values)
        if data.get("tile_size") != specification.tile_size:
            raise ModelError(
                f"it has the tile size {data.get('tile_size')!r}, and {specification.architecture} is valid "
                f"on tiles of {specification.tile_size or 'any size'}"
            )
        return specification


def _expect(condition: bool, problem: str) -> None:
    if not condition:
        raise ModelError(problem)


def _expect_keys(where: str, data: Mapping[str, Any], required: set[str], optional: set[str]) -> None:
    if missing := sorted(required - set(data)):
        raise ModelError(f"{where} lacks {', '.join(missing)}")
    if unknown := sorted(set(data) - required - optional):
        raise ModelError(f"{where} has keys unknown to this version of meas_trails: {', '.join(unknown)}")


def _take(data: Mapping[str, Any], key: str, kind: type) -> Any:
    value = data[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ModelError(f"{key} must be of type {kind.__name__}, not {type(value).__name__}")
    return value


def _number(data: Mapping[str, Any], key: str) -> float:
    value = data[key]
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:
        # A whole number with more than 308 digits.
        value = "one that is too large"
    raise ModelError(f"{key} must hold finite numbers, not {value!r}")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that JSON knows")
