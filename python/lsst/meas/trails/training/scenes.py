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

"""Simulated training scenes and their tile files."""

from __future__ import annotations

__all__ = (
    "SCENE_VERSION",
    "TrainingScenes",
    "scene_truth",
    "simulate_background_file",
    "simulate_tile_file",
    "subtracted_scene",
    "with_cut_template",
)

import dataclasses
from pathlib import Path
from typing import Literal, Self

import astropy.table
import astropy.wcs
import numpy as np
import numpy.typing as npt
import scipy.ndimage
from pydantic import Field

from lsst.images import Box

from ..core.background import fit_background
from ..core.geometry import Trails
from ..core.injection.fresh import TrailFreeImage
from ..core.injection.population import TrailPopulation
from ..core.injection.truth import is_trail, streak_mask, truth_table
from ..core.render import truth_mask
from ..core.template import cut_template
from ..core.tiles.cut import cut_tiles
from ..core.tiles.layout import IGNORED, TileSource
from ..repository.visit_image import sample_psf
from ..sim.detector import PIXEL_SCALE
from ..sim.difference import subtract_template, template_planes
from ..sim.psf import draw_seeing, make_psf
from ..sim.scene import Scene, SceneConfig, simulate_scene, without_own_saturation
from ..sim.template import TemplateConfig
from ..sim.wide import WideSky
from .backgrounds import Background, write_background
from .calibration import ValidationScene
from .recipe_section import RecipeSection

SCENE_VERSION = 3
"""Version of the scenes, part of the names of tile folders; raise it whenever a change of the simulator
changes pixels.
"""

_MASK_GROWTH = 5
"""Largest growth of masks by a subtraction, pixels."""


class TrainingScenes(RecipeSection):
    """Set of simulated scenes.

    Parameters
    ----------
    seed
        Seed of the scenes; scene ``i`` is drawn from ``(seed, i)``, so that sets with different seeds share
        no sky.
    count
        Number of scenes; each is a visit with its own seeing, sky brightness and crowding.
    shape
        Shape (ny, nx) of a scene, pixels.
    trails
        Trails per scene.
    sky
        Distributions of everything in a scene: ``wide`` as in `~lsst.meas.trails.sim.wide.WideSky`, or
        ``narrow`` as in `~lsst.meas.trails.sim.scene.SceneConfig.varied`, on which the first models were
        trained.
    length, snr, snr_index
        Ranges of length (pixels, log-uniform) and optimal SNR, and the exponent of a power law of SNRs; they
        are uniform by default.
    ignore_below
        Minimum optimal SNR on the visible pixels; the loss ignores fainter trails, which nobody can see.
    satellite_chance
        Probability of a satellite streak in a narrow sky. The loss ignores streaks too; candidates on them
        are flagged by their geometry.
    truth_fraction
        See `~lsst.meas.trails.core.render.truth_mask`.
    empty_fraction
        Fraction of the tiles without a trail that are kept.
    template
        Fraction of the scenes that are not differences that have templates; ``true`` for all.
    difference
        Fraction of the scenes that are difference images, from which such a template was subtracted, and
        have none; ``true`` for all. The SNR of their trails is measured in the difference.
    """

    seed: int
    count: int
    shape: tuple[int, int] = (1024, 1024)
    trails: float = 15.0
    sky: Literal["narrow", "wide"] = "wide"
    length: tuple[float, float] = (6.0, 150.0)
    snr: tuple[float, float] = (3.0, 25.0)
    snr_index: float | None = None
    ignore_below: float = 3.0
    satellite_chance: float = 0.08
    truth_fraction: float = 0.25
    empty_fraction: float = 0.5
    template: bool | float = Field(False, ge=0.0, le=1.0)
    difference: bool | float = Field(False, ge=0.0, le=1.0)

    @property
    def population(self) -> TrailPopulation:
        """Population of the trails of a scene."""
        return TrailPopulation(
            number=self.trails, length=self.length, brightness=self.snr, brightness_index=self.snr_index
        )

    def scene(self, index: int) -> Scene:
        """Simulate a scene."""
        return self._scene(index, self.population)

    def background(self, index: int) -> TrailFreeImage:
        """Simulate a scene without trails, to which training adds fresh ones."""
        return self._scene(index, None).trail_free()

    def _scene(self, index: int, trails: TrailPopulation | None) -> Scene:
        rng = np.random.default_rng([self.seed, index])
        box = Box.from_shape(self.shape)
        is_difference = _is_in(index, self.difference)
        number = index - int(index * self.difference)
        has_template = is_difference or _is_in(number, self.template)
        if self.sky == "wide":
            settings = WideSky()
            config = settings.scene_config(self.shape, rng, trails=trails, template=has_template)
            psf = settings.psf(self.shape, rng)
        else:
            config = SceneConfig.varied(
                self.shape,
                rng,
                trails=trails,
                satellite_chance=self.satellite_chance,
                template=TemplateConfig() if has_template else None,
            )
            # The seeing and PSF of one piece of a detector.
            psf = sample_psf(make_psf(draw_seeing(rng), rng, box), box)
        scene = simulate_scene(config, psf, rng)
        return subtracted_scene(scene, box) if is_difference else with_cut_template(scene)

    def without_trails(self) -> Self:
        """Return the same scenes without trails, and without the settings of trails and tiles."""
        fields = type(self).model_fields
        names = ("length", "snr", "snr_index", "ignore_below", "truth_fraction", "empty_fraction")
        return self.replace(trails=0.0, **{name: fields[name].default for name in names})

    def validation_scene(self, index: int) -> ValidationScene:
        """Simulate a scene with its known content."""
        scene = self.scene(index)
        trails = is_trail(scene.truth)
        return ValidationScene(
            planes=scene.planes,
            trails=scene.trails,
            snr=np.asarray(scene.truth["snr_optimal"][trails], dtype=np.float64),
            satellites=Trails.from_table(scene.truth[scene.truth["source_type"] == "Satellite"]),
        )


def _is_in(index: int, fraction: float) -> bool:
    """Return whether a scene is in a fraction of the scenes that is spread evenly."""
    return int((index + 1) * fraction) > int(index * fraction)


def with_cut_template(scene: Scene) -> Scene:
    """Return a scene whose template, if any, has no background, as in network inputs."""
    template = scene.planes.template
    if template is None:
        return scene
    planes = dataclasses.replace(scene.planes, template=cut_template(template, ~np.isfinite(template)))
    return dataclasses.replace(scene, planes=planes)


def subtracted_scene(scene: Scene, box: Box) -> Scene:
    """Return the difference image of a scene and its template.

    Parameters
    ----------
    scene
        A scene with a template.
    box
        Box of the image; the PSF of the template uses its coordinates.
    """
    assert scene.template_psf is not None
    template = template_planes(scene.planes, scene.template_psf)
    difference = subtract_template(scene.planes, template, scene.subtraction)
    planes, light_psf = difference.planes, difference.light_psf
    others = scene.truth[~is_trail(scene.truth)]
    own = scene.own_saturation
    if own is not None and own.any():
        # The subtraction grows the mask.
        own = scipy.ndimage.binary_dilation(own, iterations=_MASK_GROWTH)
    seen = without_own_saturation(dataclasses.replace(planes, psf=light_psf), own)
    measured = truth_table(seen, scene.trails)
    truth = astropy.table.vstack([measured, others], metadata_conflicts="silent")
    return dataclasses.replace(scene, planes=planes, truth=truth, template_psf=None, light_psf=light_psf)


def scene_truth(scene: Scene, scenes: TrainingScenes) -> npt.NDArray[np.uint8]:
    """Return the truth plane of a scene: 1 on trails, 2 on ignored pixels, else 0."""
    planes = scene.planes
    visible = np.asarray(scene.truth["snr_optimal"])[is_trail(scene.truth)] >= scenes.ignore_below
    truth = np.zeros(planes.shape, dtype=np.uint8)
    psf = planes.psf if scene.light_psf is None else scene.light_psf
    truth[truth_mask(psf, scene.trails[~visible], planes.shape, scenes.truth_fraction)] = IGNORED
    truth[streak_mask(scene.truth, planes.shape)] = IGNORED
    truth[truth_mask(psf, scene.trails[visible], planes.shape, scenes.truth_fraction)] = 1
    return truth


def simulate_tile_file(scenes: TrainingScenes, index: int, path: Path, tile_size: int = 256) -> int:
    """Simulate a scene and write its tiles.

    Parameters
    ----------
    scenes
        The set of scenes.
    index
        Number of the scene in the set.
    path
        The file to write.
    tile_size
        Side of the tiles, pixels.

    Returns
    -------
    count
        Number of tiles written.
    """
    scene = scenes.scene(index)
    planes = scene.planes
    source = TileSource(
        data_id={"simulation": "TrainingScenes", "seed": scenes.seed, "scene": index},
        shape=planes.shape,
        psf_kernel=planes.psf.mean_kernel,
        wcs=_nominal_wcs(planes.shape),
        config=scenes.model_dump(),
    )
    tiles = cut_tiles(
        planes,
        fit_background(planes.image, planes.bad()),
        scene_truth(scene, scenes),
        scene.truth[is_trail(scene.truth)],
        source,
        size=tile_size,
        empty_fraction=scenes.empty_fraction,
        rng=np.random.default_rng([scenes.seed, index, 1]),
    )
    tiles.write(path)
    return len(tiles)


def simulate_background_file(scenes: TrainingScenes, index: int, path: Path) -> None:
    """Simulate a scene without trails and write it as a background.

    Parameters
    ----------
    scenes
        The set of scenes; its trails are left out.
    index
        Number of the scene in the set.
    path
        The file to write.
    """
    write_background(path, Background.from_image(scenes.background(index)))


def _nominal_wcs(shape: tuple[int, int]) -> str:
    """Return a FITS header with the pixel scale, at an arbitrary sky position."""
    wcs = astropy.wcs.WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crpix = [0.5 * (shape[1] + 1), 0.5 * (shape[0] + 1)]
    wcs.wcs.cdelt = [-PIXEL_SCALE / 3600.0, PIXEL_SCALE / 3600.0]
    return str(wcs.to_header().tostring(sep="\n"))
