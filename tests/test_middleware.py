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

"""Runs of ``pipetask`` in several processes, and clients without this package's settings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import Result

from lsst.daf.butler import Butler, DatasetRef

pytestmark = pytest.mark.process

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"

Run = Callable[..., subprocess.CompletedProcess[str]]


def find(butler: Butler, dataset_type: str) -> dict[int, DatasetRef]:
    """Return the datasets of a type by detector."""
    return {int(ref.dataId["detector"]): ref for ref in butler.query_datasets(dataset_type, explain=False)}


def same_table(one: Any, other: Any) -> None:
    """Compare two catalogs."""
    assert one.colnames == other.colnames
    for name in one.colnames:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_parallel_run_and_repeated_quantum(
    chain: Any, fresh_repo: Any, run_program: Run, pipetask_run: Callable[..., Result]
) -> None:
    """Two quanta run at a time (``-j 2``); then only an interrupted quantum runs again."""
    arguments = (
        "-b", fresh_repo.repo, "-p", f"{PIPELINES / 'DetectTrails.yaml'}#perDetector",
        "-i", "input", "-o", "trails/two", "-d", "instrument = 'TrailSimCam' AND detector IN (0, 1)",
        "--register-dataset-types",
    )  # fmt: skip
    done = run_program("pipetask", "run", *arguments, "-j", 2)
    assert done.returncode == 0, done.stderr[-3000:]
    butler, one_at_a_time = fresh_repo.butler("trails/two"), chain.butler(chain.detected)
    expected = find(one_at_a_time, "trail_candidate_detector")
    catalogs = find(butler, "trail_candidate_detector")
    assert set(catalogs) == {0, 1}
    for detector, ref in catalogs.items():
        same_table(butler.get(ref), one_at_a_time.get(expected[detector]))

    # A process that is killed before it writes the metadata leaves this state.
    before = {name: find(butler, name) for name in ("trail_mask", "trail_candidate_detector")}
    lost = [find(butler, f"{label}_metadata")[1] for label in ("trailSegmentation", "trailCandidate")]
    run = lost[0].run
    Butler.from_config(fresh_repo.repo, writeable=True).pruneDatasets(
        lost, purge=True, unstore=True, disassociate=True
    )
    again = (*arguments, "--extend-run", "--skip-existing-in", "trails/two")
    refused = pipetask_run(*again)
    # Existing datasets are overwritten only on request.
    assert refused.exit_code != 0
    assert "already exists in the output run" in f"{refused.output} {refused.exception}"
    repeated = pipetask_run(*again, "--clobber-outputs")
    assert repeated.exit_code == 0, repeated.output
    butler = fresh_repo.butler("trails/two")
    for name, old in before.items():
        new = find(butler, name)
        assert set(new) == {0, 1}
        assert {ref.run for ref in new.values()} == {run}
        assert new[0].id == old[0].id
    same_table(butler.get("trail_candidate_detector", fresh_repo.data_id(1)), one_at_a_time.get(expected[1]))
    assert set(find(butler, "trailSegmentation_metadata")) == {0, 1}


READ_ALL = """
import json, sys
from lsst.daf.butler import Butler

butler = Butler.from_config(sys.argv[1], collections=sys.argv[2:])
found = {}
for dataset_type in butler.registry.queryDatasetTypes(...):
    for ref in butler.query_datasets(dataset_type.name, explain=False):
        try:
            read = butler.get(ref) is not None
        except Exception as error:
            read = f"{type(error).__name__}: {error}"
        found.setdefault(dataset_type.name, []).append(read)
print(json.dumps(found))
"""
"""Program of a client that reads all datasets in some collections."""


@pytest.mark.parametrize("configured", [False, True], ids=["without settings", "with settings"])
def test_repository_of_a_site(chain: Any, tmp_path: Path, configured: bool) -> None:
    """Tiles alone need this package's settings to be read."""
    repo = tmp_path / "repo"
    shutil.copytree(chain.repo, repo)
    content = yaml.safe_load((repo / "butler.yaml").read_text())
    assert "TrailTiles" in content.pop("storageClasses")
    assert content["datastore"].pop("formatters").keys() >= {"TrailTiles"}
    (repo / "butler.yaml").write_text(yaml.safe_dump(content))
    environment = {name: value for name, value in os.environ.items() if name != "DAF_BUTLER_CONFIG_PATH"}
    if configured:
        settings = PIPELINES.parent / "python/lsst/meas/trails/resources/butler"
        environment["DAF_BUTLER_CONFIG_PATH"] = str(settings)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, repo, chain.detected, chain.training],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=environment,
    )
    found: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
    assert len(found) > 12
    tiles = found.pop("trail_tiles")
    assert len(tiles) == 2
    if configured:
        assert tiles == [True, True]
    else:
        assert all("TrailTiles" in message for message in tiles)
    assert {"trail_mask", "trail_candidate", "preliminary_visit_image", "injected_trail_mask"} <= set(found)
    assert all(read is True for reads in found.values() for read in reads), found
