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

"""Stamps of candidates: the pixels around a fitted trail, turned so that it lies along x.

The scale follows the seeing: a FWHM of the PSF is `PIXELS_PER_FWHM` pixels of the stamp. Along a long trail
the scale is coarser, so that every stamp covers its trail and `_MARGIN` FWHM beyond its ends.
"""

from __future__ import annotations

__all__ = ("STAMP_CHANNELS", "STAMP_SHAPE", "cut_stamps", "stamp_steps")

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..background import SkySubtracted
from ..fit.pixels import TrailFit
from ..geometry import Trail
from ..normalize import LARGEST_SIGNIFICANCE, SOFTENING, compress
from ..render import render_trail

type _Float32 = npt.NDArray[np.float32]

STAMP_SHAPE = (32, 64)
"""Shape (h, w) of a stamp."""

STAMP_CHANNELS: tuple[str, ...] = (
    "science",
    "residual",
    "trail",
    "template",
    "template_missing",
    "probability",
    "bad",
)
"""Channels of a stamp, in order.

``science`` is the image, ``residual`` the image without the fitted trail, ``trail`` the fitted trail, and
``template`` the template. All four are in units of the image's noise in an area of a stamp's pixel,
compressed, over 5. ``probability`` is the log-odds of the network over 4. ``template_missing`` and ``bad``
are fractions of the area without a template, and of the area that is bad or beyond the edge.
"""

PIXELS_PER_FWHM = 3.0
"""Pixels of a stamp in a FWHM of the PSF."""

_MARGIN = 4.0
"""Least distance of the ends of a trail from the edge of its stamp, FWHM."""

_SPACING = 0.8
"""Desired distance between the samples of a pixel of the stamp, pixels of the image."""

_MAX_SAMPLES = (3, 8)
"""Most samples of a pixel of a stamp across and along the trail."""

_LEAST_PROBABILITY = 1.0 / 256.0
"""Step of probabilities in files."""


def stamp_steps(length: float, fwhm: float) -> tuple[float, float]:
    """Return the sizes of a stamp's pixels across and along its trail, pixels of the image.

    Parameters
    ----------
    length
        Length of the trail, pixels.
    fwhm
        FWHM of the PSF, pixels.
    """
    step = fwhm / PIXELS_PER_FWHM
    return step, max(step, (length + 2.0 * _MARGIN * fwhm) / STAMP_SHAPE[1])


def cut_stamps(
    sky: SkySubtracted,
    probability: npt.NDArray[np.floating],
    trails: Sequence[Trail],
) -> _Float32:
    """Cut the stamps of candidates.

    Parameters
    ----------
    sky
        The image, with its template if there is one.
    probability
        Probability per pixel that it belongs to a trail, shape (ny, nx).
    trails
        Trails of the candidates. The residual of one that is no `TrailFit` with a flux is the image.

    Returns
    -------
    stamps
        Shape (n, len(STAMP_CHANNELS), *STAMP_SHAPE).
    """
    stamps = np.empty((len(trails), len(STAMP_CHANNELS), *STAMP_SHAPE), dtype=np.float32)
    for stamp, trail in zip(stamps, trails, strict=True):
        _cut(stamp, sky, probability, trail)
    return stamps


def _cut(
    stamp: _Float32,
    sky: SkySubtracted,
    probability: npt.NDArray[np.floating],
    trail: Trail,
) -> None:
    """Fill the stamp of a candidate."""
    steps = stamp_steps(trail.length, sky.psf.fwhm(trail.x, trail.y))
    counts = [
        min(max(1, int(np.ceil(step / _SPACING))), most)
        for step, most in zip(steps, _MAX_SAMPLES, strict=True)
    ]
    v, u = (
        ((np.arange(size * n) + 0.5) / n - 0.5 * size) * step
        for size, n, step in zip(STAMP_SHAPE, counts, steps, strict=True)
    )
    c, s = trail.direction
    columns = np.rint((trail.x + c * u)[None, :] - (s * v)[:, None]).astype(np.int32)
    rows = np.rint((trail.y + s * u)[None, :] + (c * v)[:, None]).astype(np.int32)
    ny, nx = sky.shape
    inside = (columns >= 0) & (columns < nx) & (rows >= 0) & (rows < ny)
    pixels = np.clip(rows, 0, ny - 1) * np.int32(nx) + np.clip(columns, 0, nx - 1)

    def take[T: np.generic](plane: npt.NDArray[T]) -> npt.NDArray[T]:
        return plane.ravel().take(pixels)

    planes = sky.planes
    variance = take(planes.variance)
    good = inside & ~take(sky.bad) & (variance > 0.0)
    weight = np.where(good, variance, 1.0)
    weight = np.where(good, 1.0 / np.sqrt(weight), np.float32(0.0)).astype(np.float32)
    data = np.where(good, take(planes.image) - take(sky.level), np.float32(0.0))
    model, background = np.zeros(pixels.shape, dtype=np.float32), 0.0
    if isinstance(trail, TrailFit) and np.isfinite(trail.flux):
        model = _model(trail, sky, rows, columns)
        background = trail.background if np.isfinite(trail.background) else 0.0
    n_good = np.maximum(_sum(good, counts), 1.0)
    scale = np.sqrt(np.float32(steps[0] * steps[1]))

    def significance(values: npt.NDArray[np.floating], count: _Float32) -> _Float32:
        mean = _sum(values, counts) / count * scale
        clipped = np.clip(mean, -LARGEST_SIGNIFICANCE, LARGEST_SIGNIFICANCE).astype(np.float32)
        return compress(clipped) / np.float32(SOFTENING)

    stamp[0] = significance(data * weight, n_good)
    stamp[1] = significance((data - model - np.float32(background)) * weight, n_good)
    stamp[2] = significance(model * weight, n_good)
    total = float(counts[0] * counts[1])
    stamp[3], stamp[4] = 0.0, 1.0
    if planes.template is not None:
        values = take(planes.template)
        known = inside & np.isfinite(values) & (variance > 0.0) & (variance < np.inf)
        noise = np.sqrt(np.where(known, variance, np.float32(1.0)))
        scaled = np.where(known, values, np.float32(0.0)) / noise
        n_known = _sum(known, counts)
        stamp[3] = significance(scaled, np.maximum(n_known, 1.0))
        stamp[4] = 1.0 - n_known / total
    p = _sum(np.where(inside, take(probability), 0.0), counts) / total
    p = np.clip(np.nan_to_num(p), _LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)
    stamp[5] = (np.log(p) - np.log1p(-p)) / 4.0
    stamp[6] = 1.0 - _sum(good, counts) / total


def _sum(values: npt.NDArray[np.generic], counts: Sequence[int]) -> _Float32:
    """Return the sums of the samples of each pixel of a stamp."""
    (h, w), (n, m) = STAMP_SHAPE, counts
    parts = values.reshape(h, n, w, m)
    return np.einsum("hnwm->hw", parts.astype(np.float32, copy=False))


def _model(
    trail: TrailFit, sky: SkySubtracted, rows: npt.NDArray[np.int32], columns: npt.NDArray[np.int32]
) -> _Float32:
    """Return a fitted trail at some pixels, image units."""
    drawn = render_trail(sky.psf, trail)
    h, w = drawn.array.shape
    rows, columns = rows - drawn.y0, columns - drawn.x0
    on_stamp = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    values = drawn.array.ravel().take(np.clip(rows, 0, h - 1) * w + np.clip(columns, 0, w - 1))
    return np.where(on_stamp, trail.flux * values, 0.0).astype(np.float32)
