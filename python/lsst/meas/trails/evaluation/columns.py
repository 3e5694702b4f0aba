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

"""Columns of the tables of matches and of search totals."""

from __future__ import annotations

__all__ = (
    "FROM_TRUTH",
    "MATCH_COLUMNS",
    "METHODS",
    "SEARCH_COLUMNS",
    "TRUTH_NEEDED",
    "UNKNOWN",
    "blank_columns",
    "blank_table",
)

from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import numpy.typing as npt

from ..core.catalog.columns import CANDIDATE_COLUMNS, ColumnLayout, table_of
from ..core.operating_point import FALSE_RATES

_F, _I, _B, _S = np.float64, np.int64, np.bool_, np.str_

METHODS: dict[str, str] = {
    "Stack": "stack",
    "Sep3": "sep 3 sigma",
    "Sep4": "sep 4 sigma",
    "Sep5": "sep 5 sigma",
}
"""Names of the methods that the network is compared with: the stack, and baselines that substitute for it."""

_TRUE: dict[str, tuple[str, type, u.UnitBase | None, str]] = {
    "injection_id": ("injection_id", _I, None, "Number of the trail in its truth table; -1 without one."),
    "truthSource": ("truthSource", _S, None, "`injected`, or `known` for sources from before the injection."),
    "sourceType": ("source_type", _S, None, "True type: Trail, Satellite, CosmicRay, Star."),
    "trueX": ("x", _F, u.pix, "True midpoint, column."),
    "trueY": ("y", _F, u.pix, "True midpoint, row."),
    "trueX0": ("x0", _F, u.pix, "First true end, column."),
    "trueY0": ("y0", _F, u.pix, "First true end, row."),
    "trueX1": ("x1", _F, u.pix, "Second true end, column."),
    "trueY1": ("y1", _F, u.pix, "Second true end, row."),
    "trueRa": ("ra", _F, u.deg, "Right ascension of the true midpoint, ICRS."),
    "trueDec": ("dec", _F, u.deg, "Declination of the true midpoint, ICRS."),
    "trueLength": ("trail_length", _F, u.pix, "True length."),
    "trueAngle": ("beta", _F, u.deg, "True angle counter-clockwise from +x, [0, 180)."),
    "trueFlux": ("flux", _F, u.nJy, "True flux of the whole trail."),
    "trueMag": ("integrated_mag", _F, u.ABmag, "True AB magnitude of the whole trail."),
    "truePsfMag": ("PSF_mag", _F, u.ABmag, "AB magnitude of the trail in point-source detection."),
    "trueRate": ("", _F, u.deg / u.day, "True length divided by exposure time."),
    "snrOptimal": ("snr_optimal", _F, None, "SNR of a matched filter on the unmasked pixels."),
    "snrPointSource": ("SNR", _F, None, "SNR of point-source detection."),
    "visibleFraction": (
        "visible_fraction",
        _F,
        None,
        "Fraction of the flux on unmasked pixels of the image.",
    ),
    "fwhm": ("fwhm", _F, u.pix, "FWHM of the PSF."),
}
"""Columns of the truth: source in a truth table, type, unit and description."""

FROM_TRUTH = {name: source for name, (source, *_) in _TRUE.items() if source}
"""Column of a truth table of each column of `MATCH_COLUMNS` that it fills."""

TRUTH_NEEDED = tuple(name for name in FROM_TRUTH.values() if name != "truthSource")
"""Columns that a truth table must have."""

MATCH_COLUMNS: ColumnLayout = {
    "category": (
        _S,
        None,
        "`found`, `missed` or `masked` for trails; `false`, `duplicate` or `satellite` for other candidates; "
        "`distractor` for true sources that are not trails.",
    ),
    "isTrail": (_B, None, "Whether the row is a true trail."),
    "isCounted": (_B, None, "Whether enough of the trail is visible for it to count."),
    "isCandidate": (
        _B,
        None,
        "Whether the row has a candidate: the match of its trail, or an unmatched one.",
    ),
    "isFalse": (_B, None, "Whether the candidate is on no true source."),
    "isDuplicate": (_B, None, "Whether the candidate repeats a trail, or is a fragment of one."),
    "isSatellite": (_B, None, "Whether the candidate is on a satellite streak."),
    **{name: (dtype, unit, text) for name, (_, dtype, unit, text) in _TRUE.items()},
    "sourceDistance": (
        _F,
        u.arcsec,
        "Distance of the nearest source from the line of the trail or candidate.",
    ),
    "sourceDensity": (_F, u.arcmin**-2, "Density of sources around the trail or candidate."),
    **CANDIDATE_COLUMNS,
    "snrPsf": (_F, None, "SNR of the candidate on the scale of point-source detection."),
    "dAlong": (_F, u.pix, "Measured minus true midpoint, along the trail."),
    "dAcross": (_F, u.pix, "Measured minus true midpoint, across the trail, positive to the left."),
    "dMidpoint": (_F, u.pix, "Distance between the measured and true midpoints."),
    "dLength": (_F, u.pix, "Measured minus true length."),
    "dAngle": (_F, u.deg, "Measured minus true angle, [-90, 90)."),
    "dMag": (_F, u.mag, "Measured minus true magnitude."),
    "dRate": (_F, u.deg / u.day, "Measured minus true rate."),
    "pullX": (_F, None, "Error of x divided by its estimate."),
    "pullY": (_F, None, "Error of y divided by its estimate."),
    "pullLength": (_F, None, "Error of the length divided by its estimate."),
    "pullAngle": (_F, None, "Error of the angle divided by its estimate."),
    "pullFlux": (_F, None, "Error of the flux divided by its estimate."),
    **{
        f"foundBy{key}": (_I, None, f"Whether {name} finds the trail: 1 or 0; -1 if unknown.")
        for key, name in METHODS.items()
    },
    "stackTrailLength": (_F, u.arcsec, "Length of the trail in the stack's catalog; NaN if it has none."),
    "adcnnScore": (
        _F,
        None,
        "Score of the component as in Asteroid_detection_CNN; 0 if not found, NaN if unknown.",
    ),
}
"""Columns of `matched_injected_trail_detector`: type, unit and description."""

SEARCH_COLUMNS: ColumnLayout = {
    "visit": (_I, None, "Visit of the image."),
    "detector": (_I, None, "Detector of the image."),
    "band": (_S, None, "Band of the image."),
    "nPixels": (_I, u.pix**2, "Pixels of the image."),
    "nSearched": (_I, u.pix**2, "Unmasked pixels of the image."),
    "skyArea": (_F, u.deg**2, "Area of the sky of the unmasked pixels."),
    "nTrails": (_I, None, "True trails."),
    "nCounted": (_I, None, "Counted trails, with enough visible flux."),
    "nCandidates": (_I, None, "Candidates."),
    "nFalse": (_I, None, "Candidates on no true source."),
    "nDuplicates": (_I, None, "Candidates that repeat a trail."),
    "nSatellite": (_I, None, "Candidates on a satellite streak."),
    "nSources": (_I, None, "Stars and galaxies of at least 5 sigma; -1 if unknown."),
    **{
        f"modelThreshold{rate}": (
            _F,
            None,
            f"Score at which the model had {rate} false candidates per detector.",
        )
        for rate in FALSE_RATES
    },
    "growThreshold": (_F, None, "Probability above which the model adds pixels to a component."),
    "hasPixels": (_B, None, "Whether pixels were compared."),
    "nIgnoredBad": (_I, u.pix**2, "Masked pixels, ignored in the pixel histograms."),
    "nIgnoredSatellite": (_I, u.pix**2, "Unmasked pixels near satellites, ignored in the pixel histograms."),
    "pixelTrue": (_I, u.pix**2, "Histogram of the logits of trail pixels."),
    "pixelFalse": (_I, u.pix**2, "Histogram of the logits of other pixels."),
    **{f"n{key}": (_I, None, f"Detections of {name}; -1 if unknown.") for key, name in METHODS.items()},
    **{
        f"chance{key}": (_F, None, f"Fraction of displaced trails that {name} finds by chance.")
        for key, name in METHODS.items()
    },
    "adcnnComponents": (_I, None, "Histogram of Asteroid_detection_CNN scores, 101 bins over [0, 1]."),
}
"""Columns of `trail_search_detector`, a table of one row."""

UNKNOWN: dict[type, float | int | str] = {
    **dict.fromkeys((_F, np.float32), np.nan),
    **dict.fromkeys((_I, np.int32, np.int16), -1),
    _B: False,
    _S: "",
}
"""Value of an unknown cell, by type."""


def blank_columns(layout: ColumnLayout, count: int) -> dict[str, npt.NDArray[Any]]:
    """Return columns of unknown values."""
    return {name: np.full(count, UNKNOWN[dtype], dtype=dtype) for name, (dtype, _, _) in layout.items()}


def blank_table(layout: ColumnLayout, count: int) -> astropy.table.Table:
    """Return a table of unknown values with the columns of a layout."""
    return table_of(blank_columns(layout, count), layout)
