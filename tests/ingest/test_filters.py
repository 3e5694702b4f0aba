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

import pytest
from astropy.io.fits import Header

from lsst.meas.trails.ingest.filters import UNKNOWN_BAND, find_band, find_filter

BANDS = {
    "g": [
        "g",
        "g DECam SDSS c0001 4720.0 1520.0",
        "ZTF_g",
        "gp",
        "g'",
        "SDSS g'",
        "sdss_gp",
        "g_SDSS",
        "g-band",
    ],
    "r": ["r", "r.MP9601", "rp", "r'", "SDSS-r+", "PS1 r", "r2", "Sloan R"],
    "i": ["i", "i_sim", "HSC-I2", "ip", "i_prime"],
    "z": ["SDSS-Z", "zs", "z_s", "zp", "PanSTARRS zs"],
    "y": ["Y DECam c0005 10095.0 1130.0", "y", "LSST y"],
    "u": ["sdss_u", "up"],
    "w": ["w", "PS1_w"],
    "R": [
        "R",
        "R_Cousins",
        "Cousins R",
        "Rc",
        "Johnson-R",
        "r_Cousins",
        "Bessell R",
        "R Bessel",
        "R.x",
        "R-band",
    ],
    "I": ["I", "Ic", "I_KC", "Bessell_I"],
    "V": ["V", "Johnson V", "V_Johnson", "Vj", "V Harris k1003"],
    "B": ["B", "Bessell B", "B 639"],
    "U": ["U"],
    "G": ["G"],
    "Z": ["Z"],
    "K": ["K"],
    "H": ["H"],
    UNKNOWN_BAND: [
        "clear",
        "grism",
        "L",
        "Red",
        "Green",
        "H-alpha",
        "Halpha",
        "H_beta",
        "g+r",
        "g'+r'",
        "y (Stromgren)",
        "u_Strmgr",
        "J0660",
        "u360",
        "VR DECam",
        "RGB",
        "Ha",
    ],
}


@pytest.mark.parametrize(("band", "name"), [(band, name) for band, names in BANDS.items() for name in names])
def test_band(band: str, name: str) -> None:
    assert find_band(name) == band
    found = find_filter(Header({"FILTER": name}))
    assert (found.name, found.band) == (name, band)


def test_given_or_missing() -> None:
    assert find_filter(Header({"FILTER": "clear"}), "r") == ("clear", "r")
    assert find_filter(Header()) == (UNKNOWN_BAND, UNKNOWN_BAND)
    # The name is part of file names.
    assert find_filter(Header({"FILTER": "a/b"})).name == "a_b"


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"FILTER1": "OPEN", "FILTER2": "SDSS r"}, ("SDSS r", "r")),
        ({"FILTER": "Clear", "FILTER1": "V"}, ("V", "V")),
        # The number of a place does not tell the filter.
        ({"FILTER": 3, "FILTERID": "rp"}, ("rp", "r")),
        ({"FILTER": 3}, ("3", UNKNOWN_BAND)),
        ({"FILTER": "slot 2"}, ("slot 2", UNKNOWN_BAND)),
        # A narrow band and a broad band together are neither.
        ({"FILTER": "Ha", "FILTER2": "r"}, ("Ha", UNKNOWN_BAND)),
        ({"FILTER1": "none", "FILTER2": "air"}, ("none", UNKNOWN_BAND)),
    ],
)
def test_wheels(cards: dict[str, object], expected: tuple[str, str]) -> None:
    assert find_filter(Header(cards)) == expected
