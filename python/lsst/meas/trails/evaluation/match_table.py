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
"""Tables of one detector: candidates matched with the truth, and what was searched."""

from __future__ import annotations

__all__ = (
    "MATCH_COLUMNS",
    "METHODS",
    "SEARCH_COLUMNS",
    "TRUTH_NEEDED",
    "ImageContext",
    "MatchOptions",
    "match_table",
    "table_of",
)

import dataclasses
from collections.abc import Mapping
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import numpy.typing as npt
import scipy.spatial

from ..core.catalog.columns import CANDIDATE_COLUMNS
from ..core.geometry import Trails, segment_distance
from ..core.matching import MatchCriteria, classify_candidates

type _Floats = npt.NDArray[np.float64]
type _Columns = dict[str, tuple[type, u.UnitBase | None, str]]

_F, _I, _B, _S = np.float64, np.int64, np.bool_, np.str_

METHODS: dict[str, str] = {
    "Stack": "stack",
    "Sep3": "sep 3 sigma",
    "Sep4": "sep 4 sigma",
    "Sep5": "sep 5 sigma",
}
"""Detectors beside the network, and what they are called: the stack itself,
and baselines that stand in for it.
"""

_TRUE: _Columns = {
    "injection_id": (_I, None, "Number of the trail in its truth table; -1 without one."),
    "truthSource": (_S, None, "`injected`, or `known` for what was in the image before."),
    "sourceType": (_S, None, "What it truly is: Trail, Satellite, CosmicRay, Star."),
    "trueX": (_F, u.pix, "True midpoint, column."),
    "trueY": (_F, u.pix, "True midpoint, row."),
    "trueX0": (_F, u.pix, "First true end, column."),
    "trueY0": (_F, u.pix, "First true end, row."),
    "trueX1": (_F, u.pix, "Second true end, column."),
    "trueY1": (_F, u.pix, "Second true end, row."),
    "trueRa": (_F, u.deg, "Right ascension of the true midpoint, ICRS."),
    "trueDec": (_F, u.deg, "Declination of the true midpoint, ICRS."),
    "trueLength": (_F, u.pix, "True length."),
    "trueAngle": (_F, u.deg, "True angle counter-clockwise from +x, [0, 180)."),
    "trueFlux": (_F, u.nJy, "True flux of the whole trail."),
    "trueMag": (_F, u.ABmag, "AB magnitude of the whole trail."),
    "truePsfMag": (_F, u.ABmag, "AB magnitude of the point source that detection takes it for."),
    "trueRate": (_F, u.deg / u.day, "True length over exposure time."),
    "snrOptimal": (_F, None, "SNR of a matched filter on the unmasked pixels."),
    "snrPointSource": (_F, None, "SNR of point-source detection."),
    "visibleFraction": (_F, None, "Fraction of the flux on unmasked pixels of the image."),
    "fwhm": (_F, u.pix, "FWHM of the PSF."),
}

MATCH_COLUMNS: _Columns = {
    "category": (
        _S,
        None,
        "Of trails `found`, `missed` or `masked`; of other candidates `false`, `duplicate` or `satellite`; "
        "`distractor` of what is truly there and no trail.",
    ),
    "isTrail": (_B, None, "The row is a true trail."),
    "isCounted": (_B, None, "It is one that enough is visible of to count."),
    "isCandidate": (_B, None, "The row has a candidate: the match of its trail, or one of its own."),
    "isFalse": (_B, None, "The candidate is on nothing."),
    "isDuplicate": (_B, None, "The candidate repeats a trail, or is a fragment of one."),
    "isSatellite": (_B, None, "The candidate is on a satellite's streak."),
    **_TRUE,
    "sourceDistance": (_F, u.arcsec, "From the line of the trail, or else candidate, to the nearest source."),
    "sourceDensity": (_F, u.arcmin**-2, "Density of sources around it."),
    **CANDIDATE_COLUMNS,
    "snrPsf": (_F, None, "SNR of the candidate on the scale of point-source detection."),
    "dAlong": (_F, u.pix, "Candidate's midpoint less the true one, along the trail."),
    "dAcross": (_F, u.pix, "The same across it, to the left."),
    "dMidpoint": (_F, u.pix, "Distance of the midpoints."),
    "dLength": (_F, u.pix, "Length less the true one."),
    "dAngle": (_F, u.deg, "Angle less the true one, [-90, 90)."),
    "dMag": (_F, u.mag, "Magnitude less the true one."),
    "dRate": (_F, u.deg / u.day, "Rate less the true one."),
    "pullX": (_F, None, "Error of x over its estimate."),
    "pullY": (_F, None, "Error of y over its estimate."),
    "pullLength": (_F, None, "Error of the length over its estimate."),
    "pullAngle": (_F, None, "Error of the angle over its estimate."),
    "pullFlux": (_F, None, "Error of the flux over its estimate."),
    **{
        f"foundBy{key}": (_I, None, f"Whether {name} finds the trail: 1, 0, or -1 if that is not known.")
        for key, name in METHODS.items()
    },
    "stackTrailLength": (_F, u.arcsec, "Length of the trail in the stack's catalog, where it has one."),
    "adcnnScore": (
        _F,
        None,
        "Score of the component in the manner of Asteroid_detection_CNN; 0 if not found, NaN if not known.",
    ),
}
"""Columns of `matched_injected_trail_detector`: type, unit and description."""

SEARCH_COLUMNS: _Columns = {
    "visit": (_I, None, "Visit of the image."),
    "detector": (_I, None, "Detector of the image."),
    "band": (_S, None, "Band of the image."),
    "nPixels": (_I, u.pix**2, "Pixels of the image."),
    "nSearched": (_I, u.pix**2, "Those that are not masked."),
    "skyArea": (_F, u.deg**2, "Area of the sky that the unmasked pixels cover."),
    "nTrails": (_I, None, "True trails."),
    "nCounted": (_I, None, "Those that enough is visible of to count."),
    "nCandidates": (_I, None, "Candidates."),
    "nFalse": (_I, None, "Candidates on nothing."),
    "nDuplicates": (_I, None, "Candidates that repeat a trail."),
    "nSatellite": (_I, None, "Candidates on a satellite's streak."),
    "nSources": (_I, None, "Stars and galaxies of 5 sigma; -1 if not known."),
    "modelThreshold1": (_F, None, "Score at which the model had 1 false candidate per detector."),
    "modelThreshold10": (_F, None, "The same for 10."),
    "modelThreshold100": (_F, None, "The same for 100."),
    "growThreshold": (_F, None, "Probability of the pixels of a component in the model."),
    "hasPixels": (_B, None, "Whether pixels were compared."),
    "nIgnoredBad": (_I, u.pix**2, "Masked pixels, left out of what pixels tell."),
    "nIgnoredSatellite": (_I, u.pix**2, "Other pixels near satellites, left out too."),
    "pixelTrue": (_I, u.pix**2, "Histogram of the logits of trail pixels."),
    "pixelFalse": (_I, u.pix**2, "Histogram of the logits of other pixels."),
    **{f"n{key}": (_I, None, f"Detections of {name}; -1 if not known.") for key, name in METHODS.items()},
    **{
        f"chance{key}": (_F, None, f"Fraction of displaced trails that {name} would find, by chance.")
        for key, name in METHODS.items()
    },
    "adcnnComponents": (_I, None, "Histogram of the scores of adcnn components, 101 bins over [0, 1]."),
}
"""Columns of `trail_search_detector`, a table of one row."""


_FROM_TRUTH = {
    "injection_id": "injection_id",
    "truthSource": "truthSource",
    "sourceType": "source_type",
    "trueX": "x",
    "trueY": "y",
    "trueX0": "x0",
    "trueY0": "y0",
    "trueX1": "x1",
    "trueY1": "y1",
    "trueRa": "ra",
    "trueDec": "dec",
    "trueLength": "trail_length",
    "trueAngle": "beta",
    "trueFlux": "flux",
    "trueMag": "integrated_mag",
    "truePsfMag": "PSF_mag",
    "snrOptimal": "snr_optimal",
    "snrPointSource": "SNR",
    "visibleFraction": "visible_fraction",
    "fwhm": "fwhm",
}

TRUTH_NEEDED = tuple(name for name in _FROM_TRUTH.values() if name != "truthSource")
"""Columns that a truth table must have."""


@dataclasses.dataclass(frozen=True)
class MatchOptions:
    """How candidates are matched.

    Parameters
    ----------
    criteria
        When a candidate is a trail.
    min_visible_fraction
        Trails of which a smaller fraction of the flux falls on unmasked
        pixels of the image do not count: nobody could find them.
    density_radius
        Radius within which sources are counted for their density, pixels.
    """

    criteria: MatchCriteria = MatchCriteria()
    min_visible_fraction: float = 0.5
    density_radius: float = 200.0


@dataclasses.dataclass(frozen=True, eq=False)
class ImageContext:
    """What is known of the image that trails are in.

    Parameters
    ----------
    shape
        Shape (ny, nx).
    origin
        Coordinates (x, y) of its first pixel.
    pixel_scale
        Arcseconds per pixel.
    exposure_time
        Seconds.
    sources
        Stars and galaxies, columns x and y in the image's own coordinates;
        `None` if they are not known.
    """

    shape: tuple[int, int]
    origin: tuple[int, int] = (0, 0)
    pixel_scale: float = 0.2
    exposure_time: float = 30.0
    sources: _Floats | None = None


def match_table(
    candidates: astropy.table.Table,
    truth: astropy.table.Table,
    context: ImageContext,
    *,
    options: MatchOptions = MatchOptions(),
    extra: Mapping[str, npt.ArrayLike] | None = None,
    snr_psf: npt.ArrayLike | None = None,
    visit: int = 0,
    detector: int = 0,
    band: str = "",
) -> astropy.table.Table:
    """Match the candidates of a detector with what is truly there.

    Parameters
    ----------
    candidates
        A `trail_candidate_detector`.
    truth
        Truth table of the same image, in the same coordinates, with the
        columns `TRUTH_NEEDED`; its column ``truthSource`` is optional.
    context
        The image.
    options
        How they are matched.
    extra
        Columns of `MATCH_COLUMNS` that others have measured, one value a row
        of ``truth``.
    snr_psf
        SNR of the candidates on the scale of point-source detection.
    visit, detector, band
        Written to the table.

    Returns
    -------
    table
        Columns of `MATCH_COLUMNS`: the rows of ``truth``, each trail with its
        candidate if it has one, and then the other candidates.

    Raises
    ------
    ValueError
        Raised if a table lacks a column.
    """
    for what, table, names in (("candidates", candidates, CANDIDATE_COLUMNS), ("truth", truth, TRUTH_NEEDED)):
        if missing := [name for name in names if name not in table.colnames]:
            raise ValueError(f"The table of {what} has no column {', '.join(missing)}.")
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
    table = _blank(MATCH_COLUMNS, n)
    for name, source in _FROM_TRUTH.items():
        if source in truth.colnames:
            table[name] = _extended(truth[source], n, table[name])
        elif name == "truthSource":
            table[name] = np.where(np.arange(n) < m, "injected", "")
    has = candidate_of >= 0
    for name in CANDIDATE_COLUMNS:
        table[name] = _scattered(candidates[name], candidate_of, table[name])
    table["snrPsf"] = np.full(n, np.nan)
    if snr_psf is not None:
        table["snrPsf"] = _scattered(snr_psf, candidate_of, table["snrPsf"])
    for name, values in (extra or {}).items():
        table[name] = _extended(values, n, table[name])
    table["visit"], table["detector"] = np.full(n, visit), np.full(n, detector)
    table["band"] = np.full(n, band, dtype="U8")
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


def table_of(columns: Mapping[str, Any], layout: _Columns) -> astropy.table.Table:
    """Return a table of columns with the types, units and descriptions of a
    layout such as `MATCH_COLUMNS`, in its order.
    """
    table = astropy.table.Table()
    for name, (dtype, unit, description) in layout.items():
        values = np.asarray(columns[name])
        table[name] = astropy.table.Column(
            values.astype(str) if dtype is np.str_ else values.astype(dtype),
            unit=None if unit is None else unit.to_string(),
            description=description,
        )
    return table


def _blank(layout: _Columns, count: int) -> dict[str, npt.NDArray[Any]]:
    """Return columns that say of each row that nothing is known."""
    nothing: dict[type, Any] = {_F: np.nan, _I: -1, _B: False, _S: ""}
    return {name: np.full(count, nothing[dtype], dtype=dtype) for name, (dtype, _, _) in layout.items()}


def _extended(values: Any, count: int, blank: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values of the first rows, and blanks below them."""
    values = np.ma.filled(np.ma.asarray(values), blank[0] if count else 0)
    return np.concatenate([values, blank[len(values) :]]) if len(values) < count else values


def _scattered(values: Any, index: npt.NDArray[np.int64], blank: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values by their index, and blanks where that is negative."""
    values = np.asarray(values)
    if len(values) == 0:
        return blank
    return np.where(index >= 0, values[np.maximum(index, 0)], blank)


def _add_residuals(table: dict[str, npt.NDArray[Any]], pixel_scale: float) -> None:
    """Compare fitted values with true ones; NaN where one is missing."""
    angle = np.deg2rad(table["trueAngle"])
    dx, dy = table["x"] - table["trueX"], table["y"] - table["trueY"]
    table["dAlong"] = dx * np.cos(angle) + dy * np.sin(angle)
    table["dAcross"] = dy * np.cos(angle) - dx * np.sin(angle)
    table["dMidpoint"] = np.hypot(dx, dy)
    table["dLength"] = table["trailLengthPix"] - table["trueLength"]
    table["dAngle"] = np.mod(table["trailAnglePix"] - table["trueAngle"] + 90.0, 180.0) - 90.0
    table["dMag"] = table["trailMag"] - table["trueMag"]
    table["dRate"] = table["trailRate"] - table["trueRate"]
    # Errors of length and angle are on the sky, differences in pixels.
    scale = np.divide(
        table["trailLength"],
        table["trailLengthPix"],
        out=np.full(len(dx), pixel_scale),
        where=table["trailLengthPix"] > 0.0,
    )
    failed = table["fitFailedFlag"]
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
    """Measure how crowded it is where trails and candidates are."""
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
        # The nearest to a line is no farther than the nearest to its middle,
        # and thus no farther from that than this and half its length.
        end = [float(e[i]) for e in ends]
        half = 0.5 * float(np.hypot(end[2] - end[0], end[3] - end[1])) if np.all(np.isfinite(end)) else 0.0
        nearest = float(tree.query(point)[0])
        near = sources[tree.query_ball_point(point, nearest + half + 1e-6)]
        line = end if half > 0.0 else [*point, *point]
        distance = np.min(segment_distance(near[:, 0], near[:, 1], *line))
        table["sourceDistance"][i] = float(distance) * context.pixel_scale


def _disc_area(x: float, y: float, radius: float, context: ImageContext) -> float:
    """Return the area of a disc that lies in the image, pixels."""
    (ny, nx), (x0, y0) = context.shape, context.origin
    rows = np.arange(np.ceil(max(y - radius, y0)), np.floor(min(y + radius, y0 + ny - 1)) + 1)
    half = np.sqrt(np.maximum(radius**2 - (rows - y) ** 2, 0.0))
    width = np.minimum(x + half, x0 + nx - 0.5) - np.maximum(x - half, x0 - 0.5)
    return float(np.sum(np.maximum(width, 0.0)))
