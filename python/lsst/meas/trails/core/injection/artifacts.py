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

"""Artifacts that resemble trails: cosmic rays and satellites."""

from __future__ import annotations

__all__ = ("CosmicRay", "add_cosmic_ray", "add_satellite")

import dataclasses
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..geometry import Trail
from ..psf import FWHM_PER_SIGMA, PsfGrid
from .population import draw_log_uniform
from .streaks import StreakPattern


class CosmicRay(NamedTuple):
    """Track of a cosmic ray in an image."""

    rows: npt.NDArray[np.int64]
    """Rows of the pixels on the track, with repetitions, shape (n,)."""

    columns: npt.NDArray[np.int64]
    """Columns of the pixels on the track, shape (n,)."""

    trail: Trail
    """Track as a line, with its flux in the image."""


def add_cosmic_ray(
    image: npt.NDArray[np.float32],
    charge: tuple[float, float],
    rng: np.random.Generator,
    scatter: float = 0.04,
) -> CosmicRay:
    """Add the track of a cosmic ray, which the PSF does not blur.

    Parameters
    ----------
    image
        Signal, shape (ny, nx); changed in place.
    charge
        Range of the charge per pixel of track, image units.
    rng
        Random numbers.
    scatter
        Standard deviation of the wandering across the track, pixels per quarter pixel.
    """
    ny, nx = image.shape
    length = draw_log_uniform(1.5, 60.0, rng)
    angle = rng.uniform(0.0, np.pi)
    x, y = rng.uniform(0, nx), rng.uniform(0, ny)
    t = np.arange(0.0, length, 0.25)
    density = draw_log_uniform(*charge, rng) * rng.uniform(0.7, 1.3, t.size) * 0.25
    # Delta electrons and diffusion in the silicon make tracks irregular.
    wander = np.cumsum(rng.normal(0.0, scatter, t.size))
    px = x + t * np.cos(angle) - wander * np.sin(angle)
    py = y + t * np.sin(angle) + wander * np.cos(angle)
    columns, rows = np.round(px).astype(int), np.round(py).astype(int)
    inside = (columns >= 0) & (rows >= 0) & (columns < nx) & (rows < ny)
    columns, rows = columns[inside], rows[inside]
    np.add.at(image, (rows, columns), density[inside].astype(np.float32))
    flux = float(np.sum(density[inside]))
    trail = Trail.from_ends(x, y, float(px[-1]), float(py[-1]), flux)
    return CosmicRay(rows=rows, columns=columns, trail=trail)


def add_satellite(
    image: npt.NDArray[np.float32],
    psf: PsfGrid,
    surface_brightness: float,
    rng: np.random.Generator,
    defocus: float = 0.0,
    pattern: StreakPattern | None = None,
) -> Trail:
    """Add the streak of a satellite, which crosses the whole image unless its pattern ends.

    Parameters
    ----------
    image
        Signal, shape (ny, nx); changed in place.
    psf
        Point-spread function.
    surface_brightness
        Flux per pixel of length, image units.
    rng
        Random numbers for position and angle.
    defocus
        Additional width (Gaussian standard deviation, pixels) of a low satellite, which is out of focus.
    pattern
        Brightness along the streak, relative to ``surface_brightness``, at distances from its random point in
        the image; constant by default.

    Returns
    -------
    trail
        Part of the streak in the image.
    """
    ny, nx = image.shape
    cx, cy = rng.uniform(0, nx), rng.uniform(0, ny)
    angle = rng.uniform(0.0, np.pi)
    sigma = float(np.hypot(psf.fwhm(cx, cy) / FWHM_PER_SIGMA, defocus))
    c, s = np.cos(angle), np.sin(angle)
    steep = abs(s) > abs(c)
    # Draw the profile across at each pixel of the axis that the streak covers.
    target = image.T if not steep else image
    along = np.arange(target.shape[0])
    slope = (c / s) if steep else (s / c)
    center = (cx + (along - cy) * slope) if steep else (cy + (along - cx) * slope)
    normal = abs(s) if steep else abs(c)
    reach = int(np.ceil(5.0 * sigma / normal)) + 1
    offsets = np.arange(-reach, reach + 1)
    across = np.round(center).astype(int)[:, None] + offsets[None, :]
    distance = (across - center[:, None]) * normal
    profile = surface_brightness * np.exp(-0.5 * np.square(distance / sigma)) / (np.sqrt(2 * np.pi) * sigma)
    if pattern is not None:
        t = (along - cy) / s if steep else (along - cx) / c
        relative = pattern.brightness(t, sigma)
        profile *= relative[:, None]
    inside = (across >= 0) & (across < target.shape[1])
    rows = np.broadcast_to(along[:, None], across.shape)
    target[rows[inside], across[inside]] += profile[inside].astype(np.float32)
    lit = (center >= 0) & (center <= target.shape[1] - 1)
    if pattern is not None:
        lit &= (t >= pattern.start) & (t <= pattern.stop)
    on_image = np.flatnonzero(lit)
    first, last = (on_image[0], on_image[-1]) if on_image.size else (0, 0)
    x, y = (center, along) if steep else (along, center)
    trail = Trail.from_ends(float(x[first]), float(y[first]), float(x[last]), float(y[last]))
    mean = 1.0 if pattern is None else float(np.mean(relative[first : last + 1]))
    return dataclasses.replace(trail, flux=surface_brightness * mean * trail.length)
