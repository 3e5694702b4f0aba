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

"""Fields that are visited more than once: their sky and their moving objects."""

from __future__ import annotations

__all__ = ("MOTION_COLUMNS", "RepeatedField")

import dataclasses
from collections.abc import Sequence
from typing import Self

import astropy.table
import numpy as np

from lsst.images import Box, DetectorFrame, SkyProjection

from ..core.injection.population import TrailPopulation
from ..core.psf import PsfGrid
from ..repository.visit_image import sample_psf
from .moving import MovingObjects, draw_moving_objects
from .observation import VisitPlan
from .reference_image import ReferenceImage
from .scene import Scene, SceneConfig, simulate_scene
from .sky import SkyConfig, draw_sky
from .visit import VisitConditions, draw_config

# Streams of random numbers of a field; those of its visits are 0 and 1.
_FIELD_STREAM, _OBJECT_STREAM, _SKY_STREAM = 2, 3, 4

MOTION_COLUMNS: dict[str, tuple[str, str]] = {
    "designation": ("", "Name of the moving object, the same in all visits; empty for a satellite."),
    "rate": ("deg / d", "Rate of motion along a great circle."),
    "position_angle": ("deg", "Direction of motion, East of North, [0, 360)."),
}
"""Columns of the truth table of an image of a repeated field: unit and description."""


@dataclasses.dataclass(frozen=True, eq=False)
class RepeatedField:
    """Properties that all visits of a field have in common."""

    seed: int
    """Seed of the simulation."""

    field: int
    """Number of the field."""

    sky: SkyConfig
    """Density of stars and galaxies."""

    objects: MovingObjects
    """Moving objects."""

    @classmethod
    def draw(
        cls,
        seed: int,
        field: int,
        plans: Sequence[VisitPlan],
        projections: Sequence[SkyProjection[DetectorFrame]],
        bbox: Box,
        *,
        trails: TrailPopulation,
        sky: str = "narrow",
        reference: ReferenceImage | None = None,
    ) -> Self:
        """Draw the objects of a field.

        Parameters
        ----------
        seed, field
            Seed of the simulation and number of the field.
        plans
            The visits of the field.
        projections
            Mapping of each detector to the sky.
        bbox
            Box of the images.
        trails
            Population of the trails in an image.
        sky
            Name of the distributions of the sky; see `~lsst.meas.trails.sim.visit.VisitConditions`.
        reference
            Image whose noise and PSF the SNR of the objects refers to; the first visit by default.
        """
        shape = (bbox.y.size, bbox.x.size)
        config = draw_config(sky, shape, _rng(seed, field, _FIELD_STREAM))
        first = VisitConditions.draw(sky, shape, _rng(seed, field, 0))
        noise, fwhm = first.config.sky_noise, first.seeing.fwhm
        if reference is not None:
            grid = sample_psf(reference.psf, bbox)
            noise, fwhm = reference.sky_noise, grid.fwhm(0.5 * shape[1], 0.5 * shape[0])
        x, y = (np.array([0.5 * (span.start + span.stop - 1)]) for span in (bbox.x, bbox.y))
        centers = [projection.pixel_to_sky(x=x, y=y) for projection in projections]
        objects = draw_moving_objects(
            trails,
            centers=(
                np.concatenate([center.ra.deg for center in centers]),
                np.concatenate([center.dec.deg for center in centers]),
            ),
            shape=shape,
            times=np.array([_middle(plan) for plan in plans]),
            exposure_time=plans[0].exposure_time,
            noise=noise,
            fwhm=fwhm,
            prefix=f"S{seed}-{field}",
            rng=_rng(seed, field, _OBJECT_STREAM),
        )
        assert config.sky is not None
        return cls(seed, field, config.sky, objects)

    def scene(
        self,
        config: SceneConfig,
        psf: PsfGrid,
        rng: np.random.Generator,
        bbox: Box,
        plan: VisitPlan,
        detector: int,
        sky_projection: SkyProjection[DetectorFrame],
    ) -> Scene:
        """Simulate the image of a detector in a visit.

        Parameters
        ----------
        config, psf, rng, bbox
            Arguments of `~lsst.meas.trails.sim.scene.simulate_scene`; stars, galaxies and trails are those of
            the field.
        plan
            The visit.
        detector, sky_projection
            The detector and its mapping to the sky.

        Returns
        -------
        scene
            The scene, whose truth table also has `MOTION_COLUMNS`.
        """
        trails, number, angle = self.objects.trails_on(
            sky_projection, bbox, _middle(plan), plan.exposure_time
        )
        sky = draw_sky(self.sky, config.shape, _rng(self.seed, self.field, _SKY_STREAM, detector))
        scene = simulate_scene(config, psf, rng, bbox, sky=sky, trails=trails)
        others = len(scene.truth) - len(number)
        values = (
            [*self.objects.designation[number].tolist(), *[""] * others],
            np.append(self.objects.rate[number], np.full(others, np.nan)),
            np.append(angle, np.full(others, np.nan)),
        )
        truth = scene.truth.copy()
        for (name, (unit, description)), value in zip(MOTION_COLUMNS.items(), values, strict=True):
            truth[name] = astropy.table.Column(
                np.array(value, dtype=np.str_ if name == "designation" else np.float64),
                unit=unit or None,
                description=description,
            )
        return dataclasses.replace(scene, truth=truth)


def _middle(plan: VisitPlan) -> float:
    """Return the middle of an exposure, MJD, TAI."""
    return float(plan.begin.tai.mjd) + 0.5 * plan.exposure_time / 86400.0


def _rng(seed: int, *key: int) -> np.random.Generator:
    """Return the random numbers of a stream of a simulation."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
