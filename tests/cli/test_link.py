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

"""Tests of ``meas-trails link``."""

from __future__ import annotations

from pathlib import Path

import astropy.table
import pytest
from click.testing import CliRunner

from lsst.daf.butler import Butler, DatasetType
from lsst.meas.trails.cli import main
from lsst.meas.trails.core.linking.columns import TRACKLET_COLUMNS
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.sim.simulation import Simulation

from support.linking import moving_object


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["link", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the candidates of two visits in each of two nights."""
    folder: Path = tmp_path_factory.mktemp("link") / "repo"
    open_or_create(folder)
    butler = Butler.from_config(folder, run="found", writeable=True)
    for name, dimensions in (
        ("trail_candidate_detector", ["instrument", "visit", "detector"]),
        ("trail_candidate", ["instrument", "visit"]),
    ):
        dataset_type = DatasetType(name, butler.dimensions.conform(dimensions), "ArrowAstropy")
        butler.registry.registerDatasetType(dataset_type)
    catalogs = moving_object([0.0, 25.0, 50.0, 75.0])
    for seed in (1, 2):
        simulation = Simulation(seed=seed, visits=2, shape=(64, 64))
        simulation.register(butler, "input")
        for index in range(2):
            table = catalogs.pop(0)
            table["visit"], table["detector"] = simulation.plan(index).visit, 0
            data_id = {"instrument": "TrailSimCam", "visit": simulation.plan(index).visit}
            table.meta["scoreAtFalsePerDetector"] = {"10": 0.6}
            butler.put(table, "trail_candidate_detector", {**data_id, "detector": 0})
            butler.registry.registerRun("visits")
            butler.put(table, "trail_candidate", data_id, run="visits")
    return folder


def test_all_nights_are_linked(repo: Path, tmp_path: Path) -> None:
    code, output = invoke(repo, "found", "-o", tmp_path / "t.ecsv", "--members", tmp_path / "m.parquet")
    assert code == 0
    assert "1 tracklets of 4 candidates in 4 visits" in output
    tracklets = astropy.table.Table.read(tmp_path / "t.ecsv")
    assert tracklets.colnames == list(TRACKLET_COLUMNS)
    assert list(tracklets["nMembers"]) == [4]
    assert len(astropy.table.Table.read(tmp_path / "m.parquet")) == 4


def test_printed_with_scores(repo: Path) -> None:
    code, output = invoke(repo, "found", "--digest2", "--max-gap", 30)
    assert code == 0
    assert "digest2Neo" in output
    assert "100.0" in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--min-score", 0.95), "0 tracklets of 0 candidates"),
        (("--max-gap", 20), "0 tracklets of 4 candidates"),
        (("-o", "t.psv"), "t.psv"),
        (("-o", "t.txt"), "t.txt"),
        (("--digest2", "--station", "QQQ"), "'QQQ'"),
    ],
)
def test_options(repo: Path, options: tuple[object, ...], message: str) -> None:
    code, output = invoke(repo, "found", *options)
    assert message in output
    assert (code == 0) is message.startswith("0 ")


def test_missing_catalogs(repo: Path) -> None:
    code, output = invoke(repo, "visits")
    assert code == 1
    assert "trail_candidate_detector" in output


def test_votable(repo: Path, tmp_path: Path) -> None:
    code, _ = invoke(repo, "found", "-o", tmp_path / "t.vot", "--members", tmp_path / "m.vot")
    assert code == 0
    assert str(astropy.table.Table.read(tmp_path / "t.vot")["mag"].unit) == "mag"
