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

"""Variance planes of FITS images."""

from __future__ import annotations

__all__ = ("make_variance",)

import logging

import numpy as np
import numpy.typing as npt

from ..core.printable import printable
from .gain import Gain, check_gain, find_gain
from .layout import FitsIngestError, FitsLayout
from .noise import estimate_variance, measure_noise, noise_ratios, rescale_weight
from .observation import FitsOptions
from .pixels import FitsPixels

_LOG = logging.getLogger(__name__)

_FACTOR = 1.5
"""Largest factor between a variance and the measured scatter of the sky."""

_MIN_PIXELS = 1000
"""Smallest number of good pixels for a comparison."""

_MEANINGS = {"variance": "variance", "error": "standard deviation", "inverse": "inverse variance"}
"""Meaning of the planes of a file by their role."""


def make_variance(
    pixels: FitsPixels, bad: npt.NDArray[np.bool_], layout: FitsLayout, options: FitsOptions
) -> tuple[npt.NDArray[np.float32], str]:
    """Make the variance plane of an image.

    Parameters
    ----------
    pixels
        Image and companions.
    bad
        Pixels to ignore, shape (ny, nx).
    layout
        HDUs and header of the image.
    options
        Values that replace header values.

    Returns
    -------
    variance
        Units of the file squared, shape (ny, nx): the file's, or measured on the sky.
    source
        Its origin.

    Raises
    ------
    FitsIngestError
        Raised if the variance of the file contradicts the scatter of the sky.
    """
    if np.all(bad):
        return np.zeros(layout.shape, dtype=np.float32), "none"
    if pixels.variance is not None and options.noise != "sky":
        if options.noise == "check":
            _check(pixels, pixels.variance, bad, layout)
        return pixels.variance, "file"
    if pixels.weight is not None and options.noise != "sky":
        return rescale_weight(pixels.image, bad, pixels.weight), "weight map and measured sky noise"
    gain = _choose_gain(pixels, bad, layout, options)
    if gain is None:
        return estimate_variance(pixels.image, bad), "measured sky noise"
    source = f"measured sky noise and gain {gain.value:.4g} ({gain.source})"
    return estimate_variance(pixels.image, bad, gain.value), source


def _choose_gain(
    pixels: FitsPixels, bad: npt.NDArray[np.bool_], layout: FitsLayout, options: FitsOptions
) -> Gain | None:
    if options.gain is not None:
        return Gain(options.gain, "--gain")
    gain = find_gain(layout.header)
    if gain is None:
        _LOG.warning(
            "%s has no variance plane and no gain: the variance lacks the Poisson noise of sources. "
            "Pass --gain.",
            printable(layout.path),
        )
        return None
    checked = check_gain(gain, measure_noise(pixels.image, bad), layout.header)
    for warning in dict.fromkeys((gain.warning, checked.warning)):
        if warning:
            _LOG.warning("%s: %s.", printable(layout.path), warning)
    return checked if np.isfinite(checked.value) else None


def _check(
    pixels: FitsPixels, variance: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_], layout: FitsLayout
) -> None:
    """Raise if a variance contradicts the scatter of the sky by both measures."""
    bad = bad | ~((variance > 0.0) & (variance < np.inf))
    good = ~bad
    if np.count_nonzero(good) < _MIN_PIXELS:
        return
    ratios = noise_ratios(pixels.image, bad, variance)
    low, high = min(ratios), max(ratios)
    # NaN fails the comparisons.
    if low <= _FACTOR and high >= 1.0 / _FACTOR:
        return
    factor = low if low > _FACTOR else 1.0 / max(high, 1e-30)
    role = next(role for role in _MEANINGS if role in layout.companions)
    typical = float(np.median(variance[good]))
    scatter = np.sqrt(typical * (low if low > _FACTOR else high))
    file = layout.companion_path(role)
    plane = f"HDU {layout.companions[role]}" + (f" of {file}" if file != layout.path else "")
    raise FitsIngestError(
        f"{layout.path}: by {plane}, as {_MEANINGS[role]}, a pixel has a noise of "
        f"{np.sqrt(typical):.3g}, but the pixels of the sky scatter by {scatter:.3g}: variances that differ "
        f"by a factor of {factor:.3g}{_other_meaning(role, variance[good], ratios)}. Pass --noise sky to "
        "use the measured scatter, or --noise file if the file is right."
    )


def _other_meaning(role: str, variance: npt.NDArray[np.float32], ratios: tuple[float, float]) -> str:
    """Return the meaning of the file's values that agrees with the sky, empty if none does."""
    with np.errstate(over="ignore", divide="ignore"):
        value = {"variance": variance, "error": np.sqrt(variance), "inverse": 1.0 / variance}[role]
        readings = {"variance": value, "error": np.square(value), "inverse": 1.0 / value}
        for other, reading in readings.items():
            scaled = [ratio * float(np.median(variance / reading)) for ratio in ratios]
            if other != role and min(scaled) <= _FACTOR and max(scaled) >= 1.0 / _FACTOR:
                name = {"variance": "VAR", "error": "ERR", "inverse": "IVAR"}[other]
                return f" (as {_MEANINGS[other]} it would agree: then name the HDU {name})"
    return ""
