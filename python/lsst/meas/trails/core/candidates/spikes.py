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

"""Identification of diffraction spikes of bright stars among candidates.

A spike is as straight and narrow as a trail, so that a network cannot distinguish them in a part of an image.
But a spike points at a star that is bright enough: its surface brightness falls as the square of the
distance, and its ratio to the flux of the star is a constant of the telescope.
"""

from __future__ import annotations

__all__ = ("BrightStars", "find_bright_stars", "spike_likeness")

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..background import SkySubtracted
from ..planes import plane_bits
from .components import label_pixels

type _Floats = npt.NDArray[np.float64]

_MIN_SIGNIFICANCE = 100.0
"""Least significance of the unsaturated pixels of bright stars, sigma."""

_BAND = 32
"""Number of rows that are searched at once."""

_WIDTH = 0.6
"""Distance by which a spike misses its star, one sigma, FWHM."""

_SLOPE = 0.1
"""The same as a fraction of the distance, as the halo of a star biases fits."""

_RATIO = 4.0, 5.0
"""Greatest and least logarithm of the flux of a star over (surface brightness times squared distance) of a
candidate for likeness 0 and 1; a spike with 0.6% of the light of its star has 5.
"""

_SATURATED_RATIO = 2.0, 3.0
"""The same for saturated stars, which have lost much of their flux."""


@dataclasses.dataclass(frozen=True, eq=False)
class BrightStars:
    """The bright stars of an image.

    Parameters
    ----------
    x, y
        Centroids, array coordinates, shape (n,).
    flux
        Flux of the bright pixels, image units, shape (n,); too small for saturated stars.
    extent
        Longer side of the box around the bright pixels, pixels, shape (n,).
    saturated
        Whether the star has saturated pixels, shape (n,).
    """

    x: _Floats
    y: _Floats
    flux: _Floats
    extent: _Floats
    saturated: npt.NDArray[np.bool_]


def find_bright_stars(sky: SkySubtracted) -> BrightStars:
    """Find the stars of an image that are bright enough for spikes."""
    width = sky.shape[1]
    saturated_bits = np.uint32(plane_bits(["SATURATED"]))
    found = []
    # Bands of rows stay in the cache of the processor.
    for first in range(0, sky.shape[0], _BAND):
        band = slice(first, first + _BAND)
        excess = sky.planes.image[band] - sky.level[band]
        # Comparisons with NaN are false.
        bright = excess > _MIN_SIGNIFICANCE * np.sqrt(np.maximum(sky.planes.variance[band], 0.0))
        bright |= (sky.planes.mask[band] & saturated_bits) != 0
        found.append(np.flatnonzero(bright) + first * width)
    pixels, labels, count = label_pixels(np.concatenate(found), width)
    rows, columns = np.divmod(pixels, width)
    light = sky.planes.image[rows, columns].astype(np.float64) - sky.level[rows, columns]
    light = np.nan_to_num(np.maximum(light, 0.0), posinf=0.0)
    saturated = (sky.planes.mask[rows, columns] & saturated_bits) != 0

    def total(values: npt.NDArray[np.floating]) -> _Floats:
        return np.bincount(labels, weights=values, minlength=count)

    flux = total(light)
    # Saturated pixels may have no light.
    weight = np.where(flux[labels] > 0.0, light, 1.0)
    firsts = np.searchsorted(labels, np.arange(count))
    sides = [
        np.maximum.reduceat(values, firsts) - np.minimum.reduceat(values, firsts) + 1.0
        for values in (rows, columns)
        if count
    ]
    return BrightStars(
        x=total(weight * columns) / total(weight),
        y=total(weight * rows) / total(weight),
        flux=flux,
        extent=np.maximum(*sides) if count else flux,
        saturated=total(saturated.astype(np.float64)) > 0.0,
    )


def spike_likeness(table: Mapping[str, npt.ArrayLike], stars: BrightStars) -> _Floats:
    """Return the likeness of each candidate to a spike of a bright star.

    Parameters
    ----------
    table
        Columns ``x``, ``y``, ``trailLengthPix``, ``trailAnglePix``, ``flux`` and ``psfFwhm`` in array
        coordinates and image units, one row per candidate.
    stars
        The bright stars of the image.

    Returns
    -------
    likeness
        From 0 to 1, for a candidate that points at a star that is bright enough; shape (n,). It is 0 for a
        candidate without a flux, all of whose pixels are bad.
    """
    x, y, length, angle, flux, fwhm = (
        np.asarray(table[name], dtype=np.float64)[:, None]
        for name in ("x", "y", "trailLengthPix", "trailAnglePix", "flux", "psfFwhm")
    )
    if len(x) == 0 or len(stars.x) == 0:
        return np.zeros(len(x))
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    dx, dy = stars.x - x, stars.y - y
    along, across = np.abs(dx * cos + dy * sin), dy * cos - dx * sin
    aligned = np.exp(-0.5 * np.square(across) / (np.square(_WIDTH * fwhm) + np.square(_SLOPE * along)))
    # The two arms of a star on the candidate reach half its length.
    distance = np.maximum(np.maximum(along, 0.5 * length), fwhm)
    brightness = np.maximum(flux, 1e-30) / np.maximum(length, fwhm)
    ratio = np.log(np.maximum(stars.flux, 1e-30) / (brightness * np.square(distance)))
    low, high = (np.where(stars.saturated, *pair) for pair in zip(_SATURATED_RATIO, _RATIO, strict=True))
    likeness = aligned * np.clip((ratio - low) / (high - low), 0.0, 1.0)
    # A bright trail is not a star on itself.
    itself = (along < 0.5 * length) & (stars.extent > 0.5 * length)
    return np.asarray(np.where(itself | np.isnan(flux), 0.0, likeness).max(axis=1))
