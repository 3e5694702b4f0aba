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

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.catalog.export import (
    CatalogFormatError,
    choose_columns,
    format_catalog,
    format_of_path,
    sort_rows,
    write_catalog,
)


@pytest.fixture
def table() -> astropy.table.Table:
    return astropy.table.Table(
        {"name": ["d", "a", "c", "b"], "snr": [5.0, np.nan, 9.0, 5.0], "trailMag": [1.0, 2.0, 3.0, 4.0]},
        units={"trailMag": "mag(AB)"},
    )


def test_sort_rows(table: astropy.table.Table) -> None:
    assert list(sort_rows(table, "name")["name"]) == ["a", "b", "c", "d"]
    assert list(sort_rows(table, "-name")["name"]) == ["d", "c", "b", "a"]
    # Equal rows keep their order, and rows without a value come last.
    assert list(sort_rows(table, "snr")["name"]) == ["d", "b", "c", "a"]
    assert list(sort_rows(table, "-snr")["name"]) == ["c", "d", "b", "a"]


def test_choose_columns(table: astropy.table.Table) -> None:
    assert choose_columns(table, "all") == ["name", "snr", "trailMag"]
    assert choose_columns(table, " snr, name,snr,") == ["snr", "name"]
    for names, message in (("snt", "snr"), ("xyzzy", "trailMag"), (",", "at least one")):
        with pytest.raises(CatalogFormatError, match=message):
            choose_columns(table, names)


def test_format_of_path() -> None:
    assert format_of_path(Path("a.parq")) == "parquet"
    assert format_of_path(Path("a.b.xml")) == "votable"
    with pytest.raises(CatalogFormatError, match=r"a\.doc.*\.ecsv"):
        format_of_path(Path("a.doc"))


@pytest.mark.parametrize("file_format", ["ecsv", "csv", "votable"])
def test_file_equals_text(table: astropy.table.Table, tmp_path: Path, file_format: str) -> None:
    path = tmp_path / "catalog.txt"
    write_catalog(table, path, file_format, ["name", "trailMag"])
    assert path.read_text(encoding="utf-8") == format_catalog(table, file_format, ["name", "trailMag"])
    assert list(tmp_path.iterdir()) == [path]
    # The unit of the original is unchanged.
    assert str(table["trailMag"].unit) == "mag(AB)"


def test_parquet(table: astropy.table.Table, tmp_path: Path) -> None:
    write_catalog(table, tmp_path / "catalog", "parquet", ["snr"])
    np.testing.assert_array_equal(
        astropy.table.Table.read(tmp_path / "catalog", format="parquet")["snr"], table["snr"]
    )
