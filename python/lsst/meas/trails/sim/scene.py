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

"""Simulated single-visit images of LSSTCam as arrays."""

from __future__ import annotations

__all__ = ("Scene", "SceneConfig", "simulate_scene", "without_own_saturation")

import dataclasses

import astropy.table
import numpy as np
import numpy.typing as npt

from lsst.images import Box

from ..core.geometry import Trail, Trails
from ..core.injection.artifacts import add_satellite
from ..core.injection.distractors import DistractorPopulation, draw_distractors
from ..core.injection.fresh import TrailFreeImage
from ..core.injection.inject import inject_trails
from ..core.injection.population import TrailPopulation, draw_log_uniform, draw_trails
from ..core.injection.saturation import saturate
from ..core.injection.truth import add_distractors, streak_mask, truth_table
from ..core.planes import ImagePlanes, plane_bits
from ..core.psf import PsfGrid
from .defects import add_cosmic_rays, bad_columns, dead_amplifier
from .difference import Subtraction
from .flaws import EDGES, Flaws, add_crosstalk, add_ghost, amplifier_steps, correlate, draw_edge
from .instrument import DETECTOR_SHAPE
from .sky import Sky, SkyConfig, draw_sky, galaxy_canvas, paint_sky
from .stars import StarLook
from .template import TemplateConfig, simulate_template

_SATURATED = ("SATURATED", "INTERPOLATED")
"""Mask planes of saturated pixels."""


@dataclasses.dataclass(frozen=True)
class SceneConfig:
    """Configuration of a simulated image.

    The defaults are an r-band visit of LSSTComCam in Data Preview 1: sky noise 17.8 nJy per pixel, 1.85
    electrons per nJy.
    """

    shape: tuple[int, int] = DETECTOR_SHAPE
    """Shape (ny, nx), pixels."""

    sky_noise: float = 17.8
    """Standard deviation of a pixel of blank sky, nJy."""

    gain: float = 1.85
    """Electrons per nJy."""

    full_well: float = 130_000.0
    """Saturation level, electrons."""

    sky: SkyConfig | None = dataclasses.field(default_factory=SkyConfig)
    """Stars and galaxies; `None` for a blank sky."""

    trails: TrailPopulation | None = None
    """Population of asteroid trails."""

    cosmic_rays: float = 12.0
    """Cosmic-ray tracks per megapixel."""

    flagged_cosmic_rays: float = 0.85
    """Fraction of masked cosmic rays."""

    bad_column_rate: float = 1.0
    """Bad columns per thousand columns."""

    dead_amplifier_chance: float = 0.02
    """Probability of a dead amplifier."""

    satellite_chance: float = 0.08
    """Probability of a satellite streak."""

    distractors: DistractorPopulation | None = None
    """Further satellites, and new point sources, which the template lacks."""

    background: float = 0.4
    """Standard deviation of the residual background, in units of the sky noise."""

    flaws: Flaws = dataclasses.field(default_factory=Flaws)
    """Further flaws of the detector, the optics and the processing."""

    template: TemplateConfig | None = None
    """Configuration of the template; `None` for no template."""

    subtraction: Subtraction = dataclasses.field(default_factory=Subtraction)
    """Quality of the subtraction of the template."""

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise ValueError(f"The shape of an image must be positive, not {self.shape}.")
        if not (self.sky_noise > 0.0 and self.gain > 0.0 and self.full_well > 0.0):
            raise ValueError("Sky noise, gain and full well must be positive.")

    @classmethod
    def varied(cls, shape: tuple[int, int], rng: np.random.Generator, **changes: object) -> SceneConfig:
        """Draw the configuration of a visit of a survey.

        Parameters
        ----------
        shape
            Shape (ny, nx), pixels.
        rng
            Random number generator.
        **changes
            Fields to replace.
        """
        sky_noise = float(17.8 * np.exp(rng.normal(0.0, 0.3)))
        # The noise is the square root of the number of sky electrons.
        sky_electrons = float(1080.0 * np.exp(rng.normal(0.0, 0.4)))
        sky = SkyConfig(
            star_density=draw_log_uniform(2.0, 25.0, rng),
            galaxy_density=float(np.exp(rng.normal(np.log(32.0), 0.25))),
            look=StarLook(spike_angle=float(rng.uniform(0.0, 90.0))),
        )
        config = cls(
            shape=shape,
            sky_noise=sky_noise,
            gain=float(np.sqrt(sky_electrons) / sky_noise),
            sky=sky,
            cosmic_rays=float(rng.uniform(5.0, 20.0)),
            # Other pipelines flag only a few cosmic rays.
            flagged_cosmic_rays=float(rng.uniform(0.4, 0.99)),
            background=float(rng.uniform(0.1, 0.7)),
        )
        return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A simulated image and its truth."""

    planes: ImagePlanes
    """Image, variance and mask in nJy, the PSF and the template."""

    trails: Trails
    """Asteroid trails, in array coordinates."""

    truth: astropy.table.Table
    """Asteroids (``source_type`` ``Trail``), satellites (``Satellite``) and new point sources (``Star``).

    The columns are `~lsst.meas.trails.core.injection.truth.TRUTH_COLUMNS` and ``source_type``, in array
    coordinates.
    """

    template_psf: PsfGrid | None = None
    """Point-spread function of the template."""

    gain: float = np.inf
    """Electrons per nJy."""

    full_well: float = np.inf
    """Saturation level, nJy."""

    subtraction: Subtraction = dataclasses.field(default_factory=Subtraction)
    """Quality of the subtraction of the template."""

    light_psf: PsfGrid | None = None
    """PSF of the light, if it is not the one that the image states."""

    own_saturation: npt.NDArray[np.bool_] | None = None
    """Pixels that the trails saturate, shape (ny, nx)."""

    def trail_free(self) -> TrailFreeImage:
        """Return a scene without trails as an image to add fresh trails to.

        Raises
        ------
        ValueError
            Raised if the scene has trails.
        """
        if len(self.trails):
            raise ValueError(f"The scene has {len(self.trails)} trails; simulate it without a population.")
        return TrailFreeImage(
            planes=self.planes,
            ignored=streak_mask(self.truth, self.planes.shape),
            gain=self.gain,
            full_well=self.full_well,
            light_psf=self.light_psf,
        )


def simulate_scene(
    config: SceneConfig,
    psf: PsfGrid,
    rng: np.random.Generator,
    bbox: Box | None = None,
    *,
    sky: Sky | None = None,
    trails: Trails | None = None,
) -> Scene:
    """Simulate the image of one detector.

    Parameters
    ----------
    config
        Configuration of the image.
    psf
        Point-spread function over the image.
    rng
        Random number generator; the same state gives the same image.
    bbox
        Box of the image, as for the template's PSF; starts at (0, 0) by default.
    sky
        Stars and galaxies, instead of those that ``config`` describes.
    trails
        Asteroid trails in array coordinates, instead of those that ``config`` describes.

    Notes
    -----
    The noise is drawn from the variance plane, which is the variance of the sky plus the signal over the
    gain. Defects are masked with the plane names of the stack.
    """
    shape = config.shape
    noise = config.sky_noise
    signal = np.zeros(shape, dtype=np.float32)
    # A separate generator: the template does not change the image.
    template_rng, bleed_rng = rng.spawn(2)
    if sky is None and config.sky is not None:
        sky = draw_sky(config.sky, shape, rng)
    galaxies = None
    if sky is not None:
        # The template's PSF may be wider.
        galaxies = galaxy_canvas(sky, shape, psf.size + 8, noise)
        signal += paint_sky(sky, psf, shape, noise, galaxies=galaxies)
    streaks: list[Trail] = []
    if rng.random() < config.satellite_chance:
        brightness = draw_log_uniform(2.0, 300.0, rng) * noise
        streaks.append(add_satellite(signal, psf, brightness, rng, defocus=float(rng.uniform(0.0, 3.0))))
    others, kinds = Trails.from_trails(streaks), ("Satellite",) * len(streaks)
    mask = np.zeros(shape, dtype=np.uint32)
    if config.distractors is not None:
        blank = np.full(shape, np.float32(noise**2))
        hosts = np.zeros((0, 2)) if sky is None else sky.galaxies.inside(shape)
        extra = draw_distractors(config.distractors, ImagePlanes(signal, blank, mask, psf), rng, hosts)
        signal += extra.signal
        others = Trails.from_trails([*others, *extra.trails])
        kinds += extra.source_type
    before = ImagePlanes(
        image=signal,
        variance=(np.float32(noise**2) + signal / np.float32(config.gain)).astype(np.float32),
        mask=mask,
        psf=psf,
    )
    if trails is None:
        trails = Trails.empty() if config.trails is None else draw_trails(config.trails, before, rng)
    if len(trails):
        signal = inject_trails(before, trails, None).image
    level = config.full_well / config.gain
    trails_saturate = np.any((signal > level) & (before.image <= level))
    saturated = saturate(signal, level, rng)
    mask[saturated] |= plane_bits(_SATURATED)
    own = np.zeros(shape, dtype=bool)
    if trails_saturate:
        own = saturated & ~saturate(before.image.copy(), level, bleed_rng)
    variance = (np.float32(noise**2) + np.maximum(signal, 0.0) / np.float32(config.gain)).astype(np.float32)
    count = int(rng.poisson(config.cosmic_rays * signal.size / 1.0e6))
    charge = (300.0 / config.gain, 4000.0 / config.gain)
    flaws = config.flaws
    flagged = add_cosmic_rays(signal, count, charge, rng, config.flagged_cosmic_rays, flaws.scatter)
    mask[flagged] |= plane_bits(["COSMIC_RAY", "INTERPOLATED"])
    image = signal + _residual_background(config, rng)
    if flaws.crosstalk:
        add_crosstalk(image, level, flaws.crosstalk, rng)
    for _ in range(rng.poisson(flaws.ghosts * signal.size / 1.0e6) if flaws.ghosts else 0):
        add_ghost(image, noise, rng)
    if flaws.amplifier_steps:
        image += amplifier_steps(shape, flaws.amplifier_steps * noise, rng)
    image += np.sqrt(variance) * correlate(rng.standard_normal(shape, dtype=np.float32), flaws.correlation)
    variance *= np.float32(flaws.variance_factor)
    mask[bad_columns(shape, config.bad_column_rate, rng)] |= plane_bits(["BAD", "INTERPOLATED"])
    if rng.random() < config.dead_amplifier_chance:
        amplifier = dead_amplifier(shape, rng)
        image[amplifier] = np.nan
        variance[amplifier] = np.nan
        mask[amplifier] |= plane_bits(["BAD", "NO_DATA"])
    if flaws.edge_chance and rng.random() < flaws.edge_chance:
        edge, kind = draw_edge(shape, rng)
        mask[edge] |= plane_bits(EDGES[kind])
        if kind == "missing":
            image[edge] = np.nan
            variance[edge] = np.nan
    # The truth refers to visible pixels and to the noise without trails.
    seen = without_own_saturation(dataclasses.replace(before, image=image, mask=mask), own)
    truth = add_distractors(truth_table(seen, trails), others, kinds, psf)
    template, template_psf = None, None
    if config.template is not None:
        template, template_psf = simulate_template(
            config.template, sky, psf, bbox or Box.from_shape(shape), noise, template_rng, galaxies
        )
    return Scene(
        planes=ImagePlanes(image=image, variance=variance, mask=mask, psf=psf, template=template),
        trails=trails,
        truth=truth,
        template_psf=template_psf,
        gain=config.gain,
        full_well=level,
        subtraction=config.subtraction,
        own_saturation=own,
    )


def without_own_saturation(planes: ImagePlanes, own: npt.NDArray[np.bool_] | None) -> ImagePlanes:
    """Return an image in which trails do not hide themselves.

    A trail that saturates is as bright and as visible as its light is, so that it counts in evaluations.

    Parameters
    ----------
    planes
        The image.
    own
        Pixels that the trails saturate, shape (ny, nx).
    """
    if own is None or not own.any():
        return planes
    seen = planes.mask & ~np.uint32(plane_bits(_SATURATED))
    return dataclasses.replace(planes, mask=np.where(own, seen, planes.mask))


def _residual_background(config: SceneConfig, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw the residual of a background subtraction: a gradient and slow waves."""
    ny, nx = config.shape
    y = np.linspace(-1.0, 1.0, ny, dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, nx, dtype=np.float32)[None, :]
    level = rng.normal() * x + rng.normal() * y
    for _ in range(3):
        kx, ky, phase = rng.uniform(-4.0, 4.0), rng.uniform(-4.0, 4.0), rng.uniform(0.0, 2.0 * np.pi)
        level = level + np.cos(np.float32(kx) * x + np.float32(ky) * y + np.float32(phase))
    scale = config.background * config.sky_noise / max(float(level.std()), 1e-6)
    return np.asarray(level * np.float32(scale), dtype=np.float32)
