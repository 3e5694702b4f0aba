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

from lsst.meas.trails.ingest.roles import find_role

NAMES = {
    "image": ["", "SCI", "IMAGE", "CCD12", "N15", "PRIMARY", "SCI_2", "VARNER", "MASKED"],
    "mask": [
        "MASK",
        "DQ",
        "BPM",
        "bpm",
        "SCI_MASK",
        "BADPIX",
        "BAD_PIXEL_MASK",
        "FLAG",
        "DQ2",
        "DATA_QUALITY",
        "BPM-1",
        "MaskImage",
    ],
    "variance": ["VARIANCE", "VAR", "im1_var", "STAT", "VAR_MAP"],
    "error": [
        "ERR",
        "ERROR",
        "SIGMA",
        "RMS",
        "UNCERT",
        "STD",
        "SCI_ERR",
        "ERR3",
        "SIGMA_IMAGE",
        "RMSMAP",
        "ERROR_ARRAY",
        "UNC",
    ],
    "inverse": ["IVAR", "IVM", "INVVAR", "INVERSE_VARIANCE"],
    "weight": ["WEIGHT", "WHT", "WGT", "WTMAP", "WEIGHT_MAP", "CONF"],
    "other": ["PSFIMAGE", "BKG", "CAT", "SKY", "EXPMAP"],
}


@pytest.mark.parametrize(("role", "name"), [(role, name) for role, names in NAMES.items() for name in names])
def test_names(role: str, name: str) -> None:
    assert find_role(Header({"EXTNAME": name})) == role
    assert find_role(Header({"EXTTYPE": name})) == role


@pytest.mark.parametrize(
    ("value", "role"),
    [
        ("StdDevUncertainty", "error"),
        ("VarianceUncertainty", "variance"),
        ("InverseVariance", "inverse"),
        ("std", "error"),
        ("var", "variance"),
        ("ivar", "inverse"),
        ("UnknownUncertainty", "error"),
    ],
)
def test_uncertainty_of_ccddata(value: str, role: str) -> None:
    assert find_role(Header({"EXTNAME": "UNCERT", "UTYPE": value})) == role


@pytest.mark.parametrize(("value", "role"), [("MSE", "variance"), ("RMSE", "error"), ("INVMSE", "inverse")])
def test_errors_of_eso(value: str, role: str) -> None:
    assert find_role(Header({"EXTNAME": "STAT", "HDUCLAS2": "ERROR", "HDUCLAS3": value})) == role
    assert find_role(Header({"EXTNAME": "D", "HDUCLAS2": "QUALITY"})) == "mask"


def test_mask_of_the_stack() -> None:
    assert find_role(Header({"MP_BAD": 0})) == "mask"
