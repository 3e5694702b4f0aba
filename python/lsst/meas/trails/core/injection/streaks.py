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

"""Brightness along the streaks of satellites: flares, tumbling, dashes, ends."""

from __future__ import annotations

__all__ = ("StreakPattern", "draw_pattern")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from .population import draw_log_uniform

type _Floats = npt.NDArray[np.float64]

_STEP = 0.5
"""Sampling of a pattern before it is blurred, pixels."""


@dataclasses.dataclass(frozen=True)
class StreakPattern:
    """Brightness along a streak, relative to its greatest, at distances from a point of it in pixels."""

    start: float = -np.inf
    stop: float = np.inf
    """Ends, where the exposure or the sunlight begins or ends."""

    tumbling: float = 0.0
    """Depth of the minima of a tumbling satellite."""

    period: float = np.inf
    """Distance from one maximum or dash to the next, pixels."""

    sharpness: float = 1.0
    """Exponent of the sinusoid of a tumbling satellite; glints are sharp."""

    dash: float = 1.0
    """Fraction of a period in which a strobe is on."""

    phase: float = 0.0
    """Part of a period from the point to a maximum, or to the beginning of a dash."""

    flare_width: float = np.inf
    """Standard deviation of a flare, pixels."""

    flare_at: float = 0.0
    """Position of the flare, pixels."""

    flare_base: float = 0.0
    """Brightness without the flare."""

    def brightness(self, distance: _Floats, blur: float) -> _Floats:
        """Return the brightness at distances along the streak, shape (n,).

        Parameters
        ----------
        distance
            Distances, pixels, increasing or decreasing.
        blur
            Standard deviation of the PSF, pixels.
        """
        margin = 5.0 * blur + 1.0
        t = np.arange(float(distance.min()) - margin, float(distance.max()) + margin + _STEP, _STEP)
        value = np.ones(len(t))
        if np.isfinite(self.period):
            turns = t / self.period - self.phase
            wave = np.power(0.5 + 0.5 * np.cos(2.0 * np.pi * turns), self.sharpness)
            value *= 1.0 - self.tumbling * (1.0 - wave)
            value *= turns % 1.0 <= self.dash
        if np.isfinite(self.flare_width):
            flare = np.exp(-0.5 * np.square((t - self.flare_at) / self.flare_width))
            value *= self.flare_base + (1.0 - self.flare_base) * flare
        value *= (t >= self.start) & (t <= self.stop)
        value = scipy.ndimage.gaussian_filter1d(value, blur / _STEP, mode="nearest")
        return np.asarray(np.interp(distance, t, value))


def draw_pattern(size: float, rng: np.random.Generator, *, patterned: float, ended: float) -> StreakPattern:
    """Draw the pattern of a streak.

    Parameters
    ----------
    size
        Side of the image, pixels.
    rng
        Random number generator.
    patterned
        Probability of a flare, tumbling or dashes, each as probable as the others.
    ended
        Probability of an end or of both ends near the image.
    """
    pattern = StreakPattern()
    if rng.random() < patterned:
        match rng.integers(3):
            case 0:
                pattern = StreakPattern(
                    flare_width=draw_log_uniform(3.0, 150.0, rng),
                    flare_at=float(rng.uniform(-0.4, 0.4)) * size,
                    flare_base=draw_log_uniform(0.003, 0.3, rng),
                )
            case 1:
                pattern = StreakPattern(
                    tumbling=float(rng.uniform(0.2, 1.0)),
                    period=draw_log_uniform(8.0, 600.0, rng),
                    sharpness=draw_log_uniform(0.5, 8.0, rng),
                    phase=float(rng.random()),
                )
            case _:
                pattern = StreakPattern(
                    dash=float(rng.uniform(0.05, 0.9)),
                    period=draw_log_uniform(15.0, 600.0, rng),
                    phase=float(rng.random()),
                )
    if rng.random() < ended:
        # The point itself is always lit.
        stop = draw_log_uniform(5.0, size, rng) if rng.random() < 0.5 else np.inf
        pattern = dataclasses.replace(pattern, start=-draw_log_uniform(5.0, size, rng), stop=stop)
    return pattern
