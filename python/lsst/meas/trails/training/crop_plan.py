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

"""Random content of training crops: their place, their variation, and their fresh trails and points.

The key of a crop determines everything. The pixels are made in `lsst.meas.trails.training.compose`.
"""

from __future__ import annotations

__all__ = ("CropPlan", "Line", "draw_crop")

import dataclasses
import math

import numpy as np

from ..core.geometry import Trail
from ..core.injection.population import TrailPopulation
from .recipe import AugmentationRecipe
from .recipe_data import InjectionRecipe

_WIDEST_COLUMNS = 24.0
"""Greatest width of a block of masked columns, pixels."""


@dataclasses.dataclass(frozen=True)
class Line:
    """A trail, or a point, to add to a crop."""

    trail: Trail
    """Its place in the coordinates of the crop."""

    snr: float
    """Optimal SNR of all of it."""

    is_trail: bool
    """Whether it is a trail to find; points are not."""


@dataclasses.dataclass(frozen=True)
class CropPlan:
    """Place, variation and content of a crop."""

    background: int
    """Number of the background."""

    x0: int
    """First column of the crop in the background."""

    y0: int
    """First row."""

    symmetry: int
    """Symmetry of the square; see `lsst.meas.trails.training.augmentation.apply_symmetry`."""

    noise: float
    """Standard deviation of the added noise, in units of the noise of each pixel."""

    gradient: tuple[float, float]
    """Slopes along x and y of an added plane, units of the sky noise from edge to edge."""

    masked: tuple[int, int, int] | None
    """Axis (0 for rows, 1 for columns), first and last pixel of a masked block."""

    keeps_template: bool
    """Whether the template is used, if there is one."""

    lines: tuple[Line, ...]
    """The trails and points."""


def draw_crop(
    rng: np.random.Generator,
    background: int,
    shape: tuple[int, int],
    size: int,
    injection: InjectionRecipe,
    augmentation: AugmentationRecipe,
    min_snr: float = 0.0,
) -> CropPlan:
    """Draw a crop.

    Parameters
    ----------
    rng
        Random numbers.
    background, shape
        Number and shape (ny, nx) of the background.
    size
        Side of the crop, pixels.
    injection
        Distributions of trails and points.
    augmentation
        Amplitudes of the variations.
    min_snr
        Minimum SNR of the trails, if it is above that of ``injection``.
    """
    y0, x0 = (int(rng.integers(0, side - size + 1)) for side in shape)
    amplitude, angle = rng.uniform(0.0, augmentation.gradient), rng.uniform(0.0, 2.0 * math.pi)
    masked = None
    if rng.random() < augmentation.masked_columns:
        # A seam of a few columns, or a block of dead columns.
        width = int(math.exp(rng.uniform(0.0, math.log(_WIDEST_COLUMNS))))
        start = int(rng.integers(0, max(1, size - width)))
        masked = (int(rng.integers(2)), start, start + width)
    trails = injection.population(min_snr)
    points = injection.population(0.0)
    lines = [
        _draw_line(rng, trails, trails.draw_length(rng), size, is_trail=True)
        for _ in range(rng.poisson(injection.trails))
    ]
    lines += [
        _draw_line(rng, points, rng.uniform(0.0, injection.point_length), size, is_trail=False)
        for _ in range(rng.poisson(injection.points))
    ]
    return CropPlan(
        background=background,
        x0=x0,
        y0=y0,
        symmetry=int(rng.integers(8)) if augmentation.symmetries else 0,
        noise=rng.uniform(0.0, augmentation.noise),
        gradient=(amplitude * math.cos(angle), amplitude * math.sin(angle)),
        masked=masked,
        keeps_template=rng.random() >= augmentation.template_dropout,
        lines=tuple(lines),
    )


def _draw_line(
    rng: np.random.Generator, population: TrailPopulation, length: float, size: int, *, is_trail: bool
) -> Line:
    """Draw a trail that touches a crop: its bounding box overlaps it."""
    angle = rng.uniform(0.0, 180.0)
    reach_x, reach_y = (0.5 * length * abs(turn(math.radians(angle))) for turn in (math.cos, math.sin))
    x = rng.uniform(-0.5 - reach_x, size - 0.5 + reach_x)
    y = rng.uniform(-0.5 - reach_y, size - 0.5 + reach_y)
    return Line(Trail(x, y, length, angle), population.draw_brightness(rng), is_trail)
