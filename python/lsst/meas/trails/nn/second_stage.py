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

"""Second stage: a small network that scores candidates by their stamps and numbers.

It needs numpy only: a detector has some hundred candidates. `lsst.meas.trails.training.second_stage` trains
it in torch.
"""

from __future__ import annotations

__all__ = ("MAX_NUMBER", "SecondStage", "SecondStageSection")

import dataclasses
from collections.abc import Mapping
from typing import Self

import numpy as np
import numpy.typing as npt
import pydantic
from pydantic import Field

from ..core.candidates.numbers import CANDIDATE_NUMBERS, candidate_numbers
from ..core.candidates.score import FoundCandidates
from ..core.candidates.stamps import STAMP_CHANNELS, STAMP_SHAPE, cut_stamps
from ..core.section import Section, require

type _Float32 = npt.NDArray[np.float32]
type _Floats = npt.NDArray[np.float64]

STAMP_VERSION = 1
"""Version of stamps and numbers.

Increase it with each change of their values: a network trained on others is wrong.
"""

_BATCH = 64
MAX_NUMBER = 6.0
"""Greatest standardized number."""


class SecondStageSection(Section):
    """Specification of a second stage."""

    stamp_version: int = STAMP_VERSION
    """See `STAMP_VERSION`."""

    channels: tuple[str, ...] = STAMP_CHANNELS
    """Channels of the stamps."""

    numbers: tuple[str, ...] = CANDIDATE_NUMBERS
    """Numbers of a candidate."""

    widths: tuple[int, ...] = (24, 48, 64)
    """Channels of the convolutions, two of each width, the first of which halves the size."""

    dense: int = Field(64, ge=1, le=4096)
    """Width of the layers after the convolutions."""

    dense_numbers: int = Field(32, ge=1, le=4096)
    """Width of the layer of the numbers."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        require(
            self.stamp_version == STAMP_VERSION,
            "stamp_version",
            f"must be {STAMP_VERSION}, the version of this package; train the second stage again",
        )
        for key, known in (("channels", STAMP_CHANNELS), ("numbers", CANDIDATE_NUMBERS)):
            names = getattr(self, key)
            unknown = [name for name in names if name not in known]
            require(not unknown, key, f"must not hold {unknown}; this version supports {', '.join(known)}")
            require(len(set(names)) == len(names), key, "holds a name twice")
        require(len(self.channels) + len(self.numbers) > 0, "channels", "or 'numbers' must not be empty")
        fits = all(0 < width <= 4096 for width in self.widths) and 1 <= len(self.widths) <= 5
        require(fits, "widths", "must hold 1 to 5 positive numbers")
        return self

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights by name, in the order of the layers."""
        shapes: dict[str, tuple[int, ...]] = {}

        def layer(name: str, *shape: int) -> None:
            shapes.update({f"{name}.weight": shape, f"{name}.bias": shape[:1]})

        joined = 0
        if self.channels:
            channels = len(self.channels)
            for name, _, width in self.convolutions():
                layer(name, width, channels, 3, 3)
                channels = width
            h, w = self.folded_shape
            layer("dense", self.dense, channels * h * w)
            joined += self.dense
        if self.numbers:
            shapes["numbers.mean"] = shapes["numbers.scale"] = (len(self.numbers),)
            layer("numbers", self.dense_numbers, len(self.numbers))
            joined += self.dense_numbers
        layer("joined", self.dense, joined)
        layer("output", 1, self.dense)
        return shapes

    @property
    def channel_indices(self) -> list[int]:
        """Numbers of the channels in `STAMP_CHANNELS`."""
        return [STAMP_CHANNELS.index(name) for name in self.channels]

    @property
    def number_indices(self) -> list[int]:
        """Numbers of the numbers in `CANDIDATE_NUMBERS`."""
        return [CANDIDATE_NUMBERS.index(name) for name in self.numbers]

    def convolutions(self) -> list[tuple[str, int, int]]:
        """Return name, stride and number of channels of the convolutions."""
        result: list[tuple[str, int, int]] = []
        for level, width in enumerate(self.widths if self.channels else ()):
            result += [(f"conv.{level}.first", 2, width), (f"conv.{level}.second", 1, width)]
        return result

    @property
    def folded_shape(self) -> tuple[int, int]:
        """Shape of a quarter of the last convolution."""
        h, w = (-(-size // 2 ** len(self.widths)) for size in STAMP_SHAPE)
        return -(-h // 2), -(-w // 2)


@dataclasses.dataclass(frozen=True, eq=False)
class SecondStage:
    """A trained second stage."""

    section: SecondStageSection
    """The specification."""

    weights: Mapping[str, _Float32]
    """The weights, by the names of `SecondStageSection.weight_shapes`."""

    def logits(self, stamps: _Float32, numbers: _Floats) -> _Floats:
        """Return log-odds before calibration, shape (n,).

        Parameters
        ----------
        stamps
            All channels of the stamps of candidates, shape (n, len(STAMP_CHANNELS), *STAMP_SHAPE).
        numbers
            All numbers of the candidates, shape (n, len(CANDIDATE_NUMBERS)).

        Notes
        -----
        The last convolution is averaged over quarters, mirrored at the midpoint of the trail: a pattern means
        the same at both ends and on both sides.
        """
        channels, columns = self.section.channel_indices, self.section.number_indices
        parts = [
            self._batch(stamps[i : i + _BATCH, channels], numbers[i : i + _BATCH, columns])
            for i in range(0, len(stamps), _BATCH)
        ]
        return np.concatenate([np.zeros(0), *parts]).astype(np.float64)

    def of_candidates(self, found: FoundCandidates) -> _Floats:
        """Return log-odds of the candidates of an image, shape (n,)."""
        numbers = candidate_numbers(found.table)
        parts = [
            # A crowded image has thousands of candidates.
            self.logits(
                cut_stamps(found.sky, found.probability, found.trails[i : i + _BATCH]),
                numbers[i : i + _BATCH],
            )
            for i in range(0, len(numbers), _BATCH)
        ]
        return np.concatenate([np.zeros(0), *parts])

    def _batch(self, x: _Float32, numbers: _Floats) -> _Float32:
        features = []
        if self.section.channels:
            x = x.astype(np.float32, copy=False)
            for name, stride, _ in self.section.convolutions():
                x = _convolve(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], stride)
            h, w = self.section.folded_shape
            x = (x + x[:, :, ::-1])[:, :, :h]
            x = (x + x[..., ::-1])[..., :w] * np.float32(0.25)
            features.append(self._dense("dense", x.reshape(len(x), -1)))
        if self.section.numbers:
            scaled = (numbers - self.weights["numbers.mean"]) / self.weights["numbers.scale"]
            clipped = np.clip(scaled, -MAX_NUMBER, MAX_NUMBER).astype(np.float32)
            features.append(self._dense("numbers", clipped))
        joined = self._dense("joined", np.concatenate(features, axis=1))
        return joined @ self.weights["output.weight"][0] + self.weights["output.bias"][0]

    def _dense(self, name: str, x: _Float32) -> _Float32:
        return np.maximum(x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"], 0.0)


def _convolve(x: _Float32, kernel: _Float32, bias: _Float32, stride: int) -> _Float32:
    """Return a 3x3 convolution with a border of one zero and negative values cut off."""
    n, c, h, w = x.shape
    padded = np.zeros((n, c, h + 2, w + 2), dtype=np.float32)
    padded[:, :, 1:-1, 1:-1] = x
    h, w = -(-h // stride), -(-w // stride)
    windows = np.empty((n, c, 9, h, w), dtype=np.float32)
    for i in range(9):
        dy, dx = divmod(i, 3)
        windows[:, :, i] = padded[:, :, dy : dy + stride * h : stride, dx : dx + stride * w : stride]
    y = np.matmul(kernel.reshape(len(kernel), -1), windows.reshape(n, c * 9, h * w))
    y += bias[:, None]
    np.maximum(y, 0.0, out=y)
    return y.reshape(n, len(kernel), h, w)
