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
"""Tests of the benchmark of the domains as a command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click.testing
import numpy as np
import pytest

import domain_scenes
from domain_scenes import DOMAINS, make_scene
from domains import DomainJob, Method, cached, main, make_jobs, search

SHAPE = (320, 320)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_scenes, "SHAPE", SHAPE)


@pytest.mark.parametrize(
    ("text", "name", "mode"),
    [
        ("direct", "direct", "direct"),
        ("template", "template", "template"),
        ("difference", "difference", "difference"),
        ("template:direct", "template", "direct"),
        ("direct:difference", "direct", "difference"),
    ],
)
def test_the_mode_of_a_model(text: str, name: str, mode: str) -> None:
    assert Method.parse(text) == Method(name, mode)


def test_domains_of_one_mode_are_searched_in_that_mode_only() -> None:
    direct, difference = Method("direct", "direct"), Method("difference", "difference")
    jobs = make_jobs(list(DOMAINS), [direct, difference], 2, 5, None, None)
    assert {job.methods for job in jobs if job.domain == "kernel"} == {(difference,)}
    assert {job.methods for job in jobs if job.domain == "blank"} == {(direct, difference)}
    assert make_jobs(["kernel"], [direct], 2, 5, None, None) == []
    # Seeds of a domain do not depend on the domains that are searched.
    (alone,) = make_jobs(["deep"], [direct], 1, 5, None, None)
    assert alone.seed in {job.seed for job in jobs if job.domain == "deep"}
    assert len({job.seed for job in jobs}) == len(DOMAINS)


def test_candidates_on_new_points_are_not_false() -> None:
    """On a scene with points only, each candidate is on one, or false."""
    scene = make_scene(DOMAINS["blank"], 11, 0, "difference", shape=(512, 512))
    result = search(scene, "difference")
    moved = dataclasses.replace(scene, points=np.array([[-50.0, -50.0, 10.0]]))
    without = search(moved, "difference")
    called = np.count_nonzero(result.points[:, 2] > -np.inf)
    assert result.points.shape == (len(scene.points), 3)
    assert np.all(result.points[:, 0] >= 5.0)
    assert (
        np.count_nonzero(without.matches["isFalse"]) >= np.count_nonzero(result.matches["isFalse"]) + called
    )
    assert without.points[0, 2] == -np.inf
    # Both find the trails.
    assert np.count_nonzero(result.matches["isCandidate"] & result.matches["isTrail"]) >= 2
    assert result.search["modelThreshold10"][0] > 0.0


@pytest.mark.usefixtures("small")
def test_scenes_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = DomainJob("blank", 1, 0, (Method("direct", "direct"),), None, tmp_path / "cache")
    first = job.run()["direct:direct"]
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr("domains.make_scene", lambda *_: pytest.fail("The scene is cached."))
    np.testing.assert_array_equal(job.run()["direct:direct"].matches["score"], first.matches["score"])


def test_a_value_is_made_once(tmp_path: Path) -> None:
    made = []
    for path in (None, tmp_path / "sub" / "value", tmp_path / "sub" / "value"):
        assert cached(path, lambda: made.append(1) or 7) == 7
    assert len(made) == 2


@pytest.mark.usefixtures("small")
def test_the_command(tmp_path: Path) -> None:
    arguments = [
        "--scenes",
        "2",
        "--domain",
        "blank",
        "--domain",
        "kernel",
        "--jobs",
        "1",
        "-o",
        str(tmp_path),
    ]
    result = click.testing.CliRunner().invoke(
        main, [*arguments, "--model", "direct", "--model", "difference"], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "--data" in result.output
    document = json.loads((tmp_path / "domains.json").read_text())["methods"]
    assert set(document["direct:direct"]) == {"blank", "mean", "worst"}
    assert set(document["difference:difference"]) == {"blank", "kernel", "mean", "worst"}
    assert document["direct:direct"]["blank"]["megapixels"] == pytest.approx(2.0 * SHAPE[0] * SHAPE[1] / 1e6)
    assert document["direct:direct"]["blank"]["n_points"] >= 1
    # The sky is blank.
    assert document["direct:direct"]["blank"]["n_galaxies"] == 0
    assert document["direct:direct"]["blank"]["galaxies"] is None
    assert document["difference:difference"]["kernel"]["n_galaxies"] >= 0


@pytest.mark.usefixtures("small")
def test_no_domain_remains() -> None:
    result = click.testing.CliRunner().invoke(main, ["--domain", "dp1", "--model", "direct"])
    assert result.exit_code == 2
