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

"""The one normalization of images for the network.

Training and inference both come through here; the name of the normalization
and its version are part of a model's specification.  `network_input` is that
of this package; `adcnn_input` serves networks that came from elsewhere.
"""

from __future__ import annotations

__all__ = (
    "ADCNN_CHANNELS",
    "ADCNN_NORMALIZATION",
    "CHANNELS",
    "NORMALIZATION",
    "NORMALIZATIONS",
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
"""Name and version of what `network_input` does."""

ADCNN_NORMALIZATION = "medmad_clip_k5"
"""Name of what `adcnn_input` does: that of Asteroid_detection_CNN."""

NORMALIZATIONS = (NORMALIZATION, ADCNN_NORMALIZATION)
"""Normalizations that a model may ask for."""

ADCNN_CHANNELS = ("science",)
"""The one channel that `adcnn_input` makes: it knows nothing but pixels."""

_ADCNN_CROP = 512
_ADCNN_CLIP = 5.0

_SOFTENING = 5.0
"""Significance at which the compression turns from linear to logarithmic."""

_LARGEST = np.float32(1e18)
"""Significance that absurd pixel values are cut to: its square is still a
float32, and the logarithm of infinity is no number for a network.
"""

type _Float32 = npt.NDArray[np.float32]


def compress(significance: _Float32) -> _Float32:
    """Compress significances so that stars do not drown what is faint.

    ``5 asinh(z / 5)``: linear within the noise, logarithmic beyond 5 sigma.
    """
    # By its logarithm, which numpy computes five times as fast; 1e-6 is lost.
    scaled = np.abs(significance) * np.float32(1.0 / _SOFTENING)
    result = np.square(scaled)
    result += np.float32(1.0)
    np.sqrt(result, out=result)
    result += scaled
    np.log(result, out=result)
    result *= np.float32(_SOFTENING)
    return np.copysign(result, significance, out=result)


def _science(sky: SkySubtracted) -> _Float32:
    return _significance(sky.planes.image - sky.level, sky.planes.variance, sky.bad)


def _bad(sky: SkySubtracted) -> _Float32:
    return sky.bad.astype(np.float32)


def _template(sky: SkySubtracted) -> _Float32:
    planes = sky.planes
    if planes.template is None:
        return np.zeros(planes.shape, dtype=np.float32)
    # In units of the image's noise, so that a constant source has the same
    # value in both.
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
    return compress(np.clip(significance, -_LARGEST, _LARGEST, out=significance))


CHANNELS: dict[str, Callable[[SkySubtracted], _Float32]] = {
    "science": _science,
    "bad": _bad,
    "template": _template,
    "template_missing": _template_missing,
}
"""Input channels that a model may ask for, by name.

``science`` is the background-subtracted image in units of its own noise,
compressed, and 0 at bad pixels; ``bad`` is 1 at bad pixels and 0 elsewhere.
``template`` is the template in units of the image's noise, compressed, and 0
where there is none; ``template_missing`` is 1 there and 0 elsewhere.
"""

TEMPLATE_CHANNELS = frozenset({"template", "template_missing"})
"""Channels that are made of a template."""


def network_input(planes: ImagePlanes, background: _Float32, channels: Sequence[str]) -> _Float32:
    """Turn an image into the input of a network.

    Parameters
    ----------
    planes
        Image, variance and mask, shape (ny, nx).
    background
        Background level of the whole image, at these pixels, same shape and
        units.  It is never estimated on a cutout, so that a tile and the
        image it comes from look alike to the network.
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
        raise ValueError(f"Unknown input channels {unknown}; known are {list(CHANNELS)}.")
    sky = SkySubtracted(planes, background, planes.bad())
    with np.errstate(invalid="ignore", over="ignore"):
        return np.stack([CHANNELS[name](sky) for name in channels])


@dataclasses.dataclass(frozen=True)
class PanelScale:
    """Level and scatter of a whole image, one number each."""

    median: float
    """Median of the pixels, image units."""

    sigma: float
    """Their scatter, image units."""


def measure_panel(image: _Float32) -> PanelScale:
    """Measure what `adcnn_input` needs to know of the whole image.

    Parameters
    ----------
    image
        Pixel values, shape (ny, nx).

    Returns
    -------
    scale
        Median and 1.4826 times (median absolute deviation + 1e-12) of the
        central 512x512 pixels.

    Notes
    -----
    Pixels that are not finite are left out, which the original did not do:
    a single one made its whole panel NaN.  Where the center holds no finite
    pixel the whole image is measured, and one without any has the median 0
    and the scatter 1.
    """
    crop = tuple(
        slice(max(0, (size - _ADCNN_CROP) // 2), max(0, (size - _ADCNN_CROP) // 2) + _ADCNN_CROP)
        for size in image.shape
    )
    pixels = image[crop]
    pixels = pixels[np.isfinite(pixels)]
    if pixels.size == 0:
        pixels = image[np.isfinite(image)]
    if pixels.size == 0:
        return PanelScale(median=0.0, sigma=1.0)
    # In double precision no difference of two pixels overflows.
    pixels = pixels.astype(np.float64)
    median = np.median(pixels)
    deviation = np.median(np.abs(pixels - median))
    return PanelScale(median=float(median), sigma=1.4826 * (float(deviation) + 1e-12))


def adcnn_input(image: _Float32, scale: PanelScale) -> _Float32:
    """Turn an image into the input of a network of Asteroid_detection_CNN.

    Parameters
    ----------
    image
        Pixel values, shape (ny, nx); 0 beyond the edges of the image, which
        is what these networks saw there.
    scale
        Level and scatter of the whole image.

    Returns
    -------
    array
        Shape (1, ny, nx), float32, in [-5, 5]: distances from the median in
        units of the scatter.  Pixels that are not finite are 0, like sky.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        significance = (image.astype(np.float64) - scale.median) / scale.sigma
    clipped = np.clip(significance, -_ADCNN_CLIP, _ADCNN_CLIP)
    return np.where(np.isfinite(image), clipped, 0.0).astype(np.float32)[None]
