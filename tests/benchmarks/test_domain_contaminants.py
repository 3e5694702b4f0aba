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
"""Tests of false candidates on galaxies and diffraction spikes."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.meas.trails.core.planes import ImagePlanes
from lsst.meas.trails.core.psf import PsfGrid
from lsst.meas.trails.evaluation.match_table import ImageContext, match_table

from ..evaluation.conftest import make_candidates, make_truth
from domain_contaminants import (
    ContaminantScores,
    contaminant_values,
    score_contaminants,
    summarize_contaminants,
)
from domain_scenes import DomainScene

SHAPE = (400, 400)

TRAIL = (200.0, 350.0, 40.0, 0.0)

GALAXY = (100.0, 100.0, 30.0, 0.1, 12.0, 20.0)
"""At FWHM 4, candidates are on it within 16 pixels and 20 degrees."""

ARM = (300.0, 100.0, 300.0, 180.0)
"""An upward arm of a star at (300, 100); candidates are on it within 6 pixels and 15 degrees."""


def score(
    candidates: list[tuple[float, float, float, float]],
    scores: list[float] | float,
    galaxies: list[tuple[float, ...]] = [GALAXY],
    arms: list[tuple[float, ...]] = [ARM],
) -> ContaminantScores:
    """Return the scores of contaminants in an empty image with one trail."""
    pixels = np.zeros(SHAPE, dtype=np.float32)
    planes = ImagePlanes(
        image=pixels,
        variance=pixels + np.float32(1.0),
        mask=np.zeros(SHAPE, dtype=np.uint32),
        psf=PsfGrid.gaussian(4.0),
    )
    truth = make_truth([TRAIL])
    scene = DomainScene(
        planes,
        truth,
        np.zeros((0, 3)),
        np.array(galaxies, dtype=np.float64).reshape(-1, 6),
        np.array(arms, dtype=np.float64).reshape(-1, 4),
    )
    found = make_candidates(candidates, score=np.asarray(scores, dtype=np.float64))
    return score_contaminants(scene, match_table(found, truth, ImageContext(shape=SHAPE)))


@pytest.mark.parametrize(
    ("candidate", "on"),
    [
        ((100.0, 100.0, 20.0, 30.0), True),
        ((109.0, 109.0, 20.0, 45.0), True),
        # Angles of lines wrap at 180 degrees.
        ((100.0, 100.0, 20.0, 209.0 - 180.0), True),
        # Next to it, beyond it, and across it.
        ((88.0, 112.0, 20.0, 30.0), False),
        ((115.0, 108.7, 20.0, 30.0), False),
        ((100.0, 100.0, 20.0, 55.0), False),
    ],
)
def test_a_candidate_on_a_galaxy(candidate: tuple[float, float, float, float], on: bool) -> None:
    found = score([candidate], 0.8)
    assert found.galaxies.tolist() == [0.8 if on else -np.inf]
    assert found.arms.tolist() == [-np.inf]


@pytest.mark.parametrize(
    ("candidate", "on"),
    [
        ((300.0, 140.0, 30.0, 90.0), True),
        ((304.0, 175.0, 30.0, 100.0), True),
        # Through the star, along both arms.
        ((300.0, 100.0, 60.0, 90.0), True),
        # Next to it, beyond it, and across it.
        ((308.0, 140.0, 30.0, 90.0), False),
        ((300.0, 190.0, 30.0, 90.0), False),
        ((300.0, 140.0, 30.0, 70.0), False),
    ],
)
def test_a_candidate_on_an_arm(candidate: tuple[float, float, float, float], on: bool) -> None:
    found = score([candidate], 0.8)
    assert found.arms.tolist() == [0.8 if on else -np.inf]
    assert found.galaxies.tolist() == [-np.inf]


def test_the_best_score_counts() -> None:
    on = (300.0, 140.0, 30.0, 90.0)
    assert score([on, on, (100.0, 100.0, 20.0, 30.0)], [0.3, 0.7, 0.9]).arms.tolist() == [0.7]
    assert score([], []).galaxies.tolist() == [-np.inf]


def test_only_bright_edge_on_galaxies_count() -> None:
    x, y, angle, ratio, radius, _ = GALAXY
    faint, round_one = (x, y, angle, ratio, radius, 14.0), (x, y, angle, 0.25, radius, 90.0)
    assert score([], [], galaxies=[faint, round_one]).galaxies.size == 0


def test_true_trails_are_not_on_contaminants() -> None:
    """The trail lies along y = 350 from x = 180 to 220."""
    galaxies = [(x, y, 0.0, 0.1, 12.0, 20.0) for x, y in ((200.0, 355.0), (240.0, 350.0), (200.0, 366.0))]
    arms = [(100.0, 345.0, 300.0, 345.0), (100.0, 300.0, 170.0, 340.0), (150.0, 300.0, 150.0, 390.0)]
    found = score([TRAIL], 0.9, galaxies, arms)
    # The galaxy 16 pixels above and the arm 30 pixels to the left count; no false candidate is on them.
    assert found.galaxies.tolist() == [-np.inf]
    assert found.arms.tolist() == [-np.inf]


def test_fractions_of_domains() -> None:
    one = ContaminantScores(np.array([0.2, 0.6, -np.inf]), np.array([]))
    two = ContaminantScores(np.array([0.8]), np.array([]))
    values = contaminant_values([one, two], 0.5, 0.1)
    assert (values["n_galaxies"], values["galaxies"], values["galaxies_own"]) == (4, 0.5, 0.75)
    assert values["n_arms"] == 0
    assert np.isnan(values["arms"])
    # A model without a score of its own has no fraction at it.
    other = contaminant_values([two], 0.9, np.nan)
    assert other["galaxies"] == 0.0
    assert np.isnan(other["galaxies_own"])
    mean, worst = summarize_contaminants([values, other])
    assert (mean["n_galaxies"], mean["galaxies"], worst["galaxies"]) == (5, 0.4, 0.5)
    assert (mean["galaxies_own"], worst["galaxies_own"]) == (0.75, 0.75)
    assert np.isnan(mean["arms"])
    # No threshold is low enough to call a contaminant without a candidate.
    assert contaminant_values([one], -np.inf, -np.inf)["galaxies"] == pytest.approx(2.0 / 3.0)
