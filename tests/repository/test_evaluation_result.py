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

"""Tests of reading the output of an evaluation."""

from __future__ import annotations

import shutil
from pathlib import Path

import astropy.table
import numpy as np
import pytest

from lsst.daf.butler import Butler, DatasetType
from lsst.meas.trails.core.catalog.columns import empty_catalog
from lsst.meas.trails.repository.butler import (
    Dataset,
    RepositoryError,
    open_or_create,
    put_datasets,
    register_instrument,
    register_visit,
)
from lsst.meas.trails.repository.candidates import CATALOG_TYPE
from lsst.meas.trails.repository.evaluation_result import (
    MATCHES_TYPE,
    METRICS_TYPE,
    SEARCH_TYPE,
    read_evaluation,
)
from lsst.meas.trails.sim.instrument import TrailSimCam
from lsst.meas.trails.sim.simulation import Simulation


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the evaluation of two visits."""
    folder = tmp_path_factory.mktemp("evaluation") / "repo"
    butler = open_or_create(folder)
    register_instrument(butler, TrailSimCam())
    simulation = Simulation(seed=3, visits=2, shape=(64, 64))
    name = TrailSimCam.getName()
    for number in range(2):
        record = simulation.record(number)
        register_visit(butler, record)
        data_id = {"instrument": name, "visit": record.visit, "detector": 0}
        table = astropy.table.Table({"number": [number, number]})
        put_datasets(butler, "evaluated", data_id, [Dataset(MATCHES_TYPE, "ArrowAstropy", table)])
    metrics = astropy.table.Table({"metric": ["auc"], "value": [0.9]})
    instrument_type = DatasetType(METRICS_TYPE, butler.dimensions.conform(["instrument"]), "ArrowAstropy")
    writeable = Butler.from_config(folder, run="evaluated", writeable=True)
    writeable.registry.registerDatasetType(instrument_type)
    writeable.put(metrics, METRICS_TYPE, instrument=name)
    return folder


def test_tables_of_an_evaluation(repo: Path) -> None:
    result = read_evaluation(str(repo), "evaluated")
    assert (result.collection, result.instrument) == ("evaluated", "TrailSimCam")
    assert result.metrics["value"][0] == 0.9
    tables = list(result.tables(MATCHES_TYPE))
    assert [table["number"][0] for table in tables] == [0, 1]
    assert all(np.all(table["instrument"] == "TrailSimCam") for table in tables)
    # Datasets that were not written.
    assert list(result.tables(SEARCH_TYPE)) == []
    assert len(result.models()) == 0
    assert result.versions() == {}
    assert result.configurations() == {}


def test_models_of_an_evaluation(repo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "repo"
    shutil.copytree(repo, copy)
    butler = Butler.from_config(copy, writeable=True)
    for number, covered in enumerate((0.9, 0.0)):
        table = empty_catalog()
        table.meta.update(trailModel={"name": "m", "version": "1", "sha256": "ab"}, templateCoverage=covered)
        visit = Simulation(seed=3, visits=2, shape=(64, 64)).record(number).visit
        data_id = {"instrument": TrailSimCam.getName(), "visit": visit, "detector": 0}
        put_datasets(butler, "evaluated", data_id, [Dataset(CATALOG_TYPE, "ArrowAstropy", table)])
    (row,) = read_evaluation(str(copy), "evaluated").models()
    assert tuple(row) == ("m", "1", "ab", 2, 1)


def test_other_instruments(repo: Path) -> None:
    assert read_evaluation(str(repo), "evaluated", "TrailSimCam").instrument == "TrailSimCam"
    with pytest.raises(RepositoryError, match="TrailSimCam, not of 'LSSTCam'"):
        read_evaluation(str(repo), "evaluated", "LSSTCam")


def test_missing_evaluations(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="nothing"):
        read_evaluation(str(repo), "nothing")
    with pytest.raises(RepositoryError, match=str(tmp_path)):
        read_evaluation(str(tmp_path), "evaluated")
