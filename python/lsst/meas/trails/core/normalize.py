# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""The one normalisation of images for the network.

Training and inference both come through here; the name of the normalisation
and its version are part of a model's specification.
"""

from __future__ import annotations

__all__ = ("CHANNELS", "NORMALISATION", "TEMPLATE_CHANNELS", "compress", "network_input")

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .planes import ImagePlanes

NORMALISATION = "background-variance-asinh-1"
"""Name and version of what `network_input` does."""

_SOFTENING = 5.0
"""Significance at which the compression turns from linear to logarithmic."""

_LARGEST = np.float32(1e30)
"""Significance that absurd pixel values are cut to: the logarithm of
infinity is no number for a network.
"""

type _Float32 = npt.NDArray[np.float32]


def compress(significance: _Float32) -> _Float32:
    """Compress significances so that stars do not drown what is faint.

    ``5 asinh(z / 5)``: linear within the noise, logarithmic beyond 5 sigma.
    """
    return np.asarray(_SOFTENING * np.arcsinh(significance / np.float32(_SOFTENING)), dtype=np.float32)


def _science(planes: ImagePlanes, background: _Float32, bad: npt.NDArray[np.bool_]) -> _Float32:
    return _significance(planes.image, background, planes.variance, bad)


def _bad(planes: ImagePlanes, background: _Float32, bad: npt.NDArray[np.bool_]) -> _Float32:
    return bad.astype(np.float32)


def _template(planes: ImagePlanes, background: _Float32, bad: npt.NDArray[np.bool_]) -> _Float32:
    if planes.template is None:
        return np.zeros(planes.shape, dtype=np.float32)
    # In units of the image's noise, so that what did not change has the same
    # value in both.
    return _significance(planes.template, np.zeros_like(background), planes.variance, ~_has_template(planes))


def _template_missing(planes: ImagePlanes, background: _Float32, bad: npt.NDArray[np.bool_]) -> _Float32:
    return (~_has_template(planes)).astype(np.float32)


def _has_template(planes: ImagePlanes) -> npt.NDArray[np.bool_]:
    """Return where the template can be told in units of the noise: also where
    the image itself is saturated or hit by a cosmic ray.
    """
    if planes.template is None:
        return np.zeros(planes.shape, dtype=np.bool_)
    variance = planes.variance
    return np.asarray(np.isfinite(planes.template) & (variance > 0.0) & (variance < np.inf))


def _significance(
    image: _Float32, background: _Float32, variance: _Float32, bad: npt.NDArray[np.bool_]
) -> _Float32:
    sigma = np.sqrt(np.where(bad, np.float32(1.0), variance))
    significance = np.where(bad, np.float32(0.0), (image - background) / sigma)
    return compress(np.clip(significance, -_LARGEST, _LARGEST))


CHANNELS: dict[str, Callable[[ImagePlanes, _Float32, npt.NDArray[np.bool_]], _Float32]] = {
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
    bad = planes.bad()
    with np.errstate(invalid="ignore", over="ignore"):
        stack = np.stack([CHANNELS[name](planes, background, bad) for name in channels])
    return stack
