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

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.catalog.columns import table_of
from lsst.meas.trails.core.catalog.labels import LABEL_COLUMNS, empty_labels
from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.injection.truth import truth_table
from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.tiles.labels import LabeledTruth, append_trails

type MakePlanes = Callable[..., ImagePlanes]


def make_labels(*rows: tuple[str, float, float, float]) -> astropy.table.Table:
    """Return labels of given label, x, y and flux."""
    label, x, y, flux = zip(*rows, strict=True)
    columns: dict[str, Any] = {
        name: np.full(len(rows), "") if dtype is np.str_ else np.zeros(len(rows))
        for name, (dtype, _, _) in LABEL_COLUMNS.items()
    }
    columns |= {"label": label, "x": x, "y": y, "trailFlux": flux}
    columns |= {"trailLengthPix": np.full(len(rows), 20.0), "trailAnglePix": np.full(len(rows), 30.0)}
    return table_of(columns, LABEL_COLUMNS)


def test_labels_are_of_three_kinds() -> None:
    labeled = LabeledTruth.from_labels(
        make_labels(
            ("trail", 310.0, 520.0, 900.0),
            ("trail", 320.0, 520.0, np.nan),
            ("unsure", 330.0, 520.0, 900.0),
            ("artifact", 340.0, 530.0, 900.0),
            ("trail", np.nan, 520.0, 900.0),
            ("artifact", np.nan, 520.0, 900.0),
        ),
        origin=(300, 500),
    )
    assert labeled.trails.x.tolist() == [10.0]
    assert (labeled.trails.length[0], labeled.trails.angle[0], labeled.trails.flux[0]) == (20.0, 30.0, 900.0)
    # A trail whose fit has no flux has no truth either.
    assert labeled.unknown.x.tolist() == [20.0, 30.0]
    assert labeled.artifacts.tolist() == [[40.0, 30.0]]


def test_no_labels() -> None:
    labeled = LabeledTruth.from_labels(empty_labels())
    assert (len(labeled.trails), len(labeled.unknown), labeled.artifacts.shape) == (0, 0, (0, 2))


def test_real_trails_are_rows_of_the_catalog(make_planes: MakePlanes) -> None:
    planes = make_planes((100, 150), seed=7)
    catalog = truth_table(planes, Trails([30.0], [40.0], [20.0], [0.0], [5000.0]))
    catalog["stack_detection"] = [True]
    catalog["stack_mag"] = [20.0]
    real = Trails([80.0, 90.0], [50.0, 60.0], [15.0, 25.0], [45.0, 90.0], [2000.0, 3000.0])
    table = append_trails(catalog, real, planes, np.array([2.0, 2.0]))
    assert table.colnames == catalog.colnames
    assert table["injection_id"].tolist() == [0, 1, 2]
    assert table["source_type"].tolist() == ["Trail"] * 3
    # Fluxes of the catalog are in nJy, and SNRs come from image units.
    np.testing.assert_allclose(table["flux"], [5000.0, 2000.0, 3000.0])
    expected = truth_table(planes, Trails(real.x, real.y, real.length, real.angle, 2.0 * real.flux))
    np.testing.assert_allclose(table["snr_optimal"][1:], expected["snr_optimal"])
    assert table["stack_detection"].tolist() == [True, False, False]
    assert np.isnan(table["stack_mag"][1:]).all()
    assert append_trails(catalog, real[:0], planes, np.array([])) is catalog


def test_the_catalog_may_be_empty(make_planes: MakePlanes) -> None:
    planes = make_planes((100, 150), seed=7)
    catalog = truth_table(planes, Trails([], [], [], [], []))
    table = append_trails(catalog, Trails([80.0], [50.0], [15.0], [45.0], [2000.0]), planes, np.ones(1))
    assert len(table) == 1
    assert table["x0"][0] == pytest.approx(80.0 - 7.5 * np.cos(np.pi / 4))
