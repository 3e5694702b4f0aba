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

"""Sky, noise and seeing of a simulated visit."""

from __future__ import annotations

__all__ = ("SKIES", "VisitConditions", "draw_config")

import dataclasses
from typing import Self

import numpy as np

from lsst.images import Box
from lsst.images.psfs import PiffWrapper

from ..core.injection.population import TrailPopulation
from .profile_psf import PsfShape, make_profile_psf
from .psf import Seeing, draw_seeing, make_psf, pixel_psf
from .scene import SceneConfig
from .template import TemplateConfig
from .wide import WideSky

SKIES = ("narrow", "wide")
"""Names of the distributions of `~lsst.meas.trails.sim.scene.SceneConfig.varied` and of
`~lsst.meas.trails.sim.wide.WideSky`.
"""


def draw_config(
    sky: str,
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    trails: TrailPopulation | None = None,
    template: bool = False,
) -> SceneConfig:
    """Draw the configuration of the images of a visit; see `VisitConditions.draw`."""
    if sky == "wide":
        return WideSky().scene_config(shape, rng, template=template, trails=trails)
    return SceneConfig.varied(shape, rng, trails=trails, template=TemplateConfig() if template else None)


@dataclasses.dataclass(frozen=True, eq=False)
class VisitConditions:
    """Properties that all detectors of a visit have in common."""

    config: SceneConfig
    """Configuration of the images."""

    seeing: Seeing | PsfShape
    """PSF in the middle of the focal plane."""

    @classmethod
    def draw(
        cls,
        sky: str,
        shape: tuple[int, int],
        rng: np.random.Generator,
        *,
        trails: TrailPopulation | None = None,
        template: bool = False,
    ) -> Self:
        """Draw the conditions of a visit.

        Parameters
        ----------
        sky
            One of `SKIES`.
        shape
            Shape (ny, nx) of the images.
        rng
            Random number generator.
        trails
            Population of asteroid trails.
        template
            Whether the images have templates.
        """
        seeing = WideSky().psf_shape(rng) if sky == "wide" else draw_seeing(rng)
        return cls(draw_config(sky, shape, rng, trails=trails, template=template), seeing)

    def make_psf(self, rng: np.random.Generator, bbox: Box) -> PiffWrapper:
        """Make the PSF of a detector, with random variations over its box."""
        if isinstance(self.seeing, Seeing):
            return make_psf(self.seeing, rng, bbox)
        return pixel_psf(make_profile_psf(self.seeing, (bbox.y.size, bbox.x.size), rng), bbox)
