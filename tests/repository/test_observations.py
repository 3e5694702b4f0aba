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

import shutil
from pathlib import Path
from typing import Any

import astropy.table
import numpy as np
import pytest

from lsst.daf.butler import Butler, CollectionType, DatasetType
from lsst.meas.trails.core.catalog.selection import CandidateSelection
from lsst.meas.trails.repository.observations import read_observations
from lsst.meas.trails.repository.visit_record import RepositoryError

from support.observations import make_tracklets


def put(butler: Butler, run: str, name: str, data_id: dict[str, Any], table: astropy.table.Table) -> None:
    dimensions = ("instrument", "day_obs") if "day_obs" in data_id else ("instrument", "visit", "detector")
    universe = butler.dimensions
    butler.registry.registerDatasetType(
        DatasetType(name, dimensions=dimensions, storageClass="ArrowAstropy", universe=universe)
    )
    butler.collections.register(run)
    butler.put(table, name, data_id, run=run)


@pytest.fixture
def linked(chain: Any, tmp_path: Path) -> tuple[str, list[int]]:
    """Return a repository with a tracklet of the first and the last candidate, and all candidates."""
    shutil.copytree(chain.repo, tmp_path / "repo")
    butler = Butler.from_config(tmp_path / "repo", writeable=True)
    catalog = chain.butler(chain.detected).get("trail_candidate", chain.data_id(1))
    order = np.argsort(catalog["score"])
    identifiers = catalog["trailCandidateId"][order].tolist()
    first, last = identifiers[0], identifiers[-1]
    tracklets, members = make_tracklets({first: [(first, 1), (last, 0)]}, chance=[0.1], designation=["433"])
    night = {"instrument": "TrailSimCam", "day_obs": int(str(chain.visit)[:8])}
    put(butler, "links", "trail_tracklet", night, tracklets)
    put(butler, "links", "trail_tracklet_member", night, members)
    return str(tmp_path / "repo"), identifiers


def test_without_tracklets(chain: Any) -> None:
    found = read_observations(str(chain.repo), chain.detected, CandidateSelection(streaks=True))
    assert found.instruments == ("TrailSimCam",)
    assert set(found.table["physical_filter"]) == {"r_sim"}
    assert np.all(np.asarray(found.table["psfFwhm"]) > 0.3)
    assert not np.any(found.table["trackletId"])
    assert found.images["visit"].tolist() == [chain.visit]
    assert found.images["midpointMjdTai"][0] == found.table["midpointMjdTai"][0]
    with pytest.raises(RepositoryError, match="trail_tracklet"):
        read_observations(str(chain.repo), chain.detected, CandidateSelection(), tracklets=chain.detected)


def test_tracklets_are_complete(chain: Any, linked: tuple[str, list[int]]) -> None:
    """A selected member brings the other one, whatever its score."""
    repo, identifiers = linked
    best = CandidateSelection(streaks=True, limit=1)
    found = read_observations(repo, chain.detected, best, tracklets="links")
    assert found.table["trailCandidateId"].tolist() == [identifiers[-1], identifiers[0]]
    assert found.table["firstEnd"].tolist() == [0, 1]
    assert found.table["trackletId"].tolist() == [identifiers[0]] * 2
    assert found.table["designation"].tolist() == ["433", "433"]
    assert len(read_observations(repo, chain.detected, best).table) == 1
    # The collection of the candidates may have the tracklets.
    butler = Butler.from_config(repo, writeable=True)
    butler.collections.register("all", CollectionType.CHAINED)
    butler.collections.redefine_chain("all", ["links", chain.detected])
    assert len(read_observations(repo, "all", best).table) == 2


def test_designations_of_associated_candidates(chain: Any, linked: tuple[str, list[int]]) -> None:
    repo, identifiers = linked
    butler = Butler.from_config(repo, writeable=True)
    associated = chain.butler(chain.detected).get("trail_candidate_detector", chain.data_id(1))
    wanted = int(associated["trailCandidateId"][0])
    associated["designation"] = [
        "2024 AB12" if identifier == wanted else "" for identifier in associated["trailCandidateId"]
    ]
    associated["motionAngle"] = 90.0
    put(butler, "associated", "trail_candidate_associated_detector", chain.data_id(1), associated)
    butler.collections.register("all", CollectionType.CHAINED)
    butler.collections.redefine_chain("all", ["associated", chain.detected])
    table = read_observations(repo, "all", CandidateSelection(streaks=True)).table
    assert sorted(table["trailCandidateId"].tolist()) == sorted(identifiers)
    named = {row["trailCandidateId"]: row["designation"] for row in table if row["designation"]}
    assert named == {wanted: "2024 AB12"}
