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

"""Simulated galaxies: Sersic profiles with clumps."""

from __future__ import annotations

__all__ = ("Galaxies", "add_galaxies", "sersic_scale")

import dataclasses
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.special

from .points import add_points

type _Floats = npt.NDArray[np.float64]
type _Image = npt.NDArray[np.float32]

_THINNEST = 0.25
"""Smallest minor axis, pixels: thinner galaxies look the same behind a PSF of 3 pixels or more."""

_FARTHEST = 8.0
"""Radius where a profile ends at the latest, half-light radii."""

_CHUNK = 1_000_000
"""Number of samples that are computed at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class Galaxies:
    """Galaxies of a field, in array coordinates; each array has shape (n,)."""

    x: _Floats
    y: _Floats
    """Positions, pixels."""

    flux: _Floats
    """Fluxes without clumps, nJy."""

    radius: _Floats
    """Half-light radii along the major axis, pixels."""

    axis_ratio: _Floats
    """Minor over major axis."""

    angle: _Floats
    """Angles of the major axes, degrees from +x."""

    index: _Floats
    """Sersic indices: 1 is an exponential disk, 4 a de Vaucouleurs spheroid."""

    clumps: _Floats = dataclasses.field(default_factory=lambda: np.zeros((0, 3)))
    """Bright spots: x, y, flux, shape (m, 3)."""

    @classmethod
    def empty(cls) -> Self:
        """Return no galaxies."""
        return cls(*np.zeros((7, 0)))

    def __len__(self) -> int:
        return len(self.x)

    def inside(self, shape: tuple[int, int]) -> _Floats:
        """Return the positions x, y of the galaxies in an image of shape (ny, nx), shape (m, 2)."""
        places = np.stack([self.x, self.y], axis=1)
        return np.asarray(places[np.all((places >= -0.5) & (places < np.array(shape)[::-1] - 0.5), axis=1)])

    def with_clumps(self, share: float, rng: np.random.Generator) -> Self:
        """Return galaxies with star-forming clumps.

        Parameters
        ----------
        share
            Fraction of the galaxies with clumps. They have 1 to 12 of them, with up to half of the flux,
            spread like the light of a disk.
        rng
            Random number generator.
        """
        chosen = np.flatnonzero(rng.random(len(self)) < share)
        number = rng.integers(1, 13, len(chosen))
        part = rng.uniform(0.05, 0.5, len(chosen))
        flux = self.flux.copy()
        flux[chosen] *= 1.0 - part
        owner = np.repeat(chosen, number)
        # A disk has the gamma distribution of radii of order 2.
        r = rng.gamma(2.0, 1.0 / 1.678, len(owner)) * self.radius[owner]
        phi, angle = rng.uniform(0.0, 2.0 * np.pi, len(owner)), np.deg2rad(self.angle[owner])
        u, v = r * np.cos(phi), r * np.sin(phi) * self.axis_ratio[owner]
        weight = rng.exponential(1.0, len(owner))
        total = np.bincount(owner, weight, minlength=len(self))
        share_of_flux = np.zeros(len(self))
        share_of_flux[chosen] = part * self.flux[chosen]
        clumps = np.stack(
            [
                self.x[owner] + u * np.cos(angle) - v * np.sin(angle),
                self.y[owner] + u * np.sin(angle) + v * np.cos(angle),
                share_of_flux[owner] * weight / np.where(total[owner] > 0.0, total[owner], 1.0),
            ],
            axis=1,
        )
        return dataclasses.replace(self, flux=flux, clumps=clumps)


def sersic_scale(index: npt.ArrayLike) -> _Floats:
    """Return the constant b of a Sersic profile ``exp(-b r^(1 / n))`` with half of its light in radius 1.

    The series of Ciotti & Bertin 1999, A&A 352, 447, eq. 18, is exact to 1% for n of 0.35 and more.
    """
    n = np.asarray(index, dtype=np.float64)
    return np.asarray(2.0 * n - 1.0 / 3.0 + 4.0 / (405.0 * n) + 46.0 / (25515.0 * np.square(n)))


def add_galaxies(canvas: _Image, galaxies: Galaxies, faintest: float, offset: float = 0.0) -> None:
    """Add galaxies to a canvas before its convolution.

    Parameters
    ----------
    canvas
        Flux per pixel, shape (ny, nx); changed in place.
    galaxies
        The galaxies.
    faintest
        Flux per pixel at which a profile ends.
    offset
        Coordinates of the field's origin in the canvas, pixels.
    """
    add_points(canvas, galaxies.clumps[:, 0] + offset, galaxies.clumps[:, 1] + offset, galaxies.clumps[:, 2])
    if len(galaxies) == 0:
        return
    n, b = galaxies.index, sersic_scale(galaxies.index)
    major = galaxies.radius
    minor = np.maximum(major * galaxies.axis_ratio, np.minimum(_THINNEST, major))
    total = 2.0 * np.pi * n * np.power(b, -2.0 * n) * scipy.special.gamma(2.0 * n) * major * minor
    decline = np.log(np.maximum(galaxies.flux / total / faintest, 1.0 + 1e-9))
    reach = np.clip(major * np.minimum(np.power(decline / b, n), _FARTHEST), 2.0, 400.0)
    # Stamps of a few sizes, cuspy profiles with finer sampling, are computed together.
    sides = 2 * np.ceil(np.power(1.25, np.ceil(np.log(reach) / np.log(1.25)))).astype(int) + 1
    fine = np.clip(np.ceil(2.5 / np.maximum(minor, 0.3)), 1, 7).astype(int)
    x, y = galaxies.x + offset, galaxies.y + offset
    visible = (np.abs(x - 0.5 * canvas.shape[1]) < 0.5 * (canvas.shape[1] + sides)) & (
        np.abs(y - 0.5 * canvas.shape[0]) < 0.5 * (canvas.shape[0] + sides)
    )
    for side, step in {(int(s), int(f)) for s, f in zip(sides[visible], fine[visible], strict=True)}:
        members = np.flatnonzero(visible & (sides == side) & (fine == step))
        count = max(1, _CHUNK // (side * step) ** 2)
        for start in range(0, len(members), count):
            chosen = members[start : start + count]
            shape = np.stack([major, minor, np.deg2rad(galaxies.angle), n, b, reach])[:, chosen]
            stamps = _stamps(x[chosen], y[chosen], shape, side, step)
            stamps *= galaxies.flux[chosen, None, None].astype(np.float32)
            _add_stamps(canvas, stamps, x[chosen], y[chosen])


def _stamps(x: _Floats, y: _Floats, shape: _Floats, side: int, fine: int) -> _Image:
    """Return profiles of unit flux, shape (n, side, side), centered within half a pixel."""
    major, minor, angle, n, b, reach = (part[:, None, None].astype(np.float32) for part in shape)
    fractions = ((np.arange(fine) + 0.5) / fine - 0.5).astype(np.float32)
    pixels = (np.arange(side)[:, None] - side // 2 + fractions).ravel().astype(np.float32)
    u = pixels[None, None, :] - (x - np.round(x)).astype(np.float32)[:, None, None]
    v = pixels[None, :, None] - (y - np.round(y)).astype(np.float32)[:, None, None]
    c, s = np.cos(angle), np.sin(angle)
    r2 = np.square((u * c + v * s) / major)
    r2 += np.square((v * c - u * s) / minor)
    # The softening limits the cusp of a spheroid in its central sample.
    r2 += np.float32(1e-6)
    profile = np.log(r2)
    profile *= 0.5 / n
    np.exp(profile, out=profile)
    profile *= -b
    np.exp(profile, out=profile)
    profile[r2 > np.square(reach / major)] = 0.0
    stamps = profile.reshape(len(x), side, fine, side, fine).sum(axis=(2, 4))
    stamps /= np.maximum(stamps.sum(axis=(1, 2), keepdims=True), np.float32(1e-30))
    return np.asarray(stamps)


def _add_stamps(canvas: _Image, stamps: _Image, x: _Floats, y: _Floats) -> None:
    """Add stamps to a canvas at positions, clipped at its edges."""
    side = stamps.shape[1]
    left, bottom = np.round(x).astype(int) - side // 2, np.round(y).astype(int) - side // 2
    for stamp, x0, y0 in zip(stamps, left.tolist(), bottom.tolist(), strict=True):
        rows = slice(max(y0, 0), max(min(y0 + side, canvas.shape[0]), 0))
        columns = slice(max(x0, 0), max(min(x0 + side, canvas.shape[1]), 0))
        canvas[rows, columns] += stamp[
            rows.start - y0 : max(rows.stop - y0, 0), columns.start - x0 : max(columns.stop - x0, 0)
        ]
