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

"""Normalization of images for the network, in training and inference.

The name of the normalization and its version are part of a model's specification: `network_input` for
networks of this package, `adcnn_input` for networks of Asteroid_detection_CNN.
"""

from __future__ import annotations

__all__ = (
    "ADCNN_CHANNELS",
    "ADCNN_NORMALIZATION",
    "CHANNELS",
    "LARGEST_SIGNIFICANCE",
    "NORMALIZATION",
    "NORMALIZATIONS",
    "SOFTENING",
    "TEMPLATE_CHANNELS",
    "PanelScale",
    "adcnn_input",
    "compress",
    "measure_panel",
    "network_input",
)

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .background import SkySubtracted
from .planes import ImagePlanes

NORMALIZATION = "background-variance-asinh-1"
"""Name and version of the normalization of `network_input`."""

ADCNN_NORMALIZATION = "medmad_clip_k5"
"""Name of the normalization of `adcnn_input`, from Asteroid_detection_CNN."""

NORMALIZATIONS = (NORMALIZATION, ADCNN_NORMALIZATION)
"""Normalizations of models."""

ADCNN_CHANNELS = ("science",)
"""Channels of `adcnn_input`."""

_ADCNN_CROP = 512
_ADCNN_CLIP = 5.0

SOFTENING = 5.0
"""Significance at which the compression turns from linear to logarithmic."""

LARGEST_SIGNIFICANCE = np.float32(1e18)
"""Greatest significance, whose square is still a finite float32."""

type _Float32 = npt.NDArray[np.float32]


def compress(significance: _Float32) -> _Float32:
    """Return significances z as ``5 asinh(z / 5)``.

    The function is linear within the noise and logarithmic beyond 5 sigma, so that bright stars do not
    dominate faint trails.
    """
    # numpy computes the logarithm five times as fast as asinh, to 1e-6.
    scaled = np.abs(significance) * np.float32(1.0 / SOFTENING)
    result = np.square(scaled)
    result += np.float32(1.0)
    np.sqrt(result, out=result)
    result += scaled
    np.log(result, out=result)
    result *= np.float32(SOFTENING)
    return np.copysign(result, significance, out=result)


def _science(sky: SkySubtracted) -> _Float32:
    return _significance(sky.planes.image - sky.level, sky.planes.variance, sky.bad)


def _bad(sky: SkySubtracted) -> _Float32:
    return sky.bad.astype(np.float32)


def _template(sky: SkySubtracted) -> _Float32:
    planes = sky.planes
    if planes.template is None:
        return np.zeros(planes.shape, dtype=np.float32)
    # In units of the image's noise, so that a constant source has the same value in both.
    return _significance(planes.template, planes.variance, ~_has_template(planes))


def _template_missing(sky: SkySubtracted) -> _Float32:
    return (~_has_template(sky.planes)).astype(np.float32)


def _has_template(planes: ImagePlanes) -> npt.NDArray[np.bool_]:
    """Return where the template has a value and the image has a noise.

    Pixels where the image itself is saturated or hit by a cosmic ray count.
    """
    if planes.template is None:
        return np.zeros(planes.shape, dtype=np.bool_)
    variance = planes.variance
    return np.asarray(np.isfinite(planes.template) & (variance > 0.0) & (variance < np.inf))


def _significance(signal: _Float32, variance: _Float32, bad: npt.NDArray[np.bool_]) -> _Float32:
    """Return a compressed signal in units of its noise, 0 at bad pixels."""
    sigma = np.where(bad, np.float32(1.0), variance)
    np.sqrt(sigma, out=sigma)
    significance = np.where(bad, np.float32(0.0), signal / sigma)
    return compress(np.clip(significance, -LARGEST_SIGNIFICANCE, LARGEST_SIGNIFICANCE, out=significance))


CHANNELS: dict[str, Callable[[SkySubtracted], _Float32]] = {
    "science": _science,
    "bad": _bad,
    "template": _template,
    "template_missing": _template_missing,
}
"""Input channels by name. The value of a pixel depends on this pixel only.

``science`` is the background-subtracted image in units of its own noise, compressed, and 0 at bad pixels;
``bad`` is 1 at bad pixels and 0 elsewhere. ``template`` is the template in units of the image's noise,
compressed, and 0 where it has no data; ``template_missing`` is 1 there and 0 elsewhere.
"""

TEMPLATE_CHANNELS = frozenset({"template", "template_missing"})
"""Channels that need a template."""


def network_input(planes: ImagePlanes, background: _Float32, channels: Sequence[str]) -> _Float32:
    """Return the input of a network.

    Parameters
    ----------
    planes
        The image, or a part of it, shape (ny, nx).
    background
        Background level of these pixels, same shape, fitted to the whole image: fitted to a part it would
        differ between a tile and its image.
    channels
        Names of the channels, in order; see `CHANNELS`.

    Returns
    -------
    array
        Shape (len(channels), ny, nx), float32, finite everywhere.

    Raises
    ------
    ValueError
        Raised if a channel is unknown.
    """
    if unknown := [name for name in channels if name not in CHANNELS]:
        raise ValueError(f"Unknown input channels {unknown}; use some of {list(CHANNELS)}.")
    ny, nx = planes.shape
    result = np.empty((len(channels), ny, nx), dtype=np.float32)
    # A few rows at a time stay in the cache of the processor.
    for rows in (slice(y, min(y + 32, ny)) for y in range(0, ny, 32)):
        part = planes.cut(rows, slice(0, nx))
        sky = SkySubtracted(part, background[rows], part.bad())
        with np.errstate(invalid="ignore", over="ignore"):
            for channel, name in zip(result, channels, strict=True):
                channel[rows] = CHANNELS[name](sky)
    return result


@dataclasses.dataclass(frozen=True)
class PanelScale:
    """Median and scatter of the pixels of a whole image, image units."""

    median: float
    sigma: float


def measure_panel(image: _Float32) -> PanelScale:
    """Return the level and scatter of an image for `adcnn_input`.

    Parameters
    ----------
    image
        Pixel values, shape (ny, nx).

    Returns
    -------
    scale
        Median and 1.4826 times (median absolute deviation + 1e-12) of the central 512x512 pixels.

    Notes
    -----
    Non-finite pixels are ignored; in Asteroid_detection_CNN, a single one makes the whole panel NaN. Without
    finite pixels in the center, the whole image is measured; an image without any has the median 0 and the
    scatter 1.
    """
    top, left = (max(0, (size - _ADCNN_CROP) // 2) for size in image.shape)
    crop = image[top : top + _ADCNN_CROP, left : left + _ADCNN_CROP]
    pixels = crop[np.isfinite(crop)]
    if pixels.size == 0:
        pixels = image[np.isfinite(image)]
    if pixels.size == 0:
        return PanelScale(median=0.0, sigma=1.0)
    # In double precision the difference of two pixels does not overflow.
    pixels = pixels.astype(np.float64)
    median = np.median(pixels)
    deviation = np.median(np.abs(pixels - median))
    return PanelScale(median=float(median), sigma=1.4826 * (float(deviation) + 1e-12))


def adcnn_input(image: _Float32, scale: PanelScale) -> _Float32:
    """Return the input of a network of Asteroid_detection_CNN.

    Parameters
    ----------
    image
        Pixel values, shape (ny, nx); 0 beyond the edges of the image, as in the training of these networks.
    scale
        Level and scatter of the whole image.

    Returns
    -------
    array
        Distances from the median in units of the scatter, in [-5, 5], float32, shape (1, ny, nx); 0 for
        non-finite pixels.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        significance = (image.astype(np.float64) - scale.median) / scale.sigma
    clipped = np.clip(significance, -_ADCNN_CLIP, _ADCNN_CLIP)
    return np.where(np.isfinite(image), clipped, 0.0).astype(np.float32)[None]
