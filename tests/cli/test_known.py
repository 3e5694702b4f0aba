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
import pytest
from click.testing import CliRunner, Result

from lsst.daf.butler import Butler, CollectionType
from lsst.meas.trails.cli import main


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["known", *(str(argument) for argument in arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    Butler.makeRepo(tmp_path / "repo")
    return tmp_path / "repo"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "objects.ecsv"
    names = ("designation", "mjdTai", "ra", "dec", "rateRa", "rateDec")
    rows = [("2026 AB1", 61000.1, 150.0, 10.0, 1.0, 2.0), ("mine", 61000.2, 150.1, 10.1, -1.0, 0.0)]
    astropy.table.Table(rows=rows, names=names).write(path)
    return path


def test_a_table_goes_in_and_is_listed(repo: Path, file: Path) -> None:
    done = invoke("ingest", repo, file)
    assert done.exit_code == 0, done.output
    assert "known/objects" in done.output
    listed = invoke("list", repo)
    assert listed.exit_code == 0
    assert "known/objects" in listed.output
    assert "61000.20000" in listed.output
    table = Butler.from_config(repo, collections="known/objects").get("known_objects")
    assert list(table["designation"]) == ["2026 AB1", "mine"]


def test_one_time_for_all_rows(repo: Path, file: Path) -> None:
    table = astropy.table.Table.read(file)
    table.remove_column("mjdTai")
    table.write(file, overwrite=True)
    assert "--mjd" in invoke("ingest", repo, file).output
    assert invoke("ingest", repo, file, "--mjd", 61000.3, "--run", "mine").exit_code == 0
    assert "61000.30000" in invoke("list", repo).output


def test_messages(repo: Path, file: Path, tmp_path: Path) -> None:
    assert "has no known_objects" in invoke("list", repo).output
    assert invoke("ingest", repo, file, "--run", "mine").exit_code == 0
    Butler.from_config(repo, writeable=True).collections.register("chain", CollectionType.CHAINED)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("designation,mjdTai,ra,dec\na,61000.1,10.0,20.0\nb,61000.1,10.0,\n")
    empty = tmp_path / "empty.csv"
    empty.write_text("designation,mjdTai,ra,dec\n")
    for arguments, message in (
        (("ingest", repo, file, "--run", "mine"), "choose another --run"),
        (("ingest", repo, file, "--run", "chain"), "RUN"),
        (("ingest", tmp_path / "nothing", file), "no Butler repository"),
        (("list", tmp_path / "nothing"), "no Butler repository"),
        (("ingest", repo, wrong), "row 2, column dec"),
        (("ingest", repo, empty), "no rows"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 1, arguments
        assert message in " ".join(result.output.split()), result.output
