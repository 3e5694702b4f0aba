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

"""Estimation of variance planes from pixels or weights."""

from __future__ import annotations

__all__ = ("SkyNoise", "estimate_variance", "measure_noise", "noise_ratios", "rescale_weight")

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import sep

BLOCK = 64
"""Side of the blocks for the measurement of noise, pixels."""

_CLIPPED_VARIANCE = 0.9733
"""Variance of a Gaussian clipped at 3 sigma over its full variance."""


class SkyNoise(NamedTuple):
    """Level and variance of the sky, medians over an image."""

    level: float
    """Level, image units."""

    variance: float
    """Variance of a pixel in blocks, image units squared; crowded stars make it too large."""

    local: float
    """The same from differences of adjacent pixels; correlated noise makes it too small."""


def measure_noise(image: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_]) -> SkyNoise:
    """Measure level and noise of the sky.

    Parameters
    ----------
    image
        Pixel values, shape (ny, nx); bad pixels may be NaN.
    bad
        Pixels to ignore, same shape.
    """
    level, variance = _measure_sky(image, bad)
    local = _local_scatter(image, bad, np.ones_like(image))
    return SkyNoise(float(np.median(level[~bad])), float(np.median(variance[~bad])), local)


def noise_ratios(
    image: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_], variance: npt.NDArray[np.float32]
) -> tuple[float, float]:
    """Measure the scatter of the sky relative to a variance plane, in two ways.

    Parameters
    ----------
    image
        Pixel values, shape (ny, nx); bad pixels may be NaN.
    bad
        Pixels to ignore, same shape.
    variance
        Variance of each pixel, image units squared, same shape; positive where not bad.

    Returns
    -------
    local, wide
        Measured over given variance: from differences of adjacent pixels, which correlated noise makes too
        small, and from the clipped scatter in blocks, which crowded stars make too large. Both are 1 for a
        correct variance of independent pixels.
    """
    _, sky = _measure_sky(image, bad)
    return _local_scatter(image, bad, variance), float(np.median(sky[~bad] / variance[~bad]))


def estimate_variance(
    image: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_], gain: float | None = None
) -> npt.NDArray[np.float32]:
    """Estimate the variance of each pixel from the image.

    Parameters
    ----------
    image
        Pixel values, shape (ny, nx); bad pixels may be NaN.
    bad
        Pixels to ignore, same shape.
    gain
        Electrons per image unit, for the Poisson noise of sources. Without it, the variance of bright sources
        is too low.

    Returns
    -------
    variance
        Image units squared, same shape. Zero in images without noise.

    Notes
    -----
    The noise of sky, readout and calibration is the clipped scatter in blocks of 64 pixels (the background of
    SExtractor, Bertin & Arnouts 1996, A&AS 117, 393), smoothly interpolated. It follows gradients of the sky
    and differences between amplifiers, and is independent of any subtracted background.
    """
    level, variance = _measure_sky(image, bad)
    if gain is not None:
        signal = np.where(bad, np.float32(0.0), image - level)
        # Below the detection limit, the variance must not follow the noise.
        signal[signal < 3.0 * np.sqrt(variance)] = 0.0
        variance += signal / np.float32(gain)
    return np.asarray(variance, dtype=np.float32)


def rescale_weight(
    image: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_], weight: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Convert a weight map to variances.

    Parameters
    ----------
    image
        Pixel values, shape (ny, nx); bad pixels may be NaN.
    bad
        Pixels to ignore, same shape.
    weight
        Relative inverse variances, such as exposure times, same shape; positive for good pixels.

    Returns
    -------
    variance
        Image units squared, scaled to the measured noise of the sky; infinite for weights that are not
        positive.
    """
    _, sky = _measure_sky(image, bad)
    scale = np.median(sky[~bad] * weight[~bad])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weight > 0.0, np.float32(scale) / weight, np.float32(np.inf)).astype(np.float32)


def _local_scatter(
    image: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_], variance: npt.NDArray[np.float32]
) -> float:
    """Return the variance of second differences along rows over the expected one."""
    good = ~bad
    triple = good[:, 1:-1] & good[:, :-2] & good[:, 2:]
    if not np.any(triple):
        return float("nan")
    with np.errstate(invalid="ignore", over="ignore"):
        second = 2.0 * image[:, 1:-1] - image[:, :-2] - image[:, 2:]
        expected = 4.0 * variance[:, 1:-1] + variance[:, :-2] + variance[:, 2:]
        scaled = second[triple] / np.sqrt(expected[triple])
    return float(np.square(1.4826 * np.median(np.abs(scaled))))


def _measure_sky(
    image: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the level and the variance of the sky at each pixel."""
    rows = np.arange(0, image.shape[0], BLOCK)
    columns = np.arange(0, image.shape[1], BLOCK)
    good = np.add.reduceat(np.add.reduceat((~bad).astype(np.int32), rows, axis=0), columns, axis=1)
    # sep requires a block with at least half of its pixels good.
    if np.max(good) <= BLOCK * BLOCK // 2:
        pixels = image[~bad]
        median = np.median(pixels)
        sigma = 1.4826 * np.median(np.abs(pixels - median))
        return np.full_like(image, median), np.full_like(image, np.square(sigma))
    background = sep.Background(np.where(bad, np.float32(0.0), image), mask=bad, bw=BLOCK, bh=BLOCK)
    variance = np.square(background.rms(dtype=np.float32)) / np.float32(_CLIPPED_VARIANCE)
    return background.back(dtype=np.float32), variance
