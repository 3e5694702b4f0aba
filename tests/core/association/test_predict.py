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
import astropy.units as u
import numpy as np
import pytest

from lsst.meas.trails.core.association.designation import ss_object_id
from lsst.meas.trails.core.association.predict import (
    Exposure,
    PredictedTrails,
    predict_from_polynomials,
    predict_from_rates,
)
from lsst.meas.trails.core.motion import move, separation, sky_vectors

EXPOSURE = Exposure(midpoint=61000.25, seconds=30.0)
MILLIARCSEC = 1e-3 / 3600.0

OBJECTS = (
    # ra, dec, distance (au), rate (deg/day), direction of motion
    (150.0, 10.0, 1.3, 0.25, 30.0),
    (150.1, 10.1, 2.5, 0.10, 200.0),
    (149.9, 9.9, 0.05, 10.0, 75.0),
    (0.0001, -70.0, 0.02, 30.0, 271.0),
)
NAMES = ("2026 AA", "2026 AB1", "2026 XZ99", "2026 CD123")


def polynomial_table(tmin: float = 61000.0) -> astropy.table.Table:
    """Make a `preloaded_ss_object` with the motions of `OBJECTS`, as mpSky does."""
    middle = EXPOSURE.midpoint - tmin
    observer = np.array([[0.9, 0.017, 1e-4], [-0.4, 0.0155, -2e-4], [-0.17, 0.0067, 5e-5]])
    paths = []
    for ra, dec, distance, rate, angle in OBJECTS:
        toward = sky_vectors(ra, dec)
        direction = sky_vectors(*move(ra, dec, 90.0, angle, 1.0))
        velocity = distance * np.deg2rad(rate) * direction
        path = observer.copy()
        path[:, 0] += distance * toward - velocity * middle
        path[:, 1] += velocity
        paths.append(path)
    columns: dict[str, object] = {
        "ObjID": list(NAMES),
        "ra": np.array([row[0] for row in OBJECTS]) * u.deg,
        "dec": np.array([row[1] for row in OBJECTS]) * u.deg,
        "tmin": np.full(len(OBJECTS), tmin) * u.day,
        "tmax": np.full(len(OBJECTS), tmin + 1.0) * u.day,
        "trailedSourceMagTrue": np.array([20.0, 21.0, np.nan, 0.0]) * u.mag,
        "Err(arcsec)": np.full(len(OBJECTS), 2.0) * u.arcsec,
        "ssObjectId": np.arange(1, len(OBJECTS) + 1),
        "MPCORB_unpacked_primary_provisional_designation": list(NAMES),
        # Dummies, as in the stack.
        "RARateCosDec_deg_day": np.zeros(len(OBJECTS)),
    }
    for i, axis in enumerate("xyz"):
        columns[f"obj_{axis}_poly"] = [path[i] for path in paths]
        columns[f"obs_{axis}_poly"] = [observer[i] for _ in paths]
    return astropy.table.Table(columns)


def rate_table(elapsed: float = 0.0) -> astropy.table.Table:
    """Make a `preloaded_ss_object_visit` with the motions of `OBJECTS`, as Sorcha does.

    The positions hold this time before the middle of the exposure, days.
    """
    ra, dec, _, rate, angle = (np.array(column) for column in zip(*OBJECTS, strict=True))
    ra, dec = move(ra, dec, rate, angle, -elapsed)
    return astropy.table.Table(
        {
            "ObjID": ["K26A00A", "K26A01B", "K26X99Z", "K26CC3D"],
            "FieldID": np.zeros(len(ra), dtype=int),
            "fieldMJD_TAI": np.full(len(ra), EXPOSURE.midpoint - elapsed),
            "RATrue_deg": ra,
            "DecTrue_deg": dec,
            "RARateCosDec_deg_day": rate * np.sin(np.deg2rad(angle)),
            "DecRate_deg_day": rate * np.cos(np.deg2rad(angle)),
            "trailedSourceMagTrue": [20.0, 21.0, np.nan, 0.0],
        }
    )


def assert_motions(predicted: PredictedTrails) -> None:
    ra, dec, _, rate, angle = (np.array(column) for column in zip(*OBJECTS, strict=True))
    assert list(predicted.designation) == list(NAMES)
    assert np.max(separation(predicted.ra, predicted.dec, ra, dec)) < MILLIARCSEC
    np.testing.assert_allclose(predicted.rate, rate, rtol=1e-4)
    np.testing.assert_allclose(predicted.position_angle, angle, atol=0.02)
    np.testing.assert_allclose(predicted.rate_ra, rate * np.sin(np.deg2rad(angle)), atol=0.01)
    for end, sign in (((predicted.ra0, predicted.dec0), -1.0), ((predicted.ra1, predicted.dec1), 1.0)):
        expected = move(ra, dec, rate, angle, 0.5 * sign * EXPOSURE.days)
        assert np.max(separation(*end, *expected)) < MILLIARCSEC
    np.testing.assert_array_equal(predicted.mag, [20.0, 21.0, np.nan, np.nan])


def test_rates_of_polynomials_are_their_derivatives() -> None:
    predicted = predict_from_polynomials(polynomial_table(), EXPOSURE, default_err=1.0)
    assert_motions(predicted)
    assert list(predicted.ss_object_id) == [1, 2, 3, 4]
    np.testing.assert_array_equal(predicted.position_err, 2.0)
    assert not np.any(predicted.error_assumed)


def test_rates_of_a_visit() -> None:
    predicted = predict_from_rates(rate_table(), EXPOSURE, default_err=1.5)
    assert_motions(predicted)
    assert np.all(predicted.ss_object_id > 0)
    np.testing.assert_array_equal(predicted.position_err, 1.5)
    assert np.all(predicted.error_assumed)


def test_positions_of_a_visit_are_moved_to_the_middle_of_the_exposure() -> None:
    predicted = predict_from_rates(rate_table(elapsed=20.0 / 86400.0), EXPOSURE, default_err=1.0)
    ra, dec, _, rate, _ = (np.array(column) for column in zip(*OBJECTS, strict=True))
    assert np.max(separation(predicted.ra, predicted.dec, ra, dec)) < 20.0 * MILLIARCSEC
    np.testing.assert_allclose(predicted.rate, rate)


def test_both_tables_predict_the_same_trails() -> None:
    one = predict_from_polynomials(polynomial_table(), EXPOSURE, default_err=1.0)
    other = predict_from_rates(rate_table(), EXPOSURE, default_err=1.0)
    assert list(one.designation) == list(other.designation)
    assert np.max(separation(one.ra0, one.dec0, other.ra0, other.dec0)) < MILLIARCSEC


def test_polynomials_do_not_hold_beyond_their_times() -> None:
    late = polynomial_table()
    late["tmax"][1] = EXPOSURE.midpoint
    predicted = predict_from_polynomials(late, EXPOSURE, default_err=1.0)
    assert list(predicted.designation) == [NAMES[0], *NAMES[2:]]
    late["tmin"] += 1.0
    assert len(predict_from_polynomials(late, EXPOSURE, default_err=1.0)) == 0


def test_polynomials_of_different_degrees() -> None:
    table = polynomial_table()
    for name in [name for name in table.colnames if name.endswith("_poly")]:
        rows = [np.append(row, 0.0) if i else np.asarray(row) for i, row in enumerate(table[name])]
        table[name] = astropy.table.Column(np.array([*rows, None], dtype=object)[:-1], dtype=object)
    assert_motions(predict_from_polynomials(table, EXPOSURE, default_err=1.0))


def test_rows_without_a_position_are_left_out() -> None:
    table = rate_table()
    table["DecTrue_deg"][2] = np.nan
    predicted = predict_from_rates(table, EXPOSURE, default_err=1.0)
    assert list(predicted.designation) == [*NAMES[:2], NAMES[3]]


def test_rows_without_a_name_are_left_out() -> None:
    """They would all be the same object."""
    table = polynomial_table()
    for name in ("ObjID", "MPCORB_unpacked_primary_provisional_designation"):
        table[name] = astropy.table.MaskedColumn(table[name], mask=[False, True, True, False])
    predicted = predict_from_polynomials(table, EXPOSURE, default_err=1.0)
    assert list(predicted.designation) == [NAMES[0], NAMES[3]]


@pytest.mark.parametrize("missing", [None, np.ma.masked])
def test_rows_without_polynomials_are_left_out(missing: object) -> None:
    table = polynomial_table()
    rows = np.empty(len(table), dtype=object)
    for i, row in enumerate(table["obj_y_poly"]):
        rows[i] = np.asarray(row)
    rows[1] = missing
    table["obj_y_poly"] = rows
    predicted = predict_from_polynomials(table, EXPOSURE, default_err=1.0)
    assert list(predicted.designation) == [NAMES[0], *NAMES[2:]]


@pytest.mark.parametrize("ids", [np.nan, 1.0])
def test_identifiers_as_floats_do_not_merge_objects(ids: float) -> None:
    """Floats have fewer digits than the identifiers: neighbors become equal."""
    table = polynomial_table()
    table["ObjID"] = ["K26A00A", "K26A00B", "K26A00C", "K26A00D"]
    table.remove_column("MPCORB_unpacked_primary_provisional_designation")
    exact = [ss_object_id(name) for name in table["ObjID"]]
    table["ssObjectId"] = ids * np.array(exact, dtype=np.float64)
    joined = PredictedTrails.join([predict_from_polynomials(table, EXPOSURE, default_err=1.0)])
    assert joined.ss_object_id.tolist() == exact


def test_units_of_columns_are_converted() -> None:
    table = rate_table()
    table["RARateCosDec_deg_day"] = (np.asarray(table["RARateCosDec_deg_day"]) * 150.0) * u.arcsec / u.hour
    table["DecRate_deg_day"] = (np.asarray(table["DecRate_deg_day"]) * 150.0) * u.arcsec / u.hour
    assert_motions(predict_from_rates(table, EXPOSURE, default_err=1.0))


@pytest.mark.parametrize("column", ["obj_x_poly", "obs_z_poly", "tmin"])
def test_a_missing_column_of_polynomials_is_named(column: str) -> None:
    table = polynomial_table()
    table.remove_column(column)
    with pytest.raises(ValueError, match=f"preloaded_ss_object has no column {column}"):
        predict_from_polynomials(table, EXPOSURE, default_err=1.0)


def test_a_missing_column_of_rates_is_named() -> None:
    table = rate_table()
    table.remove_column("DecRate_deg_day")
    with pytest.raises(ValueError, match="DecRate_deg_day"):
        predict_from_rates(table, EXPOSURE, default_err=1.0)


def test_empty_tables_predict_nothing() -> None:
    assert len(predict_from_polynomials(polynomial_table()[:0], EXPOSURE, default_err=1.0)) == 0
    assert len(predict_from_rates(rate_table()[:0], EXPOSURE, default_err=1.0)) == 0
    assert len(PredictedTrails.join(())) == 0


def test_the_more_certain_of_two_predictions_is_kept() -> None:
    one = predict_from_polynomials(polynomial_table(), EXPOSURE, default_err=1.0)
    other = predict_from_rates(rate_table()[:2], EXPOSURE, default_err=0.5)
    joined = PredictedTrails.join([one, other])
    assert sorted(joined.designation) == sorted(NAMES)
    certain = joined.source == "preloaded_ss_object_visit"
    assert sorted(joined.designation[certain]) == sorted(NAMES[:2])
