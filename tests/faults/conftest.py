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

import dataclasses
import hashlib
import itertools
import multiprocessing
import multiprocessing.process
import runpy
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import astropy.table
import numpy as np
import pytest

from lsst.daf.butler import Butler
from lsst.images import Image, Mask, VisitImage
from lsst.meas.trails.core.tiles.writer import TrailTiles

_CHILD = Path(__file__).with_name("child.py")
_PRELOADED = [
    "galsim",
    "pandas",
    "piff",
    "torch._dynamo",
    "torch.distributed.fsdp",
    "lsst.daf.butler.direct_butler",
    "lsst.ctrl.mpexec.cli.pipetask",
    "lsst.ctrl.mpexec.cli.cmd",
    "lsst.images.psfs",
    "lsst.meas.trails.cli.train",
    "lsst.meas.trails.nn.predict",
    "lsst.meas.trails.training.run",
    "lsst.meas.trails.sim.simulation",
    "lsst.meas.trails.tasks",
    "lsst.pipe.base.tests.mocks",
]
"""Modules that take seconds to import; the fork server imports them once, without threads."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Exit status and output of a process.

    Parameters
    ----------
    code
        Exit status; the negative number of a signal if one ended the process.
    output
        Output, on one line.
    """

    code: int
    output: str


class Running:
    """A process that may still be running."""

    def __init__(self, process: multiprocessing.process.BaseProcess, log: Path) -> None:
        self._process, self._log = process, log

    def wait(self) -> Outcome:
        """Wait for the end of the process."""
        self._process.join(900.0)
        assert self._process.exitcode is not None, f"does not end: {self._log.read_text()}"
        output = " ".join(self._log.read_text(errors="replace").split())
        return Outcome(self._process.exitcode, output)


class Faulty:
    """Runner of commands in processes with injected faults."""

    def __init__(self, folder: Path) -> None:
        self._logs = (folder / f"{number}.log" for number in itertools.count())
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED)

    def start(
        self,
        *command: object,
        killed_in: str = "",
        when: str = "",
        count: int = 1,
        cut: bool = False,
        unprivileged: bool = False,
        limits: Mapping[str, int] | None = None,
        limited_in: str = "",
        start: Path | None = None,
    ) -> Running:
        """Start a command.

        Parameters
        ----------
        command
            ``pipetask`` or ``meas-trails``, and arguments.
        killed_in, when, count, cut
            Function, as ``module:name``. Its ``count``-th call with ``when``
            in the arguments kills the process with SIGKILL; with ``cut`` the
            first file among the arguments loses its second half.
        unprivileged
            Apply permissions of files to root too.
        limits
            Limits of resources by name in `resource`, without ``RLIMIT_``;
            ``AS`` is added to the present size and needs Linux.
        limited_in
            Function, as ``module:name``, whose first call sets the limits; by
            default they are set at the start.
        start
            File to wait for.
        """
        log = next(self._logs)
        kill = {"target": killed_in, "when": when, "count": count, "cut": cut} if killed_in else None
        request = {
            "command": list(map(str, command)),
            "log": str(log),
            "killed_in": kill,
            "unprivileged": unprivileged,
            "limits": dict(limits or {}),
            "limited_in": limited_in,
            "start": str(start or ""),
        }
        process = self._context.Process(
            target=runpy.run_path, args=(str(_CHILD),), kwargs={"init_globals": {"REQUEST": request}}
        )
        process.start()
        return Running(process, log)

    def run(self, *command: object, **circumstances: Any) -> Outcome:
        """Run a command to its end; see `start`."""
        return self.start(*command, **circumstances).wait()

    def succeed(self, *command: object, **circumstances: Any) -> str:
        """Run a command that must succeed, and return its output."""
        outcome = self.run(*command, **circumstances)
        assert outcome.code == 0, outcome.output
        return outcome.output


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Faulty:
    """Return a runner of commands with injected faults."""
    return Faulty(tmp_path_factory.mktemp("faulty"))


PIPELINES = Path(__file__).parents[2] / "pipelines"

OUTPUTS: dict[str, tuple[str, ...]] = {
    "trailSegmentation": ("trail_probability", "trail_mask"),
    "trailCandidate": ("trail_candidate_detector",),
    "consolidateTrailCandidates": ("trail_candidate",),
    "injectTrails": (
        "injected_preliminary_visit_image",
        "injected_preliminary_visit_image_catalog",
        "injected_trail_mask",
    ),
    "tileToHdf5": ("trail_tiles",),
}
"""Outputs of each task."""


def fingerprint(content: Any) -> str:
    """Return a checksum of the content of a dataset."""
    if isinstance(content, VisitImage):
        arrays = [content.image.array, content.variance.array, content.mask.array]
    elif isinstance(content, Image | Mask):
        arrays = [content.array]
    elif isinstance(content, TrailTiles):
        arrays = [*content.pixels.values(), content.table]
    else:
        assert isinstance(content, astropy.table.Table), type(content)
        arrays = [np.asarray(content[name]) for name in content.colnames]
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Repo:
    """A copy of the repository of the fixture `chain` that tests may damage.

    Parameters
    ----------
    path
        Folder of the repository.
    detector
        The one detector that commands of `pipetask` run on.
    """

    path: Path
    detector: int = 1

    def pipetask(self, pipeline: str, *options: object, output: str = "again") -> tuple[object, ...]:
        """Return the command that runs a pipeline with an output collection."""
        return (
            "pipetask", "run", "-b", self.path, "-p", PIPELINES / pipeline, "-i", "input", "-o", output,
            "-d", f"instrument = 'TrailSimCam' AND detector = {self.detector}", *options,
        )  # fmt: skip

    def runs(self, pattern: str = "again/*") -> list[str]:
        """Return the names of runs, the oldest first."""
        return sorted(Butler.from_config(self.path).collections.query(pattern))

    def read(self, runs: str | list[str]) -> dict[str, list[str]]:
        """Read every registered dataset of the detector in some runs.

        Returns
        -------
        fingerprints
            Checksums of the datasets of each output type.

        Raises
        ------
        Exception
            Raised by the Butler if a dataset is damaged or missing.
        """
        butler = Butler.from_config(self.path)
        found = {}
        for name in itertools.chain.from_iterable(OUTPUTS.values()):
            refs = []
            if list(butler.registry.queryDatasetTypes(name)):
                refs = butler.query_datasets(name, runs, find_first=False, explain=False)
            contents = [
                fingerprint(butler.get(ref))
                for ref in sorted(refs)
                if ref.dataId.get("detector", self.detector) == self.detector
            ]
            if contents:
                found[name] = contents
        return found

    def expected(self, *tasks: str) -> dict[str, list[str]]:
        """Return the result of `read` for the outputs of some tasks without faults."""
        done = self.read(["trails/detected", "trails/training"])
        # The original catalog of the visit includes other detectors.
        done["trail_candidate"] = done["trail_candidate_detector"]
        return {name: done[name] for task in tasks for name in OUTPUTS[task]}


@pytest.fixture
def repo(chain: Any, tmp_path: Path) -> Repo:
    """Return a copy, for one test, of a repository in which the pipelines have run."""
    shutil.copytree(chain.repo, tmp_path / "repo")
    return Repo(tmp_path / "repo")
