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

"""Detections of the stack and of its baselines on the true trails."""

from __future__ import annotations

__all__ = ("MethodDetections", "detect_with_methods")

import dataclasses
from collections.abc import Iterable

import astropy.table
import numpy as np
import numpy.typing as npt

from ..core.background import SkySubtracted
from ..core.geometry import Trails
from ..core.planes import ImagePlanes
from ..core.render import add_trail
from ..evaluation.baselines import SepOptions, sep_sources
from ..evaluation.columns import METHODS
from ._input_image import InputImage
from ._stack_sources import StackSources, found_trails, read_sources

_SOURCE_SIGMA = 5.0
"""Significance of the stars and galaxies in the density of sources."""

_DISPLACEMENTS = ((90.0, 0.0), (-90.0, 0.0), (0.0, 90.0), (0.0, -90.0))
"""Displacements (x, y) of trails to measure chance detections, pixels."""

_LENGTH_COLUMNS = ("trailLength", "ext_trailedSources_Naive_length")
"""Names of trail lengths in the stack's catalogs, arcsec."""


@dataclasses.dataclass(frozen=True, eq=False)
class MethodDetections:
    """Detections of all methods other than the network in one image."""

    columns: dict[str, npt.NDArray[np.generic]]
    """Columns ``foundBy...`` and ``stackTrailLength`` of the match table, one value per row of the truth."""

    totals: dict[str, float | int]
    """Columns ``n...`` and ``chance...`` of the search table."""

    sources: StackSources
    """Stars and galaxies detected with sep in the image without its trails."""


def detect_with_methods(
    image: InputImage,
    truth: astropy.table.Table,
    *,
    thresholds: Iterable[int],
    distance: float,
    stack_catalog: astropy.table.Table | None = None,
    stack_trails_catalog: astropy.table.Table | None = None,
    known_catalog: astropy.table.Table | None = None,
) -> MethodDetections:
    """Find the trails that the stack and its baselines detect.

    Parameters
    ----------
    image
        The image.
    truth
        Truth table, in array coordinates.
    thresholds
        Significances of the sep baselines, sigma.
    distance
        Largest distance of a detection from the line of its trail, pixels.
    stack_catalog, known_catalog
        The stack's detections in the image, and in the image before the injection.
    stack_trails_catalog
        The stack's long trails in the image, which ``stack_catalog`` lacks.
    """
    is_trail = np.asarray(truth["source_type"]).astype(str) == "Trail"
    trails = truth[is_trail]
    cleaned = _without_trails(image, trails)
    sources = _sep_sources(cleaned, _SOURCE_SIGMA)
    detections: dict[str, tuple[StackSources, StackSources | None]] = {
        f"Sep{threshold}": (
            _sep_sources(image.planes, threshold),
            sources if threshold == _SOURCE_SIGMA else _sep_sources(cleaned, threshold),
        )
        for threshold in thresholds
    }
    columns: dict[str, npt.NDArray[np.generic]] = {}
    totals: dict[str, float | int] = {}
    catalogs = [catalog for catalog in (stack_catalog, stack_trails_catalog) if catalog is not None]
    if catalogs:
        after = StackSources.joined([read_sources(catalog, image) for catalog in catalogs])
        detections["Stack"] = (after, None if known_catalog is None else read_sources(known_catalog, image))
        lengths = [_stack_lengths(truth, catalog, image, distance) for catalog in catalogs]
        columns["stackTrailLength"] = np.fmax.reduce(lengths)
    for key in METHODS:
        found = np.full(len(truth), -1, dtype=np.int64)
        totals[f"n{key}"], totals[f"chance{key}"] = -1, np.nan
        if key in detections:
            after, before = detections[key]
            found[is_trail] = found_trails(trails, after, before, distance)[0]
            totals[f"n{key}"] = len(after)
            totals[f"chance{key}"] = _chance_found(trails, after, before, distance)
        columns[f"foundBy{key}"] = found
    return MethodDetections(columns, totals, sources)


def _without_trails(image: InputImage, trails: astropy.table.Table) -> ImagePlanes:
    """Return an image from which its trails, in array coordinates, are subtracted."""
    planes, (x0, y0) = image.planes, image.origin
    lines = Trails.from_table(trails)
    # Fluxes in the units of the image.
    flux = lines.flux * image.flux_per_njy_at(lines.x + x0, lines.y + y0)
    pixels = planes.image.copy()
    for trail in dataclasses.replace(lines, flux=-flux):
        add_trail(pixels, planes.psf, trail)
    return dataclasses.replace(planes, image=pixels)


def _sep_sources(planes: ImagePlanes, threshold: float) -> StackSources:
    """Return the sources that sep detects at a threshold in sigma."""
    found = sep_sources(SkySubtracted.from_planes(planes), SepOptions(threshold=threshold))
    unknown = np.full(len(found.rank), np.nan)
    return StackSources(np.stack([found.trails.x, found.trails.y], axis=1), unknown, unknown)


def _chance_found(
    trails: astropy.table.Table, after: StackSources, before: StackSources | None, distance: float
) -> float:
    """Return the fraction of displaced trails that are found, by chance."""
    if len(trails) == 0:
        return float("nan")
    fractions = []
    for shift in _DISPLACEMENTS:
        moved = trails.copy()
        for name in ("x", "y", "x0", "y0", "x1", "y1"):
            moved[name] = np.asarray(moved[name]) + shift["xy".index(name[0])]
        fractions.append(float(np.mean(found_trails(moved, after, before, distance)[0])))
    return float(np.mean(fractions))


def _stack_lengths(
    truth: astropy.table.Table, sources: astropy.table.Table, image: InputImage, distance: float
) -> npt.NDArray[np.float64]:
    """Return the length of each trail in the stack's catalog, arcsec, or NaN."""
    lengths = np.full(len(truth), np.nan)
    name = next((name for name in _LENGTH_COLUMNS if name in sources.colnames), None)
    if name is None:
        return lengths
    measured = sources[np.isfinite(np.ma.filled(np.ma.asarray(sources[name], dtype=np.float64), np.nan))]
    for i in range(len(measured)):
        hits, _ = found_trails(truth, read_sources(measured[i : i + 1], image), None, distance)
        lengths[hits] = np.fmax(lengths[hits], float(measured[name][i]))
    return lengths
