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

"""Light of stars, galaxies and cosmic rays of the scenes of `domain_scenes`, and their masks."""

from __future__ import annotations

__all__ = (
    "Galaxy",
    "Sky",
    "SkyRanges",
    "draw_cosmic_rays",
    "galaxy_rows",
    "mask_pixels",
    "paint_points",
    "paint_sky",
)

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import scipy.signal

from lsst.meas.trails.core.planes import plane_bits
from lsst.meas.trails.core.psf import PsfGrid

type _Floats = npt.NDArray[np.float64]

_PIXEL = 0.2 / 60.0
"""Arcminutes per pixel."""

GALAXY_SNR = 5.0
"""Least SNR of a listed galaxy."""


@dataclasses.dataclass(frozen=True)
class SkyRanges:
    """Numbers and shapes of stars and galaxies."""

    galaxies: float = 30.0
    """Galaxies brighter than magnitude 25.5 per square arcminute, times 0.5 to 1.5."""

    axis_ratio: tuple[float, float] = (0.15, 1.0)
    """Axis ratios of galaxies."""

    stars: float = 12.0
    """Stars per square arcminute, times 0.5 to 2."""

    bright_stars: int = 0
    """Further stars of magnitude 12 to 16 in a scene."""


@dataclasses.dataclass(frozen=True)
class Galaxy:
    """A soft Sersic profile on a grid of light."""

    x: float
    y: float

    angle: float
    """Angle of the major axis, radians counter-clockwise from +x."""

    ratio: float
    """Axis ratio."""

    radius: float
    """Half-light radius of a circle of the same area, pixels."""

    index: float
    """Sersic index."""

    flux: float

    @property
    def axes(self) -> tuple[float, float]:
        """Half-light radii along the major and the minor axis, pixels."""
        # A thin disk is seen longer, not smaller.
        return self.radius / np.sqrt(self.ratio), self.radius * np.sqrt(self.ratio)

    def light(self, grid: tuple[int, int], flux: float) -> tuple[tuple[slice, slice], _Floats]:
        """Return the pixels of the galaxy on a grid, and their light for a flux."""
        major, minor = self.axes
        reach = int(min(np.ceil(4.0 * major + 3.0), 150))
        left, bottom = int(self.x) - reach, int(self.y) - reach
        x0, x1 = max(left, 0), min(left + 2 * reach + 1, grid[1])
        y0, y1 = max(bottom, 0), min(bottom + 2 * reach + 1, grid[0])
        dy, dx = np.mgrid[y0:y1, x0:x1].astype(np.float64)
        dy, dx = dy - self.y, dx - self.x
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        u = (dx * cos + dy * sin) / np.hypot(major, 0.5)
        v = (dy * cos - dx * sin) / np.hypot(minor, 0.5)
        scaled = np.sqrt(u * u + v * v + np.square(0.3 / max(self.radius, 0.3)))
        profile = np.exp(-(2.0 * self.index - 1.0 / 3.0) * np.power(scaled, 1.0 / self.index))
        return (slice(y0, y1), slice(x0, x1)), flux * profile / max(profile.sum(), 1e-12)


class Sky(NamedTuple):
    """Light of stars and galaxies."""

    now: _Floats
    """Light at the time of the image, shape (ny, nx)."""

    earlier: _Floats
    """Light at the time of the template."""

    stars: _Floats
    """Stars of the image, columns x, y and flux."""

    galaxies: tuple[Galaxy, ...]

    @classmethod
    def dark(cls, grid: tuple[int, int]) -> Sky:
        """Return a sky without light."""
        return cls(np.zeros(grid), np.zeros(grid), np.zeros((0, 3)), ())


def paint_points(
    sky: _Floats, x: _Floats, y: _Floats, flux: _Floats, *, offset: int = 0, scale: float = 1.0
) -> None:
    """Add points to a grid of light in place, by Lanczos interpolation.

    Parameters
    ----------
    sky
        The grid, shape (ny, nx).
    x, y, flux
        Positions and fluxes, shape (n,).
    offset
        Grid coordinate of position 0.
    scale
        Factor of all fluxes.
    """
    taps = np.arange(-2, 4)
    weights, corners = [], []
    for position in (np.asarray(y) + offset, np.asarray(x) + offset):
        base = np.floor(position)
        distance = (position - base)[:, None] - taps
        weight = np.sinc(distance) * np.sinc(distance / 3.0)
        weights.append(weight / weight.sum(axis=1, keepdims=True))
        corners.append(base.astype(np.int64)[:, None] + taps)
    rows, columns = corners[0][:, :, None], corners[1][:, None, :]
    values = (scale * np.asarray(flux))[:, None, None] * weights[0][:, :, None] * weights[1][:, None, :]
    rows, columns = np.broadcast_arrays(rows, columns)
    inside = (rows >= 0) & (rows < sky.shape[0]) & (columns >= 0) & (columns < sky.shape[1])
    np.add.at(sky, (rows[inside], columns[inside]), values[inside])


def _flux(magnitude: npt.ArrayLike) -> Any:
    """Return the flux of a magnitude; SNR 5 in median seeing is 24.5."""
    return 36.0 * np.power(10.0, -0.4 * (np.asarray(magnitude) - 24.5))


def _magnitudes(rng: np.random.Generator, count: float, slope: float, faint: float, bright: float) -> _Floats:
    """Draw magnitudes whose counts rise by ``10^slope`` per magnitude."""
    values = faint + np.log10(rng.uniform(1e-9, 1.0, rng.poisson(count))) / slope
    return np.asarray(np.maximum(values, bright))


def paint_sky(domain: SkyRanges, rng: np.random.Generator, grid: tuple[int, int]) -> Sky:
    """Draw stars and galaxies, and return their light."""
    area = grid[0] * grid[1] * _PIXEL**2
    sky, other = np.zeros(grid), np.zeros(grid)
    magnitude = _magnitudes(rng, domain.stars * rng.uniform(0.5, 2.0) * area, 0.18, 26.5, 12.0)
    magnitude = np.concatenate([magnitude, rng.uniform(12.0, 16.0, domain.bright_stars)])
    flux = _flux(magnitude)
    # A tenth of the stars have a close companion.
    x, y = rng.uniform(0.0, grid[1], flux.size), rng.uniform(0.0, grid[0], flux.size)
    pair = rng.uniform(size=flux.size) < 0.1
    x = np.concatenate([x, x[pair] + rng.normal(0.0, 6.0, pair.sum())])
    y = np.concatenate([y, y[pair] + rng.normal(0.0, 6.0, pair.sum())])
    flux = np.concatenate([flux, flux[pair] * rng.uniform(0.1, 1.0, pair.sum())])
    change = np.where(rng.uniform(size=flux.size) < 0.02, rng.uniform(0.5, 2.0, flux.size), 1.0)
    move = np.where(rng.uniform(size=flux.size) < 0.03, 0.5, 0.0) * rng.standard_normal((2, flux.size))
    paint_points(sky, x, y, flux)
    paint_points(other, x + move[0], y + move[1], flux * change)
    count = domain.galaxies * rng.uniform(0.5, 1.5) * 10.0**0.36 * area
    light = np.zeros(grid)
    galaxies = tuple(
        _paint_galaxy(light, rng, float(m), domain.axis_ratio)
        for m in _magnitudes(rng, count, 0.36, 26.5, 17.0)
    )
    return Sky(sky + light, other + light, np.stack([x, y, flux], axis=1), galaxies)


def _paint_galaxy(
    sky: _Floats, rng: np.random.Generator, magnitude: float, axis_ratio: tuple[float, float]
) -> Galaxy:
    """Add a Sersic profile, and bright knots to some, to a grid of light."""
    index = rng.uniform(0.5, 1.6) if rng.uniform() < 0.75 else rng.uniform(2.0, 4.5)
    radius = 2.2 * 10.0 ** (-0.14 * (magnitude - 23.0) + rng.normal(0.0, 0.18))
    ratio, angle = rng.uniform(*axis_ratio), rng.uniform(0.0, np.pi)
    x, y = rng.uniform(0.0, sky.shape[1]), rng.uniform(0.0, sky.shape[0])
    galaxy = Galaxy(x, y, angle, ratio, radius, index, float(_flux(magnitude)))
    knots = rng.uniform(0.05, 0.3) if rng.uniform() < 0.15 else 0.0
    pixels, light = galaxy.light((sky.shape[0], sky.shape[1]), (1.0 - knots) * galaxy.flux)
    sky[pixels] += light
    if knots:
        major, minor = galaxy.axes
        t = rng.normal(0.0, 0.8, (2, 3))
        paint_points(
            sky,
            x + t[0] * major * np.cos(angle) - t[1] * minor * np.sin(angle),
            y + t[0] * major * np.sin(angle) + t[1] * minor * np.cos(angle),
            np.full(3, knots * galaxy.flux / 3.0),
        )
    return galaxy


def galaxy_rows(
    galaxies: Sequence[Galaxy], variance: _Floats, psf: PsfGrid, offset: int, shape: tuple[int, int]
) -> _Floats:
    """Return the galaxies in an image.

    Parameters
    ----------
    galaxies
        Galaxies on a grid of light.
    variance
        Variance of the pixels of the grid.
    psf
        Point-spread function of the image.
    offset
        Grid coordinate of position 0 of the image.
    shape
        Shape (ny, nx) of the image.

    Returns
    -------
    rows
        Columns x, y, angle of the major axis in degrees, axis ratio, half-light radius along the major axis,
        and SNR, for galaxies of at least `GALAXY_SNR`. The SNR is that of a matched filter; knots count as
        part of the smooth profile.
    """
    rows = []
    for galaxy in galaxies:
        x, y = galaxy.x - offset, galaxy.y - offset
        if not (0.0 <= x < shape[1] and 0.0 <= y < shape[0]):
            continue
        kernel = psf.kernel(x, y)
        # A point source of the same flux has a higher SNR, and takes no convolution.
        if galaxy.flux * np.sqrt(np.sum(np.square(kernel))) < GALAXY_SNR:
            continue
        pixels, light = galaxy.light((variance.shape[0], variance.shape[1]), galaxy.flux)
        signal = scipy.signal.fftconvolve(light, kernel, mode="same")
        snr = float(np.sqrt(np.sum(np.square(signal) / variance[pixels])))
        if snr >= GALAXY_SNR:
            rows.append((x, y, np.rad2deg(galaxy.angle), galaxy.ratio, galaxy.axes[0], snr))
    return np.array(rows).reshape(-1, 6)


def mask_pixels(
    signal: _Floats, full_well: float, rng: np.random.Generator, *, empty: bool
) -> npt.NDArray[np.uint32]:
    """Return the mask of saturated pixels, their bleeds, and bad columns."""
    mask = np.zeros(signal.shape, dtype=np.uint32)
    saturated = signal > full_well
    labels, _ = scipy.ndimage.label(saturated)
    for number, (rows, columns) in enumerate(scipy.ndimage.find_objects(labels), 1):
        excess = float(signal[rows, columns][labels[rows, columns] == number].sum()) / full_well
        reach = int(min(0.1 * excess, 400.0))
        middle = (columns.start + columns.stop) // 2
        half = max(1, (columns.stop - columns.start) // 4)
        bleed = slice(max(rows.start - reach, 0), rows.stop + reach)
        saturated[bleed, max(middle - half, 0) : middle + half] = True
    grown = scipy.ndimage.binary_dilation(saturated, iterations=2) if saturated.any() else saturated
    mask[grown] |= np.uint32(plane_bits(["SATURATED", "INTERPOLATED"]))
    if not empty and rng.uniform() < 0.5:
        column = int(rng.integers(signal.shape[1]))
        mask[:, column : column + int(rng.integers(1, 4))] |= np.uint32(plane_bits(["BAD"]))
    return mask


def draw_cosmic_rays(
    rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[_Floats, npt.NDArray[np.bool_]]:
    """Return the light of cosmic rays, and the pixels of those that were recognized."""
    hits, flagged = np.zeros(shape), np.zeros(shape, dtype=bool)
    for _ in range(rng.poisson(6.0 * shape[0] * shape[1] / 2.0**20)):
        length, angle = rng.exponential(6.0), rng.uniform(0.0, np.pi)
        t = np.arange(0.0, length + 1.0, 0.3)
        rows = np.round(rng.uniform(0.0, shape[0]) + t * np.sin(angle)).astype(int)
        columns = np.round(rng.uniform(0.0, shape[1]) + t * np.cos(angle)).astype(int)
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        np.add.at(hits, (rows[inside], columns[inside]), 10.0 ** rng.uniform(0.8, 2.3))
        if rng.uniform() < 0.97:
            flagged[rows[inside], columns[inside]] = True
    return hits, scipy.ndimage.binary_dilation(flagged, np.ones((3, 3)))
