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

"""Tasks that are killed with SIGKILL."""

from __future__ import annotations

import signal
from typing import Any

import pytest

pytestmark = pytest.mark.process

_TRANSFER = "lsst.resources.file:FileResourcePath.transfer_from"
"""Function that moves a written file to its place; the kill leaves half a file."""

_REGISTER = "lsst.daf.butler.datastores.fileDatastore:FileDatastore._register_datasets"
"""Function that registers a written file; the kill leaves it unregistered."""

_CHECK = "lsst.meas.trails.core.hdf5:Hdf5Output.check"
"""Function called between the parts of an HDF5 file."""


def test_detection_killed_in_each_task(repo: Any, faulty: Any) -> None:
    def killed(*options: str, **how: Any) -> dict[str, list[str]]:
        outcome = faulty.run(*repo.pipetask("DetectTrails.yaml", *options), **how)
        assert outcome.code == -signal.SIGKILL, outcome.output
        # Every registered dataset is readable.
        return repo.read("again/*")

    expected = repo.expected("trailSegmentation", "trailCandidate", "consolidateTrailCandidates")
    # Kill in the second of the two datasets, whose order varies; the schema of the catalogs comes first.
    found = killed(killed_in=_TRANSFER, when="/trail_", count=3, cut=True)
    names = ["trail_probability", "trail_mask"]
    assert len(found) == 1
    assert found.items() <= expected.items()
    # These options resume the run instead of starting another.
    extend = ("--extend-run", "--skip-existing", "--clobber-outputs")
    # The file exists but is not registered.
    found = killed(*extend, killed_in=_REGISTER, when="trail_candidate_detector")
    assert found == {name: expected[name] for name in names}
    found = killed(*extend, killed_in=_TRANSFER, when="trail_candidate/", cut=True)
    names += ["trail_candidate_detector"]
    assert found == {name: expected[name] for name in names}

    faulty.succeed(*repo.pipetask("DetectTrails.yaml", *extend))
    (run,) = repo.runs()
    assert repo.read(run) == expected


def test_training_set_killed_in_each_task(repo: Any, faulty: Any) -> None:
    """The same command starts another run, which is complete."""
    command = repo.pipetask("MakeTrainingSet.yaml")
    expected = repo.expected("injectTrails", "tileToHdf5")
    # Kill in the last of the three datasets, whose order varies.
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
