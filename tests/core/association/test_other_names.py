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

import numpy as np
import pytest

from lsst.meas.trails.core.association.other_names import without_other_names
from lsst.meas.trails.core.association.predict import PredictedTrails
from lsst.meas.trails.core.motion import move

ARCSEC = 1.0 / 3600.0


def prediction(
    name: str,
    source: str,
    *,
    ra: float = 359.9999,
    rate: float = 0.2,
    angle: float = 90.0,
    error: float = 0.3,
) -> PredictedTrails:
    """Predict an object at declination -60 in an exposure of 30 s."""
    half = 15.0 / 86400.0
    begin, end = (move(np.array([ra]), np.array([-60.0]), rate, angle, dt) for dt in (-half, half))
    return PredictedTrails.make(
        designation=np.array([name]),
        ss_object_ids=np.array([0]),
        source=source,
        begin=begin,
        middle=(np.array([ra]), np.array([-60.0])),
        end=end,
        rate=np.array([rate]),
        position_angle=np.array([angle]),
        mag=np.array([20.0]),
        position_err=np.array([error]),
        default_err=1.0,
    )


def names_of(*parts: PredictedTrails) -> list[str]:
    return list(without_other_names(PredictedTrails.join(parts)).designation)


def test_the_more_certain_name_is_kept() -> None:
    # 0.5 arcsec apart, across 0 h.
    other = prediction("433", "mine", ra=0.00018, error=0.1)
    assert names_of(prediction("1898 DQ", "stack"), other) == ["433"]


@pytest.mark.parametrize(
    "change",
    [{"ra": 359.9999 + 4.0 * ARCSEC}, {"rate": 0.22}, {"angle": 100.0}],
    ids=["position", "rate", "direction"],
)
def test_other_objects_are_kept(change: dict[str, float]) -> None:
    assert len(names_of(prediction("433", "stack"), prediction("719", "mine", **change))) == 2


def test_objects_of_one_ephemeris_are_not_merged() -> None:
    assert len(names_of(prediction("433", "stack"), prediction("719", "stack"))) == 2


def test_nothing() -> None:
    assert names_of() == []
