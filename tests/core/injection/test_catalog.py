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

import astropy.table
import astropy.units as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsst.meas.trails.core.injection.catalog import (
    CatalogError,
    CatalogSelection,
    ImageFootprint,
    select_trails,
)
from lsst.meas.trails.core.photometry import mag_to_flux

SCALE = 0.2
RA, DEC = 359.999, -30.0
"""Center of the image, on the meridian where right ascension starts again at 0."""

SHAPE = (200, 300)


def sky_to_pixel(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat map about the center, accurate over an arcminute."""
    east = (np.mod(ra - RA + 180.0, 360.0) - 180.0) * np.cos(np.deg2rad(DEC))
    return 149.5 - east * 3600.0 / SCALE, 99.5 + (dec - DEC) * 3600.0 / SCALE


FOOTPRINT = ImageFootprint(
    shape=SHAPE, ra=RA, dec=DEC, pixel_scale=SCALE, sky_to_pixel=sky_to_pixel, margin=12.0
)


def table_of(*positions: tuple[float, float], **columns: Any) -> astropy.table.Table:
    """Return a catalog of trails at some pixels."""
    x, y = np.array(positions, dtype=float).reshape(-1, 2).T
    count = len(x)
    values = {
        "injection_id": np.arange(count),
        "ra": np.mod(RA - (x - 149.5) * SCALE / 3600.0 / np.cos(np.deg2rad(DEC)), 360.0),
        "dec": DEC + (y - 99.5) * SCALE / 3600.0,
        "source_type": np.full(count, "Trail"),
        "mag": np.full(count, 25.0),
        "trail_length": np.full(count, 20.0),
        "beta": np.full(count, 30.0),
        **columns,
    }
    return astropy.table.Table({name: value for name, value in values.items() if value is not None})


def select(*catalogs: astropy.table.Table, visit: int | None = None) -> CatalogSelection:
    return select_trails(catalogs, [f"catalog {i}" for i in range(len(catalogs))], FOOTPRINT, visit)


def test_positions_fluxes_and_angles() -> None:
    chosen = select(table_of((10.0, 20.0), (290.0, 180.0), beta=np.array([30.0, 200.0])))
    np.testing.assert_allclose(chosen.trails.x, [10.0, 290.0], atol=1e-5)
    np.testing.assert_allclose(chosen.trails.y, [20.0, 180.0], atol=1e-5)
    # A line has no direction.
    np.testing.assert_allclose(chosen.trails.angle, [30.0, 20.0])
    # The magnitude is per pixel of length.
    np.testing.assert_allclose(chosen.trails.flux, 20.0 * mag_to_flux(25.0))
    assert list(chosen.injection_id) == [0, 1]
    assert chosen.excluded == ()


def test_units_are_converted() -> None:
    table = table_of((10.0, 20.0))
    table["ra"] = (table["ra"] * u.deg).to(u.rad)
    table["dec"].unit = u.deg
    table["trail_length"] = [4.0] * u.arcsec
    table["beta"] = [0.5] * u.rad
    table["mag"].unit = "mag(AB)"
    trails = select(table).trails
    assert trails.x[0] == pytest.approx(10.0, abs=1e-5)
    assert trails.length[0] == pytest.approx(20.0)
    assert trails.angle[0] == pytest.approx(np.rad2deg(0.5))
    assert trails.flux[0] == pytest.approx(20.0 * mag_to_flux(25.0))


def test_the_same_row_of_several_catalogs_is_one_trail() -> None:
    table = table_of((10.0, 20.0), (50.0, 60.0), (90.0, 60.0))
    chosen = select(table[:2], table, table[1:])
    np.testing.assert_allclose(chosen.trails.x, [10.0, 50.0, 90.0], atol=1e-5)
    assert list(chosen.injection_id) == [0, 1, 2]
    assert chosen.repeated == 4
    assert chosen.renumbered == 0


def test_rows_without_numbers_are_identified_by_their_values() -> None:
    table = table_of((10.0, 20.0), (50.0, 60.0), injection_id=None)
    chosen = select(table, table)
    assert len(chosen.trails) == 2
    assert list(chosen.injection_id) == [0, 1]
    assert chosen.repeated == 2


def test_different_trails_of_one_number_are_both_injected() -> None:
    """Many catalogs count from 0."""
    chosen = select(table_of((10.0, 20.0), (50.0, 60.0)), table_of((90.0, 20.0), (50.0, 90.0)))
    assert len(chosen.trails) == 4
    assert list(chosen.injection_id) == [0, 1, 2, 3]
    assert chosen.renumbered == 2


def test_other_sources_are_ignored() -> None:
    table = table_of(
        (10.0, 20.0),
        (50.0, 60.0),
        (90.0, 60.0),
        source_type=["Sersic", "Trail", "Star"],
        mag=[np.nan, 25.0, 20.0],
    )
    chosen = select(table)
    assert list(chosen.injection_id) == [1]
    assert chosen.other_types == 2
    assert chosen.excluded == ()
    # A catalog without trails needs no columns of trails.
    galaxies = table_of((10.0, 20.0), source_type=["Sersic"], trail_length=None, beta=None)
    assert select(galaxies, table).other_types == 3


def test_rows_for_other_visits_are_left_out() -> None:
    table = table_of((10.0, 20.0), (50.0, 60.0), (90.0, 60.0), visit=np.array([7, 8, 7]))
    assert list(select(table, visit=7).injection_id) == [0, 2]
    assert select(table, visit=7).other_visits == 1
    assert len(select(table).trails) == 3


@pytest.mark.parametrize(
    ("x", "y", "beta", "reaches"),
    [
        (-15.0, 100.0, 0.0, True),  # one end is 5 pixels away, the PSF reaches 12
        (-15.0, 100.0, 90.0, False),
        (-25.0, 100.0, 0.0, False),
        (315.0, 100.0, 180.0, True),
        (150.0, -15.0, 90.0, True),
        (150.0, 225.0, 90.0, False),
        (-14.0, -14.0, 135.0, False),  # passes by the corner
        (-14.0, -14.0, 45.0, True),
    ],
)
def test_trails_with_light_on_the_image(x: float, y: float, beta: float, reaches: bool) -> None:
    chosen = select(table_of((x, y), beta=np.array([beta])))
    assert len(chosen.trails) == int(reaches)
    assert chosen.off_image == int(not reaches)


def test_the_other_side_of_the_sky_is_off_the_image() -> None:
    """The map to pixels may return to the image there."""
    antipode = table_of((150.0, 100.0))
    antipode["ra"] = np.mod(antipode["ra"] + 180.0, 360.0)
    antipode["dec"] = -antipode["dec"]
    everywhere = ImageFootprint(
        shape=SHAPE,
        ra=RA,
        dec=DEC,
        pixel_scale=SCALE,
        sky_to_pixel=lambda ra, dec: (np.full(len(ra), 150.0), np.full(len(ra), 100.0)),
        margin=12.0,
    )
    assert select_trails([antipode], ["c"], everywhere).off_image == 1


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("mag", np.nan, "mag is nan"),
        ("mag", np.inf, "mag is inf"),
        ("mag", 80.0, "mag is 80"),
        ("mag", -3.0, "mag is -3"),
        ("trail_length", 0.0, "trail_length is 0"),
        ("trail_length", -5.0, "trail_length is -5"),
        ("trail_length", 10_000.0, "trail_length is 10000"),
        ("trail_length", np.nan, "trail_length is nan"),
        ("beta", np.nan, "beta is nan"),
        ("ra", np.nan, "ra is nan"),
        ("dec", np.inf, "dec is inf"),
    ],
)
def test_bad_rows_are_named(column: str, value: float, message: str) -> None:
    table = table_of((10.0, 20.0), (50.0, 60.0), (90.0, 60.0))
    table[column] = table[column].astype(float)
    table[column][1] = value
    chosen = select(table_of((30.0, 150.0), injection_id=[9]), table)
    # Other rows are not affected.
    assert list(chosen.injection_id) == [9, 0, 2]
    (text,) = chosen.excluded
    assert text.startswith("row 1 of catalog 1: ")
    assert message in text


def test_masked_values_are_missing() -> None:
    table = astropy.table.Table(table_of((10.0, 20.0), (50.0, 60.0)), masked=True)
    table["mag"].mask[0] = True
    chosen = select(table)
    assert chosen.excluded == ("row 0 of catalog 0: mag is nan.",)
    assert list(chosen.injection_id) == [1]


def test_bad_rows_elsewhere_on_the_sky_are_ignored() -> None:
    table = table_of((90_000.0, 20.0), mag=np.array([np.nan]))
    chosen = select(table)
    assert chosen.excluded == ()
    assert chosen.off_image == 1


@pytest.mark.parametrize("column", ["ra", "dec", "mag", "trail_length", "beta"])
def test_missing_columns_are_an_error(column: str) -> None:
    table = table_of((10.0, 20.0), **{column: None})
    with pytest.raises(CatalogError, match=f"catalog 0 .*{column}"):
        select(table)


def test_another_table_is_an_error() -> None:
    with pytest.raises(CatalogError, match="catalog 0 .*'source_type'"):
        select(astropy.table.Table({"a": [1]}))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("mag", ["bright"], "'mag' of catalog 0"),
        ("mag", [3.0] * u.s, "'mag' of catalog 0 is in s, not in mag"),
        ("trail_length", [3.0] * u.kg, "'trail_length' of catalog 0 is in kg"),
        ("injection_id", [0.5], "'injection_id' of catalog 0"),
    ],
)
def test_wrong_columns_are_an_error(column: str, values: Any, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        select(table_of((10.0, 20.0), **{column: values}))


def test_no_catalogs_and_empty_ones() -> None:
    for chosen in (select(), select(astropy.table.Table()), select(table_of())):
        assert len(chosen.trails) == 0
        assert len(chosen.injection_id) == 0


def test_catalogs_are_not_changed() -> None:
    table = table_of((10.0, 20.0), (50.0, 60.0))
    table["trail_length"] = [4.0, 5.0] * u.arcsec
    before = table.copy()
    select(table, table)
    assert table.colnames == before.colnames
    assert table.values_equal(before).to_pandas().all().all()


@given(
    st.lists(
        st.tuples(
            st.floats(-1e3, 1e3),
            st.floats(-1e3, 1e3),
            st.floats(allow_nan=True, allow_infinity=True),
            st.floats(allow_nan=True, allow_infinity=True),
            st.floats(allow_nan=True, allow_infinity=True),
            st.integers(-5, 5),
        ),
        max_size=8,
    )
)
def test_every_row_is_counted(rows: list[tuple[float, float, float, float, float, int]]) -> None:
    columns = [np.array([row[i] for row in rows]) for i in range(6)]
    table = table_of(
        *((row[0], row[1]) for row in rows),
        mag=columns[2].astype(float),
        trail_length=columns[3].astype(float),
        beta=columns[4].astype(float),
        injection_id=columns[5].astype(np.int64),
    )
    chosen = select(table)
    count = len(chosen.trails)
    assert count + len(chosen.excluded) + chosen.off_image + chosen.repeated == len(rows)
    assert len(set(chosen.injection_id)) == count
    for values in (chosen.trails.x, chosen.trails.length, chosen.trails.angle, chosen.trails.flux):
        assert np.isfinite(values).all()
    assert np.all((chosen.trails.flux > 0.0) & (chosen.trails.length > 0.0))
