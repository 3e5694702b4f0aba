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

"""Tests of the figures that compare collections or methods."""

from __future__ import annotations

from pathlib import Path

import astropy.table
import numpy as np
import pytest
from matplotlib.figure import Figure

from lsst.meas.trails.evaluation.collection_sample import CollectionSample
from lsst.meas.trails.evaluation.figures.comparison import (
    calibration_comparison,
    completeness_comparison,
    froc_comparison,
)
from lsst.meas.trails.evaluation.metrics_table import point_name, select
from lsst.meas.trails.evaluation.summary import SummaryOptions, summarize

from support.marks import warnings_are_errors

Detectors = list[tuple[astropy.table.Table, astropy.table.Table]]


@pytest.fixture(scope="module")
def metrics(collection: Detectors) -> dict[str, astropy.table.Table]:
    """Return the metrics of two collections, one a part of the other."""
    return {
        name: summarize(
            CollectionSample([matches for matches, _ in part], [search for _, search in part]),
            SummaryOptions(resamples=20),
        )
        for name, part in (("all", collection), ("half", collection[:3]))
    }


def check(figure: Figure, path: Path) -> None:
    """Check that a figure has labels, and one legend outside its panels."""
    figure.savefig(path)
    assert path.stat().st_size > 10_000
    assert len(figure.legends) == 1
    assert all(axis.get_legend() is None for axis in figure.axes)
    box = figure.legends[0].get_window_extent()
    assert not any(axis.get_window_extent().overlaps(box) for axis in figure.axes)


@warnings_are_errors
def test_completeness(metrics: dict[str, astropy.table.Table], tmp_path: Path) -> None:
    panels = {
        point: {name: select(table, operatingPoint=point) for name, table in metrics.items()}
        for point in (point_name(1.0), point_name(10.0))
    }
    figure = completeness_comparison(panels, by=("snr", "length"))
    check(figure, tmp_path / "completeness.png")
    assert len(figure.axes) == 4
    assert {axis.get_xlabel() for axis in figure.axes} == {"optimal SNR", "length (pixels)"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["all", "half"]


@warnings_are_errors
def test_froc(metrics: dict[str, astropy.table.Table], tmp_path: Path) -> None:
    figure = froc_comparison({"Field": metrics})
    check(figure, tmp_path / "froc.png")
    for line, table in zip(figure.axes[0].get_lines(), metrics.values(), strict=True):
        rows = select(table, section="froc", by="false_per_detector")
        np.testing.assert_array_equal(line.get_ydata(), rows["value"])
        assert np.all(np.diff(line.get_xdata()) > 0.0)


@warnings_are_errors
def test_calibration(metrics: dict[str, astropy.table.Table], tmp_path: Path) -> None:
    figure = calibration_comparison({"One": metrics, "Two": {"half": metrics["half"]}})
    check(figure, tmp_path / "calibration.png")
    errors = select(metrics["half"], section="calibration", metric="expected_calibration_error")
    assert f"half {errors['value'][0]:.3f}" in figure.axes[1].get_title()
