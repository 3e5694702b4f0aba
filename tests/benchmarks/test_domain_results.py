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
"""Tests of the tables of the domains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lsst.meas.trails.core.operating_point import DETECTOR_PIXELS
from lsst.meas.trails.evaluation.match_table import ImageContext, MatchOptions, match_table, search_table

from ..evaluation.conftest import make_candidates, make_truth
from domain_contaminants import ContaminantScores
from domain_results import (
    SNR50_LIMIT,
    DomainResult,
    SceneResult,
    real_summary,
    summarize_domains,
    write_results,
)
from support.marks import warnings_are_errors

SIDE = 1280
"""Ten of these scenes have the area of a detector."""


def make_scene(seed: int, *, limit: float = 9.0, false: int = 4, visible: float = 1.0) -> SceneResult:
    """Return a scene of a model that finds trails of SNR 9 to 200 and some false candidates.

    Half of its points have a candidate with a score of 0.95, above all false ones.
    """
    rng = np.random.default_rng(seed)
    rows = np.stack(
        [
            160.0 * (np.arange(56) % 8) + 80.0,
            160.0 * (np.arange(56) // 8) + 80.0,
            np.exp(rng.uniform(np.log(6.0), np.log(60.0), 56)),
            rng.uniform(0.0, 180.0, 56),
        ],
        axis=1,
    )
    snr = np.exp(rng.uniform(np.log(3.0), np.log(3000.0), 40))
    found = (snr > limit) & (snr < 200.0)
    truth = make_truth(rows[:40], snr=snr, visible=visible)
    candidates = make_candidates(
        np.concatenate([rows[:40][found], rows[40 : 40 + false]]),
        score=np.concatenate([np.full(found.sum(), 0.9), rng.uniform(0.0, 0.8, false)]),
    )
    context = ImageContext(shape=(SIDE, SIDE))
    matches = match_table(candidates, truth, context, options=MatchOptions(min_visible_fraction=0.0))
    measured = {f"modelThreshold{rate}": 0.4 for rate in (1, 10, 100)}
    points = np.array([[20.0, 5.0, 0.95], [20.0, 5.0, -np.inf]])
    # Of two galaxies and an arm, false candidates lie on one galaxy and the arm.
    contaminants = ContaminantScores(np.array([0.95, -np.inf]), np.array([0.45]))
    return SceneResult(matches, search_table(matches, context, measured=measured), points, contaminants)


@pytest.fixture(scope="module")
def results() -> dict[str, DomainResult]:
    return {
        "easy": DomainResult([make_scene(seed) for seed in range(20)]),
        "hard": DomainResult([make_scene(seed, limit=14.0, false=8) for seed in range(20, 40)]),
    }


def test_numbers_of_a_known_model(results: dict[str, DomainResult]) -> None:
    values = summarize_domains(results)
    easy, hard = values["easy"], values["hard"]
    assert easy["megapixels"] == pytest.approx(2.0 * DETECTOR_PIXELS / 1e6, rel=0.01)
    # Bright trails that are missed do not enter SNR50.
    assert easy["snr50_at_10"] == pytest.approx(9.0, rel=0.1)
    assert hard["snr50_long_at_10"] == pytest.approx(14.0, rel=0.15)
    # Four or eight false candidates in each tenth of a detector; half of their scores are above 0.4.
    assert easy["own"] == pytest.approx(20.0, abs=5.0)
    assert hard["own"] == pytest.approx(40.0, abs=8.0)
    # Of a logarithmic range of 30 to 1500, 30 to 200 is found.
    expected = np.log(200.0 / 30.0) / np.log(1500.0 / 30.0)
    assert easy["bright"] == pytest.approx(expected, abs=0.1)
    assert easy["points"] == 0.5
    assert easy["n_points"] == 40
    assert (easy["n_galaxies"], easy["galaxies"], easy["galaxies_own"]) == (40, 0.5, 0.5)
    assert easy["threshold_at_10"] > 0.45
    assert (easy["n_arms"], easy["arms"], easy["arms_own"]) == (20, 0.0, 1.0)
    assert values["mean"]["n_galaxies"] == 80


def test_mean_and_worst(results: dict[str, DomainResult]) -> None:
    values = summarize_domains(results)
    easy, hard = values["easy"], values["hard"]
    for key, worst in (("snr50_at_10", max), ("snr50_long_at_1", max), ("bright", min), ("own", max)):
        assert values["mean"][key] == pytest.approx(0.5 * (easy[key] + hard[key]))
        assert values["worst"][key] == worst(easy[key], hard[key])


def test_a_model_that_finds_nothing_has_the_worst_snr50(results: dict[str, DomainResult]) -> None:
    blind = DomainResult([make_scene(seed, limit=np.inf) for seed in range(5)])
    values = summarize_domains(dict(results) | {"blind": blind})
    assert values["worst"]["snr50_at_10"] == SNR50_LIMIT
    assert values["mean"]["snr50_at_10"] > 15.0
    assert values["worst"]["bright"] == 0.0


def test_trails_on_saturated_stars_are_not_bright_ones() -> None:
    hidden = DomainResult([make_scene(seed, visible=0.9) for seed in range(5)])
    assert hidden.values()["n_bright"] == 0


def test_bins_reach_saturation(results: dict[str, DomainResult]) -> None:
    bins = results["easy"].bins()
    assert bins["high"].max() == 3000.0
    bright = bins[bins["low"] >= 300.0]
    assert np.all(bright["value"] == 0.0)


def row(test: str, snr: float, found: bool, **others: object) -> dict[str, object]:
    return {"test": test, "kind": "", "snr": snr, "length": 10.0, "fitted": 11.0, "found": found} | others


REAL = [
    row("alert", 10.0, True),
    *(row("alert", 10.0, False) for _ in range(3)),
    *(row("trail", 20.0, found, asked=20.0) for found in (True, False)),
    row("trail", 142.0, True, asked=np.inf),
    row("point", 12.0, True, asked=12.0),
    *(row("cutout", snr, snr > 10.0) for snr in np.geomspace(4.0, 29.0, 40)),
    row("cutout", 500.0, False),
    {"test": "calexp false", "kind": "calexp", "found": 2},
]


def test_real_images() -> None:
    values = real_summary(REAL)
    assert values["alerts"] == {"called": 0.25, "of": 4}
    assert [(r["snr"], r["called"], r["length_ratio"]) for r in values["trail"]] == [
        (20.0, 0.5, 1.1),
        (142.0, 1.0, 1.1),
    ]
    assert values["point"][0]["called"] == 1.0
    assert values["cutout"]["snr50"] == pytest.approx(10.0, rel=0.05)
    assert values["cutout"]["bins"][-1] == {"snr": [30.0, 1000.0], "found": 0.0, "of": 1}
    assert values["calexp_false"] == 2
    assert "calexp" not in values


@warnings_are_errors
def test_files(results: dict[str, DomainResult], tmp_path: Path) -> None:
    titles = {"easy": "Easy sky", "hard": "Hard sky"}
    text = write_results(tmp_path / "out", {"tiny:direct": results}, {"tiny:direct": REAL}, titles)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "domains.md",
        "domains.json",
        "completeness-tiny-direct.png",
    }
    assert (tmp_path / "out" / "domains.md").read_text() == text + "\n"
    assert "| tiny:direct | Easy sky | 40 | 50.0 | 50.0 | 20 | 0.0 | 100.0 |" in text
    for words in ("| tiny:direct | Easy sky |", "| tiny:direct | **worst** |", "| 60-150 pixels |"):
        assert (words in text) == ("60-150" not in words)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    # Each table has as many cells in all of its lines.
    header = 0
    for line, following in zip(lines[:-1], lines[1:], strict=True):
        if following.startswith("|---"):
            header = line.count("|")
        assert line.startswith("|---") or line.count("|") == header
    document = json.loads((tmp_path / "out" / "domains.json").read_text())
    assert document["methods"]["tiny:direct"]["easy"]["points"] == 0.5
    assert document["completeness"]["tiny:direct"]["hard"][0]["trails"] > 0
    assert document["real"]["tiny:direct"]["alerts"]["of"] == 4
