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

__all__ = ("Sky", "SkyConfig", "draw_sky", "paint_sky")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.fft

from ..core.photometry import mag_to_flux
from ..core.psf import PsfGrid
from .detector import PIXEL_SCALE

type _Image = npt.NDArray[np.float32]
type _Floats = npt.NDArray[np.float64]

ARCMIN2_PER_PIXEL = (PIXEL_SCALE / 60.0) ** 2
"""Solid angle of an LSST pixel, square arcminutes."""

_BLOCK = 256
"""Side of the blocks with a constant kernel, pixels."""

_HALO_MAG = 18.0
"""Faintest magnitude of stars with a halo and diffraction spikes."""

_MARGIN = 60
"""Width of the area beyond the edges in which sources are drawn, pixels."""


@dataclasses.dataclass(frozen=True)
class SkyConfig:
    """Density of stars and galaxies in a field."""

    star_density: float = 5.0
    """Stars brighter than magnitude 24 per square arcminute.

    It is 2 at the galactic poles and 30 near the plane.
    """

    star_slope: float = 0.22
    """Growth of the star counts, dex per magnitude."""

    galaxy_density: float = 32.0
    """Galaxies brighter than magnitude 25 per square arcminute."""

    galaxy_slope: float = 0.36
    """Growth of the galaxy counts, dex per magnitude."""

    faint_limit: float = 26.2
    """Faintest magnitude."""

    bright_limit: float = 14.0
    """Brightest magnitude."""

    spike_angle: float = 45.0
    """Angle of the first diffraction spike, degrees from +x."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sky:
    """Stars and galaxies of a field, in array coordinates.

    Parameters
    ----------
    star_x, star_y, star_flux
        Stars: positions in pixels, fluxes in nJy.
    galaxy_x, galaxy_y, galaxy_flux
        Galaxies: positions in pixels, fluxes in nJy.
    galaxy_radius
        Half-light radii along the major axis, pixels.
    galaxy_axis_ratio, galaxy_angle
        Minor over major axis; angle of the major axis, degrees from +x.
    galaxy_is_disk
        Whether a galaxy is an exponential disk or a de Vaucouleurs spheroid.
    spike_angle
        Angle of the first diffraction spike, degrees from +x.
    """

    star_x: _Floats
    star_y: _Floats
    star_flux: _Floats
    galaxy_x: _Floats
    galaxy_y: _Floats
    galaxy_flux: _Floats
    galaxy_radius: _Floats
    galaxy_axis_ratio: _Floats
    galaxy_angle: _Floats
    galaxy_is_disk: npt.NDArray[np.bool_]
    spike_angle: float = 45.0


def draw_sky(config: SkyConfig, shape: tuple[int, int], rng: np.random.Generator) -> Sky:
    """Draw the stars and galaxies of an image of shape (ny, nx)."""
    ny, nx = shape
    area = (ny + 2 * _MARGIN) * (nx + 2 * _MARGIN) * ARCMIN2_PER_PIXEL

    def place(count: int) -> tuple[_Floats, _Floats]:
        return rng.uniform(-_MARGIN, nx + _MARGIN, count), rng.uniform(-_MARGIN, ny + _MARGIN, count)

    star_mag = _magnitudes(config.star_density * area, 24.0, config.star_slope, config, rng)
    star_x, star_y = place(len(star_mag))
    galaxy_mag = _magnitudes(config.galaxy_density * area, 25.0, config.galaxy_slope, config, rng)
    # Galaxies do not reach the magnitudes of the brightest stars.
    galaxy_mag = galaxy_mag[galaxy_mag > max(config.bright_limit, 16.5)]
    count = len(galaxy_mag)
    galaxy_x, galaxy_y = place(count)
    is_disk = rng.random(count) < 0.8
    # Half-light radii: 0.9 arcsec at magnitude 21, smaller toward the faint
    # end, with the scatter of deep HST fields (about 0.2 dex).
    radius = 0.9 / 0.2 * 10.0 ** (-0.11 * (galaxy_mag - 21.0) + rng.normal(0.0, 0.2, count))
    # Thin disks at random inclinations (Hubble 1926); edge-on disks resemble trails.
    cos_i = rng.random(count)
    thickness = rng.uniform(0.1, 0.3, count)
    disk_ratio = np.sqrt(thickness**2 + (1.0 - thickness**2) * cos_i**2)
    ratio = np.where(is_disk, disk_ratio, rng.uniform(0.5, 1.0, count))
    return Sky(
        star_x=star_x,
        star_y=star_y,
        star_flux=np.asarray(mag_to_flux(star_mag)),
        galaxy_x=galaxy_x,
        galaxy_y=galaxy_y,
        galaxy_flux=np.asarray(mag_to_flux(galaxy_mag)),
        galaxy_radius=np.clip(radius, 0.2, 120.0),
        galaxy_axis_ratio=ratio,
        galaxy_angle=rng.uniform(0.0, 180.0, count),
        galaxy_is_disk=is_disk,
        spike_angle=config.spike_angle,
    )


def _magnitudes(
    count_at: float, mag_at: float, slope: float, config: SkyConfig, rng: np.random.Generator
) -> _Floats:
    """Draw magnitudes from counts that grow as ``10 ** (slope m)``."""
    low, high = (10.0 ** (slope * (limit - mag_at)) for limit in (config.bright_limit, config.faint_limit))
    count = rng.poisson(count_at * (high - low))
    return mag_at + np.log10(rng.uniform(low, high, count)) / slope


def paint_sky(sky: Sky, psf: PsfGrid, shape: tuple[int, int], noise: float) -> _Image:
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
        Noise of a pixel, nJy, which limits the extent of halos and spikes.

    Returns
    -------
    image
        Flux per pixel in nJy, shape (ny, nx).
    """
    pad = psf.size // 2 + 4
    canvas = np.zeros((shape[0] + 2 * pad, shape[1] + 2 * pad), dtype=np.float32)
    _add_points(canvas, sky.star_x + pad, sky.star_y + pad, sky.star_flux)
    for i in range(len(sky.galaxy_x)):
        _add_galaxy(canvas, sky, i, pad)
    bright = sky.star_flux > mag_to_flux(_HALO_MAG)
    stars = np.stack([sky.star_x, sky.star_y, sky.star_flux], axis=1)[bright].tolist()
    for x, y, flux in stars:
        _add_spikes(canvas, x + pad, y + pad, flux, sky.spike_angle, noise)
    image = _convolve(canvas, psf, shape, pad)
    for x, y, flux in stars:
        _add_halo(image, x, y, flux, noise)
    return image


def _add_points(canvas: _Image, x: _Floats, y: _Floats, flux: _Floats) -> None:
    """Add point sources to a canvas before its convolution.

    A Lanczos-3 kernel preserves sub-pixel positions: after convolution with a PSF of 3 pixels or more, the
    result is within 0.3% of the shifted PSF.
    """
    offsets = np.arange(-2, 4)
    ix, iy = np.floor(x).astype(int), np.floor(y).astype(int)
    inside = (ix >= 2) & (iy >= 2) & (ix < canvas.shape[1] - 3) & (iy < canvas.shape[0] - 3)
    ix, iy, x, y, flux = ix[inside], iy[inside], x[inside], y[inside], flux[inside]
    wx, wy = _lanczos(x - ix, offsets), _lanczos(y - iy, offsets)
    weights = flux[:, None, None] * wy[:, :, None] * wx[:, None, :]
    rows = np.broadcast_to((iy[:, None] + offsets)[:, :, None], weights.shape)
    columns = np.broadcast_to((ix[:, None] + offsets)[:, None, :], weights.shape)
    np.add.at(canvas, (rows, columns), weights.astype(np.float32))


def _lanczos(fraction: _Floats, offsets: npt.NDArray[np.int64]) -> _Floats:
    u = offsets[None, :] - fraction[:, None]
    weights = np.sinc(u) * np.sinc(u / 3.0) * (np.abs(u) < 3.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _add_galaxy(canvas: _Image, sky: Sky, i: int, pad: int) -> None:
    radius, ratio = float(sky.galaxy_radius[i]), float(sky.galaxy_axis_ratio[i])
    disk = bool(sky.galaxy_is_disk[i])
    reach = int(np.ceil((3.5 if disk else 5.0) * radius)) + 1
    x, y = float(sky.galaxy_x[i]) + pad, float(sky.galaxy_y[i]) + pad
    ix, iy = round(x), round(y)
    rows, columns = _clipped(iy, reach, canvas.shape[0]), _clipped(ix, reach, canvas.shape[1])
    if not rows or not columns:
        return
    # Cuspy profiles need fine sampling.
    fine = int(np.clip(np.ceil(3.0 / max(radius * ratio, 0.3)), 1, 7))
    step = (np.arange(fine) + 0.5) / fine - 0.5
    u = (np.arange(ix - reach, ix + reach + 1)[:, None] + step).ravel() - x
    v = (np.arange(iy - reach, iy + reach + 1)[:, None] + step).ravel() - y
    angle = np.deg2rad(sky.galaxy_angle[i])
    c, s = np.cos(angle), np.sin(angle)
    major = u[None, :] * c + v[:, None] * s
    minor = (v[:, None] * c - u[None, :] * s) / ratio
    r = np.sqrt(major * major + minor * minor) / radius
    # Sersic profiles of index 1 and 4 (Ciotti & Bertin 1999, A&A 352, 447).
    profile = np.exp(-1.6783 * r) if disk else np.exp(-7.6692 * np.sqrt(np.sqrt(r + 1e-3)))
    side = 2 * reach + 1
    stamp = profile.reshape(side, fine, side, fine).sum(axis=(1, 3))
    stamp *= sky.galaxy_flux[i] / stamp.sum()
    y0, x0 = iy - reach, ix - reach
    canvas[rows.start : rows.stop, columns.start : columns.stop] += stamp[
        rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0
    ]


def _clipped(center: int, reach: int, size: int) -> range:
    """Return the pixels within a distance of a center that exist."""
    return range(max(center - reach, 0), min(center + reach + 1, size))


def _add_spikes(canvas: _Image, x: float, y: float, flux: float, angle: float, noise: float) -> None:
    """Add the four arms of a diffraction spike.

    They fall as the inverse square of the radius and hold 0.6% of the flux beyond 4 pixels.
    """
    amplitude = 0.006 * flux
    reach = min(np.sqrt(amplitude / (0.2 * noise)), 1500.0)
    if reach < 8.0:
        return
    r = np.arange(4.0, reach, 0.5)
    weight = 0.5 * amplitude / np.square(r)
    for arm in range(4):
        radians = np.deg2rad(angle + 90.0 * arm)
        _add_points(canvas, x + r * np.cos(radians), y + r * np.sin(radians), weight)


def _add_halo(image: _Image, x: float, y: float, flux: float, noise: float) -> None:
    """Add the aureole of a bright star.

    It holds 2% of the flux and falls as the third power of the radius (King 1971, PASP 83, 199).
    """
    core = 8.0
    central = 0.02 * flux / (2.0 * np.pi * core * core)
    reach = int(min(core * np.cbrt(central / (0.05 * noise)), 600.0))
    if reach < core:
        return
    rows, columns = _clipped(int(y), reach, image.shape[0]), _clipped(int(x), reach, image.shape[1])
    if not rows or not columns:
        return
    u = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(x)
    v = np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(y)
    r2 = np.square(v)[:, None] + np.square(u)[None, :]
    halo = central * np.power(1.0 + r2 / (core * core), -1.5)
    image[rows.start : rows.stop, columns.start : columns.stop] += np.where(
        r2 < reach * reach, halo, 0.0
    ).astype(np.float32)


def _convolve(canvas: _Image, psf: PsfGrid, shape: tuple[int, int], pad: int) -> _Image:
    """Convolve each block with the PSF at its center."""
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
            result = scipy.fft.irfft2(product, s=(fast, fast))
            image[y : y + h, x : x + w] = result[2 * r : 2 * r + h, 2 * r : 2 * r + w]
    return image
