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

"""Detection of trail candidates in a probability map and its image."""

from __future__ import annotations

__all__ = ("CandidateOptions", "find_candidates")

import dataclasses
import functools
from collections.abc import Callable

import astropy.table
import numpy as np
import numpy.typing as npt

from ..background import SkySubtracted
from ..fit.confusion_noise import confusion_excess, inflate_errors
from ..fit.fit import scan_and_fit, start_as_fit
from ..fit.pixels import MAX_FITTED_LENGTH, TrailFit
from ..fit.shape_tests import ShapeTests, is_point, measure_shape
from ..geometry import Trail, clip_segment, edge_distance, segment_distance
from .components import Component, find_components
from .pixel_flags import PIXEL_FLAGS, center_bits, footprint_bits, has_plane
from .score import LOGIT_COLUMN, CandidateScore, FoundCandidates
from .spikes import find_bright_stars, spike_likeness
from .streaks import crosses_image, on_streak

_REACHES = (3.0, 1.5)
"""Largest distances of fitted pixels from the component, FWHM."""

_MAX_BAD_FRACTION = 0.5
"""Largest fraction of bad pixels in a component, but for saturated ones: trails may saturate themselves."""


@dataclasses.dataclass(frozen=True)
class CandidateOptions:
    """Options of the detection of candidates.

    Parameters
    ----------
    grow, seed
        Thresholds of the hysteresis; see `find_components`.
    min_area
        Smallest component, pixels.
    max_gap
        Largest gap between fragments of one trail, pixels.
    min_score
        Lowest score of a candidate.
    """

    grow: float = 0.2
    seed: float = 0.5
    min_area: int = 12
    max_gap: float = 12.0
    min_score: float = 0.0


def find_candidates(
    probability: npt.NDArray[np.float32],
    sky: SkySubtracted,
    score: CandidateScore | None = None,
    options: CandidateOptions = CandidateOptions(),
) -> astropy.table.Table:
    """Find, fit and score trail candidates.

    Parameters
    ----------
    probability
        Probability per pixel that it belongs to a trail, shape (ny, nx).
    sky
        The image; if it has a template, a score may use it.
    score
        The score; by default it is the mean of the largest quarter of the component's probabilities.
    options
        Thresholds.

    Returns
    -------
    table
        One row per candidate in decreasing order of score, in array coordinates and image units: the fitted
        trail with errors, the shape of the component, the score, the likeness to a spike that lowered it, and
        flags.
    """
    components = find_components(
        probability, grow=options.grow, seed=options.seed, min_area=options.min_area, max_gap=options.max_gap
    )
    candidates = []
    without_light = sky.bad & ~sky.planes.has("SATURATED")
    for component in components:
        if component.fraction_of(without_light) > _MAX_BAD_FRACTION:
            continue
        fit = _fit(component, sky)
        if fit.flux <= 0.0:
            # Components with non-positive flux are not sources.
            continue
        crosses = crosses_image(component.line, sky.shape)
        candidates.append(_Candidate(component, fit, sky, measure_shape(sky, fit), crosses))
    table = astropy.table.Table()
    for name, dtype, value in _COLUMNS:
        table[name] = np.array([value(candidate) for candidate in candidates], dtype=dtype)
    table["score"] = np.zeros(len(table))
    table["spikeLikeness"] = np.zeros(len(table))
    table["trail_flag_point"] = np.zeros(len(table), dtype=bool)
    table[LOGIT_COLUMN] = np.full(len(table), np.nan)
    if len(table) == 0:
        return table
    table["spikeLikeness"] = spike_likeness(table, find_bright_stars(sky))
    if score is None:
        table["score"] = table["topProbability"] * (1.0 - table["spikeLikeness"])
    else:
        trails = [candidate.trail for candidate in candidates]
        table["score"] = score.score(FoundCandidates(table, trails, sky, probability))
    table["streakFlag"] |= on_streak(table)
    table = table[np.asarray(table["score"]) >= options.min_score]
    table = _without_repeats(table[np.argsort(-np.asarray(table["score"]), kind="stable")])
    # After the score, which was calibrated with the noise of the pixels.
    inflate_errors(table, confusion_excess(sky))
    table["trail_flag_point"] = ~table["trail_flag"] & is_point(
        table["trailLengthPix"], table["trailLengthPixErr"], table["psfFwhm"]
    )
    return _on_image(table, sky.shape)


def _fit(component: Component, sky: SkySubtracted) -> TrailFit:
    """Fit a trail to a component.

    A bright star next to a faint trail can draw the fit away: if the result no longer describes the
    component, only pixels close to it are fitted.
    """
    fwhm = sky.psf.fwhm(component.line.x, component.line.y)
    # A component reaches about half a FWHM beyond each end of its line.
    start = dataclasses.replace(component.line, length=max(component.line.length - fwhm, 1.0))
    if start.length <= MAX_FITTED_LENGTH:
        for reach in _REACHES:
            fit = scan_and_fit(sky, start, reach)
            if not fit.failed and _is_same(component.line, fit, fwhm):
                return fit
    return start_as_fit(sky, start)


def _is_same(line: Trail, fit: Trail, fwhm: float) -> bool:
    """Return whether a fit still describes the component it started from."""
    if segment_distance(line.x, line.y, *fit.ends) > fwhm:
        return False
    # Components of faint trails are shorter than the trails, and components of fragments are much shorter.
    return 0.5 * (line.length - 2.0 * fwhm) <= fit.length <= 4.0 * line.length + 4.0 * fwhm


def _without_repeats(table: astropy.table.Table) -> astropy.table.Table:
    """Remove candidates that lie on better candidates; the best come first.

    Fits of two fragments may both have grown to the whole trail.
    """
    points = np.stack([np.asarray(table[name]) for name in ("x0", "y0", "x1", "y1", "x", "y")])
    fwhm = np.asarray(table["psfFwhm"])
    kept: list[int] = []
    for i in range(len(table)):
        better = points[:4, kept]
        # The ends of faint trails are less accurate than their lines.
        repeats = segment_distance(points[4, i], points[5, i], *better) < 1.5 * fwhm[i]
        for end in (0, 2):
            repeats &= segment_distance(points[end, i], points[end + 1, i], *better) < 3.0 * fwhm[i]
        if not np.any(repeats):
            kept.append(i)
    return table[kept]


def _on_image(table: astropy.table.Table, shape: tuple[int, int]) -> astropy.table.Table:
    """Return a table with trails clipped at the edges, and their fluxes.

    The end of a fit beyond the image is arbitrary.
    """
    x0, y0, x1, y1 = (np.asarray(table[name]) for name in ("x0", "y0", "x1", "y1"))
    ends = clip_segment(x0, y0, x1, y1, shape)
    length = np.hypot(ends[2] - ends[0], ends[3] - ends[1])
    before = np.asarray(table["trailLengthPix"])
    shorter = (length < before - 1e-6) & (length > 0.0)
    part = np.where(shorter, length / np.maximum(before, 1e-30), 1.0)
    for name, values in zip(("x0", "y0", "x1", "y1"), ends, strict=True):
        table[name][shorter] = values[shorter]
    table["x"][shorter] = 0.5 * (ends[0] + ends[2])[shorter]
    table["y"][shorter] = 0.5 * (ends[1] + ends[3])[shorter]
    for name in ("trailLengthPix", "flux", "fluxErr"):
        table[name] *= part
    return table


@dataclasses.dataclass(frozen=True, eq=False)
class _Candidate:
    """A component, its fit, and the values that several columns share."""

    component: Component
    fit: TrailFit
    sky: SkySubtracted
    shape: ShapeTests
    crosses: bool

    @functools.cached_property
    def trail(self) -> Trail:
        """Fitted trail, or the component's line of a streak without ends."""
        return self.component.line if self.crosses else self.fit

    @property
    def is_streak(self) -> bool:
        """Streak across the image; the component of a faint one may end before its fit does."""
        return self.crosses or (not self.fit.failed and crosses_image(self.fit, self.sky.shape))

    @functools.cached_property
    def fwhm(self) -> float:
        """FWHM of the PSF, pixels."""
        return self.sky.psf.fwhm(self.component.line.x, self.component.line.y)

    @functools.cached_property
    def footprint_bits(self) -> int:
        """Mask bits of the component."""
        return footprint_bits(self.sky.planes.mask, self.component.rows, self.component.columns)

    @functools.cached_property
    def center_bits(self) -> int:
        """Mask bits around the midpoint."""
        return center_bits(self.sky.planes.mask, self.trail.x, self.trail.y)

    @property
    def at_edge(self) -> bool:
        """Whether an end is within a FWHM of the edge of the image."""
        x0, y0, x1, y1 = self.trail.ends
        return min(edge_distance(x, y, self.sky.shape) for x, y in ((x0, y0), (x1, y1))) < self.fwhm


def _pixel_flag(name: str, candidate: _Candidate) -> bool:
    plane, at_center, _ = PIXEL_FLAGS[name]
    return has_plane(candidate.center_bits if at_center else candidate.footprint_bits, plane)


_COLUMNS: tuple[tuple[str, type, Callable[[_Candidate], float]], ...] = (
    ("x", np.float64, lambda c: c.trail.x),
    ("y", np.float64, lambda c: c.trail.y),
    ("xErr", np.float64, lambda c: c.fit.x_err),
    ("yErr", np.float64, lambda c: c.fit.y_err),
    ("xyCovariance", np.float64, lambda c: c.fit.xy_covariance),
    ("x0", np.float64, lambda c: c.trail.ends[0]),
    ("y0", np.float64, lambda c: c.trail.ends[1]),
    ("x1", np.float64, lambda c: c.trail.ends[2]),
    ("y1", np.float64, lambda c: c.trail.ends[3]),
    ("trailLengthPix", np.float64, lambda c: c.trail.length),
    ("trailLengthPixErr", np.float64, lambda c: c.fit.length_err),
    ("trailAnglePix", np.float64, lambda c: c.trail.angle),
    ("trailAnglePixErr", np.float64, lambda c: c.fit.angle_err),
    ("flux", np.float64, lambda c: c.fit.flux),
    ("fluxErr", np.float64, lambda c: c.fit.flux_err),
    ("background", np.float64, lambda c: c.fit.background),
    ("snr", np.float64, lambda c: c.fit.flux / c.fit.flux_err if c.fit.flux_err > 0.0 else np.nan),
    ("trailChi2", np.float64, lambda c: c.fit.chi2),
    ("trailNdata", np.int64, lambda c: c.fit.n_data),
    ("deltaChi2", np.float64, lambda c: c.fit.chi2_null - c.fit.chi2),
    ("wideSignificance", np.float64, lambda c: c.shape.wide),
    ("coreSignificance", np.float64, lambda c: c.shape.core),
    ("lengthSignificance", np.float64, lambda c: c.shape.length),
    ("area", np.int64, lambda c: c.component.area),
    ("peakProbability", np.float64, lambda c: c.component.peak),
    ("meanProbability", np.float64, lambda c: float(c.component.probability.mean())),
    ("topProbability", np.float64, lambda c: c.component.top_quarter),
    ("componentWidth", np.float64, lambda c: c.component.width),
    ("psfFwhm", np.float64, lambda c: c.fwhm),
    ("trail_flag_edge", np.bool_, lambda c: c.at_edge),
    ("badFlag", np.bool_, lambda c: c.component.fraction_of(c.sky.bad) > 0.1),
    ("streakFlag", np.bool_, lambda c: c.is_streak),
    ("trail_flag", np.bool_, lambda c: c.fit.failed or c.crosses),
    *((name, np.bool_, functools.partial(_pixel_flag, name)) for name in PIXEL_FLAGS),
)
"""Columns of the candidates before the score: name, type and value."""
