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

"""Tests of LinkTrailsTask."""

from __future__ import annotations

from pathlib import Path

import astropy.table
import pytest

from lsst.daf.butler import Butler, DatasetType
from lsst.meas.trails.core.linking.columns import TRACKLET_COLUMNS, TRACKLET_MEMBER_COLUMNS
from lsst.meas.trails.repository.butler import open_or_create
from lsst.meas.trails.sim.simulation import Simulation
from lsst.meas.trails.tasks import LinkTrailsConfig, LinkTrailsTask
from lsst.pipe.base import InvalidQuantumError, Pipeline
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor

from support.linking import moving_object

PIPELINE = "resource://lsst.meas.trails/resources/pipelines/LinkTrails.yaml"


def task(**changes: object) -> LinkTrailsTask:
    config = LinkTrailsConfig()
    for name, value in changes.items():
        setattr(config, name, value)
    config.validate()
    return LinkTrailsTask(config=config)


def test_run_links_and_counts() -> None:
    linked = task()
    result = linked.run(catalogs=moving_object([0.0, 30.0, 60.0]))
    assert list(result.trail_tracklet["nMembers"]) == [3]
    assert result.trail_tracklet.colnames == list(TRACKLET_COLUMNS)
    assert result.trail_tracklet_member.colnames == list(TRACKLET_MEMBER_COLUMNS)
    assert linked.metadata["nTracklets"] == 1
    assert linked.metadata["nCandidates"] == linked.metadata["nLinkable"] == 3


@pytest.mark.parametrize(
    ("changes", "scores", "count"),
    [
        ({}, {"10": 0.8}, 1),
        ({}, {"10": 0.95}, 0),
        ({"falsePerDetector": 1.0}, {"10": 0.1, "1": 0.95}, 0),
        ({"minScore": 0.5}, {"10": 0.95}, 1),
        ({"minScore": 0.95}, {}, 0),
        ({}, {}, 1),
    ],
)
def test_lowest_score(changes: dict, scores: dict, count: int) -> None:
    catalogs = moving_object([0.0, 30.0])
    for catalog in catalogs:
        catalog.meta["scoreAtFalsePerDetector"] = scores
    assert len(task(**changes).run(catalogs=catalogs).trail_tracklet) == count


@pytest.mark.parametrize(
    ("name", "value"),
    [("maxTimeGap", 20.0), ("maxRate", 4.0), ("maxChance", 0.0), ("maxChi2", 0.0)],
)
def test_configuration_reaches_linking(name: str, value: float) -> None:
    assert len(task(**{name: value}).run(catalogs=moving_object([0.0, 30.0])).trail_tracklet) == 0


def test_bad_tables_are_invalid() -> None:
    catalogs = moving_object([0.0, 30.0])
    with pytest.raises(InvalidQuantumError, match="trailCandidateId"):
        task().run(catalogs=[catalogs[0], catalogs[0]])
    catalogs[0].remove_column("score")
    with pytest.raises(InvalidQuantumError, match="score"):
        task().run(catalogs=catalogs)


def test_digest2_is_optional() -> None:
    catalogs = moving_object([0.0, 30.0])
    assert task(addDigest2=True).run(catalogs=catalogs).trail_tracklet["digest2Neo"][0] > 99.0
    with pytest.raises(InvalidQuantumError, match="'QQQ'"):
        task(addDigest2=True, observatoryCode="QQQ").run(catalogs=catalogs)


def put_visits(folder: Path, catalogs: list[astropy.table.Table], associated: bool) -> list[int]:
    """Put catalogs of the visits of two nights into a repository."""
    open_or_create(folder)
    butler = Butler.from_config(folder, run="found", writeable=True)
    dimensions = butler.dimensions.conform(["instrument", "visit"])
    kinds = ("trail_candidate", "trail_candidate_associated") if associated else ("trail_candidate",)
    for kind in kinds:
        butler.registry.registerDatasetType(DatasetType(kind, dimensions, "ArrowAstropy"))
    nights = []
    for seed in (1, 2):
        simulation = Simulation(seed=seed, visits=2, shape=(64, 64))
        simulation.register(butler, "input")
        for index in range(2):
            plan = simulation.plan(index)
            nights.append(plan.day_obs)
            table = catalogs.pop(0)
            table["visit"] = plan.visit
            data_id = {"instrument": "TrailSimCam", "visit": plan.visit}
            butler.put(table, "trail_candidate", data_id)
            if associated:
                table["designation"], table["ssObjectId"] = ["2026 AB"], [5]
                butler.put(table, "trail_candidate_associated", data_id)
    return nights


@pytest.mark.parametrize("associated", [False, True])
def test_pipeline_links_each_night(tmp_path: Path, associated: bool) -> None:
    # The second night's pair continues the first's: visits of two nights are never linked. The UTC date
    # changes within the first pair.
    shift = 0.79 * 1440.0
    catalogs = moving_object([shift, shift + 30.0, shift + 60.0, shift + 90.0])
    nights = put_visits(tmp_path / "repo", catalogs, associated)
    butler = SimplePipelineExecutor.prep_butler(str(tmp_path / "repo"), inputs=["found"], output="linked")
    executor = SimplePipelineExecutor.from_pipeline(Pipeline.from_uri(PIPELINE), butler=butler)
    executor.run(register_dataset_types=True)
    for night in set(nights):
        data_id = {"instrument": "TrailSimCam", "day_obs": night}
        tracklets = butler.get("trail_tracklet", data_id)
        assert list(tracklets["nMembers"]) == [2]
        assert list(tracklets["designation"]) == ["2026 AB" if associated else ""]
        assert len(butler.get("trail_tracklet_member", data_id)) == 2
