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

"""Flaws of detectors, optics and processing that narrow scenes do not have."""

from __future__ import annotations

__all__ = ("Flaws", "add_crosstalk", "add_ghost", "amplifier_steps", "correlate", "draw_edge")

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ..core.injection.population import draw_log_uniform
from .detector import AMPLIFIER_GRID
from .instrument import DETECTOR_SHAPE

type _Image = npt.NDArray[np.float32]

AMPLIFIER_SHAPE = tuple(size // count for size, count in zip(DETECTOR_SHAPE, AMPLIFIER_GRID, strict=True))
"""Shape (ny, nx) of an amplifier, pixels."""

EDGES: dict[str, tuple[str, ...]] = {
    "missing": ("NO_DATA",),
    "dead": ("BAD", "INTERPOLATED"),
    "margin": ("DETECTION_EDGE",),
}
"""Kinds of edges, with their mask planes: no data, interpolated, and good pixels near the edge."""


@dataclasses.dataclass(frozen=True)
class Flaws:
    """Strengths of the flaws of a scene; none by default."""

    variance_factor: float = 1.0
    """Stated over true variance."""

    correlation: float = 0.0
    """Weight of the neighboring pixel in the noise, along both axes, up to .5."""

    amplifier_steps: float = 0.0
    """Standard deviation of the levels of the amplifiers, in units of the noise."""

    crosstalk: float = 0.0
    """Part of a bright pixel's signal in another amplifier; it may be negative."""

    ghosts: float = 0.0
    """Mean number of ghosts per megapixel."""

    edge_chance: float = 0.0
    """Probability of an edge in the image."""

    scatter: tuple[float, float] = (0.04, 0.04)
    """Range of the wandering of cosmic rays, pixels per quarter pixel; strong scattering makes worms."""


def correlate(noise: _Image, weight: float) -> _Image:
    """Return white noise as correlated by an interpolation between pixels, with its rms.

    Each axis mixes a pixel with its neighbor: the correlation at one pixel is ``w (1 - w) / (w^2 + (1 -
    w)^2)`` for a weight w.
    """
    if weight == 0.0:
        return noise
    kernel = np.array([1.0 - weight, weight], dtype=np.float32)
    kernel /= np.sqrt(np.sum(np.square(kernel)))
    for axis in (0, 1):
        noise = scipy.ndimage.convolve1d(noise, kernel, axis=axis, mode="wrap")
    return noise


def amplifier_steps(shape: tuple[int, int], step: float, rng: np.random.Generator) -> _Image:
    """Return the levels of amplifiers on a part of a detector, shape (ny, nx).

    Parameters
    ----------
    shape
        Shape (ny, nx) of the image.
    step
        Standard deviation of the levels, image units.
    rng
        Random numbers of the levels, and of the place of the part in the detector.
    """
    indices = []
    for size, period in zip(shape, AMPLIFIER_SHAPE, strict=True):
        offset = 0 if size >= 2 * period else int(rng.integers(period))
        indices.append((np.arange(size) + offset) // period)
    rows, columns = indices
    levels = rng.normal(0.0, step, (rows[-1] + 1, columns[-1] + 1)).astype(np.float32)
    return np.asarray(levels[rows[:, None], columns[None, :]])


def add_crosstalk(image: _Image, full_well: float, strength: float, rng: np.random.Generator) -> None:
    """Add the crosstalk of bright pixels, an amplifier away, in place.

    Parameters
    ----------
    image
        Signal up to the full well, shape (ny, nx).
    full_well
        Saturation level, image units.
    strength
        Part of the signal; negative for overcorrected crosstalk.
    rng
        Random numbers of the direction.
    """
    width = AMPLIFIER_SHAPE[1] if image.shape[1] > AMPLIFIER_SHAPE[1] else image.shape[1] // 2
    if rng.random() < 0.5:
        width = -width
    bright = np.where(image > 0.1 * full_well, image, np.float32(0.0)) * np.float32(strength)
    if width > 0:
        image[:, width:] += bright[:, :-width]
    else:
        image[:, :width] += bright[:, -width:]


def add_ghost(image: _Image, noise: float, rng: np.random.Generator) -> None:
    """Add the reflection of a bright star, an image of the telescope's pupil, in place.

    Parameters
    ----------
    image
        Signal, shape (ny, nx).
    noise
        Noise of a pixel; the ghost has .03 to 3 of it.
    rng
        Random number generator.
    """
    ny, nx = image.shape
    radius = draw_log_uniform(15.0, 500.0, rng)
    x, y = rng.uniform(-radius, nx + radius), rng.uniform(-radius, ny + radius)
    brightness = noise * draw_log_uniform(0.03, 3.0, rng)
    softness = float(rng.uniform(1.0, 6.0))
    hole = radius * float(rng.uniform(0.0, 0.7))
    # The shadow of the secondary mirror is displaced away from the axis.
    angle, shift = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.0, 0.5) * radius
    rows = slice(max(int(y - radius), 0), max(min(int(y + radius) + 2, ny), 0))
    columns = slice(max(int(x - radius), 0), max(min(int(x + radius) + 2, nx), 0))
    v = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(y)
    u = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - np.float32(x)
    inside = np.clip((np.float32(radius) - np.hypot(u, v)) / np.float32(softness), 0.0, 1.0)
    to_shadow = np.hypot(u - np.float32(shift * np.cos(angle)), v - np.float32(shift * np.sin(angle)))
    lit = np.clip((to_shadow - np.float32(hole)) / np.float32(softness), 0.0, 1.0)
    image[rows, columns] += np.float32(brightness) * inside * lit


def draw_edge(shape: tuple[int, int], rng: np.random.Generator) -> tuple[npt.NDArray[np.bool_], str]:
    """Draw the pixels of an edge of a detector or of a resampled image, and its kind, a key of `EDGES`."""
    kind = str(rng.choice(list(EDGES)))
    if kind == "missing" and rng.random() < 0.5:
        # A resampled image ends in a slanted line.
        angle = rng.uniform(0.0, 2.0 * np.pi)
        y, x = np.ogrid[: shape[0], : shape[1]]
        along = (x / shape[1] - 0.5) * np.cos(angle) + (y / shape[0] - 0.5) * np.sin(angle)
        return np.asarray(along > rng.uniform(0.25, 0.6)), kind
    width = int(rng.integers(2, 60))
    edge = np.zeros(shape, dtype=bool)
    side = rng.integers(4)
    band = slice(0, width) if side % 2 else slice(-width, None)
    edge[(band, slice(None)) if side < 2 else (slice(None), band)] = True
    return edge, kind
