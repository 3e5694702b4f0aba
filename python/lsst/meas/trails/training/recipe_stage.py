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

"""The sections of a recipe that say how weights are changed."""

from __future__ import annotations

__all__ = ("OptimizerRecipe", "StageRecipe", "in_part")

import dataclasses
from typing import Any

from .losses import BlendedLoss
from .recipe_data import HARD, check_mixture
from .recipe_section import BadValueError, require


def in_part(name: str, part: str) -> bool:
    """Return whether a parameter or module of a network belongs to a part.

    Parameters
    ----------
    name
        Its name, such as ``decoder.0.conv.weight``.
    part
        Name of the part, such as ``decoder`` or ``decoder.0``.
    """
    return name == part or name.startswith(part + ".")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """AdamW, with a linear warm-up and a cosine to the end, in every stage."""

    learning_rate: float = 2.0e-3
    """Learning rate at the end of the warm-up, where a stage has none of its
    own.
    """

    weight_decay: float = 1.0e-2
    """Decoupled weight decay; not applied to biases and normalizations."""

    betas: tuple[float, ...] = (0.9, 0.99)
    """Decay rates of the two moments."""

    warmup: float = 0.03
    """Fraction of a stage's steps in which the learning rate rises."""

    final: float = 0.01
    """Learning rate at the end of a stage, as a fraction."""

    clip: float | None = 1.0
    """Greatest norm of the gradient; null does not clip."""

    def __post_init__(self) -> None:
        require(0.0 < self.learning_rate <= 1.0, "learning_rate", "must be positive and at most 1")
        require(0.0 <= self.weight_decay <= 10.0, "weight_decay", "must lie in 0..10")
        require(
            len(self.betas) == 2 and all(0.0 <= beta < 1.0 for beta in self.betas),
            "betas",
            "must be two numbers in 0..1",
        )
        require(0.0 <= self.warmup < 1.0, "warmup", "must lie in 0..1")
        require(0.0 <= self.final <= 1.0, "final", "must lie in 0..1")
        if self.clip is not None:
            require(self.clip > 0.0, "clip", "must be positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageRecipe:
    """A stretch of training with a loss and a batch size of its own."""

    name: str = "main"
    """Name of the stage, for logs."""

    epochs: int | None = None
    """Length in epochs; or give ``steps``."""

    steps: int | None = None
    """Length in optimizer steps."""

    batch_size: int = 8
    """Tiles per step."""

    loss: dict[str, Any] = dataclasses.field(default_factory=lambda: {"bce": 1.0})
    """Blend of losses; see `lsst.meas.trails.training.losses.BlendedLoss`."""

    learning_rate: float | None = None
    """Peak learning rate of this stage, where it differs."""

    mixture: dict[str, Any] | None = None
    """Fractions of tiles by class in this stage, where they differ.  Beside
    the classes of tiles there is ``hard``: those on which the network, as it
    is when they are looked for, sees most where there is nothing.
    """

    min_snr: tuple[float, float] | None = None
    """Least SNR, at the start of the stage and at its end, that the brightest
    trail in a tile needs for the tile to be drawn: (20, 0) begins with what
    is easy to see.  Tiles without a trail are always drawn.
    """

    train_parts: tuple[str, ...] = ()
    """Parts of the network that are trained, such as ``decoder`` or
    ``head.bias``; the others, with the statistics of their normalization,
    stay as they are.  By default all.
    """

    mine_every: int | None = None
    """Epochs between searches for hard tiles; by default there is one, at the
    start of the stage.
    """

    hard_fraction: float = 0.1
    """Fraction of the tiles looked at that become hard ones."""

    mining_tiles: int | None = None
    """Tiles looked at, drawn anew for every search; by default all."""

    def __post_init__(self) -> None:
        require((self.epochs is None) != (self.steps is None), "epochs", "or 'steps' is needed, and not both")
        for key in ("epochs", "steps"):
            value = getattr(self, key)
            require(value is None or value >= 1, key, "must be at least 1")
        require(1 <= self.batch_size <= 4096, "batch_size", "must lie in 1..4096")
        if self.learning_rate is not None:
            require(0.0 < self.learning_rate <= 1.0, "learning_rate", "must be positive and at most 1")
        if self.min_snr is not None:
            require(min(self.min_snr) >= 0.0, "min_snr", "must hold numbers that are not negative")
        check_mixture(self.mixture, also=(HARD,))
        require(0.0 < self.hard_fraction <= 1.0, "hard_fraction", "must be positive and at most 1")
        for key in ("mine_every", "mining_tiles"):
            value = getattr(self, key)
            require(value is None or value >= 1, key, "must be at least 1")
            require(value is None or self.mines, key, "needs 'hard' in this stage's 'mixture'")
        try:
            BlendedLoss(self.loss)
        except ValueError as error:
            raise BadValueError("loss", f"is refused: {error}") from None

    @property
    def mines(self) -> bool:
        """Whether hard tiles are looked for (`bool`)."""
        return self.mixture is not None and self.mixture.get(HARD, 0.0) > 0.0
