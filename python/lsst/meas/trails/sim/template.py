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

"""Templates of simulated images: the same sky with other PSF, noise and errors."""

from __future__ import annotations

__all__ = ("TemplateConfig", "simulate_template")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

from lsst.images import Box

from ..core.geometry import Trail
from ..core.injection.artifacts import add_satellite
from ..core.injection.distractors import DistractorPopulation, draw_distractors
from ..core.injection.population import TrailPopulation, draw_log_uniform
from ..core.planes import ImagePlanes
from ..core.psf import PsfGrid
from ..core.render import render_trail
from ..repository.visit_image import sample_psf
from .profile_psf import PsfShape, make_profile_psf
from .psf import draw_seeing, make_psf
from .sky import Shift, Sky, paint_sky

_SHARPEST = 2.5
"""Smallest FWHM of a template's PSF, pixels."""

type _Image = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class TemplateConfig:
    """Differences between a template and its image.

    A value is drawn uniformly from each range, once per image.
    """

    width: tuple[float, float] = (0.8, 1.3)
    """Range of the template's FWHM over the image's FWHM."""

    noise: tuple[float, float] = (0.2, 0.6)
    """Range of the template's noise over the image's sky noise."""

    correlation: tuple[float, float] = (0.4, 1.0)
    """Range of the Gaussian sigma of the noise smoothing by warping, pixels."""

    band_limit: float | None = None
    """Spatial frequency at which the noise ends instead, in units of the Nyquist frequency; 1 is what warping
    with a rotation leaves. The sharp limit makes negative lobes of the noise correlation.
    """

    psf: PsfShape | None = None
    """Shape of the PSF, whose FWHM follows from ``width``; the seeing of a visit by default."""

    shift: float = 0.3
    """Largest registration error, pixels."""

    scale: float = 0.01
    """Standard deviation of the flux-scale error."""

    variable: float = 0.03
    """Fraction of stars with another brightness (0.5 magnitudes rms)."""

    moved: float = 0.02
    """Fraction of stars at another place (up to 3 pixels)."""

    absent: float = 0.01
    """Fraction of stars that the template lacks."""

    transients: float = 0.0
    """Mean number of point sources that only the template has, per megapixel; SNRs of the image from 3 to 10
    000, most of them faint. Differences have negative sources there.
    """

    missing_chance: float = 0.15
    """Probability that the template covers the image partially."""

    holes: float = 0.3
    """Mean number of rectangles without data, per megapixel."""

    trails: float = 0.5
    """Mean number of residual trails of earlier images, per megapixel."""

    satellite_chance: float = 0.1
    """Probability of a residual satellite streak."""

    background: float = 0.2
    """Standard deviation of the residual background, in units of the noise."""

    def __post_init__(self) -> None:
        for name in ("width", "noise", "correlation"):
            low, high = getattr(self, name)
            if not 0.0 < low <= high < np.inf:
                raise ValueError(f"{name} must be a positive range, not {low} to {high}.")


def simulate_template(
    config: TemplateConfig,
    sky: Sky | None,
    psf: PsfGrid,
    bbox: Box,
    sky_noise: float,
    rng: np.random.Generator,
    galaxies: _Image | None = None,
) -> tuple[_Image, PsfGrid]:
    """Simulate the template of an image.

    Parameters
    ----------
    config
        Differences from the image.
    sky
        Stars and galaxies in the image; `None` for a blank sky.
    psf
        Point-spread function of the image.
    bbox
        Box of the image.
    sky_noise
        Sky noise of the image, nJy per pixel.
    rng
        Random number generator.
    galaxies
        Result of `~lsst.meas.trails.sim.sky.galaxy_canvas`, if there is one already.

    Returns
    -------
    template
        Flux per pixel in nJy, shape (ny, nx), NaN for missing data.
    psf
        Point-spread function of the template.
    """
    noise = float(rng.uniform(*config.noise)) * sky_noise
    shape = ny, nx = bbox.y.size, bbox.x.size
    factor = float(rng.uniform(*config.width))
    if config.psf is None:
        template_psf = _other_psf(psf, bbox, factor, rng)
    else:
        fwhm = max(factor * psf.fwhm(0.5 * nx, 0.5 * ny), _SHARPEST)
        template_psf = make_profile_psf(dataclasses.replace(config.psf, fwhm=fwhm), shape, rng)
    template = np.zeros(shape, dtype=np.float32)
    if sky is not None:
        earlier, shift = _earlier_sky(sky, config, shape, rng)
        template += paint_sky(earlier, template_psf, shape, noise, galaxies=galaxies, shift=shift)
        template *= np.float32(1.0 + rng.normal(0.0, config.scale))
    if config.transients > 0.0:
        population = DistractorPopulation(
            point_sources=config.transients, point_source_snr=(3.0, 1e4), point_source_index=-1.3
        )
        blank = np.full(shape, np.float32(sky_noise**2))
        like_image = ImagePlanes(template, blank, np.zeros(shape, dtype=np.uint32), template_psf)
        template += draw_distractors(population, like_image, rng).signal
    _add_remains(template, template_psf, config, noise, rng)
    correlation = float(rng.uniform(*config.correlation))
    if config.band_limit is None:
        template += _correlated_noise(shape, noise, correlation, rng)
    else:
        template += _band_limited_noise(shape, noise, config.band_limit, rng)
    slope = rng.normal(0.0, config.background * noise, 3)
    template += np.float32(slope[0])
    template += np.linspace(-slope[1], slope[1], nx, dtype=np.float32)[None, :]
    template += np.linspace(-slope[2], slope[2], ny, dtype=np.float32)[:, None]
    template[_missing(config, shape, rng)] = np.nan
    return template, template_psf


def _other_psf(psf: PsfGrid, bbox: Box, factor: float, rng: np.random.Generator) -> PsfGrid:
    """Return a PSF of another width and ellipticity."""
    center = 0.5 * bbox.x.size, 0.5 * bbox.y.size
    target = factor * psf.fwhm(*center)
    seeing = draw_seeing(rng, fwhm=0.9 * target)
    seed = int(rng.integers(2**32))
    # The sampled PSF is wider than its profile: two steps reach one percent.
    for _ in range(2):
        sampled = sample_psf(make_psf(seeing, np.random.default_rng(seed), bbox), bbox)
        ratio = target / sampled.fwhm(*center)
        seeing = dataclasses.replace(seeing, fwhm=float(np.clip(seeing.fwhm * ratio, 1.5, 12.0)))
    return sample_psf(make_psf(seeing, np.random.default_rng(seed), bbox), bbox)


def _earlier_sky(
    sky: Sky, config: TemplateConfig, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[Sky, Shift]:
    """Return the sky of earlier images, stars with registration errors, and the errors of the galaxies."""
    count = len(sky.star_x)
    flux, x, y = sky.star_flux.copy(), sky.star_x.copy(), sky.star_y.copy()
    fate = rng.random(count)
    varied = fate < config.variable
    flux[varied] *= 10.0 ** (0.4 * rng.normal(0.0, 0.5, int(np.count_nonzero(varied))))
    moved = (fate >= config.variable) & (fate < config.variable + config.moved)
    distance, angle = rng.uniform(0.0, 3.0, count), rng.uniform(0.0, 2.0 * np.pi, count)
    x[moved] += (distance * np.cos(angle))[moved]
    y[moved] += (distance * np.sin(angle))[moved]
    flux[fate > 1.0 - config.absent] = 0.0
    shift = _registration(config, shape, rng)
    dx, dy = np.array([shift(*star) for star in zip(x.tolist(), y.tolist(), strict=True)]).reshape(-1, 2).T
    # The telescope had another rotation.
    look = dataclasses.replace(sky.look, spike_angle=float(rng.uniform(0.0, 90.0)))
    return dataclasses.replace(sky, star_x=x + dx, star_y=y + dy, star_flux=flux, look=look), shift


def _registration(config: TemplateConfig, shape: tuple[int, int], rng: np.random.Generator) -> Shift:
    """Draw registration errors, which vary slowly over a detector."""
    reach = config.shift / np.sqrt(2.0)
    offset, gradient = rng.uniform(-reach, reach, 2), rng.uniform(-0.5, 0.5, (2, 2)) * reach

    def shift(x: float, y: float) -> tuple[float, float]:
        u, v = x / shape[1] - 0.5, y / shape[0] - 0.5
        dx, dy = (
            min(max(offset[i] + gradient[i, 0] * u + gradient[i, 1] * v, -reach), reach) for i in range(2)
        )
        return dx, dy

    return shift


def _add_remains(
    template: _Image, psf: PsfGrid, config: TemplateConfig, noise: float, rng: np.random.Generator
) -> None:
    """Add residuals of trails and satellites in earlier images."""
    ny, nx = template.shape
    low, high = TrailPopulation().length
    for _ in range(rng.poisson(config.trails * template.size / 1.0e6)):
        length = draw_log_uniform(low, high, rng)
        stamp = render_trail(
            psf, Trail(rng.uniform(0.0, nx), rng.uniform(0.0, ny), length, rng.uniform(0.0, 180.0))
        )
        pixels, part = stamp.clipped(template.shape)
        significance = float(np.sqrt(np.sum(np.square(stamp.array))))
        template[pixels] += (rng.uniform(3.0, 20.0) * noise / significance * part).astype(np.float32)
    if rng.random() < config.satellite_chance:
        brightness = draw_log_uniform(0.3, 10.0, rng) * noise
        add_satellite(template, psf, brightness, rng, defocus=float(rng.uniform(0.0, 3.0)))


def _correlated_noise(shape: tuple[int, int], noise: float, width: float, rng: np.random.Generator) -> _Image:
    """Draw noise of a given rms that is smoothed by warping."""
    white = rng.standard_normal(shape, dtype=np.float32)
    smooth = scipy.ndimage.gaussian_filter(white, width, mode="wrap")
    return np.asarray(smooth * np.float32(noise / max(float(smooth.std()), 1e-12)))


def _band_limited_noise(
    shape: tuple[int, int], noise: float, limit: float, rng: np.random.Generator
) -> _Image:
    """Draw noise of a given rms without frequencies beyond a limit, in units of the Nyquist frequency.

    Its correlation at distance r is ``2 J1(k r) / (k r)`` with ``k = pi limit``: .18 at one pixel, -.11 along
    the diagonal, -.07 at two pixels for a limit of 1. Templates of LSSTCam have .15 to .25, -.08 and -.10.
    """
    ny, nx = shape
    transform = scipy.fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    squared = np.square(scipy.fft.fftfreq(ny))[:, None] + np.square(scipy.fft.rfftfreq(nx))[None, :]
    transform[squared > np.square(0.5 * limit)] = 0.0
    values = scipy.fft.irfft2(transform, s=shape)
    return np.asarray(values * np.float32(noise / max(float(values.std()), 1e-12)), dtype=np.float32)


def _missing(
    config: TemplateConfig, shape: tuple[int, int], rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Draw the pixels without data: beyond an edge, and in holes."""
    ny, nx = shape
    missing = np.zeros(shape, dtype=bool)
    if rng.random() < config.missing_chance:
        angle = rng.uniform(0.0, 2.0 * np.pi)
        y, x = np.ogrid[:ny, :nx]
        along = (x / nx - 0.5) * np.cos(angle) + (y / ny - 0.5) * np.sin(angle)
        missing |= along > rng.uniform(-0.1, 0.45)
    for _ in range(rng.poisson(config.holes * missing.size / 1.0e6)):
        height, width = rng.integers(8, 120, 2)
        y0, x0 = int(rng.integers(0, ny)), int(rng.integers(0, nx))
        missing[y0 : y0 + int(height), x0 : x0 + int(width)] = True
    return missing
