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

"""Sections of a recipe about data: tile files, simulated scenes, mixtures."""

from __future__ import annotations

__all__ = ("FILE_ROLES", "HARD", "DataRecipe", "InjectionRecipe", "SimulationRecipe", "check_mixture")

from collections.abc import Sequence
from typing import Self

import pydantic
from pydantic import Field

from ..core.injection.population import TrailPopulation
from ..core.section import require
from ..core.tiles.layout import TILE_CLASSES
from .recipe_section import RecipeSection

FILE_ROLES = ("train", "validation", "backgrounds")
"""Keys of `DataRecipe` that hold names of files."""

HARD = "hard"
"""Class of the tiles with the highest probabilities away from trails."""


def check_mixture(value: object, *, also: Sequence[str] = ()) -> dict[str, int | float] | None:
    """Check the fractions of tiles by class.

    Parameters
    ----------
    value
        Fractions by class, or `None`.
    also
        Known classes in addition to `~lsst.meas.trails.core.tiles.layout.TILE_CLASSES`.
    """
    if value is None:
        return None
    known = (*TILE_CLASSES, *also)
    if not isinstance(value, dict):
        raise ValueError("must be a section of 'key: value' lines")
    if unknown := [name for name in value if name not in known]:
        raise ValueError(f"holds unknown classes {unknown}; known here are {', '.join(known)}")
    for number in value.values():
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0.0 <= number <= 1.0e6:
            raise ValueError("must hold numbers in 0..1000000")
    if sum(value.values()) <= 0.0:
        raise ValueError("must hold a positive number")
    return dict(value)


class SimulationRecipe(RecipeSection):
    """Training and validation data straight from the simulator."""

    train: dict[str, object]
    """Scenes to train on: ``seed``, ``count`` and other fields of
    `~lsst.meas.trails.training.scenes.TrainingScenes`.
    """

    validation: dict[str, object]
    """Scenes to validate on, with another seed."""

    calibration: dict[str, object] | None = None
    """Scenes, with a third seed, to choose the thresholds of the candidates, calibrate their score and
    measure completeness; without them the model has no calibrated score.
    """

    calibrations: dict[str, dict[str, object]] = Field(default_factory=dict)
    """Such scenes by the name of a model: each becomes a model of its own with the same weights, such as for
    images with and without a template.
    """

    tile_size: int = Field(256, ge=32, multiple_of=2)
    """Side of the tiles, pixels."""

    def calibration_of(self, model: str) -> tuple[dict[str, object] | None, str]:
        """Return the scenes to calibrate a model on, `None` without any, and their key in the recipe."""
        if model in self.calibrations:
            return self.calibrations[model], f"calibrations.{model}"
        return self.calibration, "calibration"

    @property
    def calibration_sections(self) -> dict[str, dict[str, object]]:
        """All scenes to calibrate on, by their key in the recipe."""
        sections = {f"calibrations.{name}": section for name, section in self.calibrations.items()}
        return sections if self.calibration is None else {"calibration": self.calibration, **sections}

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.calibrations:
            is_name = name.isidentifier() and len(name) <= 100
            require(is_name, "calibrations", f"must have names of models, such as 'template', not {name!r}")
        sections = {"train": self.train, "validation": self.validation, **self.calibration_sections}
        seeds = []
        for key, section in sections.items():
            for name, least in (("seed", 0), ("count", 1)):
                value = section.get(name)
                is_valid = isinstance(value, int) and not isinstance(value, bool) and value >= least
                require(is_valid, key, f"must have a whole number {name!r} of at least {least}")
            seeds.append(section["seed"])
        require(
            len(set(seeds)) == len(seeds),
            "validation",
            "and 'train', 'calibration' and 'calibrations' must differ in 'seed'",
        )
        return self


class InjectionRecipe(RecipeSection):
    """Fresh trails on simulated scenes and backgrounds, new ones each time that a part of one is drawn."""

    trails: float = Field(1.5, ge=0.0, le=100.0)
    """Mean number of trails that touch a tile; the number has a Poisson distribution."""

    length: tuple[float, float] = (6.0, 150.0)
    """Range of the lengths, pixels, log-uniform."""

    snr: tuple[float, float] = (3.0, 3000.0)
    """Range of the optimal SNR."""

    snr_index: float = -1.35
    """Exponent of the power law of the SNR: -1 is log-uniform, -1.35 has half of 3 to 3000 below 17."""

    points: float = Field(0.5, ge=0.0, le=100.0)
    """Mean number of new point sources that touch a tile, such as transients and slow asteroids; they have
    the SNR of the trails, but are none.
    """

    point_length: float = Field(1.0, ge=0.0, le=20.0)
    """Maximum length of these points, pixels."""

    ignore_below: float = Field(3.0, ge=0.0)
    """Minimum optimal SNR on the visible pixels of a tile; the loss ignores fainter trails."""

    truth_fraction: float = Field(0.25, gt=0.0, lt=1.0)
    """See `~lsst.meas.trails.core.render.truth_mask`."""

    tile_size: int | None = Field(None, ge=32, multiple_of=2)
    """Side of the tiles, pixels; by default that of ``simulate``, or 256."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        try:
            self.population()
        except ValueError as error:
            raise ValueError(f"has no valid population: {error}") from error
        return self

    def population(self, min_snr: float = 0.0) -> TrailPopulation:
        """Return the distributions of lengths and SNRs.

        Parameters
        ----------
        min_snr
            Lower limit of the SNR, if it is within the range.
        """
        low, high = self.snr
        return TrailPopulation(
            number=self.trails,
            length=self.length,
            brightness=(low if min_snr <= low else min(min_snr, high), high),
            brightness_index=self.snr_index,
        )


class DataRecipe(RecipeSection):
    """Sources of tiles, and how they are drawn."""

    train: tuple[str, ...] = ()
    """Tile files to train on, or glob patterns; relative to the recipe."""

    validation: tuple[str, ...] = ()
    """Tile files to validate on, from visits that are not trained on."""

    simulate: SimulationRecipe | None = None
    """Simulated scenes instead of files."""

    backgrounds: tuple[str, ...] = ()
    """Files of real images, or glob patterns, relative to the recipe, to which ``inject`` adds trails; see
    `lsst.meas.trails.training.backgrounds`. ``meas-trails adapt`` makes them.
    """

    simulated_fraction: float | None = Field(None, gt=0.0, lt=1.0)
    """Fraction of the tiles from ``simulate`` if there are ``backgrounds``, too; by default all files are
    drawn equally often.
    """

    inject: InjectionRecipe | None = None
    """Fresh trails in ``backgrounds`` and the scenes of ``simulate``, which then have none of their own; by
    default training repeats the trails of the scenes.
    """

    tiles_per_epoch: int | None = Field(None, ge=1)
    """Tiles drawn per epoch; by default the number of tiles."""

    mixture: dict[str, int | float] | None = None
    """Fractions of the drawn tiles by class (``missed``, ``found``, ``empty``, ``source``, ``artifact``;
    see `lsst.meas.trails.core.tiles.layout.TILE_CLASSES`); by default every tile is drawn equally often.
    """

    balance: float = Field(0.0, ge=0.0, le=1.0)
    """Exponent, 0 to 1, that raises the weight of pixels of small trails: at 0 all pixels count equally, at 1
    all trails; see `lsst.meas.trails.training.target.tile_target`.
    """

    workers: int = Field(0, ge=0, le=256)
    """Processes that read tiles, in addition to the one that trains."""

    @pydantic.field_validator("mixture", mode="plain")
    @classmethod
    def _check_mixture(cls, value: object) -> dict[str, int | float] | None:
        return check_mixture(value)

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        simulates = self.simulate is not None
        others = "'simulate' or 'backgrounds'"
        require(
            bool(self.train) != (simulates or bool(self.backgrounds)),
            "train",
            f"and {others} exclude each other, and one is needed",
        )
        require(not (self.validation and simulates), "validation", "and 'simulate' exclude each other")
        if self.inject is not None:
            require(not self.train, "inject", f"needs {others}")
            require(self.mixture is None, "mixture", "and 'inject' exclude each other")
        require(not self.backgrounds or self.inject is not None, "backgrounds", "needs 'inject'")
        both = simulates and bool(self.backgrounds)
        require(
            self.simulated_fraction is None or both,
            "simulated_fraction",
            "needs 'simulate' and 'backgrounds'",
        )
        return self

    @property
    def tile_size(self) -> int:
        """Side of the tiles of ``inject``, pixels."""
        size = None if self.inject is None else self.inject.tile_size
        if size is None and self.simulate is not None:
            size = self.simulate.tile_size
        return size or 256
