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

"""Bright stars: diffraction spikes, and the light beyond the PSF's stamp."""

from __future__ import annotations

__all__ = ("TAPER", "StarLook", "add_glow", "add_spikes", "edge_value")

import dataclasses

import numpy as np
import numpy.typing as npt

from ..core.psf import PsfGrid
from .points import add_points

type _Image = npt.NDArray[np.float32]

_SPIKE_FLUX = 0.006
"""Fraction of a star's flux in its spikes beyond 4 pixels."""

TAPER = (0.7, 0.98)
"""Radii between which the PSF falls smoothly to zero and its wings rise, in units of half its stamp."""

_LARGEST = 600.0
"""Largest reach of a glow, pixels."""


@dataclasses.dataclass(frozen=True)
class StarLook:
    """Optics of the telescope, as seen in bright stars."""

    spike_angle: float = 45.0
    """Angle of the first diffraction spike, degrees from +x."""

    spike_arms: int = 4
    """Number of arms, at equal angles."""

    spike_strength: float = 1.0
    """Flux of the spikes, in units of 0.6% of the star's."""

    halo_flux: float = 0.02
    """Fraction of a star's flux in its aureole (King 1971, PASP 83, 199)."""

    halo_core: float = 8.0
    """Radius within which the aureole is flat, pixels."""

    halo_slope: float = 3.0
    """Exponent of its decline, above 2."""

    wing_slope: float | None = None
    """Exponent of the decline of a PSF beyond its stamp; `None` if nothing but the aureole is there, so that
    the edge of the stamp is visible in bright stars.
    """


def add_spikes(canvas: _Image, x: float, y: float, flux: float, look: StarLook, noise: float) -> None:
    """Add the arms of a diffraction spike to a canvas before its convolution.

    They fall as the inverse square of the radius.

    Parameters
    ----------
    canvas
        Flux per pixel, shape (ny, nx); changed in place.
    x, y, flux
        The star, pixels of the canvas and nJy.
    look
        The optics.
    noise
        Noise of a pixel, which limits the length, nJy.
    """
    if look.spike_arms == 0:
        return
    # Each arm of four has a fourth of the flux.
    amplitude = _SPIKE_FLUX * flux * look.spike_strength * 4.0 / look.spike_arms
    reach = min(np.sqrt(amplitude / (0.2 * noise)), 1500.0)
    if reach < 8.0:
        return
    r = np.arange(4.0, reach, 0.5)
    weight = 0.5 * amplitude / np.square(r)
    for arm in range(look.spike_arms):
        radians = np.deg2rad(look.spike_angle + 360.0 * arm / look.spike_arms)
        add_points(canvas, x + r * np.cos(radians), y + r * np.sin(radians), weight)


def edge_value(psf: PsfGrid) -> float:
    """Return the brightness of a star of unit flux at the edge of the PSF's stamp."""
    kernel, r = psf.mean_kernel, psf.size // 2
    distance = np.hypot(*np.ogrid[-r : r + 1, -r : r + 1])
    ring = np.abs(distance - TAPER[0] * r) < 0.75
    return float(np.mean(kernel[ring]))


def add_glow(
    image: _Image, x: float, y: float, flux: float, psf: PsfGrid, look: StarLook, noise: float
) -> None:
    """Add the light of a bright star beyond the PSF's stamp.

    Parameters
    ----------
    image
        Flux per pixel, shape (ny, nx); changed in place.
    x, y, flux
        The star, pixels and nJy.
    psf
        The PSF, which falls smoothly to zero toward the edge of its stamp if the look has wings.
    look
        The optics.
    noise
        Noise of a pixel, which limits the reach, nJy.
    """
    central = look.halo_flux * flux * (look.halo_slope - 2.0) / (2.0 * np.pi * look.halo_core**2)
    reach = min(look.halo_core * (central / (0.05 * noise)) ** (1.0 / look.halo_slope), _LARGEST)
    if reach >= look.halo_core:
        _add_profile(image, x, y, central, look.halo_core, look.halo_slope, False, reach)
    if look.wing_slope is None:
        return
    start = TAPER[0] * (psf.size // 2)
    central = flux * edge_value(psf)
    reach = min(start * (central / (0.05 * noise)) ** (1.0 / look.wing_slope), _LARGEST)
    if reach > start:
        _add_profile(image, x, y, central, start, look.wing_slope, True, reach)


def _add_profile(
    image: _Image, x: float, y: float, central: float, scale: float, slope: float, outside: bool, reach: float
) -> None:
    """Add a round glow.

    It is ``central (1 + (r / scale)^2)^(-slope / 2)``; outside of the PSF's stamp it is ``central (r /
    scale)^-slope``, to which it rises from the scale on, as the PSF falls.
    """
    extent = int(reach)
    rows = slice(max(int(y) - extent, 0), max(min(int(y) + extent + 1, image.shape[0]), 0))
    columns = slice(max(int(x) - extent, 0), max(min(int(x) + extent + 1, image.shape[1]), 0))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    u = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(x)
    v = np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(y)
    r2 = (np.square(v)[:, None] + np.square(u)[None, :]) / np.float32(scale * scale)
    if not outside:
        glow = np.power(np.float32(1.0) + r2, np.float32(-0.5 * slope))
    else:
        rise = np.clip((np.sqrt(r2) - np.float32(1.0)) / np.float32(TAPER[1] / TAPER[0] - 1.0), 0.0, 1.0)
        rise *= rise * (np.float32(3.0) - np.float32(2.0) * rise)
        glow = rise * np.power(np.maximum(r2, np.float32(1.0)), np.float32(-0.5 * slope))
    glow[r2 > np.float32(reach * reach / (scale * scale))] = 0.0
    image[rows, columns] += np.float32(central) * glow
