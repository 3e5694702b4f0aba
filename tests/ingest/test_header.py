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

from lsst.meas.trails.ingest.header import (
    NOMINAL_ZEROPOINT,
    find_color_pattern,
    find_detector,
    find_saturation,
    find_zeropoint,
)


@pytest.mark.parametrize(
    ("cards", "magnitude"),
    [
        ({"BUNIT": "nJy"}, 31.4),
        ({"BUNIT": "uJy", "MAGZERO": 20.0}, 23.9),
        ({"BUNIT": "nanomaggy"}, 22.5),
        ({"BUNIT": "adu", "MAGZPT": "26.25"}, 26.25),
        # AB: 3631 Jy.
        ({"FLUXMAG0": 1e11}, 27.5),
        # The stack's card is for counts per second.
        ({"MAGZERO": 25.0, "MAGZERO_NOBJ": 12, "EXPTIME": 100.0}, 30.0),
        ({"MAGZERO": 25.0, "EXPTIME": 100.0}, 25.0),
        ({"MAGZP": -21.1, "PHOTZP": 30.0}, 30.0),
    ],
)
def test_zeropoint(cards: dict[str, object], magnitude: float) -> None:
    found = find_zeropoint(make_header(cards))
    # The zero point of the AB system, 31.4, is rounded from 31.4002.
    assert found.magnitude == pytest.approx(magnitude, abs=1e-3)
    assert not found.assumed


def make_header(cards: dict[str, object]) -> Header:
    header = Header()
    for keyword, value in cards.items():
        header[keyword if len(keyword) <= 8 else f"HIERARCH {keyword}"] = value
    return header


def test_zeropoint_of_the_stack_comes_first() -> None:
    found = find_zeropoint(Header({"BUNIT": "adu", "MAGZERO": 25.0}), flux_per_count=2.0)
    assert found.njy_per_count == pytest.approx(2.0)
    # Pixels in nJy need no calibration.
    assert find_zeropoint(Header({"BUNIT": "nJy"}), flux_per_count=2.0).njy_per_count == pytest.approx(1.0)


def test_no_zeropoint() -> None:
    found = find_zeropoint(Header({"MAGZERO": 0.0}))
    assert found.assumed
    assert found.magnitude == NOMINAL_ZEROPOINT


def test_saturation() -> None:
    assert find_saturation(Header({"SATURATE": 60000})) == 60000.0
    assert find_saturation(Header({"SATURATE": 60000, "BUNIT": "nJy"})) is None
    assert find_saturation(Header()) is None


@pytest.mark.parametrize("keyword", ["BAYERPAT", "COLORTYP", "CFA", "BAYERPATTERN"])
def test_color_pattern(keyword: str) -> None:
    assert find_color_pattern(make_header({keyword: "rggb"})) == f"{keyword} = 'rggb'"
    assert find_color_pattern(make_header({keyword: "MONO"})) is None
    assert find_color_pattern(Header()) is None


def test_color_pattern_as_logical() -> None:
    assert find_color_pattern(Header({"CFA": True})) == "CFA = T"
    assert find_color_pattern(Header({"CFA": False})) is None


def test_detector() -> None:
    assert find_detector(Header({"CCDNUM": 23, "DETECTOR": "S3-121"})) == 23
    assert find_detector(Header({"DETECTOR": "S3-121"})) == 0
