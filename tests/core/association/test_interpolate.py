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

import astropy.table
import numpy as np
import pytest

from lsst.meas.trails.core.association.interpolate import predict_from_known_objects
from lsst.meas.trails.core.association.known_objects import normalize_known_objects
from lsst.meas.trails.core.association.predict import Exposure, PredictedTrails
from lsst.meas.trails.core.motion import motion, move, separation, sky_vectors, vectors_to_sky

EXPOSURE = Exposure(midpoint=61000.25, seconds=30.0)
HOUR = 1.0 / 24.0
MILLIARCSEC = 1e-3 / 3600.0


def rows_of(name: str, times: list[float], *, rate: float = 2.0, angle: float = 70.0, **more: object) -> (
    astropy.table.Table
):  # fmt: skip
    """Make rows of an object on a great circle; it is at (359.99, -30) at the middle of the exposure."""
    offsets = np.array(times)
    ra, dec = move(359.99, -30.0, rate, angle, offsets)
    ahead = move(359.99, -30.0, rate, angle, offsets + 1e-4)
    rates, angles = motion(ra, dec, *ahead, 1e-4)
    columns: dict[str, object] = {
        "designation": [name] * len(times),
        "mjdTai": EXPOSURE.midpoint + offsets,
        "ra": ra,
        "dec": dec,
        "rateRa": rates * np.sin(np.deg2rad(angles)),
        "rateDec": rates * np.cos(np.deg2rad(angles)),
        **more,
    }
    return astropy.table.Table({key: value for key, value in columns.items() if value is not None})


def predict(*tables: astropy.table.Table) -> PredictedTrails:
    joined = normalize_known_objects(astropy.table.vstack(list(tables)))
    return predict_from_known_objects(joined, EXPOSURE, default_err=1.0)


def assert_path(predicted: PredictedTrails, tolerance: float = MILLIARCSEC) -> None:
    assert len(predicted) == 1
    assert separation(predicted.ra[0], predicted.dec[0], 359.99, -30.0) < tolerance
    assert predicted.rate[0] == pytest.approx(2.0, rel=1e-4)
    assert predicted.position_angle[0] == pytest.approx(70.0, abs=0.02)
    end = move(359.99, -30.0, 2.0, 70.0, 0.5 * EXPOSURE.days)
    assert separation(predicted.ra1[0], predicted.dec1[0], *end) < tolerance


@pytest.mark.parametrize("times", [[0.0], [-0.5 * HOUR], [0.9 * HOUR], [0.5 * HOUR, 2.0 * HOUR]])
def test_one_row_with_rates(times: list[float]) -> None:
    assert_path(predict(rows_of("a", times)), tolerance=10.0 * MILLIARCSEC)


@pytest.mark.parametrize("times", [[-HOUR, HOUR], [-5.0 * HOUR, 3.0 * HOUR], [0.2 * HOUR, HOUR]])
def test_two_rows_without_rates(times: list[float]) -> None:
    assert_path(predict(rows_of("a", times, rateRa=None, rateDec=None)))


def test_two_rows_with_rates() -> None:
    assert_path(predict(rows_of("a", [-3.0 * HOUR, 5.0 * HOUR])), tolerance=20.0 * MILLIARCSEC)


def test_acceleration_between_rows_with_rates() -> None:
    """Parallax of an object at 0.02 au within 4 hours."""

    def path(time: float) -> tuple[float, float]:
        direction = sky_vectors(30.0, 5.0) + np.array([0.0, 0.06, 0.03]) * time
        direction = direction + 2e-3 * np.array([-np.sin(6.28 * time), np.cos(6.28 * time), 0.0])
        return vectors_to_sky(direction)  # type: ignore[return-value]

    times = np.array([-2.0 * HOUR, 2.0 * HOUR])
    here, next_ = np.array([path(t) for t in times]).T, np.array([path(t + 1e-5) for t in times]).T
    table = astropy.table.Table(
        {
            "designation": ["a", "a"],
            "mjdTai": EXPOSURE.midpoint + times,
            "ra": here[0],
            "dec": here[1],
            "rateRa": (next_[0] - here[0]) / 1e-5 * np.cos(np.deg2rad(here[1])),
            "rateDec": (next_[1] - here[1]) / 1e-5,
        }
    )
    predicted = predict(table)
    # A great circle would be 60 arcsec off; the fourth derivative leaves 1 arcsec.
    assert separation(predicted.ra[0], predicted.dec[0], *path(0.0)) < 2.0 / 3600.0


def test_far_rows_are_not_used() -> None:
    assert len(predict(rows_of("a", [1.5 * HOUR]))) == 0
    assert len(predict(rows_of("a", [-20.0 * HOUR, 20.0 * HOUR]))) == 0
    assert len(predict(rows_of("a", [100.0]))) == 0


def test_a_near_row_with_rates_is_not_joined_to_a_far_one() -> None:
    """The other row is of a day ago, when the object was elsewhere on a curved path."""
    near, far = rows_of("a", [0.3 * HOUR]), rows_of("a", [-23.9 * HOUR], rate=9.0, angle=10.0)
    assert_path(predict(near, far), tolerance=10.0 * MILLIARCSEC)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_motion_of_two_rows_on_the_same_side(side: float) -> None:
    rows = rows_of("a", [side * 0.3 * HOUR, side * 2.0 * HOUR], rateRa=None, rateDec=None)
    far = rows_of("a", [-side * 23.9 * HOUR], rate=9.0, angle=10.0, rateRa=None, rateDec=None)
    assert_path(predict(rows, far))


def test_rows_too_far_apart_give_no_motion() -> None:
    assert len(predict(rows_of("a", [-0.5 * HOUR, 23.9 * HOUR], rateRa=None, rateDec=None))) == 0


def test_one_row_without_rates_has_no_trail() -> None:
    assert len(predict(rows_of("a", [0.0], rateRa=None, rateDec=None))) == 0


def test_objects_do_not_mix() -> None:
    predicted = predict(
        rows_of("a", [-HOUR, HOUR]),
        rows_of("b", [0.1 * HOUR], rate=5.0),
        rows_of("c", [-HOUR * 0.1], rate=9.0),
    )
    assert list(predicted.designation) == ["a", "b", "c"]
    np.testing.assert_allclose(predicted.rate, [2.0, 5.0, 9.0], rtol=1e-3)


def test_uncertainty_and_magnitude_of_the_nearest_row() -> None:
    predicted = predict(rows_of("a", [-HOUR, 0.5 * HOUR], vmag=[20.0, 21.0], positionErr=[0.3, 0.7]))
    assert predicted.mag[0] == 21.0
    assert predicted.position_err[0] == 0.7
    assert not predicted.error_assumed[0]
    assert predict(rows_of("a", [0.0])).error_assumed[0]


def test_another_table_is_refused() -> None:
    with pytest.raises(ValueError, match="rateRa"):
        predict_from_known_objects(astropy.table.Table({"ra": [1.0]}), EXPOSURE, default_err=1.0)
