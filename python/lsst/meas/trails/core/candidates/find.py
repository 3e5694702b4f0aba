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

"""From a probability map and an image to a list of trail candidates."""

from __future__ import annotations

__all__ = ("CandidateOptions", "find_candidates")

import dataclasses

import astropy.table
import numpy as np
import numpy.typing as npt

from ..background import BackgroundMesh
from ..fit.confusion_noise import confusion_excess, inflate_errors
from ..fit.ends import find_ends
from ..fit.fit import MAX_FITTED_LENGTH, TrailFit, fit_trail, start_as_fit
from ..fit.shape_tests import ShapeTests, measure_shape
from ..geometry import angle_difference, clip_segment, segment_distance, trail_ends
from ..planes import ImagePlanes
from .components import Component, find_components
from .score import ScoreModel, candidate_features
from .spikes import find_bright_stars, spike_likeness

_REACHES = (3.0, 1.5)
"""Distances from the component, in FWHM, up to which pixels are fitted."""


@dataclasses.dataclass(frozen=True)
class CandidateOptions:
    """How candidates are made of a probability map.

    Parameters
    ----------
    grow, seed
        Thresholds of the hysteresis; see `find_components`.
    min_area
        Smallest component, pixels.
    max_gap
        Largest gap between fragments of one trail, pixels.
    min_score
        Candidates with a lower score are dropped.
    max_bad_fraction
        Components with more than this fraction of bad pixels are dropped:
        nothing was seen there.
    streak_margin
        A candidate whose ends both lie within this many pixels of the edge
        of the image crosses it.
    min_streak_length
        Shortest candidate that is a satellite's streak if it crosses the
        image, pixels: no asteroid is that long.  One of more than
        `~lsst.meas.trails.core.fit.fit.MAX_FITTED_LENGTH` is, wherever it ends.
    """

    grow: float = 0.2
    seed: float = 0.5
    min_area: int = 12
    max_gap: float = 12.0
    min_score: float = 0.0
    max_bad_fraction: float = 0.5
    streak_margin: float = 12.0
    min_streak_length: float = 200.0


def find_candidates(
    probability: npt.NDArray[np.float32],
    planes: ImagePlanes,
    background: BackgroundMesh,
    score: ScoreModel | None = None,
    options: CandidateOptions = CandidateOptions(),
) -> astropy.table.Table:
    """Find, fit and score trail candidates.

    Parameters
    ----------
    probability
        Probability per pixel that it belongs to a trail, shape (ny, nx).
    planes
        The image.
    background
        Its background.
    score
        Turns features of a candidate into a score; without one the score is
        the mean of the component's largest quarter of probabilities.
    options
        Thresholds.

    Returns
    -------
    table
        One row a candidate in decreasing order of score, in array
        coordinates and image units: the fitted trail with errors, the shape
        of the component, the score and flags.
    """
    bad = planes.bad()
    level = background.level()
    components = find_components(
        probability,
        grow=options.grow,
        seed=options.seed,
        min_area=options.min_area,
        max_gap=options.max_gap,
    )
    saturated = planes.has("SATURATED")
    rows = []
    for component in components:
        bad_fraction = float(np.mean(bad[component.rows, component.columns]))
        if bad_fraction > options.max_bad_fraction:
            continue
        fwhm = planes.psf.fwhm(component.x, component.y)
        crosses = _crosses(component, planes.shape, options)
        fit = _fit(component, planes, level, bad, fwhm)
        if fit.flux <= 0.0:
            # The network saw a pattern, but there is no light.
            continue
        shape = measure_shape(planes, level, bad, x=fit.x, y=fit.y, length=fit.length, angle=fit.angle)
        rows.append(_row(component, fit, shape, planes, saturated, bad_fraction, fwhm, crosses))
    table = _to_table(rows)
    if len(table) == 0:
        return table
    if score is None:
        table["score"] = table["topProbability"]
    else:
        table["score"] = score(candidate_features(table))
    table["score"] *= 1.0 - spike_likeness(table, find_bright_stars(planes, level))
    table["streakFlag"] |= _on_streak(table)
    table = table[np.asarray(table["score"]) >= options.min_score]
    table = _without_repeats(table[np.argsort(-np.asarray(table["score"]), kind="stable")])
    # Not before the score, which was calibrated with the noise of the pixels.
    inflate_errors(table, confusion_excess(planes, level, bad))
    return _on_image(table, planes.shape)


def _fit(
    component: Component,
    planes: ImagePlanes,
    level: npt.NDArray[np.float32],
    bad: npt.NDArray[np.bool_],
    fwhm: float,
) -> TrailFit:
    """Fit a trail to a component.

    A bright star beside a faint trail can draw the fit away: where the
    result is not the component any more, only pixels close to it are fitted.
    """
    # A component reaches about half a FWHM beyond each end of its line.
    x, y, angle = component.x, component.y, component.angle
    length = max(component.length - fwhm, 1.0)
    if length > MAX_FITTED_LENGTH:
        return start_as_fit(planes, level, bad, x=x, y=y, length=length, angle=angle)
    for reach in _REACHES:
        fit = _scan_and_fit(planes, level, bad, (x, y, length, angle), reach)
        if not fit.failed and _is_same(component, fit, fwhm):
            return fit
    return start_as_fit(planes, level, bad, x=x, y=y, length=length, angle=angle)


def _scan_and_fit(
    planes: ImagePlanes,
    level: npt.NDArray[np.float32],
    bad: npt.NDArray[np.bool_],
    start: tuple[float, float, float, float],
    reach: float,
) -> TrailFit:
    """Fit a trail from the ends that a scan along its line finds, and again
    along the line of the fit, which is better known.
    """
    x, y, length, angle = start
    fit: TrailFit | None = None
    for _ in range(2):
        x, y, length = find_ends(planes, level, bad, x=x, y=y, length=length, angle=angle)
        if fit is not None and np.hypot(x - fit.x, y - fit.y) + 0.5 * abs(length - fit.length) < 1.0:
            return fit
        again = fit_trail(planes, level, bad, x=x, y=y, length=length, angle=angle, reach=reach)
        if again.failed:
            return again if fit is None else fit
        fit = again
        x, y, length, angle = fit.x, fit.y, fit.length, fit.angle
    assert fit is not None
    return fit


def _is_same(component: Component, fit: TrailFit, fwhm: float) -> bool:
    """Return whether a fit still describes the component that it began with."""
    center = segment_distance(component.x, component.y, *trail_ends(fit.x, fit.y, fit.length, fit.angle))
    if center > fwhm:
        return False
    # Components of faint trails are shorter than these, those of fragments
    # much shorter.
    return 0.5 * (component.length - 2.0 * fwhm) <= fit.length <= 4.0 * component.length + 4.0 * fwhm


def _crosses(component: Component, shape: tuple[int, int], options: CandidateOptions) -> bool:
    """Return whether a component is a streak across the image."""
    if component.length < options.min_streak_length:
        return False
    if component.length > MAX_FITTED_LENGTH:
        return True
    x0, y0, x1, y1 = trail_ends(component.x, component.y, component.length, component.angle)
    margin = options.streak_margin

    def at_edge(x: float, y: float) -> bool:
        return min(x, y, shape[1] - 1 - x, shape[0] - 1 - y) < margin

    return bool(at_edge(x0, y0) and at_edge(x1, y1))


def _on_streak(table: astropy.table.Table, width: float = 15.0, angle: float = 5.0) -> npt.NDArray[np.bool_]:
    """Return the candidates that are fragments of a flagged streak: on its
    line and along it.
    """
    found = np.zeros(len(table), dtype=bool)
    for row in table[np.asarray(table["streakFlag"])]:
        ends = trail_ends(row["x"], row["y"], row["trailLengthPix"], row["trailAnglePix"])
        near = segment_distance(np.asarray(table["x"]), np.asarray(table["y"]), *ends) < width
        found |= near & (angle_difference(np.asarray(table["trailAnglePix"]), row["trailAnglePix"]) < angle)
    return found


def _without_repeats(table: astropy.table.Table) -> astropy.table.Table:
    """Return a table, best first, without candidates that lie on better ones:
    fits of two fragments may both have grown to the whole trail.
    """
    points = np.stack([np.asarray(table[name]) for name in ("x0", "y0", "x1", "y1", "x", "y")])
    fwhm = np.asarray(table["psfFwhm"])
    kept: list[int] = []
    for i in range(len(table)):
        better = points[:4, kept]
        # The ends of faint trails are known less well than the line.
        repeats = segment_distance(points[4, i], points[5, i], *better) < 1.5 * fwhm[i]
        for end in (0, 2):
            repeats &= segment_distance(points[end, i], points[end + 1, i], *better) < 3.0 * fwhm[i]
        if not np.any(repeats):
            kept.append(i)
    return table[kept]


def _on_image(table: astropy.table.Table, shape: tuple[int, int]) -> astropy.table.Table:
    """Return a table of the parts of the trails on the image, with the flux
    of these parts: the pixels say nothing of how a trail goes on, and the end
    of a fit beyond them is arbitrary.
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


def _row(
    component: Component,
    fit: TrailFit,
    shape: ShapeTests,
    planes: ImagePlanes,
    saturated: npt.NDArray[np.bool_],
    bad_fraction: float,
    fwhm: float,
    crosses: bool,
) -> dict[str, float | int | bool]:
    ny, nx = planes.shape
    x, y, length, angle = fit.x, fit.y, fit.length, fit.angle
    if crosses:
        # A streak has no ends within the image: its component says where it
        # runs better than a fit of a trail with two ends.
        x, y, length, angle = component.x, component.y, component.length, component.angle
    x0, y0, x1, y1 = (float(v) for v in trail_ends(x, y, length, angle))
    at_edge = min(x0, x1, y0, y1, nx - 1 - x0, nx - 1 - x1, ny - 1 - y0, ny - 1 - y1) < fwhm
    return {
        "x": x,
        "y": y,
        "xErr": fit.x_err,
        "yErr": fit.y_err,
        "xyCovariance": fit.xy_covariance,
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "trailLengthPix": length,
        "trailLengthPixErr": fit.length_err,
        "trailAnglePix": angle,
        "trailAnglePixErr": fit.angle_err,
        "flux": fit.flux,
        "fluxErr": fit.flux_err,
        "snr": fit.flux / fit.flux_err if fit.flux_err > 0.0 else np.nan,
        "trailChi2": fit.chi2,
        "trailNdata": fit.n_data,
        "deltaChi2": fit.chi2_null - fit.chi2,
        "wideSignificance": shape.wide,
        "coreSignificance": shape.core,
        "lengthSignificance": shape.length,
        "area": component.area,
        "peakProbability": component.peak,
        "meanProbability": float(component.probability.mean()),
        "topProbability": component.top_quarter,
        "componentWidth": component.width,
        "psfFwhm": fwhm,
        "edgeFlag": bool(at_edge),
        "saturatedFlag": bool(np.any(saturated[component.rows, component.columns])),
        "badFlag": bad_fraction > 0.1,
        "streakFlag": crosses,
        "fitFailedFlag": fit.failed or crosses,
    }


_COLUMNS: dict[str, type] = {
    **dict.fromkeys(("x", "y", "xErr", "yErr", "xyCovariance", "x0", "y0", "x1", "y1"), np.float64),
    **dict.fromkeys(("trailLengthPix", "trailLengthPixErr", "trailAnglePix", "trailAnglePixErr"), np.float64),
    **dict.fromkeys(("flux", "fluxErr", "snr", "trailChi2"), np.float64),
    "trailNdata": np.int64,
    **dict.fromkeys(("deltaChi2", "wideSignificance", "coreSignificance", "lengthSignificance"), np.float64),
    "area": np.int64,
    **dict.fromkeys(
        ("peakProbability", "meanProbability", "topProbability", "componentWidth", "psfFwhm"), np.float64
    ),
    **dict.fromkeys(("edgeFlag", "saturatedFlag", "badFlag", "streakFlag", "fitFailedFlag"), np.bool_),
}


def _to_table(rows: list[dict[str, float | int | bool]]) -> astropy.table.Table:
    """Return rows as a table that has its columns even without rows."""
    table = astropy.table.Table()
    for name, dtype in _COLUMNS.items():
        table[name] = np.array([row[name] for row in rows], dtype=dtype)
    table["score"] = np.zeros(len(rows))
    return table
