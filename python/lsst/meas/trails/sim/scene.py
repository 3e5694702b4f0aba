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

"""Simulated single-visit images of LSSTCam, as arrays."""

from __future__ import annotations

__all__ = ("Scene", "SceneConfig", "simulate_scene")

import dataclasses

import astropy.table
import numpy as np
import numpy.typing as npt

from lsst.images import Box
from lsst.images.psfs import PiffWrapper

from ..core.geometry import Trail, Trails
from ..core.injection.artifacts import add_satellite
from ..core.injection.inject import inject_trails
from ..core.injection.population import TrailPopulation, draw_trails
from ..core.injection.truth import add_distractors, truth_table
from ..core.planes import ImagePlanes, plane_bits
from ..core.psf import PsfGrid
from .defects import add_cosmic_rays, bad_columns, dead_amplifier, saturate
from .sky import SkyConfig, draw_sky, paint_sky
from .template import TemplateConfig, simulate_template

MEGAPIXEL = 1.0e6


@dataclasses.dataclass(frozen=True)
class SceneConfig:
    """What one detector's image looks like.

    The defaults are an r-band visit of LSSTComCam in Data Preview 1: sky
    noise 17.8 nJy per pixel, 1.85 electrons per nJy.

    Parameters
    ----------
    shape
        Shape (ny, nx), pixels.
    sky_noise
        Standard deviation of a pixel of blank sky, nJy.
    gain
        Electrons per nJy.
    full_well
        Saturation level, electrons.
    sky
        Stars and galaxies; `None` for a blank sky.
    trails
        Population of asteroid trails; `None` for none.
    cosmic_rays
        Tracks per megapixel.
    flagged_cosmic_rays
        Fraction of them that are masked.
    bad_column_rate
        Bad columns per thousand.
    dead_amplifier_chance, satellite_chance
        Probabilities that the image has one.
    background
        Standard deviation of the residual background, in units of the sky
        noise.
    template
        How the template differs from the image; `None` for no template.
    """

    shape: tuple[int, int] = (4000, 4072)
    sky_noise: float = 17.8
    gain: float = 1.85
    full_well: float = 130_000.0
    sky: SkyConfig | None = dataclasses.field(default_factory=SkyConfig)
    trails: TrailPopulation | None = None
    cosmic_rays: float = 12.0
    flagged_cosmic_rays: float = 0.85
    bad_column_rate: float = 1.0
    dead_amplifier_chance: float = 0.02
    satellite_chance: float = 0.08
    background: float = 0.4
    template: TemplateConfig | None = None

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise ValueError(f"An image cannot have the shape {self.shape}.")
        if not (self.sky_noise > 0.0 and self.gain > 0.0 and self.full_well > 0.0):
            raise ValueError("Sky noise, gain and full well must be positive.")

    @classmethod
    def varied(cls, shape: tuple[int, int], rng: np.random.Generator, **changes: object) -> SceneConfig:
        """Return the configuration of a random visit.

        Sky brightness, transparency and crowding vary from visit to visit as
        they do over a survey.

        Parameters
        ----------
        shape
            Shape (ny, nx), pixels.
        rng
            Random numbers.
        **changes
            Fields to set otherwise.
        """
        sky_noise = float(17.8 * np.exp(rng.normal(0.0, 0.3)))
        # A brighter sky holds more electrons: their root is its noise.
        sky_electrons = float(1080.0 * np.exp(rng.normal(0.0, 0.4)))
        sky = SkyConfig(
            star_density=float(np.exp(rng.uniform(np.log(2.0), np.log(25.0)))),
            galaxy_density=float(np.exp(rng.normal(np.log(32.0), 0.25))),
            spike_angle=float(rng.uniform(0.0, 90.0)),
        )
        config = cls(
            shape=shape,
            sky_noise=sky_noise,
            gain=float(np.sqrt(sky_electrons) / sky_noise),
            sky=sky,
            cosmic_rays=float(rng.uniform(5.0, 20.0)),
            # Images of other pipelines have none flagged, or few.
            flagged_cosmic_rays=float(rng.uniform(0.4, 0.99)),
            background=float(rng.uniform(0.1, 0.7)),
        )
        return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A simulated image and what is in it.

    Parameters
    ----------
    planes
        Image, variance and mask in nJy, with the PSF, and the template if
        one was asked for, with its background.
    truth
        One row a trail, columns of `~lsst.meas.trails.core.injection.truth.TRUTH_COLUMNS`
        in array coordinates, and ``source_type``: ``Trail`` for asteroids and
        ``Satellite`` for streaks across the image.
    template_psf
        Point-spread function of the template, if there is one.
    """

    planes: ImagePlanes
    trails: Trails
    truth: astropy.table.Table
    template_psf: PiffWrapper | None = None


def simulate_scene(
    config: SceneConfig, psf: PsfGrid, rng: np.random.Generator, bbox: Box | None = None
) -> Scene:
    """Simulate the image of one detector.

    Parameters
    ----------
    config
        What the image looks like.
    psf
        Point-spread function over the image.
    rng
        Random numbers; the same generator state makes the same image.
    bbox
        Box of the image, in whose coordinates the PSF of the template is; it
        starts at (0, 0) by default.

    Notes
    -----
    The variance plane is that of the sky plus signal over gain; the noise is
    drawn from it.  Pixels that the stack would have masked are masked under
    its plane names.
    """
    shape = config.shape
    noise = config.sky_noise
    signal = np.zeros(shape, dtype=np.float32)
    # Its random numbers are its own, so that an image is the same without it.
    template_rng = rng.spawn(1)[0]
    sky = None if config.sky is None else draw_sky(config.sky, shape, rng)
    if sky is not None:
        signal += paint_sky(sky, psf, shape, noise)
    streaks: list[Trail] = []
    if rng.random() < config.satellite_chance:
        brightness = float(np.exp(rng.uniform(np.log(2.0), np.log(300.0)))) * noise
        streaks.append(add_satellite(signal, psf, brightness, rng, defocus=float(rng.uniform(0.0, 3.0))))
    mask = np.zeros(shape, dtype=np.uint32)
    before = ImagePlanes(
        image=signal,
        variance=(np.float32(noise**2) + signal / np.float32(config.gain)).astype(np.float32),
        mask=mask,
        psf=psf,
    )
    trails = Trails.empty()
    if config.trails is not None:
        trails = draw_trails(config.trails, before, rng)
        signal = inject_trails(before, trails, None).image
    mask[saturate(signal, config.full_well / config.gain, rng)] |= plane_bits(["SATURATED", "INTERPOLATED"])
    variance = (np.float32(noise**2) + np.maximum(signal, 0.0) / np.float32(config.gain)).astype(np.float32)
    count = int(rng.poisson(config.cosmic_rays * signal.size / MEGAPIXEL))
    charge = (300.0 / config.gain, 4000.0 / config.gain)
    flagged = add_cosmic_rays(signal, count, charge, rng, config.flagged_cosmic_rays)
    mask[flagged] |= plane_bits(["COSMIC_RAY", "INTERPOLATED"])
    image = signal + _residual_background(config, rng)
    image += np.sqrt(variance) * rng.standard_normal(shape, dtype=np.float32)
    mask[bad_columns(shape, config.bad_column_rate, rng)] |= plane_bits(["BAD", "INTERPOLATED"])
    if rng.random() < config.dead_amplifier_chance:
        amplifier = dead_amplifier(shape, rng)
        image[amplifier] = np.nan
        variance[amplifier] = np.nan
        mask[amplifier] |= plane_bits(["BAD", "NO_DATA"])
    # The truth refers to the pixels that can be seen, and to the noise
    # without the trails themselves.
    seen = dataclasses.replace(before, image=image, mask=mask)
    truth = _scene_truth(seen, trails, streaks)
    template, template_psf = None, None
    if config.template is not None:
        template, template_psf = simulate_template(
            config.template, sky, psf, bbox or Box.from_shape(shape), noise, template_rng
        )
    return Scene(
        planes=ImagePlanes(image=image, variance=variance, mask=mask, psf=psf, template=template),
        trails=trails,
        truth=truth,
        template_psf=template_psf,
    )


def _scene_truth(planes: ImagePlanes, trails: Trails, streaks: list[Trail]) -> astropy.table.Table:
    satellites = Trails.from_trails(streaks)
    return add_distractors(
        truth_table(planes, trails), satellites, ["Satellite"] * len(satellites), planes.psf
    )


def _residual_background(config: SceneConfig, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return what background subtraction leaves: a gradient and slow waves."""
    ny, nx = config.shape
    y = np.linspace(-1.0, 1.0, ny, dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, nx, dtype=np.float32)[None, :]
    level = rng.normal() * x + rng.normal() * y
    for _ in range(3):
        kx, ky, phase = rng.uniform(-4.0, 4.0), rng.uniform(-4.0, 4.0), rng.uniform(0.0, 2.0 * np.pi)
        level = level + np.cos(np.float32(kx) * x + np.float32(ky) * y + np.float32(phase))
    scale = config.background * config.sky_noise / max(float(level.std()), 1e-6)
    return np.asarray(level * np.float32(scale), dtype=np.float32)
