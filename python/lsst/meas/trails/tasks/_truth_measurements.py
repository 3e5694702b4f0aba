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
"""What MatchTrailsTask measures in an image of known content."""

from __future__ import annotations

__all__ = (
    "PixelCounts",
    "baseline_sources",
    "chance_found",
    "measure_pixels",
    "snr_as_point_source",
    "without_trails",
)

import dataclasses
from typing import Any

import astropy.table
import numpy as np
import numpy.typing as npt

from ..core.background import fit_background
from ..core.geometry import Trails, line_band
from ..core.photometry import detection_magnitude_loss, point_source_flux_limit, typical_variance
from ..core.pixel_histogram import PixelHistogram
from ..core.planes import ImagePlanes
from ..core.render import add_trail
from ..evaluation.baselines import SepOptions, sep_sources
from ._stack_sources import StackSources, found_trails

_STREAK_WIDTH = 4.0
"""Half of the width of what a satellite leaves, in FWHM."""

_DISPLACEMENTS = ((90.0, 0.0), (-90.0, 0.0), (0.0, 90.0), (0.0, -90.0))
"""Where trails are moved to see what is found by chance, pixels."""


def without_trails(planes: ImagePlanes, trails: Trails) -> ImagePlanes:
    """Return an image from which its trails are taken away.

    Parameters
    ----------
    planes
        The image.
    trails
        The trails, array coordinates, fluxes in the image's units.
    """
    image = planes.image.copy()
    for trail in trails:
        add_trail(image, planes.psf, dataclasses.replace(trail, flux=-trail.flux))
    return dataclasses.replace(planes, image=image)


def baseline_sources(planes: ImagePlanes, threshold: float) -> StackSources:
    """Detect sources with sep, in place of the stack.

    Parameters
    ----------
    planes
        The image.
    threshold
        Sigma.
    """
    found = sep_sources(planes, fit_background(planes.image, planes.bad()), SepOptions(threshold=threshold))
    nothing = np.full(len(found.rank), np.nan)
    return StackSources(np.stack([found.trails.x, found.trails.y], axis=1), nothing, nothing)


def chance_found(
    trails: astropy.table.Table, after: StackSources, before: StackSources | None, distance: float
) -> float:
    """Return the fraction of trails that would be found if they were
    elsewhere, on average over a few places.

    Parameters
    ----------
    trails, after, before, distance
        See `~lsst.meas.trails.tasks._stack_sources.found_trails`.
    """
    if len(trails) == 0:
        return float("nan")
    fractions = []
    for dx, dy in _DISPLACEMENTS:
        moved = trails.copy()
        for name in ("x", "x0", "x1"):
            moved[name] = np.asarray(moved[name]) + dx
        for name in ("y", "y0", "y1"):
            moved[name] = np.asarray(moved[name]) + dy
        found, _ = found_trails(moved, after, before, distance)
        fractions.append(0.0 if found is None else float(np.mean(found)))
    return float(np.mean(fractions))


def snr_as_point_source(
    planes: ImagePlanes, x: Any, y: Any, length: Any, flux: Any
) -> npt.NDArray[np.float64]:
    """Return the SNR that point-source detection sees, the scale of ``SNR``
    in truth tables.

    Parameters
    ----------
    planes
        The image.
    x, y
        Midpoints, array coordinates.
    length
        Lengths, pixels.
    flux
        Fluxes in the image's units.
    """
    fwhm = np.array([planes.psf.fwhm(float(px), float(py)) for px, py in zip(x, y, strict=True)])
    limit = point_source_flux_limit(planes.psf.mean_kernel, typical_variance(planes, planes.bad()))
    loss = detection_magnitude_loss(length, fwhm) if len(fwhm) else np.zeros(0)
    return np.asarray(5.0 * np.asarray(flux, dtype=np.float64) * np.power(10.0, -0.4 * loss) / limit)


@dataclasses.dataclass(frozen=True, eq=False)
class PixelCounts:
    """Pixels of a detector by probability.

    Parameters
    ----------
    histogram
        Of the pixels that count.
    bad
        Masked pixels, which do not.
    satellite
        Other pixels near satellites, which do not either.
    """

    histogram: PixelHistogram
    bad: int
    satellite: int


def measure_pixels(
    planes: ImagePlanes,
    probability: npt.NDArray[np.floating],
    truth_pixels: npt.NDArray[np.bool_],
    satellites: astropy.table.Table,
) -> PixelCounts:
    """Compare the probability of each pixel with the truth.

    Parameters
    ----------
    planes
        The image.
    probability
        Shape (ny, nx).
    truth_pixels
        Pixels of trails, shape (ny, nx).
    satellites
        Rows of a truth table, array coordinates.
    """
    bad = planes.bad()
    streak = planes.has("STREAK")
    for row in satellites:
        x, y, angle, fwhm = (float(row[name]) for name in ("x", "y", "beta", "fwhm"))
        streak |= line_band(planes.shape, x, y, angle, _STREAK_WIDTH * fwhm)
    # Where an asteroid's trail crosses one, it is still a trail.
    streak &= ~truth_pixels & ~bad
    return PixelCounts(
        PixelHistogram.from_pixels(probability, truth_pixels, bad | streak),
        int(np.count_nonzero(bad)),
        int(np.count_nonzero(streak)),
    )
