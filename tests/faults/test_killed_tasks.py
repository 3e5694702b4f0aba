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

"""Tasks that are killed with SIGKILL while they work."""

from __future__ import annotations

import signal
from typing import Any

import pytest

pytestmark = pytest.mark.process

_TRANSFER = "lsst.resources.file:FileResourcePath.transfer_from"
"""Moves what was written to its place: the process dies with half a file."""

_REGISTER = "lsst.daf.butler.datastores.fileDatastore:FileDatastore._register_datasets"
"""Notes in the repository what was written: the process dies before."""

_CHECK = "lsst.meas.trails.core.hdf5:Hdf5Output.check"
"""Is called between the parts of an HDF5 file."""


def test_detection_killed_in_each_task(repo: Any, faulty: Any) -> None:
    def killed(*options: str, **how: Any) -> dict[str, list[str]]:
        outcome = faulty.run(*repo.pipetask("DetectTrails.yaml", *options), **how)
        assert outcome.code == -signal.SIGKILL, outcome.output
        # All that the repository says it has can be read.
        return repo.read("again/*")

    expected = repo.expected("trailSegmentation", "trailCandidate", "consolidateTrailCandidates")
    # In the second of the two datasets, which come in any order.
    found = killed(killed_in=_TRANSFER, when="/trail_", count=2, cut=True)
    names = ["trail_probability", "trail_mask"]
    assert len(found) == 1
    assert found.items() <= expected.items()
    # The options that go on in the same run in place of a new one.
    extend = ("--extend-run", "--skip-existing", "--clobber-outputs")
    # Its file is there, and the repository does not know of it.
    found = killed(*extend, killed_in=_REGISTER, when="trail_candidate_detector")
    assert found == {name: expected[name] for name in names}
    found = killed(*extend, killed_in=_TRANSFER, when="trail_candidate/", cut=True)
    names += ["trail_candidate_detector"]
    assert found == {name: expected[name] for name in names}

    faulty.succeed(*repo.pipetask("DetectTrails.yaml", *extend))
    (run,) = repo.runs()
    assert repo.read(run) == expected


def test_training_set_killed_in_each_task(repo: Any, faulty: Any) -> None:
    """The same command begins a new run, which is complete at last."""
    command = repo.pipetask("MakeTrainingSet.yaml")
    expected = repo.expected("injectTrails", "tileToHdf5")
    # In the last of three datasets, which come in any order.
    outcome = faulty.run(*command, killed_in=_TRANSFER, when="/injected_", count=3, cut=True)
    assert outcome.code == -signal.SIGKILL, outcome.output
    found = repo.read(repo.runs()[-1])
    assert len(found) == 2
    assert found.items() <= expected.items()
    outcome = faulty.run(*command, killed_in=_CHECK, count=3)
    assert outcome.code == -signal.SIGKILL, outcome.output
    del expected["trail_tiles"]
    assert repo.read(repo.runs()[-1]) == expected

    faulty.succeed(*command)
    first, second, third = repo.runs()
    assert repo.read(third) == repo.expected("injectTrails", "tileToHdf5")
