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

from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.repository.query import query_collection
from lsst.meas.trails.repository.visit_record import RepositoryError
from lsst.meas.trails.sim.simulation import Simulation

HINT = "simulate first"


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("query") / "repo"
    simulation = Simulation(seed=3, visits=2, detectors=2, shape=(64, 64), trails=0)
    list(simulation.run(open_or_create(str(path)), "input"))
    return str(path)


def test_order_and_condition(repo: str) -> None:
    butler, refs = query_collection(repo, "input", "preliminary_visit_image", hint=HINT)
    found = [(ref.dataId["visit"], ref.dataId["detector"]) for ref in refs]
    assert found == sorted(found)
    assert len(found) == 4
    assert butler.get(refs[0]).bbox.shape == (64, 64)
    where = f"visit = {found[0][0]} AND detector = 1"
    _, refs = query_collection(repo, "input", "preliminary_visit_image", where=where, hint=HINT)
    assert [ref.dataId["detector"] for ref in refs] == [1]


def test_nothing_to_find(repo: str, tmp_path: Path) -> None:
    for where_from, dataset_type, where, message in (
        ((str(tmp_path), "input"), "trail_mask", "", f"no Butler repository at {tmp_path}"),
        ((repo, "nothing"), "preliminary_visit_image", "", "'nothing'"),
        ((repo, "input"), "trail_mask", "", "trail_mask; simulate first"),
        ((repo, "input"), "preliminary_visit_image", "detector = 7", "where detector = 7"),
        ((repo, "input"), "preliminary_visit_image", "detector =", "where detector ="),
    ):
        with pytest.raises(RepositoryError, match=message):
            query_collection(*where_from, dataset_type, where=where, hint=HINT)


def test_lists_and_patterns(repo: str) -> None:
    for collection in ("inp*", "input,inp*", "i?put , input"):
        _, refs = query_collection(repo, collection, "preliminary_visit_image", hint=HINT)
        assert len(refs) == 4
