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

"""Repositories that are shared with other processes, read-only or on a full disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lsst.daf.butler import Butler

pytestmark = pytest.mark.process

_TASKS = ("trailSegmentation", "trailCandidate", "consolidateTrailCandidates")
_PIPELINES = Path(__file__).parents[2] / "pipelines"


def test_two_runs_at_once(repo: Any, faulty: Any, tmp_path: Path) -> None:
    """Both runs are complete, and the images are stored once."""
    start = tmp_path / "start"
    commands = [repo.pipetask("DetectTrails.yaml", output=name) for name in ("one", "two")]
    running = [faulty.start(*command, start=start) for command in commands]
    start.touch()
    outcomes = [process.wait() for process in running]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    expected = repo.expected(*_TASKS)
    assert repo.read(repo.runs("one/*")) == repo.read(repo.runs("two/*")) == expected


def test_two_processes_into_one_run(repo: Any, faulty: Any, tmp_path: Path) -> None:
    """One process owns the run, the second fails with a message, and nothing is lost."""
    start = tmp_path / "start"
    command = repo.pipetask("DetectTrails.yaml", "--output-run", "again/run")
    running = [faulty.start(*command, start=start) for _ in range(2)]
    start.touch()
    outcomes = sorted((process.wait() for process in running), key=lambda outcome: outcome.code)
    assert [outcome.code for outcome in outcomes] == [0, 1], outcomes
    # The message depends on how far the first process is: it has written datasets, made the run, or only
    # made the chain of collections.
    messages = (
        "in existing collection 'again/run'",
        "'again/run' already exists",
        "collection 'again' exists",
    )
    assert any(message in outcomes[1].output for message in messages), outcomes[1].output
    assert repo.read("again/run") == repo.expected(*_TASKS)
    # A third process is refused too.
    third = faulty.run(*command)
    assert third.code == 1
    assert "Output run 'again/run' already exists, but --extend-run was not given" in third.output
    assert repo.read("again/run") == repo.expected(*_TASKS)


def test_read_only_repository(repo: Any, faulty: Any) -> None:
    paths = [repo.path, *repo.path.rglob("*")]
    before = {path: path.stat().st_mode for path in paths}
    for path, mode in before.items():
        path.chmod(mode & ~0o222)
    commands = [
        repo.pipetask("DetectTrails.yaml"),
        ("meas-trails", "simulate", repo.path, "--size", 64, 64, "--detectors", 1, "--run", "more"),
    ]
    for command in commands:
        outcome = faulty.run(*command, unprivileged=True)
        assert outcome.code == 1
        assert "attempt to write a readonly database" in outcome.output
        assert str(repo.path) in outcome.output
    assert sorted([repo.path, *repo.path.rglob("*")]) == sorted(paths)
    # The repository stays readable.
    assert repo.expected(*_TASKS)

    for path, mode in before.items():
        path.chmod(mode)
    for command in commands:
        faulty.succeed(*command, unprivileged=True)
    assert repo.read(repo.runs()) == repo.expected(*_TASKS)


def test_full_disk(faulty: Any, tmp_path: Path) -> None:
    """A limit on file sizes acts like a full disk; ``full_disk.py`` fills a real one."""
    repo = tmp_path / "repo"
    faulty.succeed("meas-trails", "simulate", repo, "--size", 640, 640, "--detectors", 1)
    command = (
        "pipetask", "run", "-b", repo, "-p", f"{_PIPELINES / 'MakeTrainingSet.yaml'}#injectTrails",
        "-i", "input", "-o", "again",
    )  # fmt: skip
    # Space for the database and half an image.
    limit = (repo / "gen3.sqlite3").stat().st_size + 400_000
    outcome = faulty.run(*command, limits={"FSIZE": limit})
    assert outcome.code == 1
    assert "File too large" in outcome.output
    assert "injected_preliminary_visit_image" in outcome.output

    def content() -> dict[str, int]:
        """Count the readable datasets of each type."""
        butler = Butler.from_config(repo)
        names = ("injected_preliminary_visit_image", "injected_trail_mask")
        found = {}
        for name in names:
            runs = butler.collections.query("again/*")
            refs = butler.query_datasets(name, runs, find_first=False, explain=False)
            found[name] = len([butler.get(ref) for ref in refs])
        return found

    assert content()["injected_preliminary_visit_image"] == 0
    assert not list((repo / "again").rglob("injected_preliminary_visit_image/**/*.fits"))
    faulty.succeed(*command)
    assert content()["injected_preliminary_visit_image"] == 1
