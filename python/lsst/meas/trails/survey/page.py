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

"""Table and page of an adaptation: the model before and after, on visits that were left out."""

from __future__ import annotations

__all__ = ("COLUMNS", "before_and_after", "write_page")

import json
from pathlib import Path
from typing import Any

import astropy.table
import numpy as np

from .. import __version__
from ..core.operating_point import DETECTOR_PIXELS, FALSE_RATES
from ..evaluation.figures.captions import CAPTIONS
from ..evaluation.figures.metrics import metric_figures
from ..evaluation.metrics_table import point_name, select
from ..evaluation.report.page import Card, Listing, Paragraph, Part, Report, Section, TablePart, write_report
from ..evaluation.report.sections import against_section, metric_sections
from .adapt import ADAPTED, CALIBRATED, SHIPPED, Adaptation

COLUMNS = {
    "model": "model",
    "wanted": "false per detector, wanted",
    "false": "measured",
    "completeness": "trails found",
    "snr50": "SNR50",
    "snr50_long": "SNR50, 20 pixels and longer",
    "ranked": "SNR50 at the exact rate",
}
"""Columns of `before_and_after` and their headings."""

_NAMES = {
    SHIPPED: "before",
    CALIBRATED: "before, calibrated",
    ADAPTED: "after",
}

_FEWEST = 10.0
"""Fewest expected false candidates of a rate that can be measured well."""


def before_and_after(adaptation: Adaptation) -> astropy.table.Table:
    """Return the detection on the test visits of each model, a row for each rate of false candidates.

    Thresholds and score come from the visits for calibration; the shipped model has its own. ``false`` is
    the rate that these thresholds have on the test visits. For ``ranked``, the threshold is chosen there, so
    that all models have the same rate.
    """
    rows = []
    for name, metrics in adaptation.metrics.items():
        for rate in FALSE_RATES:
            own, same = f"model: {point_name(rate)}", point_name(rate)
            rows.append(
                (
                    _NAMES[name],
                    float(rate),
                    *(
                        _value(metrics, key, own)
                        for key in ("false_per_detector", "completeness", "snr50", "snr50_long")
                    ),
                    _value(metrics, "snr50", same),
                )
            )
    return astropy.table.Table(rows=rows, names=list(COLUMNS), dtype=[str, *[float] * (len(COLUMNS) - 1)])


def _value(metrics: astropy.table.Table, metric: str, point: str) -> float:
    """Return a detection metric, NaN if it was not measured."""
    rows = select(metrics, section="detection", metric=metric, operatingPoint=point)
    return float(rows["value"][0]) if len(rows) else float("nan")


def write_page(adaptation: Adaptation, folder: Path) -> Path:
    """Write the page of an adaptation.

    Parameters
    ----------
    adaptation
        The adaptation.
    folder
        Folder for the page, its figures and tables; an earlier page in it is replaced.

    Returns
    -------
    page
        The HTML file.

    Raises
    ------
    lsst.meas.trails.evaluation.report.page.ReportError
        Raised if the folder has other content, or cannot be written.
    """
    table, plan = before_and_after(adaptation), adaptation.plan
    specification = adaptation.specification
    record: Any = specification.training["adaptation"]
    metrics = adaptation.metrics[ADAPTED]
    visits = {role: len({image.visit for image in images}) for role, images in plan.images.items()}
    counts = "; ".join(
        f"{role}: {len(images)} images of {visits[role]} visits" for role, images in plan.images.items()
    )
    parts: list[Part] = [
        Paragraph(
            f"Trails were injected into images of visits that neither training nor calibration has seen. "
            f"{counts}. The model started from {record['start']}."
        )
    ]
    parts += [Paragraph(text, warning=True) for text in _warnings(adaptation)]
    parts.append(
        TablePart(
            "before_and_after",
            table,
            "Detection on the test visits. Thresholds and score are those of the calibration visits; before, "
            "those of the shipped model. SNR50 is the SNR at which half of the trails are found, and is "
            "comparable at the same measured rate: the last column has thresholds for exactly that rate.",
            labels=COLUMNS,
            formats={"false": ".1f", "wanted": ".0f", "completeness": ".3f"},
        )
    )
    named = {_NAMES[name]: found for name, found in adaptation.metrics.items()}
    report = Report(
        title=f"Adaptation of {record['start']}: {specification.name}",
        subtitle="Intervals are 95% confidence intervals.",
        cards=_cards(table),
        sections=[
            Section("Before and after", parts),
            against_section(named),
            *metric_sections(metrics, metric_figures(metrics), CAPTIONS),
            Section("Provenance", [Listing("Images and model", json.dumps(record, indent=2))]),
        ],
        footer=f"Written by meas-trails adapt, meas_trails {__version__}.",
        generator=f"meas_trails {__version__}",
    )
    return write_report(report, folder)


def _warnings(adaptation: Adaptation) -> list[str]:
    """Return what limits the meaning of the table."""
    texts = []
    if not adaptation.plan.by_sky:
        texts.append(
            "The visits share their sky: stars and galaxies of the training are also in the test. The gain "
            "on new fields is smaller."
        )
    area = _value_of_sample(adaptation.metrics[ADAPTED], "area") * 1e6
    few = [rate for rate in FALSE_RATES if rate * area / DETECTOR_PIXELS < _FEWEST]
    if few:
        rates = " and ".join(map(str, few))
        texts.append(
            f"The test visits have {area / 1e6:.1f} megapixels, {area / DETECTOR_PIXELS:.2f} detectors: "
            f"fewer than {_FEWEST:g} false candidates are expected at {rates} per detector, and these rows "
            "are uncertain. Add visits."
        )
    return texts


def _value_of_sample(metrics: astropy.table.Table, metric: str) -> float:
    (row,) = select(metrics, section="sample", metric=metric)
    return float(row["value"])


def _cards(table: astropy.table.Table) -> list[Card]:
    """Return SNR50 at 10 false candidates per detector, before and after."""
    main = table[table["wanted"] == FALSE_RATES[1]]
    return [
        Card(
            f"{row['ranked']:.1f}" if np.isfinite(row["ranked"]) else "unknown",
            f"SNR50 {row['model']}, at exactly 10 false candidates per detector",
        )
        for row in main
    ]
