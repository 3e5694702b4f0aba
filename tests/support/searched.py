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

"""Searched scenes with random candidates."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from lsst.meas.trails.core.candidates.score import LOGIT_COLUMN
from lsst.meas.trails.core.operating_point import DETECTOR_PIXELS
from lsst.meas.trails.training.candidate_sample import SearchedScene

PAIR = (0.1, 0.2)
"""Grow and seed threshold of the scenes."""


def make_table(rng: np.random.Generator, is_true: np.ndarray, shift: float = 0.0) -> Table:
    """Return random candidates whose probability tells trails from others, but for some overlap."""
    count = len(is_true)
    top = 1.0 / (1.0 + np.exp(-rng.normal(np.where(is_true, 1.5, -1.5) + shift, 1.5)))
    return Table(
        {
            "topProbability": top,
            "peakProbability": np.clip(top + 0.02, 0.0, 1.0),
            "trailLengthPix": rng.uniform(6.0, 100.0, count),
            "snr": rng.uniform(4.0, 40.0, count),
            "trailChi2": rng.chisquare(200.0, count),
            "trailNdata": np.full(count, 200),
            "deltaChi2": rng.uniform(20.0, 200.0, count),
            "wideSignificance": rng.normal(size=count),
            "coreSignificance": rng.normal(size=count),
            "lengthSignificance": rng.normal(size=count),
            "componentWidth": rng.uniform(3.0, 6.0, count),
            "psfFwhm": np.full(count, 4.0),
            "trail_flag": np.zeros(count, dtype=bool),
            "spikeLikeness": np.zeros(count),
            LOGIT_COLUMN: np.full(count, np.nan),
            "is_true": is_true,
            "ignored": np.zeros(count, dtype=bool),
            "trail": np.where(is_true, np.arange(count), -1),
        }
    )


def make_scene(
    seed: int, *, trails: int = 40, false: int = 100, group: int | None = None, shift: float = 0.0
) -> SearchedScene:
    """Return a scene of one detector in which every trail is a candidate."""
    rng = np.random.default_rng(seed)
    table = make_table(rng, np.arange(trails + false) < trails, shift)
    snr = rng.uniform(3.0, 60.0, trails)
    return SearchedScene({PAIR: table}, snr, rng.uniform(6.0, 150.0, trails), int(DETECTOR_PIXELS), group)
