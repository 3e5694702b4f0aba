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

"""Results of models by domain as tables in Markdown."""

from __future__ import annotations

__all__ = ("MAIN", "bin_lines", "contaminant_lines", "domain_lines", "real_lines")

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import astropy.table
import numpy as np

from lsst.meas.trails.core.operating_point import FALSE_RATES
from lsst.meas.trails.evaluation.metrics_table import select
from lsst.meas.trails.training.survey_images import PRIOR_DENSITY

from domain_contaminants import EDGE_ON_RATIO, EDGE_ON_SNR, KINDS

type _Values = dict[str, Any]

MAIN = 10
"""False candidates per detector at which completeness is given."""

_COLUMNS = {
    "snr50_at_1": "SNR50 at 1",
    "snr50_at_10": "at 10",
    "snr50_at_100": "at 100",
    "own": "false at own score for 10",
    "bright": "bright found, %",
    "points": "points called trails, %",
    "calibration": "calibration error",
}


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def domain_lines(numbers: Mapping[str, Mapping[str, _Values]], titles: Mapping[str, str]) -> list[str]:
    """Return the table of detections in each domain.

    Parameters
    ----------
    numbers
        Output of `domain_results.summarize_domains` by model.
    titles
        Titles of the domains.
    """
    rows = []
    for method, domains in numbers.items():
        for name, values in domains.items():
            cells = [method, titles.get(name, f"**{name}**")]
            for rate in FALSE_RATES:
                cell = f"{_number(values[f'snr50_at_{rate}'])} / {_number(values[f'snr50_long_at_{rate}'])}"
                if rate == MAIN and name in titles:
                    low, high = values[f"snr50_interval_at_{rate}"]
                    cell += f" ({_number(low)} to {_number(high)})"
                cells.append(cell)
            cells.append(_number(values["own"], 0))
            cells += [_number(100.0 * values[key]) for key in ("bright", "points")]
            rows.append([*cells, _number(values["calibration"], 3)])
    return [
        "SNR50 of all trails / of 20 to 150 pixels, and the 95% interval of the first, at 1, 10 and 100",
        "false candidates per detector; bright trails (SNR 30-1500, 10-150 pixels, not on a saturated star)",
        "found and new points (SNR 5-100) called a trail of at least 6 pixels, at the score for 10 false;",
        f"calibration error of the score for {PRIOR_DENSITY:g} trails per megapixel.",
        "",
        *_table(["model", "domain", *_COLUMNS.values()], rows),
    ]


def contaminant_lines(numbers: Mapping[str, Mapping[str, _Values]], titles: Mapping[str, str]) -> list[str]:
    """Return the table of galaxies and diffraction spikes that are called trails.

    Parameters
    ----------
    numbers, titles
        As for `domain_lines`.
    """
    rows = []
    for method, domains in numbers.items():
        for name, values in domains.items():
            cells = [method, titles.get(name, f"**{name}**")]
            for kind in KINDS:
                cells.append(str(values.get(f"n_{kind}", "-")))
                cells += [_number(100.0 * values[key]) for key in (kind, f"{kind}_own")]
            rows.append(cells)
    header = ["model", "domain"]
    for kind in KINDS:
        header += [kind, f"called at {MAIN} false, %", "at own score, %"]
    return [
        f"Edge-on galaxies (SNR above {EDGE_ON_SNR:g}, axis ratio below {EDGE_ON_RATIO:g}) and arms of",
        "diffraction spikes, and those with a false candidate on them, at the domain's score for",
        f"{MAIN} false candidates per detector and at the model's own. Their SNR is that in the image; a",
        "difference has their residuals. The mean is over those of all domains.",
        "",
        *_table(header, rows),
    ]


def bin_lines(method: str, domains: Sequence[astropy.table.Table]) -> list[str]:
    """Return completeness by SNR and length, of the trails of all domains together.

    Parameters
    ----------
    method
        Name of the model.
    domains
        Bins of completeness of each domain.
    """
    if not domains:
        return []
    bins = astropy.table.vstack(list(domains), metadata_conflicts="silent")
    edges = sorted({(float(row["low"]), float(row["high"])) for row in bins})
    lengths = sorted({(float(row["low2"]), float(row["high2"])) for row in bins})
    rows = []
    for low, high in lengths:
        cells = []
        for start, stop in edges:
            part = select(bins, low=start, high=stop, low2=low, high2=high)
            total = float(np.sum(part["count"]))
            found = float(np.sum(part["count"] * part["value"]))
            cells.append(f"{100.0 * found / total:.0f}" if total else "-")
        rows.append([f"{low:g}-{high:g} pixels", *cells])
    header = ["SNR", *(f"{low:g}-{high:g}" for low, high in edges)]
    return [f"{method}: found of all domains, %, at 10 false per detector.", "", *_table(header, rows)]


def real_lines(found: Mapping[str, _Values]) -> list[str]:
    """Return the table of real images, from the output of `domain_results.real_summary` by model."""
    rows = []
    for method, values in found.items():
        alerts = values["alerts"]
        cells = [f"{100.0 * alerts['called']:.1f}% of {alerts['of']}"]
        for test in ("trail", "point"):
            texts = []
            for row in values[test]:
                ratio = f" ({row['length_ratio']:.2f})" if row["length_ratio"] is not None else ""
                texts.append(f"{row['snr']:.0f}: {100.0 * row['called']:.0f}%{ratio}")
            cells.append(", ".join(texts))
        for test in ("cutout", "calexp"):
            part = values.get(test)
            bins = [] if part is None else part["bins"]
            texts = [
                f"{row['snr'][0]:g}-{row['snr'][1]:g}: {_number(100.0 * row['found'], 0)}%" for row in bins
            ]
            cells.append(", ".join(texts) or "-")
        rows.append([method, *cells, str(values.get("calexp_false", "-"))])
    header = (
        *("model", "other cutouts called trails", "real trail, found by SNR (length / ephemeris)"),
        *("real points dimmed to SNR, called trails", "injected into cutouts, found by SNR"),
        *("injected into calexp", "candidates in calexp"),
    )
    if not rows:
        return []
    return ["Real images, at the model's own score for 10 false per detector.", "", *_table(header, rows)]
