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

from lsst.meas.trails.core.catalog.ades import AdesContext
from lsst.meas.trails.core.catalog.export import (
    FILE_FORMATS,
    CatalogFormatError,
    Report,
    choose_columns,
    format_catalog,
    format_of_path,
    sort_rows,
    write_catalog,
)

from support.observations import MIDPOINT_TAI, make_candidates


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
    for name, endings in FILE_FORMATS.items():
        assert all(format_of_path(Path(f"night{ending}")) == name for ending in endings)
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


def test_heliolinx_has_three_files(tmp_path: Path) -> None:
    images = astropy.table.Table({"midpointMjdTai": [MIDPOINT_TAI], "ra": [10.0], "dec": [-1.0]})
    paths = write_catalog(
        make_candidates(2), tmp_path / "night.hldet", "heliolinx", [], Report("W84", images=images)
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "night.colformat",
        "night.hldet",
        "night.imgs",
    ]
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert (tmp_path / "night.imgs").read_text() == "60955.00000000 10.0000000 -1.0000000 W84\n"
    assert (tmp_path / "night.hldet").read_text().count("W84") == 2
    assert "OBSCODECOL 7" in (tmp_path / "night.colformat").read_text()


def test_a_refused_report_leaves_no_file(tmp_path: Path) -> None:
    assumed = make_candidates(assumedExposureTimeFlag=True)
    report = Report("X05", AdesContext.rubin())
    for name in ("ades", "heliolinx"):
        with pytest.raises(ValueError, match="assumedExposureTimeFlag"):
            write_catalog(assumed, tmp_path / "report", name, [], report)
    assert not list(tmp_path.iterdir())
    # Other formats have the flag.
    write_catalog(assumed, tmp_path / "all.csv", "csv", assumed.colnames)
    table = astropy.table.Table.read(tmp_path / "all.csv", format="ascii.csv")
    assert table["assumedExposureTimeFlag"].tolist() == ["True"]
