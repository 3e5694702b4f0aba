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

"""Tests of the benchmark of cutouts."""

from __future__ import annotations

from pathlib import Path

import cutouts
import numpy as np


def test_measure(tmp_path: Path) -> None:
    result = cutouts.make_repository(tmp_path / "repo", 256, 3)
    read, everything = cutouts.measure(result, tmp_path / "cutouts")
    assert read > 0.0
    assert everything > 0.0
    assert len(list((tmp_path / "cutouts").rglob("*.fits"))) == 3


def test_random_candidates() -> None:
    table = cutouts.random_candidates(1000, 512)
    length = np.hypot(table["x1"] - table["x0"], table["y1"] - table["y0"])
    assert np.all((length >= 10.0) & (length <= 100.0))
    assert np.all((table["x"] >= 0.0) & (table["x"] < 512.0))
