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

import pytest
from click.testing import CliRunner, Result

from lsst.daf.butler import Butler, CollectionType
from lsst.meas.trails.cli import main
from lsst.meas.trails.nn.model_file import load_model, shipped_model_path


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["model", *(str(argument) for argument in arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    Butler.makeRepo(tmp_path / "repo")
    return tmp_path / "repo"


def test_a_model_goes_in_and_comes_out(repo: Path, tmp_path: Path) -> None:
    original = load_model(shipped_model_path())
    done = invoke("ingest", "direct", repo)
    assert done.exit_code == 0, done.output
    run = f"models/direct/{original.specification.version}"
    assert run in done.output
    listed = invoke("list", repo)
    assert run in listed.output
    assert original.checksum[:12] in listed.output
    assert invoke("export", repo, run, "-o", tmp_path / "mine.json").exit_code == 0
    assert load_model(tmp_path / "mine.json").checksum == original.checksum
    # What is there is not written over without being asked.
    again = invoke("export", repo, run, "-o", tmp_path / "mine.json")
    assert again.exit_code == 1
    assert "--overwrite" in again.output
    assert invoke("export", repo, run, "-o", tmp_path / "mine.json", "--overwrite").exit_code == 0


def test_a_run_holds_one_model(repo: Path) -> None:
    assert invoke("ingest", "direct", repo, "--run", "models/mine").exit_code == 0
    again = invoke("ingest", "direct", repo, "--run", "models/mine")
    assert again.exit_code == 1
    assert "choose another --run" in again.output
    Butler.from_config(repo, writeable=True).collections.register("chain", CollectionType.CHAINED)
    chained = invoke("ingest", "direct", repo, "--run", "chain")
    assert chained.exit_code == 1
    assert "RUN" in chained.output


def test_models_of_the_package() -> None:
    listed = invoke("list")
    assert listed.exit_code == 0
    assert "direct" in listed.output


def test_messages(repo: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("ingest", "direct", tmp_path / "nothing"), "There is no Butler repository"),
        (("ingest", "nothing", repo), "'nothing'"),
        (("list", repo), "has no models"),
        (("export", repo, "nothing", "-o", tmp_path / "m.json"), "no collection named 'nothing'"),
        (("export", repo, "nothing", "-o", tmp_path / "m"), "does not end in .json"),
    ):
        result = invoke(*arguments)
        assert result.exit_code != 0
        assert message in result.output
