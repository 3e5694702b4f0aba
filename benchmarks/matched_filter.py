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

"""Bank of matched filters, which is the noise limit on blank sky.

On blank sky no method finds more trails at the same false rate than a filter
matched to each trail.  Among stars and galaxies, which also respond, the bank
finds few trails.
"""

from __future__ import annotations

__all__ = ("BankOptions", "Template", "make_templates", "matched_filter_bank")

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

from lsst.meas.trails.core.background import SkySubtracted
from lsst.meas.trails.core.geometry import Trails, segment_distance
from lsst.meas.trails.core.psf import kernel_fwhm
from lsst.meas.trails.core.render import FourierTrail
from lsst.meas.trails.evaluation.baselines import BaselineDetections

_PEAK_SIZE = 5
"""Side of the square in which a peak is the highest pixel."""

_SAME = 1.5
"""Distance within which the weaker of two responses is of the same trail, FWHM."""

_MIN_SEEN = 0.1
"""Smallest fraction of a filter's weight on good pixels."""


@dataclasses.dataclass(frozen=True)
class BankOptions:
    """Templates and threshold of the bank."""

    shortest: float = 6.0
    """Shortest template, pixels."""

    longest: float = 140.0
    """Longest template, pixels."""

    lengths: int = 10
    """Number of lengths, in a geometric series."""

    end_step: float = 2.1
    """Distance between the ends of successive templates, pixels, which sets
    the number of angles of each length.
    """

    threshold: float = 4.0
    """Lowest SNR of a detection."""

    block: int = 1024
    """Side of the part of the image that is filtered at once, pixels; changes
    the memory, not the result.
    """

    def __post_init__(self) -> None:
        if not 0.0 < self.shortest <= self.longest or self.lengths < 1 or not self.end_step > 0.0:
            raise ValueError(
                f"The bank needs lengths 0 < shortest <= longest and a positive step, not {self}."
            )
        if self.block < 1:
            raise ValueError(f"A block must have at least 1 pixel, not {self.block}.")


@dataclasses.dataclass(frozen=True)
class Template:
    """Line of a length in pixels and an angle in degrees."""

    length: float
    angle: float


def make_templates(options: BankOptions = BankOptions()) -> list[Template]:
    """Return the templates of a bank, 356 of them by default."""
    templates = []
    for length in np.geomspace(options.shortest, options.longest, options.lengths):
        count = int(np.ceil(np.pi * 0.5 * length / options.end_step))
        templates += [Template(float(length), 180.0 * i / count) for i in range(count)]
    return templates


def matched_filter_bank(sky: SkySubtracted, options: BankOptions = BankOptions()) -> BaselineDetections:
    """Find trails with a bank of PSF-convolved lines, ranked by SNR.

    Parameters
    ----------
    sky
        The image.
    options
        Templates and threshold.

    Notes
    -----
    At each pixel the SNR of a template ``t`` is
    ``sum(t d / V) / sqrt(sum(t^2 / V))``, over good pixels.  The best template
    at a pixel that is the best of its neighborhood is a detection.  Detections
    close to the line of a better one are dropped, because templates that touch
    a trail respond to it.
    """
    templates = make_templates(options)
    planes, bad = sky.planes, sky.bad
    weight = np.where(bad, 0.0, 1.0 / np.where(bad, 1.0, planes.variance)).astype(np.float32)
    data = np.where(bad, 0.0, planes.image - sky.level).astype(np.float32) * weight
    kernel = planes.psf.mean_kernel
    # Reach of a template centered in a block.
    margin = int(np.ceil(0.5 * options.longest)) + kernel.shape[0] // 2 + _PEAK_SIZE
    found: list[npt.NDArray[np.float64]] = []
    for inner, outer in _blocks(planes.shape, options.block, margin):
        best, which, flux = _best_response(
            data[outer], weight[outer], planes.psf.kernel(*_center(inner)), templates
        )
        is_peak = (best == scipy.ndimage.maximum_filter(best, size=_PEAK_SIZE)) & (best >= options.threshold)
        rows, columns = np.nonzero(is_peak)
        y, x = rows + outer[0].start, columns + outer[1].start
        mine = (y >= inner[0].start) & (y < inner[0].stop) & (x >= inner[1].start) & (x < inner[1].stop)
        peak = rows[mine], columns[mine]
        found.append(np.stack([x[mine], y[mine], which[peak], flux[peak], best[peak]]).astype(np.float64))
    x, y, number, flux, snr = np.concatenate(found, axis=1)
    index = number.astype(int)
    trails = Trails(
        x,
        y,
        np.array([template.length for template in templates])[index],
        np.array([template.angle for template in templates])[index],
        flux,
    )
    order = np.argsort(-snr, kind="stable")
    kept = order[_separate(trails[order], _SAME * kernel_fwhm(kernel))]
    return BaselineDetections(trails[kept], snr[kept], snr[kept])


def _blocks(
    shape: tuple[int, int], block: int, margin: int
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Yield the blocks of an image as slices, without and with a margin."""
    for y0 in range(0, shape[0], block):
        for x0 in range(0, shape[1], block):
            y1, x1 = min(y0 + block, shape[0]), min(x0 + block, shape[1])
            outer = (
                slice(max(0, y0 - margin), min(shape[0], y1 + margin)),
                slice(max(0, x0 - margin), min(shape[1], x1 + margin)),
            )
            yield (slice(y0, y1), slice(x0, x1)), outer


def _center(part: tuple[slice, slice]) -> tuple[float, float]:
    """Return the center x, y of a part of an image."""
    return 0.5 * (part[1].start + part[1].stop - 1), 0.5 * (part[0].start + part[0].stop - 1)


def _best_response(
    data: npt.NDArray[np.float32],
    weight: npt.NDArray[np.float32],
    kernel: npt.NDArray[np.float64],
    templates: list[Template],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int16], npt.NDArray[np.float32]]:
    """Return SNR, number and flux of the best template at each pixel.

    Parameters
    ----------
    data
        The image divided by its variance, shape (h, w).
    weight
        Inverse variance, zero for bad pixels, same shape.
    kernel
        The PSF, shape (k, k).
    templates
        Lines to search for.
    """
    longest = max(template.length for template in templates)
    side = 2 * (int(np.ceil(0.5 * longest)) + kernel.shape[0] // 2 + 1) + 1
    fast = tuple(scipy.fft.next_fast_len(size + side // 2, real=True) for size in data.shape)
    shape = data.shape
    image = scipy.fft.rfft2(data, s=fast)
    # Except at masks, the norm of a template varies slowly: every second pixel
    # is enough.
    coarse = _bin2(weight)
    coarse_fast = tuple(scipy.fft.next_fast_len(size + side // 4 + 1, real=True) for size in coarse.shape)
    coarse_weight = scipy.fft.rfft2(coarse, s=coarse_fast)
    draw = FourierTrail(kernel[None], (side, side))
    best = np.zeros(shape, dtype=np.float32)
    which = np.zeros(shape, dtype=np.int16)
    flux = np.zeros(shape, dtype=np.float32)
    typical = float(np.median(weight[weight > 0.0])) if np.any(weight > 0.0) else 1.0
    middle = side // 2
    for number, template in enumerate(templates):
        radians = np.deg2rad(template.angle)
        dx, dy = template.length * np.cos(radians), template.length * np.sin(radians)
        stamp = draw.image(middle, middle, dx, dy)
        signal = _correlate(image, stamp, fast, shape)
        square = _bin2(np.square(stamp).astype(np.float32), middle % 2) * 4.0
        norm = _correlate(coarse_weight, square, coarse_fast, coarse.shape)
        norm = np.repeat(np.repeat(norm, 2, axis=0), 2, axis=1)[: shape[0], : shape[1]]
        least = _MIN_SEEN * typical * float(np.sum(np.square(stamp)))
        norm = np.maximum(norm, least)
        snr = signal / np.sqrt(norm)
        better = snr > best
        best[better] = snr[better]
        which[better] = number
        flux[better] = signal[better] / norm[better]
    return best, which, flux


def _correlate(
    transform: npt.NDArray[np.complex64],
    stamp: npt.NDArray[np.floating],
    fast: tuple[int, ...],
    shape: tuple[int, ...],
) -> npt.NDArray[np.float32]:
    """Return the correlation of an image, given its transform, with a stamp."""
    h, w = stamp.shape
    padded = np.zeros(fast, dtype=np.float32)
    padded[:h, :w] = stamp
    padded = np.roll(padded, (-(h // 2), -(w // 2)), axis=(0, 1))
    product = transform * np.conj(scipy.fft.rfft2(padded))
    return np.asarray(scipy.fft.irfft2(product, s=fast)[: shape[0], : shape[1]], dtype=np.float32)


def _bin2(array: npt.NDArray[np.float32], shift: int = 0) -> npt.NDArray[np.float32]:
    """Return the means of 2x2 pixels, padded with zeros."""
    ny, nx = array.shape
    padded = np.pad(array, ((shift, (ny + shift) % 2), (shift, (nx + shift) % 2)))
    return np.asarray(padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2).mean(axis=(1, 3)))


def _separate(trails: Trails, distance: float) -> npt.NDArray[np.int64]:
    """Return the trails, best first, that are not close to a better one."""
    ends = np.stack(trails.ends)
    left = np.arange(len(trails))
    kept = []
    while left.size:
        first = int(left[0])
        kept.append(first)
        others = left[1:]
        left = others[_segment_gap(ends[:, first], ends[:, others]) > distance]
    return np.array(kept, dtype=np.int64)


def _segment_gap(
    segment: npt.NDArray[np.float64], others: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the distances of segments from a segment, pixels; 0 if they cross.

    Parameters
    ----------
    segment
        x0, y0, x1, y1.
    others
        The same, shape (4, n).
    """
    x0, y0, x1, y1 = segment
    a, b, c, d = others

    def side(px: Any, py: Any, qx: Any, qy: Any, rx: Any, ry: Any) -> Any:
        """Return the side of the line from p to q on which the point r lies, as a sign."""
        return np.sign((qx - px) * (ry - py) - (qy - py) * (rx - px))

    crossing = (side(x0, y0, x1, y1, a, b) != side(x0, y0, x1, y1, c, d)) & (
        side(a, b, c, d, x0, y0) != side(a, b, c, d, x1, y1)
    )
    gap = np.min(
        [
            segment_distance(a, b, x0, y0, x1, y1),
            segment_distance(c, d, x0, y0, x1, y1),
            segment_distance(x0, y0, a, b, c, d),
            segment_distance(x1, y1, a, b, c, d),
        ],
        axis=0,
    )
    return np.where(crossing, 0.0, gap)
