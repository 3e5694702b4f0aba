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

"""Sections of a recipe about optimization: the optimizer and the stages."""

from __future__ import annotations

__all__ = ("OptimizerRecipe", "StageRecipe", "is_in_part")

from typing import Self

import pydantic
from pydantic import Field

from ..core.section import require
from .losses import BlendedLoss
from .recipe_data import HARD, check_mixture
from .recipe_section import RecipeSection


def is_in_part(name: str, part: str) -> bool:
    """Return whether a parameter or module belongs to a part of a network.

    Parameters
    ----------
    name
        Its name, such as ``decoder.0.conv.weight``.
    part
        Name of the part, such as ``decoder`` or ``decoder.0``.
    """
    return name == part or name.startswith(part + ".")


class OptimizerRecipe(RecipeSection):
    """AdamW with a linear warm-up and a cosine decay in every stage."""

    learning_rate: float = Field(2.0e-3, gt=0.0, le=1.0)
    """Peak learning rate, at the end of the warm-up; a stage may override it."""

    weight_decay: float = Field(1.0e-2, ge=0.0, le=10.0)
    """Decoupled weight decay; not applied to biases and normalizations."""

    betas: tuple[float, float] = (0.9, 0.99)
    """Decay rates of the two moments."""

    warmup: float = Field(0.03, ge=0.0, lt=1.0)
    """Fraction of a stage's steps in which the learning rate rises."""

    final: float = Field(0.01, ge=0.0, le=1.0)
    """Learning rate at the end of a stage, as a fraction of the peak."""

    clip: float | None = Field(1.0, gt=0.0)
    """Maximum norm of the gradient; null disables clipping."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        require(all(0.0 <= beta < 1.0 for beta in self.betas), "betas", "must be at least 0 and less than 1")
        return self


class StageRecipe(RecipeSection):
    """Stage of a training with its own length, loss and batch size."""

    name: str = "main"
    """Name of the stage, for logs."""

    epochs: int | None = Field(None, ge=1)
    """Length in epochs; an alternative to ``steps``."""

    steps: int | None = Field(None, ge=1)
    """Length in optimizer steps."""

    batch_size: int = Field(8, ge=1, le=4096)
    """Tiles per step."""

    loss: dict[str, object] = {"bce": 1.0}
    """Blend of losses; see `lsst.meas.trails.training.losses.BlendedLoss`."""

    learning_rate: float | None = Field(None, gt=0.0, le=1.0)
    """Peak learning rate of this stage; by default the optimizer's."""

    mixture: dict[str, int | float] | None = None
    """Fractions of tiles by class in this stage; by default the fractions of the data. The additional
    class ``hard`` holds the tiles where the current network has the highest probabilities away from trails.
    """

    min_snr: tuple[float, float] | None = None
    """Minimum SNR, at the start of the stage and at its end, of the brightest trail in a tile for the tile to
    be drawn: (20, 0) starts with easy trails. Tiles without a trail are always drawn.
    """

    train_parts: tuple[str, ...] = ()
    """Parts of the network that are trained, such as ``decoder`` or ``head.bias``; the remaining parts,
    including the statistics of their normalizations, are frozen. By default all parts are trained.
    """

    freeze_statistics: bool = False
    """Keep the statistics of all normalizations, to train a model further on images of another kind: those of
    the new images would spoil it for the others.
    """

    mine_every: int | None = Field(None, ge=1)
    """Epochs between searches for hard tiles; by default a single search, at the start of the stage."""

    hard_fraction: float = Field(0.1, gt=0.0, le=1.0)
    """Fraction of the searched tiles that become hard tiles."""

    mining_tiles: int | None = Field(None, ge=1)
    """Tiles per search, drawn again for every search; by default all."""

    @pydantic.field_validator("mixture", mode="plain")
    @classmethod
    def _check_mixture(cls, value: object) -> dict[str, int | float] | None:
        return check_mixture(value, also=(HARD,))

    @pydantic.field_validator("loss")
    @classmethod
    def _check_loss(cls, value: dict[str, object]) -> dict[str, object]:
        BlendedLoss(value)
        return value

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        require((self.epochs is None) != (self.steps is None), "epochs", "or 'steps' is needed, and not both")
        require(self.min_snr is None or min(self.min_snr) >= 0.0, "min_snr", "must not hold negative numbers")
        for key in ("mine_every", "mining_tiles"):
            require(
                getattr(self, key) is None or self.mines, key, "needs 'hard' in the 'mixture' of the stage"
            )
        return self

    @property
    def mines(self) -> bool:
        """Whether the stage searches for hard tiles."""
        return self.mixture is not None and self.mixture.get(HARD, 0.0) > 0.0
