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

"""Baselines: methods that find trails without a network.

`elongated_footprints`
    PSF-matched footprints, as the stack detects sources, ranked by elongation.
`sep_sources`
    Sources of SExtractor's algorithm (Bertin and Arnouts 1996; Barbary 2016, JOSS 1, 58). At 3 to 5 sigma
    they substitute for the stack's catalog; with `SEP_FOR_TRAILS` they are tuned for trails.

The matched-filter bank, which is the noise limit, is `benchmarks.matched_filter`.
"""

from __future__ import annotations

__all__ = ("SEP_FOR_TRAILS", "BaselineDetections", "SepOptions", "elongated_footprints", "sep_sources")

import dataclasses

import astropy.table
import numpy as np
import numpy.typing as npt
import scipy.ndimage
import scipy.signal
import sep

from ..core.background import SkySubtracted, fit_background
from ..core.catalog.columns import CANDIDATE_COLUMNS
from ..core.geometry import Trails, wrap_angle
from ..core.psf import FWHM_PER_SIGMA, kernel_fwhm
from .columns import blank_table

_GROW = 2.4
"""Growth of the footprints that are masked in the second estimate of the background, in standard deviations
of the PSF, as in the stack.
"""

_PIXSTACK = 4_000_000
_SUB_OBJECTS = 65_536
"""Buffers of sep, whose defaults overflow in crowded images."""


@dataclasses.dataclass(frozen=True, eq=False)
class BaselineDetections:
    """Trails found without a network, best first."""

    trails: Trails
    """The trails, array coordinates, fluxes in units of the image."""

    rank: npt.NDArray[np.float64]
    """Rank of each, not negative, shape (n,)."""

    significance: npt.NDArray[np.float64]
    """Significance of the detection, sigma, shape (n,)."""

    def __post_init__(self) -> None:
        if not len(self.trails) == len(self.rank) == len(self.significance):
            raise ValueError(
                f"{len(self.trails)} trails need one rank and one significance each, not {len(self.rank)} "
                f"ranks and {len(self.significance)} significances."
            )

    def sorted(self) -> BaselineDetections:
        """Return the detections with the highest rank first."""
        order = np.argsort(-self.rank, kind="stable")
        return BaselineDetections(self.trails[order], self.rank[order], self.significance[order])

    def catalog(self) -> astropy.table.Table:
        """Return a candidate catalog, whose score is the rank.

        Other columns than position, shape, flux and SNR are unknown.
        """
        trails = self.trails
        table = blank_table(CANDIDATE_COLUMNS, len(trails))
        values = {
            "x": trails.x,
            "y": trails.y,
            **dict(zip(("x0", "y0", "x1", "y1"), trails.ends, strict=True)),
            "trailLengthPix": trails.length,
            "trailAnglePix": trails.angle,
            "trailFlux": trails.flux,
            "snr": self.significance,
            "score": self.rank,
        }
        for name, column in values.items():
            table[name][:] = column
        return table


@dataclasses.dataclass(frozen=True)
class SepOptions:
    """Options of `sep_sources`."""

    threshold: float = 5.0
    """Detection threshold on the matched-filtered image, sigma."""

    min_area: int = 5
    """Fewest pixels above the threshold."""

    min_elongation: float = 1.0
    """Lowest ratio of the axes."""

    by_elongation: bool = False
    """Whether to rank by elongation instead of significance."""


SEP_FOR_TRAILS = SepOptions(threshold=2.5, min_area=40, min_elongation=2.0, by_elongation=True)
"""Options tuned for trails."""


def elongated_footprints(
    sky: SkySubtracted, *, threshold: float = 5.0, min_elongation: float = 1.2
) -> BaselineDetections:
    """Detect footprints as the stack does, and rank them by elongation.

    Parameters
    ----------
    sky
        The image; its background is estimated again with the grown footprints of a first detection masked.
    threshold
        Threshold on the image convolved with the PSF, sigma.
    min_elongation
        Lowest ratio of the axes of a footprint; a trail of 6 pixels has 1.25 in typical seeing.

    Notes
    -----
    A footprint is a set of connected pixels whose significance ``sum(k d) / sqrt(sum(k^2 V))`` with the PSF
    ``k`` is above the threshold, as in the stack's SourceDetectionTask. Both sums ignore masked pixels.
    """
    planes, bad = sky.planes, sky.bad
    kernel = planes.psf.mean_kernel
    significance, _ = _psf_matched(sky)
    sigma = kernel_fwhm(kernel) / FWHM_PER_SIGMA
    detected = scipy.ndimage.binary_dilation(
        np.abs(significance) > threshold, iterations=max(1, round(_GROW * sigma))
    )
    level = fit_background(planes.image, bad | detected).level()
    significance, convolved = _psf_matched(dataclasses.replace(sky, level=level))
    labels, count = scipy.ndimage.label(significance > threshold, structure=np.ones((3, 3)))
    if count == 0:
        return BaselineDetections(Trails.empty(), np.zeros(0), np.zeros(0))
    weight = np.where(labels > 0, convolved, 0.0)
    x, y, xx, yy, xy, total = _moments(labels, weight, count)
    peak = scipy.ndimage.maximum(significance, labels, np.arange(1, count + 1))
    flux = scipy.ndimage.sum_labels(np.where(bad, 0.0, planes.image - level), labels, np.arange(1, count + 1))
    half_sum, half_difference = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
    # With the moments of a pixel, for footprints of a single pixel.
    major, minor = half_sum + half_difference + 1.0 / 12.0, half_sum - half_difference + 1.0 / 12.0
    a, b = np.sqrt(major), np.sqrt(np.maximum(minor, 1.0 / 12.0))
    angle = 0.5 * np.rad2deg(np.arctan2(2.0 * xy, xx - yy))
    keep = (total > 0.0) & (a / b >= min_elongation)
    trails = Trails(x, y, _line_length(a, b), wrap_angle(angle), flux)[keep]
    # Cosmic rays are narrower than the PSF, which must not raise their rank.
    rank = a / np.maximum(b, sigma)
    return BaselineDetections(trails, rank[keep], np.asarray(peak, dtype=np.float64)[keep]).sorted()


def sep_sources(sky: SkySubtracted, options: SepOptions = SepOptions()) -> BaselineDetections:
    """Detect sources with sep in the PSF-matched image.

    Parameters
    ----------
    sky
        The image.
    options
        Threshold and cuts.
    """
    planes, bad = sky.planes, sky.bad
    significance, _ = _psf_matched(sky)
    stack, limit = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    sep.set_extract_pixstack(max(stack, _PIXSTACK))
    sep.set_sub_object_limit(max(limit, _SUB_OBJECTS))
    try:
        # The matched filter of sep misses bright sources if there is a mask.
        found, segments = sep.extract(
            significance, options.threshold, minarea=options.min_area, filter_kernel=None,
            segmentation_map=True,
        )  # fmt: skip
    finally:
        sep.set_extract_pixstack(stack)
        sep.set_sub_object_limit(limit)
    data = np.where(bad, 0.0, planes.image - sky.level)
    flux = _sums(segments, data, len(found))
    noise = np.sqrt(np.maximum(_sums(segments, np.where(bad, 0.0, planes.variance), len(found)), 1e-30))
    a, b = found["a"].astype(np.float64), found["b"].astype(np.float64)
    ok = np.isfinite(a) & np.isfinite(b) & (b > 0.0)
    ok[ok] = a[ok] / b[ok] >= options.min_elongation
    found, a, b, flux, noise = found[ok], a[ok], b[ok], flux[ok], noise[ok]
    angle = wrap_angle(np.rad2deg(found["theta"]))
    trails = Trails(
        found["x"].astype(np.float64), found["y"].astype(np.float64), _line_length(a, b), angle, flux
    )
    detected = np.maximum(flux, 0.0) / noise
    sigma = kernel_fwhm(planes.psf.mean_kernel) / FWHM_PER_SIGMA
    rank = a / np.maximum(b, sigma) if options.by_elongation else detected
    return BaselineDetections(trails, rank, detected).sorted()


def _sums(
    segments: npt.NDArray[np.int32], values: npt.NDArray[np.floating], count: int
) -> npt.NDArray[np.float64]:
    """Return the sums of values over segments, shape (count,)."""
    pixels = np.flatnonzero(segments)
    return np.bincount(
        segments.ravel()[pixels] - 1, weights=np.asarray(values, dtype=np.float64).ravel()[pixels],
        minlength=count,
    )  # fmt: skip


def _psf_matched(sky: SkySubtracted) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the significance of a source at each pixel, and the convolved image."""
    planes, bad = sky.planes, sky.bad
    data = np.where(bad, 0.0, planes.image - sky.level).astype(np.float32)
    variance = np.where(bad, 0.0, planes.variance).astype(np.float32)
    # Correlation with the PSF is convolution with the flipped PSF.
    flipped = planes.psf.mean_kernel[::-1, ::-1].astype(np.float32)
    signal = scipy.signal.oaconvolve(data, flipped, mode="same")
    noise = scipy.signal.oaconvolve(variance, np.square(flipped), mode="same")
    if np.all(bad):
        return np.zeros(bad.shape, dtype=np.float32), np.zeros(bad.shape, dtype=np.float32)
    # Rounding errors of the transforms dominate where nearly all pixels are masked.
    usable = noise > 1e-3 * np.sum(np.square(flipped)) * np.median(planes.variance[~bad])
    significance = np.where(usable, signal / np.sqrt(np.where(usable, noise, 1.0)), 0.0)
    return significance.astype(np.float32), signal.astype(np.float32)


def _moments(
    labels: npt.NDArray[np.int32], weight: npt.NDArray[np.floating], count: int
) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the weighted moments x, y, xx, yy, xy and total weights of labels.

    Each has the shape (count,).
    """
    rows, columns = np.nonzero(labels)
    index = labels[rows, columns] - 1
    w = np.asarray(weight[rows, columns], dtype=np.float64)

    def total(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.bincount(index, weights=values, minlength=count)

    norm = total(w)
    safe = np.where(norm > 0.0, norm, 1.0)
    x, y = total(w * columns) / safe, total(w * rows) / safe
    u, v = columns - x[index], rows - y[index]
    return x, y, total(w * u * u) / safe, total(w * v * v) / safe, total(w * u * v) / safe, norm


def _line_length(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the length of a uniform line that has the axes ``a`` and ``b`` if blurred.

    Its variance, length^2 / 12, adds to one axis only.
    """
    return np.sqrt(12.0 * np.maximum(np.square(a) - np.square(b), 0.0))
