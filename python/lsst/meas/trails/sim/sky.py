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

"""Simulated stars and galaxies, convolved with a varying PSF."""

from __future__ import annotations

__all__ = ("Sky", "SkyConfig", "draw_sky", "galaxy_canvas", "paint_sky")

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy.fft

from ..core.photometry import mag_to_flux
from ..core.psf import PsfGrid
from .detector import PIXEL_SCALE
from .galaxies import Galaxies, add_galaxies
from .points import add_points
from .stars import StarLook, add_glow, add_spikes

type _Image = npt.NDArray[np.float32]
type _Floats = npt.NDArray[np.float64]
type Shift = Callable[[float, float], tuple[float, float]]
"""Displacement (dx, dy) of the sky at a position x, y, pixels."""

ARCMIN2_PER_PIXEL = (PIXEL_SCALE / 60.0) ** 2
"""Solid angle of an LSST pixel, square arcminutes."""

_BLOCK = 256
"""Side of the blocks with a constant kernel, pixels."""

_HALO_MAG = 18.0
"""Faintest magnitude of stars with a halo and diffraction spikes."""

_MARGIN = 60
"""Width of the area beyond the edges in which sources are drawn, pixels."""

_WIDE_MARGIN = 400
"""The same for stars whose wings reach hundreds of pixels."""

_FAINTEST = 0.01
"""Brightness at which the profile of a galaxy ends, in units of the noise of a pixel."""


@dataclasses.dataclass(frozen=True)
class SkyConfig:
    """Density and looks of stars and galaxies in a field."""

    star_density: float = 5.0
    """Stars brighter than magnitude 24 per square arcminute.

    It is 2 at the galactic poles and 30 near the plane.
    """

    star_slope: float = 0.22
    """Growth of the star counts, dex per magnitude."""

    pairs: float = 0.0
    """Fraction of the stars with a companion, up to 3 magnitudes fainter, within 15 pixels."""

    galaxy_density: float = 32.0
    """Galaxies brighter than magnitude 25 per square arcminute."""

    galaxy_slope: float = 0.36
    """Growth of the galaxy counts, dex per magnitude."""

    galaxy_size: float = 1.0
    """Sizes of the galaxies, in units of those of deep HST fields."""

    disk_fraction: float = 0.8
    """Fraction of disks among the galaxies; the others are spheroids."""

    disk_index: tuple[float, float] = (1.0, 1.0)
    """Range of the Sersic indices of disks."""

    spheroid_index: tuple[float, float] = (4.0, 4.0)
    """Range of the Sersic indices of spheroids."""

    disk_thickness: tuple[float, float] = (0.1, 0.3)
    """Range of the axis ratios of disks that are seen edge-on."""

    clumps: float = 0.0
    """Fraction of the galaxies with clumps."""

    faint_limit: float = 26.2
    """Faintest magnitude."""

    bright_limit: float = 14.0
    """Brightest magnitude."""

    look: StarLook = dataclasses.field(default_factory=StarLook)
    """Optics of the telescope."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sky:
    """Stars and galaxies of a field, in array coordinates.

    Parameters
    ----------
    star_x, star_y, star_flux
        Stars: positions in pixels, fluxes in nJy.
    galaxies
        The galaxies.
    look
        Optics of the telescope.
    """

    star_x: _Floats
    star_y: _Floats
    star_flux: _Floats
    galaxies: Galaxies = dataclasses.field(default_factory=Galaxies.empty)
    look: StarLook = dataclasses.field(default_factory=StarLook)


def draw_sky(config: SkyConfig, shape: tuple[int, int], rng: np.random.Generator) -> Sky:
    """Draw the stars and galaxies of an image of shape (ny, nx)."""
    ny, nx = shape
    wide = _MARGIN if config.look.wing_slope is None else _WIDE_MARGIN
    area, wide_area = (
        (ny + 2 * margin) * (nx + 2 * margin) * ARCMIN2_PER_PIXEL for margin in (_MARGIN, wide)
    )

    def place(count: int, margin: float) -> tuple[_Floats, _Floats]:
        return rng.uniform(-margin, nx + margin, count), rng.uniform(-margin, ny + margin, count)

    star_mag = _magnitudes(config.star_density * wide_area, 24.0, config.star_slope, config, rng)
    star_x, star_y = place(len(star_mag), wide)
    if wide > _MARGIN:
        # Only bright stars matter far beyond the edges.
        far = np.maximum(np.abs(star_x - 0.5 * nx) - 0.5 * nx, np.abs(star_y - 0.5 * ny) - 0.5 * ny)
        kept = (far <= _MARGIN) | (star_mag < _HALO_MAG)
        star_x, star_y, star_mag = star_x[kept], star_y[kept], star_mag[kept]
    galaxies = _draw_galaxies(config, area, place, rng)
    if config.pairs > 0.0:
        paired = rng.random(len(star_x)) < config.pairs
        count = int(np.count_nonzero(paired))
        distance, angle = rng.uniform(1.0, 15.0, count), rng.uniform(0.0, 2.0 * np.pi, count)
        star_x = np.append(star_x, star_x[paired] + distance * np.cos(angle))
        star_y = np.append(star_y, star_y[paired] + distance * np.sin(angle))
        star_mag = np.append(star_mag, star_mag[paired] + rng.uniform(0.0, 3.0, count))
    return Sky(star_x, star_y, np.asarray(mag_to_flux(star_mag)), galaxies, config.look)


def _draw_galaxies(
    config: SkyConfig,
    area: float,
    place: Callable[[int, float], tuple[_Floats, _Floats]],
    rng: np.random.Generator,
) -> Galaxies:
    mag = _magnitudes(config.galaxy_density * area, 25.0, config.galaxy_slope, config, rng)
    # Galaxies do not reach the magnitudes of the brightest stars.
    mag = mag[mag > max(config.bright_limit, 16.5)]
    count = len(mag)
    x, y = place(count, _MARGIN)
    is_disk = rng.random(count) < config.disk_fraction
    # Half-light radii: 0.9 arcsec at magnitude 21, smaller toward the faint
    # end, with the scatter of deep HST fields (about 0.2 dex).
    radius = 0.9 / 0.2 * 10.0 ** (-0.11 * (mag - 21.0) + rng.normal(0.0, 0.2, count))
    # Thin disks at random inclinations (Hubble 1926); edge-on disks resemble trails.
    cos_i = rng.random(count)
    thickness = rng.uniform(*config.disk_thickness, count)
    disk_ratio = np.sqrt(thickness**2 + (1.0 - thickness**2) * cos_i**2)
    ratio = np.where(is_disk, disk_ratio, rng.uniform(0.5, 1.0, count))
    angle = rng.uniform(0.0, 180.0, count)
    index = np.where(
        is_disk, _within(config.disk_index, count, rng), _within(config.spheroid_index, count, rng)
    )
    galaxies = Galaxies(
        x=x,
        y=y,
        flux=np.asarray(mag_to_flux(mag)),
        radius=np.clip(config.galaxy_size * radius, 0.2, 120.0),
        axis_ratio=ratio,
        angle=angle,
        index=index,
    )
    return galaxies.with_clumps(config.clumps, rng) if config.clumps > 0.0 else galaxies


def _magnitudes(
    count_at: float, mag_at: float, slope: float, config: SkyConfig, rng: np.random.Generator
) -> _Floats:
    """Draw magnitudes from counts that grow as ``10 ** (slope m)``."""
    low, high = (10.0 ** (slope * (limit - mag_at)) for limit in (config.bright_limit, config.faint_limit))
    count = rng.poisson(count_at * (high - low))
    return mag_at + np.log10(rng.uniform(low, high, count)) / slope


def _within(span: tuple[float, float], count: int, rng: np.random.Generator) -> _Floats:
    """Draw from a range; a range of one value needs no random numbers."""
    return np.full(count, span[0]) if span[0] == span[1] else rng.uniform(*span, count)


def galaxy_canvas(sky: Sky, shape: tuple[int, int], pad: int, noise: float) -> _Image:
    """Return the galaxies of a sky before the convolution with a PSF.

    Parameters
    ----------
    sky
        Stars and galaxies.
    shape
        Shape (ny, nx) of the image.
    pad
        Width of the area beyond the edges, pixels.
    noise
        Noise of a pixel, nJy, which limits the extent of the galaxies.

    Returns
    -------
    canvas
        Flux per pixel, shape (ny + 2 pad, nx + 2 pad); an image and its template can share it.
    """
    canvas = np.zeros((shape[0] + 2 * pad, shape[1] + 2 * pad), dtype=np.float32)
    add_galaxies(canvas, sky.galaxies, _FAINTEST * noise, offset=pad)
    return canvas


def paint_sky(
    sky: Sky,
    psf: PsfGrid,
    shape: tuple[int, int],
    noise: float,
    *,
    galaxies: _Image | None = None,
    shift: Shift | None = None,
) -> _Image:
    """Paint a sky without noise.

    Parameters
    ----------
    sky
        Stars and galaxies.
    psf
        Point-spread function over the image.
    shape
        Shape (ny, nx) of the image.
    noise
        Noise of a pixel, nJy, which limits the extent of galaxies, halos and spikes.
    galaxies
        Result of `galaxy_canvas`, if there is one already.
    shift
        Displacement of the galaxies.

    Returns
    -------
    image
        Flux per pixel in nJy, shape (ny, nx).
    """
    pad = psf.size // 2 + 4
    points = np.zeros((shape[0] + 2 * pad, shape[1] + 2 * pad), dtype=np.float32)
    add_points(points, sky.star_x + pad, sky.star_y + pad, sky.star_flux)
    bright = sky.star_flux > mag_to_flux(_HALO_MAG)
    stars = np.stack([sky.star_x, sky.star_y, sky.star_flux], axis=1)[bright].tolist()
    for x, y, flux in stars:
        add_spikes(points, x + pad, y + pad, flux, sky.look, noise)
    if galaxies is None:
        galaxies = galaxy_canvas(sky, shape, pad, noise)
    else:
        inner = (galaxies.shape[0] - points.shape[0]) // 2
        galaxies = galaxies[inner : inner + points.shape[0], inner : inner + points.shape[1]]
    if shift is None:
        points += galaxies
        image = _convolve(points, psf, shape, pad)
    else:
        image = _convolve(points, psf, shape, pad) + _convolve(galaxies, psf, shape, pad, shift)
    for x, y, flux in stars:
        add_glow(image, x, y, flux, psf, sky.look, noise)
    return image


def _convolve(
    canvas: _Image, psf: PsfGrid, shape: tuple[int, int], pad: int, shift: Shift | None = None
) -> _Image:
    """Convolve each block with the PSF at its center, shifted if there is a shift."""
    image = np.empty(shape, dtype=np.float32)
    r = psf.size // 2
    fast = scipy.fft.next_fast_len(_BLOCK + 2 * r, real=True)
    transforms: dict[tuple[float, float], npt.NDArray[np.complex64]] = {}
    constant = psf.kernels.shape[:2] == (1, 1)
    for y in range(0, shape[0], _BLOCK):
        for x in range(0, shape[1], _BLOCK):
            h, w = min(_BLOCK, shape[0] - y), min(_BLOCK, shape[1] - x)
            center = (0.0, 0.0) if constant else (x + 0.5 * w, y + 0.5 * h)
            if center not in transforms:
                kernel = psf.kernel(*center).astype(np.float32)
                transforms[center] = scipy.fft.rfft2(kernel, s=(fast, fast))
            part = canvas[y + pad - r : y + pad + h + r, x + pad - r : x + pad + w + r]
            product = scipy.fft.rfft2(part, s=(fast, fast)) * transforms[center]
            if shift is not None:
                dx, dy = shift(x + 0.5 * w, y + 0.5 * h)
                fy, fx = scipy.fft.fftfreq(fast), scipy.fft.rfftfreq(fast)
                turns = np.exp(-2j * np.pi * fy * dy)[:, None] * np.exp(-2j * np.pi * fx * dx)[None, :]
                product *= turns.astype(np.complex64)
            result = scipy.fft.irfft2(product, s=(fast, fast))
            image[y : y + h, x : x + w] = result[2 * r : 2 * r + h, 2 * r : 2 * r + w]
    return image
