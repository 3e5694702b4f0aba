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

from pathlib import Path

import astropy.table
import astropy.time
import astropy.units as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsst.meas.trails.core.association.known_objects import (
    KNOWN_OBJECT_COLUMNS,
    KnownObjectsError,
    normalize_known_objects,
    read_known_objects,
)


def table(**changes: object) -> astropy.table.Table:
    """Make a table of two objects; ``None`` removes a column."""
    columns: dict[str, object] = {
        "designation": ["2026 AB1", "mine"],
        "mjdTai": [61000.2, 61000.1],
        "ra": [150.0, 150.1],
        "dec": [10.0, 10.1],
        "rateRa": [1.0, -2.0],
        "rateDec": [0.5, 0.0],
        "vmag": [20.0, 21.0],
        "positionErr": [0.3, 5.0],
        **changes,
    }
    return astropy.table.Table({name: values for name, values in columns.items() if values is not None})


def test_columns_order_and_identifiers() -> None:
    made = normalize_known_objects(table())
    assert made.colnames == list(KNOWN_OBJECT_COLUMNS)
    assert list(made["designation"]) == ["mine", "2026 AB1"]
    assert made["ssObjectId"][0] == 0
    assert made["ssObjectId"][1] > 0
    assert made["rateRa"].unit == u.deg / u.day


@pytest.mark.parametrize("ending", ["ecsv", "csv", "parquet", "vot"])
def test_formats(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"objects.{ending}"
    form = {"ecsv": "ascii.ecsv", "csv": "ascii.csv", "parquet": "parquet", "vot": "votable"}[ending]
    table().write(path, format=form)
    assert list(read_known_objects(path)["designation"]) == ["mine", "2026 AB1"]


@pytest.mark.parametrize("name", ["RA_rate", "DEC_rate"])
def test_rates_of_horizons_without_a_unit_are_refused(name: str) -> None:
    """They are in arcseconds per hour: as degrees per day, a trail would be 150 times too long."""
    made = table()
    made.rename_columns(["rateRa", "rateDec"], ["RA_rate", "DEC_rate"])
    for column in {"RA_rate", "DEC_rate"} - {name}:
        made[column].unit = u.arcsec / u.hour
    with pytest.raises(KnownObjectsError, match=f"column {name} has no unit.*arcsec per hour"):
        normalize_known_objects(made)


@pytest.mark.parametrize(
    ("name", "time"), [("mjdTai", 2461000.7), ("mjdUtc", 2461000.7), ("datetime_jd", 61000.2)]
)
def test_julian_dates_are_no_mjd(name: str, time: float) -> None:
    good = 2461000.7 if name == "datetime_jd" else 61000.2
    with pytest.raises(KnownObjectsError, match=f"row 2, column {name}: the value is not an MJD"):
        normalize_known_objects(table(**{"mjdTai": None, name: [good, time]}))


@pytest.mark.parametrize("ra", [np.ones((2, 3)), np.ones((2, 1))])
def test_columns_of_arrays_are_refused(ra: object) -> None:
    with pytest.raises(KnownObjectsError, match="column ra has . values per row"):
        normalize_known_objects(table(ra=ra))


def test_numbers_of_objects_as_floats() -> None:
    """A column of numbers with a missing one is floating point in a data frame."""
    assert list(normalize_known_objects(table(designation=[433.0, 719.0]))["designation"]) == ["719", "433"]
    with pytest.raises(KnownObjectsError, match="row 2, column designation"):
        normalize_known_objects(table(designation=[433.0, np.nan]))


def test_true_positions_of_sorcha_go_first() -> None:
    """The others, such as ``RA_deg``, have errors of a simulated measurement."""
    made = table(ra=None, dec=None, RA_deg=[1.0, 2.0], RATrue_deg=[3.0, 4.0], Dec_deg=[5.0, 6.0])
    made["DecTrue_deg"] = [7.0, 8.0]
    result = normalize_known_objects(made)
    assert (list(result["ra"]), list(result["dec"])) == ([4.0, 3.0], [8.0, 7.0])


def test_infinite_uncertainty_is_refused() -> None:
    with pytest.raises(KnownObjectsError, match="row 1, column positionErr: the value is infinite"):
        normalize_known_objects(table(positionErr=[np.inf, 1.0]))


def test_units_are_converted() -> None:
    made = normalize_known_objects(
        table(
            ra=np.array([10.0, 10.1]) * u.hourangle,
            rateRa=np.array([150.0, -300.0]) * u.arcsec / u.hour,
            rateDec=np.array([75.0, 0.0]) * u.arcsec / u.hour,
            positionErr=np.array([300.0, 5000.0]) * u.mas,
        )
    )
    np.testing.assert_allclose(made["ra"], [151.5, 150.0])
    np.testing.assert_allclose(made["rateRa"], [-2.0, 1.0])
    np.testing.assert_allclose(made["positionErr"], [5.0, 0.3])


def test_columns_of_horizons() -> None:
    """The names and units of ``astroquery.jplhorizons``; the Julian dates are UTC."""
    made = normalize_known_objects(
        astropy.table.Table(
            {
                "targetname": ["(2026 AB1)"],
                "datetime_jd": [2461000.75] * u.day,
                "RA": [150.0] * u.deg,
                "DEC": [10.0] * u.deg,
                "RA_rate": [150.0] * u.arcsec / u.hour,
                "DEC_rate": [75.0] * u.arcsec / u.hour,
                "V": [20.0] * u.mag,
            }
        )
    )
    expected = astropy.time.Time(2461000.75, format="jd", scale="utc").tai.mjd
    assert made["mjdTai"][0] == pytest.approx(expected, abs=1e-8)
    assert made["rateRa"][0] == pytest.approx(1.0)
    assert np.isnan(made["positionErr"][0])


def test_rate_and_position_angle() -> None:
    changes = {"rateRa": None, "rateDec": None, "rate": [2.0, 1.0], "positionAngle": [90.0, 180.0]}
    made = normalize_known_objects(table(**changes))
    np.testing.assert_allclose(made["rateRa"], [0.0, 2.0], atol=1e-12)
    np.testing.assert_allclose(made["rateDec"], [-1.0, 0.0], atol=1e-12)


def test_one_time_for_all_rows() -> None:
    made = normalize_known_objects(table(mjdTai=None), mjd_tai=61000.5)
    np.testing.assert_array_equal(made["mjdTai"], 61000.5)


def test_unknown_values_are_not_errors() -> None:
    made = normalize_known_objects(table(rateRa=None, rateDec=None, vmag=[np.nan, 21.0], positionErr=None))
    assert np.all(np.isnan(made["rateRa"]))
    assert np.isnan(made["vmag"][1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ra": [150.0, np.nan]}, ("row 2", "column ra")),
        ({"dec": [np.nan, np.nan]}, ("row 1", "column dec", "2 rows")),
        ({"mjdTai": [np.nan, 61000.0]}, ("row 1", "column mjdTai")),
        ({"dec": [10.0, 95.0]}, ("row 2", "column dec", "90")),
        ({"ra": [1500.0, 10.0]}, ("row 1", "column ra", "360")),
        ({"designation": ["2026 AB1", " "]}, ("row 2", "column designation")),
        ({"rateDec": [np.nan, 0.0]}, ("row 1", "column rateDec")),
        ({"rateRa": [1000.0, 0.0]}, ("row 1", "column rateRa", "unit")),
        ({"positionErr": [0.3, -1.0]}, ("row 2", "column positionErr", "negative")),
        ({"ra": ["10:00:00", "150"]}, ("row 1", "column ra", "10:00:00")),
        ({"ra": np.array([1.0, 2.0]) * u.s}, ("column ra", "'s'")),
        ({"rateRa": np.array([1.0, 2.0]) * u.m}, ("column rateRa", "'m'")),
        ({"mjdTai": None}, ("time", "mjd_utc", "--mjd")),
        ({"designation": None}, ("designation", "objid")),
        ({"dec": None}, ("column for dec",)),
    ],
)
def test_errors_name_row_and_column(changes: dict[str, object], words: tuple[str, ...]) -> None:
    with pytest.raises(KnownObjectsError) as error:
        normalize_known_objects(table(**changes))
    for word in words:
        assert word in str(error.value)


def test_masked_values_are_missing() -> None:
    masked = astropy.table.Table(table(), masked=True)
    masked["dec"].mask[1] = True
    with pytest.raises(KnownObjectsError, match="row 2, column dec"):
        normalize_known_objects(masked)


def test_no_rows() -> None:
    with pytest.raises(KnownObjectsError, match="no rows"):
        normalize_known_objects(table()[:0])


def test_equal_rows_are_merged() -> None:
    twice = astropy.table.vstack([table(), table()])
    assert len(normalize_known_objects(twice)) == 2


def test_contradictory_rows_are_refused() -> None:
    both = astropy.table.vstack([table(), table(ra=[150.0, 151.0])])
    with pytest.raises(KnownObjectsError, match=r"rows 2 and 4 .*'mine'.* column ra"):
        normalize_known_objects(both)


def test_the_file_is_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "objects.csv"
    table(ra=[150.0, np.nan]).write(path)
    with pytest.raises(KnownObjectsError, match=r"objects\.csv: row 2, column ra"):
        read_known_objects(path)


@pytest.mark.parametrize("name", ["objects.txt", "objects.fits"])
def test_unknown_formats(name: str, tmp_path: Path) -> None:
    with pytest.raises(KnownObjectsError, match=r"\.ecsv"):
        read_known_objects(tmp_path / name)


@pytest.mark.parametrize("name", ["objects.ecsv", "objects.csv", "objects.parquet", "objects.vot"])
def test_damaged_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x00\x01 nothing that has a meaning")
    with pytest.raises(KnownObjectsError, match=name):
        read_known_objects(path)


@given(st.lists(st.tuples(st.text(max_size=9), *[st.floats() for _ in range(6)]), min_size=1, max_size=4))
def test_any_values_give_a_clean_table_or_an_error(rows: list[tuple[object, ...]]) -> None:
    names = ("designation", "mjdTai", "ra", "dec", "rateRa", "rateDec", "positionErr")
    try:
        made = normalize_known_objects(astropy.table.Table(rows=rows, names=names))
    except KnownObjectsError:
        return
    for name in ("mjdTai", "ra", "dec"):
        assert np.all(np.isfinite(made[name]))


def test_files_of_spreadsheets(tmp_path: Path) -> None:
    """A byte order mark is not part of the first name; other separators are named."""
    text = "designation,mjdTai,ra,dec\nmine,60000.5,150.0,2.0\n"
    (tmp_path / "mark.csv").write_text(text, encoding="utf-8-sig")
    assert list(read_known_objects(tmp_path / "mark.csv")["designation"]) == ["mine"]
    for separator in ";\t|":
        (tmp_path / "other.csv").write_text(text.replace(",", separator))
        with pytest.raises(KnownObjectsError, match="other.csv: the columns are separated by .* by commas"):
            read_known_objects(tmp_path / "other.csv")
    (tmp_path / "latin.csv").write_bytes(text.replace("mine", "m\xfcne").encode("latin-1"))
    with pytest.raises(KnownObjectsError, match="latin.csv cannot be read.*UTF-8"):
        read_known_objects(tmp_path / "latin.csv")


@pytest.mark.parametrize("vmag", [-99.0, 99.0, float("inf")])
def test_fill_values_are_no_magnitudes(vmag: float, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"designation,mjdTai,ra,dec,vmag\nmine,60000.5,150.0,2.0,{vmag}\n")
    with pytest.raises(KnownObjectsError, match="row 1, column vmag: the value is not a magnitude up to 50"):
        read_known_objects(tmp_path / "a.csv")
