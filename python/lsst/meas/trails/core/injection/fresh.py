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

"""Fresh trails on an image that is kept without trails, for training.

A trail-free image, with all its distractors, takes most of the time of a simulation. Training keeps such
images and adds new trails to them each time, so that backgrounds repeat and trails do not.
"""

from __future__ import annotations

__all__ = ("FreshTrails", "TrailFreeImage", "add_fresh_trails")

import dataclasses

import numpy as np
import numpy.typing as npt

from ..geometry import Trail, Trails
from ..planes import ImagePlanes, plane_bits
from ..psf import PsfGrid
from ..render import TrailStamp, optimal_snr, render_trail
from .population import TrailPopulation, draw_trails
from .saturation import saturate

_SATURATED = plane_bits(["SATURATED", "INTERPOLATED"])

_FAINTEST = 0.01
"""Light per pixel that gets Poisson noise, in units of the noise of the pixel."""

type _Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, eq=False)
class TrailFreeImage:
    """An image without trails, and what is needed to add some."""

    planes: ImagePlanes
    """Image, variance, mask, template, and the PSF that the image states."""

    ignored: _Mask
    """Pixels of satellite streaks, which a loss ignores, shape (ny, nx)."""

    gain: float = np.inf
    """Electrons per image unit; infinite for trails without Poisson noise."""

    full_well: float = np.inf
    """Saturation level, image units."""

    light_psf: PsfGrid | None = None
    """PSF of the light, if it is not the stated one, as in difference images."""

    @property
    def rendering(self) -> ImagePlanes:
        """The image with the PSF of its light."""
        return self.planes if self.light_psf is None else dataclasses.replace(self.planes, psf=self.light_psf)


@dataclasses.dataclass(frozen=True, eq=False)
class FreshTrails:
    """An image with fresh trails and their truth."""

    planes: ImagePlanes
    """The image with the trails; PSF and template are those of the trail-free image."""

    trails: Trails
    """The trails, array coordinates, fluxes in image units."""

    snr: npt.NDArray[np.float64]
    """SNR of a matched filter on the unmasked pixels, before the trails were added, shape (n,)."""

    truth: _Mask
    """Pixels of the visible trails, shape (ny, nx)."""

    ignored: _Mask
    """Pixels that a loss ignores: satellite streaks, and trails that are too faint, same shape."""


def add_fresh_trails(
    background: TrailFreeImage,
    trails: TrailPopulation | Trails,
    rng: np.random.Generator,
    *,
    ignore_below: float = 3.0,
    ignore_pointlike: float = 0.0,
    truth_fraction: float = 0.25,
) -> FreshTrails:
    """Add trails with Poisson noise and saturation to a trail-free image.

    Parameters
    ----------
    background
        The image, not changed.
    trails
        Population to draw the trails from, or the trails, array coordinates, fluxes in image units.
    rng
        Random numbers of trails and noise.
    ignore_below
        SNR on the unmasked pixels below which a trail is ignored, as nobody can see it.
    ignore_pointlike
        Significance of the difference from a point source of the same place and flux below which a trail is
        ignored, as nobody can tell it from a point.
    truth_fraction
        Brightness at the border of a trail's mask; see `~lsst.meas.trails.core.render.truth_mask`.

    Notes
    -----
    Pixels above the full well saturate and bleed along columns. They are set to the full well and get the
    mask planes ``SATURATED`` and ``INTERPOLATED``, as in the stack.
    """
    planes = background.rendering
    if isinstance(trails, TrailPopulation):
        trails = draw_trails(trails, planes, rng)
    image, variance, mask = planes.image.copy(), planes.variance.copy(), planes.mask.copy()
    bad = planes.bad()
    truth, faint = np.zeros(planes.shape, dtype=bool), np.zeros(planes.shape, dtype=bool)
    snr = np.zeros(len(trails))
    for i, trail in enumerate(trails):
        stamp = render_trail(planes.psf, trail)
        snr[i] = optimal_snr(stamp, planes.variance, trail.flux, bad)
        where, part = stamp.clipped(planes.shape)
        visible = snr[i] >= ignore_below
        if visible and ignore_pointlike > 0.0:
            visible = snr[i] * _elongation(planes.psf, trail, stamp) >= ignore_pointlike
        (truth if visible else faint)[where] |= part > truth_fraction * stamp.array.max()
        _add_light(
            image[where], variance[where], (trail.flux * part).astype(np.float32), background.gain, rng
        )
        if np.any(image[where] > background.full_well):
            _saturate(image, mask, stamp, background.full_well, rng)
    result = dataclasses.replace(background.planes, image=image, variance=variance, mask=mask)
    return FreshTrails(result, trails, snr, truth, background.ignored | (faint & ~truth))


def _elongation(psf: PsfGrid, trail: Trail, stamp: TrailStamp) -> float:
    """Return the difference of a trail from the best point source at its midpoint, relative to its norm.

    It is the root of ``1 - r^2`` with the correlation r of both on white noise, so that a matched filter sees
    the difference at this part of the SNR.
    """
    if trail.length > 3.0 * psf.fwhm(trail.x, trail.y):
        return 1.0
    point = render_trail(psf, dataclasses.replace(trail, length=0.0))
    y, x = point.y0 - stamp.y0, point.x0 - stamp.x0
    height, width = point.array.shape
    overlap = float(np.sum(point.array * stamp.array[y : y + height, x : x + width]))
    squared = overlap**2 / float(np.sum(np.square(point.array)) * np.sum(np.square(stamp.array)))
    return float(np.sqrt(max(1.0 - squared, 0.0)))


def _add_light(
    image: npt.NDArray[np.float32],
    variance: npt.NDArray[np.float32],
    light: npt.NDArray[np.float32],
    gain: float,
    rng: np.random.Generator,
) -> None:
    """Add expected light with Poisson noise to views of an image and its variance, in place."""
    image += light
    if not np.isfinite(gain):
        return
    # Where the variance is not positive, or NaN, there is no data.
    rows, columns = np.nonzero(light > _FAINTEST * np.sqrt(np.where(variance > 0.0, variance, np.inf)))
    electrons = light[rows, columns].astype(np.float64) * gain
    image[rows, columns] += ((rng.poisson(electrons) - electrons) / gain).astype(np.float32)
    variance[rows, columns] += (electrons / gain**2).astype(np.float32)


def _saturate(
    image: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint32],
    stamp: TrailStamp,
    full_well: float,
    rng: np.random.Generator,
) -> None:
    """Saturate the pixels of a trail in place; bleeds reach beyond its stamp along the columns."""
    (_, columns), _ = stamp.clipped((image.shape[0], image.shape[1]))
    part, bits = image[:, columns], mask[:, columns]
    # Pixels that were saturated before are at the full well already, but for their noise.
    rows = np.arange(len(part))[:, None]
    inside = (rows >= stamp.y0) & (rows < stamp.y0 + stamp.array.shape[0])
    fresh = inside & ((bits & np.uint32(plane_bits(["SATURATED"]))) == 0) & np.isfinite(part)
    saturated = saturate(np.where(fresh, part, np.float32(0.0)), full_well, rng)
    part[saturated & np.isfinite(part)] = full_well
    bits[saturated] |= np.uint32(_SATURATED)
