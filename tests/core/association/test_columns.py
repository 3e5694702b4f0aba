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

from pathlib import Path

import astropy.units as u
import felis.datamodel
import numpy as np
import pytest

import lsst.sdm.schemas
from lsst.meas.trails.core.association.columns import (
    ASSOCIATION_COLUMNS,
    KNOWN_TRAIL_COLUMNS,
    without_association,
)
from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS, empty_catalog

SDM = Path(next(iter(lsst.sdm.schemas.__path__)))
"""Folder of the schemas of the stack."""

DATATYPES = {"double": np.float64, "float": np.float32, "long": np.int64, "char": np.str_}

SHARED = {
    "ssObjectId",
    "designation",
    "ephRa",
    "ephDec",
    "ephVmag",
    "ephRate",
    "ephRateRa",
    "ephRateDec",
    "ephOffset",
    "ephOffsetRa",
    "ephOffsetDec",
    "ephOffsetAlongTrack",
    "ephOffsetCrossTrack",
}
"""Columns of ``SSSource`` that both tables have."""


@pytest.mark.parametrize("layout", [ASSOCIATION_COLUMNS, KNOWN_TRAIL_COLUMNS], ids=["candidates", "objects"])
def test_names_types_and_units_are_those_of_ss_source(
    layout: dict[str, tuple[type, u.UnitBase | None, str]],
) -> None:
    schema = felis.datamodel.Schema.from_uri(str(SDM / "sso_base.yaml"), context={"id_generation": True})
    (table,) = (table for table in schema.tables if table.name == "SSSource")
    theirs = {column.name: column for column in table.columns}
    assert layout.keys() & theirs.keys() == SHARED
    for name in SHARED:
        dtype, unit, _ = layout[name]
        assert dtype is DATATYPES[str(theirs[name].datatype.value)], name
        assert u.Unit(theirs[name].ivoa_unit or "") == (unit or u.dimensionless_unscaled), name


def test_names_do_not_collide_with_those_of_candidates() -> None:
    assert ASSOCIATION_COLUMNS.keys().isdisjoint(CANDIDATE_COLUMNS)


def test_an_empty_catalog_gets_the_columns() -> None:
    table = without_association(empty_catalog())
    assert table.colnames == [*CANDIDATE_COLUMNS, *ASSOCIATION_COLUMNS]
    assert table["ephRate"].unit == u.deg / u.day
