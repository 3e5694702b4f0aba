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

"""Tables of one detector: candidates matched with the truth, and search totals."""

from __future__ import annotations

__all__ = ("ImageContext", "MatchOptions", "match_table", "search_table")

import dataclasses
from collections.abc import Mapping
from typing import Any

import astropy.table
import numpy as np
import numpy.typing as npt
import scipy.spatial

from ..core.catalog.columns import CANDIDATE_COLUMNS, table_of
from ..core.geometry import Trails, segment_distance, signed_angle_difference
from ..core.matching import MatchCriteria, classify_candidates
from ..core.pixel_histogram import BINS
from .columns import FROM_TRUTH, MATCH_COLUMNS, SEARCH_COLUMNS, TRUTH_NEEDED, UNKNOWN, blank_columns

type _Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class MatchOptions:
    """Options of matching candidates with the truth."""

    criteria: MatchCriteria = MatchCriteria()
    """Criteria of a match."""

    min_visible_fraction: float = 0.5
    """Trails with a smaller fraction of their flux on unmasked pixels of the image do not count, because they
    cannot be found.
    """

    density_radius: float = 200.0
    """Radius within which the density of sources is measured, pixels."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImageContext:
    """Properties of the image in which trails are matched."""

    shape: tuple[int, int]
    """Shape (ny, nx)."""

    origin: tuple[int, int] = (0, 0)
    """Coordinates (x, y) of its first pixel."""

    pixel_scale: float = 0.2
    """Arcseconds per pixel."""

    exposure_time: float = 30.0
    """Exposure time, seconds."""

    sources: _Floats | None = None
    """Stars and galaxies, columns x and y in the image's own coordinates; `None` if unknown."""

    visit: int = 0
    """Visit of the image."""

    detector: int = 0
    """Detector of the image."""

    band: str = ""
    """Band of the image."""


def match_table(
    candidates: astropy.table.Table,
    truth: astropy.table.Table,
    context: ImageContext,
    *,
    options: MatchOptions = MatchOptions(),
    extra: Mapping[str, npt.ArrayLike] | None = None,
    snr_psf: npt.ArrayLike | None = None,
) -> astropy.table.Table:
    """Match the candidates of a detector with its true trails.

    Parameters
    ----------
    candidates
        A `trail_candidate_detector`.
    truth
        Truth table of the same image, in the same coordinates, with the columns `TRUTH_NEEDED`; its column
        ``truthSource`` is optional.
    context
        The image.
    options
        Options of the matching.
    extra
        Further columns of `MATCH_COLUMNS`, one value per row of ``truth``.
    snr_psf
        SNR of the candidates on the scale of point-source detection.

    Returns
    -------
    table
        Columns of `MATCH_COLUMNS`: the rows of ``truth``, each trail with its candidate if it has one,
        followed by the other candidates.

    Raises
    ------
    ValueError
        Raised if a table lacks a column.
    """
    for what, table, names in (("candidate", candidates, CANDIDATE_COLUMNS), ("truth", truth, TRUTH_NEEDED)):
        if missing := [name for name in names if name not in table.colnames]:
            raise ValueError(f"The {what} table has no column {', '.join(missing)}.")
    kind = np.asarray(truth["source_type"]).astype(str)
    trail_rows = np.flatnonzero(kind == "Trail")
    sorting = classify_candidates(
        Trails.from_table(candidates, length="trailLengthPix", angle="trailAnglePix", flux="trailFlux"),
        Trails.from_table(truth[trail_rows]),
        Trails.from_table(truth[kind == "Satellite"]),
        rank=np.asarray(candidates["score"], dtype=np.float64),
        streak_flag=np.asarray(candidates["streakFlag"], dtype=bool),
        criteria=options.criteria,
    )
    matches = sorting.matches
    others = np.flatnonzero(~matches.is_true)
    m, n = len(truth), len(truth) + len(others)
    candidate_of = np.full(n, -1, dtype=np.int64)
    candidate_of[trail_rows] = matches.candidate_of
    candidate_of[m:] = others
    table = blank_columns(MATCH_COLUMNS, n)
    for name, source in FROM_TRUTH.items():
        if source in truth.colnames:
            table[name] = _extended(truth[source], n, table[name])
        elif name == "truthSource":
            table[name] = np.where(np.arange(n) < m, "injected", "")
    has = candidate_of >= 0
    for name in CANDIDATE_COLUMNS:
        table[name] = _scattered(candidates[name], candidate_of, table[name])
    if snr_psf is not None:
        table["snrPsf"] = _scattered(snr_psf, candidate_of, table["snrPsf"])
    for name, values in (extra or {}).items():
        table[name] = _extended(values, n, table[name])
    table["visit"], table["detector"] = np.full(n, context.visit), np.full(n, context.detector)
    table["band"] = np.full(n, context.band, dtype="U8")
    is_trail = np.zeros(n, dtype=bool)
    is_trail[trail_rows] = True
    counted = is_trail & (np.nan_to_num(table["visibleFraction"]) >= options.min_visible_fraction)
    table["isTrail"], table["isCounted"], table["isCandidate"] = is_trail, counted, has
    for name, flags in (
        ("isFalse", sorting.is_false),
        ("isDuplicate", matches.is_duplicate & ~sorting.on_satellite),
        ("isSatellite", sorting.on_satellite),
    ):
        table[name] = np.concatenate([np.zeros(m, dtype=bool), np.asarray(flags)[others]])
    category = np.where(np.arange(n) < m, "distractor", "false").astype("U10")
    category[is_trail] = np.where(has[is_trail], "found", "missed")
    category[is_trail & ~counted] = "masked"
    category[np.asarray(table["isDuplicate"])] = "duplicate"
    category[np.asarray(table["isSatellite"])] = "satellite"
    table["category"] = category
    days = context.exposure_time / 86400.0
    if days > 0.0:
        table["trueRate"] = table["trueLength"] * context.pixel_scale / 3600.0 / days
    _add_residuals(table, context.pixel_scale)
    _add_sources(table, context, options.density_radius)
    return table_of(table, MATCH_COLUMNS)


def search_table(
    matches: astropy.table.Table,
    context: ImageContext,
    *,
    n_searched: int | None = None,
    measured: Mapping[str, object] | None = None,
) -> astropy.table.Table:
    """Return the search totals of a detector, in one row.

    Parameters
    ----------
    matches
        Output of `match_table`.
    context
        The image.
    n_searched
        Unmasked pixels; all by default.
    measured
        Further columns of `SEARCH_COLUMNS`; unknown by default.
    """
    n_pixels = context.shape[0] * context.shape[1]
    n_searched = n_pixels if n_searched is None else n_searched
    row: dict[str, object] = {name: UNKNOWN[dtype] for name, (dtype, _, _) in SEARCH_COLUMNS.items()}
    row |= {
        "visit": context.visit,
        "detector": context.detector,
        "band": context.band,
        "nPixels": n_pixels,
        "nSearched": n_searched,
        "skyArea": n_searched * (context.pixel_scale / 3600.0) ** 2,
        "nIgnoredBad": 0,
        "nIgnoredSatellite": 0,
        "pixelTrue": np.zeros(BINS, dtype=np.int64),
        "pixelFalse": np.zeros(BINS, dtype=np.int64),
        "adcnnComponents": np.zeros(101, dtype=np.int64),
    }
    for name, column in (
        ("nTrails", "isTrail"),
        ("nCounted", "isCounted"),
        ("nCandidates", "isCandidate"),
        ("nFalse", "isFalse"),
        ("nDuplicates", "isDuplicate"),
        ("nSatellite", "isSatellite"),
    ):
        row[name] = np.count_nonzero(matches[column])
    row |= measured or {}
    return table_of({name: np.array([value]) for name, value in row.items()}, SEARCH_COLUMNS)


def _extended(values: npt.ArrayLike, count: int, blank: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values of the first rows, followed by unknown ones."""
    values = np.ma.filled(np.ma.asarray(values), blank[0] if count else 0)
    return np.concatenate([values, blank[len(values) :]]) if len(values) < count else values


def _scattered(
    values: npt.ArrayLike, index: npt.NDArray[np.int64], blank: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Return values by their index, unknown where the index is negative."""
    values = np.asarray(values)
    if len(values) == 0:
        return blank
    return np.where(index >= 0, values[np.maximum(index, 0)], blank)


def _add_residuals(table: dict[str, npt.NDArray[Any]], pixel_scale: float) -> None:
    """Add measured minus true values; NaN where either is missing."""
    angle = np.deg2rad(table["trueAngle"])
    dx, dy = table["x"] - table["trueX"], table["y"] - table["trueY"]
    table["dAlong"] = dx * np.cos(angle) + dy * np.sin(angle)
    table["dAcross"] = dy * np.cos(angle) - dx * np.sin(angle)
    table["dMidpoint"] = np.hypot(dx, dy)
    table["dLength"] = table["trailLengthPix"] - table["trueLength"]
    table["dAngle"] = signed_angle_difference(table["trailAnglePix"], table["trueAngle"])
    table["dMag"] = table["trailMag"] - table["trueMag"]
    table["dRate"] = table["trailRate"] - table["trueRate"]
    # Errors of the length are on the sky, differences in pixels.
    scale = np.divide(
        table["trailLength"],
        table["trailLengthPix"],
        out=np.full(len(dx), pixel_scale),
        where=table["trailLengthPix"] > 0.0,
    )
    failed = table["trail_flag"]
    for name, difference, error in (
        ("pullX", dx, table["xErr"]),
        ("pullY", dy, table["yErr"]),
        ("pullLength", table["dLength"] * scale, table["trailLengthErr"]),
        ("pullAngle", table["dAngle"], table["trailAngleErr"]),
        ("pullFlux", table["trailFlux"] - table["trueFlux"], table["trailFluxErr"]),
    ):
        usable = (error > 0.0) & np.isfinite(error) & ~failed
        table[name] = np.divide(difference, error, out=np.full(len(dx), np.nan), where=usable)


def _add_sources(table: dict[str, npt.NDArray[Any]], context: ImageContext, radius: float) -> None:
    """Add density and distance of the sources around each row."""
    sources = context.sources
    if sources is None:
        return
    truly = np.isfinite(table["trueX"])
    x, y = (np.where(truly, table[f"true{n.upper()}"], table[n]) for n in ("x", "y"))
    ends = [np.where(truly, table[f"true{n.upper()}"], table[n]) for n in ("x0", "y0", "x1", "y1")]
    known = np.isfinite(x) & np.isfinite(y)
    tree = scipy.spatial.KDTree(sources) if len(sources) else None
    for i in np.flatnonzero(known):
        point = [x[i], y[i]]
        within = 0 if tree is None else len(tree.query_ball_point(point, radius))
        area = _disc_area(x[i], y[i], radius, context) * context.pixel_scale**2 / 3600.0
        table["sourceDensity"][i] = within / area if area > 0.0 else np.nan
        if tree is None:
            continue
        # The source nearest to the line is within half its length plus the
        # distance of the source nearest to its midpoint.
        end = [float(e[i]) for e in ends]
        half = 0.5 * float(np.hypot(end[2] - end[0], end[3] - end[1])) if np.all(np.isfinite(end)) else 0.0
        nearest = float(tree.query(point)[0])
        near = sources[tree.query_ball_point(point, nearest + half + 1e-6)]
        line = end if half > 0.0 else [*point, *point]
        distance = np.min(segment_distance(near[:, 0], near[:, 1], *line))
        table["sourceDistance"][i] = float(distance) * context.pixel_scale


def _disc_area(x: float, y: float, radius: float, context: ImageContext) -> float:
    """Return the area of the part of a disc inside the image, pixels."""
    (ny, nx), (x0, y0) = context.shape, context.origin
    rows = np.arange(np.ceil(max(y - radius, y0)), np.floor(min(y + radius, y0 + ny - 1)) + 1)
    half = np.sqrt(np.maximum(radius**2 - (rows - y) ** 2, 0.0))
    width = np.minimum(x + half, x0 + nx - 0.5) - np.maximum(x - half, x0 - 0.5)
    return float(np.sum(np.maximum(width, 0.0)))
