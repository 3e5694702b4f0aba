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

"""Tests of the sections of a report."""

from __future__ import annotations

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.evaluation.figures.captions import CAPTIONS
from lsst.meas.trails.evaluation.figures.metrics import metric_figures
from lsst.meas.trails.evaluation.metrics_table import names_in, select
from lsst.meas.trails.evaluation.report.headlines import headlines
from lsst.meas.trails.evaluation.report.page import FigurePart, TablePart
from lsst.meas.trails.evaluation.report.sections import (
    against_section,
    head_cards,
    metric_sections,
    operating_point,
    readable,
    summary_section,
    threshold_of,
)

from ..conftest import number


def test_operating_point(metrics: astropy.table.Table) -> None:
    assert operating_point(metrics) == "10 false per detector"
    expected = number(
        metrics, section="detection", metric="threshold", operatingPoint=operating_point(metrics)
    )
    assert threshold_of(metrics) == expected
    # Without it, the first one of the collection.
    others = metrics[np.asarray(metrics["operatingPoint"]) != "10 false per detector"]
    assert operating_point(others) == "1 false per detector"


def test_cards_and_summary(metrics: astropy.table.Table) -> None:
    cards = head_cards(headlines(metrics), operating_point(metrics))
    assert len(cards) == 8
    detection, sample = summary_section(metrics).parts
    assert isinstance(detection, TablePart)
    assert isinstance(sample, TablePart)
    assert set(names_in(select(metrics, section="detection"), "operatingPoint")) < set(
        detection.table.colnames
    )
    assert "240" in set(sample.table["value"])


def test_every_figure_has_a_section(metrics: astropy.table.Table) -> None:
    figures = metric_figures(metrics)
    sections = metric_sections(metrics, figures, CAPTIONS)
    names = [part.name for section in sections for part in section.parts if isinstance(part, FigurePart)]
    assert sorted(names) == sorted(name.removesuffix("_plot") for name in figures)
    assert "More figures" not in {section.title for section in sections}


def test_unknown_counts_and_units_are_readable(metrics: astropy.table.Table) -> None:
    parts = [part for section in metric_sections(metrics, {}, CAPTIONS) for part in section.parts]
    stack = next(part for part in parts if isinstance(part, TablePart) and part.name == "numbers-stack")
    rows = stack.table[np.asarray(stack.table["metric"]) == "detections_per_detector"]
    assert np.all(rows["count"].mask)
    detection, _ = summary_section(metrics).parts
    assert isinstance(detection, TablePart)
    assert not any("deg2" in text for row in detection.table for text in row)


def test_comparison_of_collections(metrics: astropy.table.Table) -> None:
    *_, table = against_section({"one": metrics, "two": metrics}).parts
    assert isinstance(table, TablePart)
    assert list(table.table["one"]) == list(table.table["two"])


@pytest.mark.parametrize(
    ("name", "text"), [("trail_metrics", "trail metrics"), ("nFalse", "n false"), ("auc", "auc")]
)
def test_readable_names(name: str, text: str) -> None:
    assert readable(name) == text
