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

import re
from importlib import resources
from typing import Any

import pytest

from lsst.meas.trails.core.catalog.mpc_codes import (
    MPC_BANDS,
    designation_fields,
    mpc_band,
    observation_notes,
)


@pytest.mark.parametrize(
    ("band", "physical_filter", "instrument", "code"),
    [
        ("r", "r_57", "LSSTCam", "Lr"),
        ("y", "y_10", "LSSTComCam", "Ly"),
        ("g", "g_6", "TrailSimCam", "Lg"),
        ("white", "white", "LSSTCam", ""),
        # Primes and the names of the survey mark Sloan filters.
        ("r", "r'", "FitsCam", "Sr"),
        ("g", "gp", "FitsCam", "Sg"),
        ("z", "zs", "FitsCam", "Sz"),
        ("i", "i DECam SDSS c0003 7835.0 1470.0", "FitsCam", "Si"),
        ("u", "Sloan u", "FitsCam", "Su"),
        ("r", "r_ps1", "FitsCam", "Pr"),
        ("i", "ip1", "FitsCam", "Pi"),
        ("w", "PS1 w", "FitsCam", "Pw"),
        ("R", "R_Cousins", "FitsCam", "R"),
        ("R", "R", "FitsCam", "R"),
        ("V", "Johnson V", "FitsCam", "V"),
        ("G", "Gaia G", "FitsCam", "G"),
        # The green of a color camera is not Gaia's G.
        ("G", "G", "FitsCam", ""),
        ("unknown", "Clear", "FitsCam", "C"),
        ("unknown", "C", "FitsCam", "C"),
        # ATLAS calls its cyan c.
        ("unknown", "c", "FitsCam", ""),
        # Several filters in series are none of them.
        ("unknown", "g'+r'", "FitsCam", ""),
        ("unknown", "SDSS r + Ha", "FitsCam", ""),
        ("unknown", "SDSS i 780/12", "FitsCam", ""),
        ("unknown", "unknown", "FitsCam", ""),
        ("", "", "", ""),
        # One letter alone may belong to any of several systems.
        ("r", "r", "FitsCam", ""),
        ("i", "ZTF_i", "FitsCam", ""),
        ("y", "Sloan y", "FitsCam", ""),
        ("unknown", "H-alpha", "FitsCam", ""),
    ],
)
def test_band(band: str, physical_filter: str, instrument: str, code: str) -> None:
    assert mpc_band(band, physical_filter, instrument) == code
    assert code in MPC_BANDS or code == ""


def make_row(**values: Any) -> dict[str, Any]:
    flags = dict.fromkeys(("trail_flag", "trail_flag_edge", "pixelFlags_edge", "pixelFlags_saturated"), False)
    return {"snr": 20.0, **flags, **values}


def test_notes() -> None:
    assert observation_notes(make_row(), direction_known=True) == "t"
    assert observation_notes(make_row(), direction_known=False) == "at"
    assert observation_notes(make_row(snr=8.0), direction_known=True) == "tF"
    assert observation_notes(make_row(snr=4.0), direction_known=True) == "tV"
    assert observation_notes(make_row(snr=float("nan")), direction_known=True) == "t"
    assert observation_notes(make_row(pixelFlags_edge=True), direction_known=True) == "tE"
    edge = make_row(pixelFlags_edge=True, trail_flag_edge=True)
    assert observation_notes(edge, direction_known=True) == "tN"
    everything = make_row(
        snr=1.0, trail_flag=True, trail_flag_edge=True, pixelFlags_edge=True, pixelFlags_saturated=True
    )
    # The standard allows six codes.
    assert observation_notes(everything, direction_known=False) == "atNIPV"


@pytest.mark.parametrize(
    ("designation", "fields"),
    [
        ("433", {"permID": "433"}),
        ("(433) Eros", {"permID": "433"}),
        ("433 Eros", {"permID": "433"}),
        ("00433", {"permID": "433"}),
        # As JPL Horizons writes them.
        ("433 Eros (A898 PA)", {"permID": "433"}),
        ("153814 (2001 WN5)", {"permID": "153814"}),
        ("(2024 YR4)", {"provID": "2024 YR4"}),
        ("A0345", {"permID": "100345"}),
        ("2P", {"permID": "2P"}),
        ("0073P-B", {"permID": "73P-B"}),
        ("1P/Halley", {"permID": "1P"}),
        ("3I", {"permID": "3I"}),
        ("2024 AB12", {"provID": "2024 AB12"}),
        ("2024 AB", {"provID": "2024 AB"}),
        (" 2040 P-L ", {"provID": "2040 P-L"}),
        ("C/2023 A3 (Tsuchinshan-ATLAS)", {"provID": "C/2023 A3"}),
        ("K24A12B", {"provID": "2024 AB12"}),
        ("J95X00A", {"provID": "1995 XA"}),
        ("K07Tf8A", {"provID": "2007 TA418"}),
        ("", {}),
        ("0", {}),
        ("S1003Xyza", {}),
        ("2024 IZ3", {}),
        ("my asteroid", {}),
    ],
)
def test_designation(designation: str, fields: dict[str, str]) -> None:
    assert designation_fields(designation) == fields


def test_designations_have_the_forms_of_the_standard() -> None:
    """Match the patterns in the master file of the standard."""
    master = (resources.files("ades") / "data/xml/adesmaster.xml").read_text(encoding="utf-8")
    patterns = {
        field: re.findall(rf'name="{kind}">.*?xsd:pattern" value="(.*?)"', master, re.DOTALL)[0]
        for field, kind in (("permID", "PermIDType"), ("provID", "BaseProvIDType"))
    }
    for designation in (
        "(433) Eros",
        "A0345",
        "0073P-B",
        "3I",
        "K07Tf8A",
        "C/2023 A3",
        "2040 P-L",
        "J95X00A",
    ):
        ((field, value),) = designation_fields(designation).items()
        assert re.fullmatch(patterns[field], value)
