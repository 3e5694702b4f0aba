# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# This program is free software: you can redistribute it and/or modify
# it under the terms of the GNU General Public License as published by
# the Free Software Foundation, either version 3 of the License, or
# (at your option) any later version.
#
# This program is distributed in the hope that it will be useful,
# but WITHOUT ANY WARRANTY; without even the implied warranty of
# MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
# GNU General Public License for more details.
#
# You should have received a copy of the GNU General Public License
# along with this program.  If not, see <https://www.gnu.org/licenses/>.

"""What the documentation says agrees with the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsst.meas.trails.core.catalog import CANDIDATE_COLUMNS
from lsst.meas.trails.core.truth import TRUTH_COLUMNS

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def catalog_page() -> dict[str, list[list[str]]]:
    """Return the cells of the tables of doc/catalog.md by column name."""
    rows: dict[str, list[list[str]]] = {}
    for line in (ROOT / "doc" / "catalog.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 4:
            rows.setdefault(cells[0].strip("`"), []).append(cells[2:])
    return rows


@pytest.mark.parametrize("name", CANDIDATE_COLUMNS)
def test_candidate_columns_are_documented(name: str, catalog_page: dict[str, list[list[str]]]) -> None:
    _, unit, description = CANDIDATE_COLUMNS[name]
    assert ["" if unit is None else unit.to_string(), description] in catalog_page[name]


@pytest.mark.parametrize("name", TRUTH_COLUMNS)
def test_truth_columns_are_documented(name: str, catalog_page: dict[str, list[list[str]]]) -> None:
    unit, description = TRUTH_COLUMNS[name]
    assert ["" if unit is None else unit.to_string(), description] in catalog_page[name]


def test_readme_names_only_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    for name in ("doc/images/demo.png", "doc/catalog.md", "doc/model-direct.md", "config/train/direct.yaml"):
        assert f"({name})" in text
        assert (ROOT / name).is_file()
