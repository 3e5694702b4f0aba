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

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsst.meas.trails.core.shutter import SHUTTER_UNCERTAINTY, ShutterMotion

FITS = {
    "MC_O_20260712_000100": (
        30.0,
        ("PLUSX", 61233.982606938574, 0.00069985842267305, 0.22414690417651445, 0.6774714127471099)
        + (33114.422646156854, -32874.88056817381, 34231.98343473398),
        ("MINUSX", 61233.98295417242, -0.00014469881661490652, 0.22623216336828292, 0.6765958372734683)
        + (32765.82860492451, -33001.13181399254, 33238.74614951254),
    ),
    "MC_O_20251203_000317": (
        10.0,
        ("MINUSX", 61013.365932771936, 0.0005325114037250868, 0.2249632907921461, 0.6764472494529934)
        + (32998.841790483784, -32961.436183162106, 33455.024219797444),
        ("PLUSX", 61013.366048524156, 0.000900220338163209, 0.2239073050036253, 0.6804015164010819)
        + (33134.34774228922, -32799.5059339621, 36183.41782883381),
    ),
}
"""Exposure time and shutter cards of two public LSSTCam exposures: one for each direction of the blades."""

REFERENCE = {
    "MC_O_20260712_000100": {
        -296.26: 61233.982783398336,
        -254.01: 61233.98278375065,
        -211.76: 61233.98278414951,
        -169.25: 61233.982784509506,
        -84.75: 61233.98278515788,
        0.0: 61233.982785768545,
    },
    "MC_O_20251203_000317": {
        -296.26: 61013.36599821889,
        -254.01: 61013.36599787034,
        -211.76: 61013.36599747399,
        -169.25: 61013.365997115354,
        -84.75: 61013.36599646823,
        0.0: 61013.36599585786,
    },
}
"""Middle of these exposures at the centers of detectors and of the focal plane, MJD, TAI, by y in mm.

These are reference results of the tests of ``lsst.ip.isr.shutterTiming``, with the width of the beams.
"""

KEYS = ("SIDE", "STARTTIME TAI MJD") + tuple(
    f"HALLSENSORFIT {key}"
    for key in ("MODELSTARTTIME", "PIVOTPOINT1", "PIVOTPOINT2", "JERK0", "JERK1", "JERK2")
)


def cards_of(exposure: str) -> dict[str, Any]:
    _, *blades = FITS[exposure]
    cards: dict[str, Any] = {}
    for name, values in zip(("OPEN", "CLOSE"), blades, strict=True):
        cards[f"SHUTTER {name} MODEL"] = "ThreeJerksModelv1"
        cards |= {f"SHUTTER {name} {key}": value for key, value in zip(KEYS, values, strict=True)}
    return cards


def motion_of(exposure: str) -> ShutterMotion:
    motion = ShutterMotion.from_cards(cards_of(exposure), FITS[exposure][0])
    assert motion is not None
    return motion


@pytest.mark.parametrize("exposure", FITS)
def test_agreement_with_the_stack(exposure: str) -> None:
    places, expected = (np.array(list(values)) for values in zip(*REFERENCE[exposure].items(), strict=True))
    difference = (motion_of(exposure).midpoints(places) - expected) * 86400.0
    # The stack averages over the beam of a pixel, which is not centered on it at the edge of the field: 7 ms.
    assert np.abs(difference).max() < SHUTTER_UNCERTAINTY
    assert np.abs(difference[-1]) < 1e-4
    # The correction that it describes is 30 times larger.
    assert np.ptp(expected) * 86400.0 > 0.2


def test_order_of_the_sides() -> None:
    """The blades of the two exposures move in opposite directions."""
    slopes = [np.diff(motion_of(exposure).midpoints([-300.0, 300.0]))[0] for exposure in FITS]
    assert slopes[0] > 0.0 > slopes[1]


def test_beyond_the_blades() -> None:
    assert np.isnan(motion_of("MC_O_20260712_000100").midpoints([-400.0, 400.0])).all()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SHUTTER OPEN MODEL", "FourJerks"),
        ("SHUTTER OPEN SIDE", "LEFT"),
        ("SHUTTER CLOSE STARTTIME TAI MJD", "unknown"),
        ("SHUTTER CLOSE HALLSENSORFIT JERK1", float("nan")),
        ("SHUTTER CLOSE HALLSENSORFIT JERK1", True),
        ("SHUTTER OPEN HALLSENSORFIT PIVOTPOINT1", 0.7),
        ("SHUTTER OPEN HALLSENSORFIT JERK0", 36000.0),
        ("SHUTTER CLOSE STARTTIME TAI MJD", 61233.98295417242 + 0.02 / 86400.0),
    ],
)
def test_cards_that_are_not_used(key: str, value: object) -> None:
    cards = cards_of("MC_O_20260712_000100")
    assert ShutterMotion.from_cards(cards | {key: value}, 30.0) is None
    del cards[key]
    assert ShutterMotion.from_cards(cards, 30.0) is None


def test_no_cards() -> None:
    assert ShutterMotion.from_cards({}, 30.0) is None
    assert ShutterMotion.from_cards(cards_of("MC_O_20260712_000100"), float("nan")) is None


@given(st.dictionaries(st.sampled_from(list(cards_of("MC_O_20260712_000100"))), st.floats() | st.text()))
def test_any_cards(changes: dict[str, Any]) -> None:
    """A changed header gives no motion, or plausible times."""
    motion = ShutterMotion.from_cards(cards_of("MC_O_20260712_000100") | changes, 30.0)
    if motion is not None:
        times = motion.midpoints(np.linspace(-300.0, 300.0, 7))
        offsets = (times - motion.opening.start) * 86400.0
        assert np.all(np.isnan(offsets) | (np.abs(offsets - 15.45) < 0.5))
