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

from lsst.meas.trails.core.tiles.splits import ImagePlace
from lsst.meas.trails.survey.roles import FEWEST_VISITS, ROLES, TooFewVisitsError, assign_roles


def square(ra: float) -> np.ndarray:
    """Return the corners of an image of a fifth of a degree at the equator."""
    x, y = np.deg2rad(ra + np.array([0.0, 0.2, 0.2, 0.0])), np.deg2rad([0.0, 0.0, 0.2, 0.2])
    return np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], axis=1)


def test_every_role_has_visits_of_its_own() -> None:
    places = [ImagePlace(f"cam {visit}", square(visit + 0.3 * i)) for visit in range(20) for i in range(3)]
    roles, by_sky = assign_roles(places, np.random.default_rng(1))
    assert by_sky
    assert {role: roles.count(role) for role in ROLES} == {"train": 36, "calibrate": 12, "test": 12}
    for visit in range(20):
        assert len(set(roles[3 * visit : 3 * visit + 3])) == 1


def test_visits_of_one_field() -> None:
    places = [ImagePlace(f"cam {visit}", square(0.01 * visit)) for visit in range(6)]
    roles, by_sky = assign_roles(places, np.random.default_rng(1))
    assert not by_sky
    assert set(roles) == set(ROLES)
    # The score is fitted to one visit and measured on another.
    assert roles.count("calibrate") >= 2


@pytest.mark.parametrize("visits", [0, 1, 3])
def test_too_few_visits(visits: int) -> None:
    places = [ImagePlace(f"cam {visit}", None) for visit in range(visits) for _ in range(9)]
    with pytest.raises(TooFewVisitsError, match=f"{visits} visits.*{FEWEST_VISITS}.*add {4 - visits}"):
        assign_roles(places, np.random.default_rng(1))
