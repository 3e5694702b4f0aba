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

import importlib.util

import pytest

from lsst.meas.trails.core.catalog.ades import AdesContext, ades_psv
from lsst.meas.trails.core.catalog.mpc80 import mpc80_lines

from support.observations import make_candidates, make_pair

pytestmark = pytest.mark.process


def test_columns() -> None:
    """Read the fields of the 80 columns by their place in the format of the Minor Planet Center."""
    table = make_candidates(2, ra0=[15.0, 20.0], dec0=[-1.5, 2.0])
    table["designation"] = ["433", "2024 AB12"]
    text = mpc80_lines(ades_psv(table, AdesContext.rubin(star_catalog="Gaia2")))
    lines = [line for line in text.splitlines() if len(line) == 80]
    assert len(lines) == 4
    first = lines[0]
    assert first[:5] == "00433"
    assert lines[2][5:12] == "K24A12B"
    # Note, CCD, and the start of the exposure in days.
    assert first[13:15] == "aC"
    assert first[15:32] == "2025 10 06.999826"
    assert first[32:44] == "01 00 00.000"
    assert first[44:56] == "-01 30 00.00"
    assert first[65:71] == "21.50r"
    assert first[77:80] == "X05"


def test_tracklet() -> None:
    lines = mpc80_lines(ades_psv(make_pair(), AdesContext.rubin())).splitlines()
    observations = [line for line in lines if len(line) == 80]
    assert [line[5:12].strip() for line in observations] == ["T00001"] * 4 + ["T00002"] * 2
    assert [line[13] for line in observations] == ["t"] * 4 + ["a"] * 2


def test_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="ades.psvtoxml"):
        mpc80_lines("# version=1999\nnonsense\n")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="iau-ades"):
        mpc80_lines("")
