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

"""The sections of a recipe that say where tiles come from."""

from __future__ import annotations

__all__ = ("HARD", "DataRecipe", "SimulationRecipe", "check_mixture")

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.tiles.cut import TILE_CLASSES
from .recipe_section import require

HARD = "hard"
"""Class of the tiles on which a network sees most where there is nothing."""


def check_mixture(mixture: Mapping[str, Any] | None, *, also: Sequence[str] = ()) -> None:
    """Raise an error if fractions of tiles by class make no sense.

    Parameters
    ----------
    mixture
        Fractions by class.
    also
        Classes that there may be beside those of tiles.
    """
    if mixture is None:
        return
    known = (*TILE_CLASSES, *also)
    unknown = [name for name in mixture if name not in known]
    require(not unknown, "mixture", f"holds unknown classes {unknown}; known here are {', '.join(known)}")
    for value in mixture.values():
        require(
            isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 <= value <= 1.0e6,
            "mixture",
            "must hold numbers that are not negative",
        )
    require(sum(mixture.values()) > 0.0, "mixture", "must hold a positive number")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimulationRecipe:
    """Training and validation data straight from the simulator."""

    train: dict[str, Any]
    """Scenes to train on: ``seed``, ``count`` and whatever else
    ``lsst.meas.trails.training.scenes.TrainingScenes`` has.
    """

    validation: dict[str, Any]
    """Scenes to validate on, of another seed."""

    calibration: dict[str, Any] | None = None
    """Scenes, of a third seed, to choose the candidates' thresholds and
    calibrate their score on, and to measure what is found; without them the
    model has no calibrated score.
    """

    tile_size: int = 256
    """Side of the tiles, pixels."""

    def __post_init__(self) -> None:
        require(self.tile_size >= 32 and self.tile_size % 2 == 0, "tile_size", "must be even and at least 32")
        scenes = {key: getattr(self, key) for key in ("train", "validation", "calibration")}
        for key, section in scenes.items():
            for name, least in (("seed", 0), ("count", 1)) if section is not None else ():
                value = section.get(name)
                require(
                    isinstance(value, int) and not isinstance(value, bool) and value >= least,
                    key,
                    f"must have a whole number {name!r} of at least {least}",
                )
        seeds = [section["seed"] for section in scenes.values() if section is not None]
        require(
            len(set(seeds)) == len(seeds),
            "validation",
            "and 'train' and 'calibration' need seeds of their own, or what was learned by heart counts",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Where tiles come from and how they are drawn."""

    train: tuple[str, ...] = ()
    """Tile files to train on, or glob patterns; relative to the recipe."""

    validation: tuple[str, ...] = ()
    """Tile files to validate on, of other visits than those trained on."""

    simulate: SimulationRecipe | None = None
    """Simulated scenes in place of files."""

    tiles_per_epoch: int | None = None
    """Tiles drawn per epoch; by default as many as there are."""

    mixture: dict[str, Any] | None = None
    """Fractions of the drawn tiles by class (``missed``, ``found``,
    ``empty``, ``source``; see `lsst.meas.trails.core.tiles.cut.TILE_CLASSES`);
    by default every tile is drawn equally often.
    """

    balance: float = 0.0
    """Exponent, 0 to 1, with which the pixels of a trail weigh more the fewer
    they are: at 0 every pixel counts alike, at 1 every trail; see
    `lsst.meas.trails.training.target.tile_target`.
    """

    workers: int = 0
    """Processes that read tiles beside the one that trains."""

    def __post_init__(self) -> None:
        require(
            bool(self.train) != (self.simulate is not None),
            "train",
            "and 'simulate' exclude each other, and one is needed",
        )
        require(not (self.validation and self.simulate), "validation", "and 'simulate' exclude each other")
        if self.tiles_per_epoch is not None:
            require(self.tiles_per_epoch >= 1, "tiles_per_epoch", "must be at least 1")
        check_mixture(self.mixture)
        require(0.0 <= self.balance <= 1.0, "balance", "must lie in 0..1")
        require(0 <= self.workers <= 256, "workers", "must lie in 0..256")
