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

from collections.abc import Callable
from typing import Any

import astropy.table
import astropy.units as u
import numpy as np
import numpy.typing as npt
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from lsst.meas.trails.core.candidates.pixel_flags import PIXEL_FLAGS
from lsst.meas.trails.core.catalog.columns import CANDIDATE_COLUMNS, candidate_catalog, empty_catalog
from lsst.meas.trails.core.geometry import Trails, angle_difference
from lsst.meas.trails.core.photometry import mag_to_flux

type PixelToSky = Callable[[Any, Any], tuple[Any, Any]]

SCALE = 0.2 / 3600.0
"""Degrees per pixel."""


def tangent(
    ra: float = 150.0, dec: float = 0.0, *, rotation: float = 0.0, flipped: bool = False
) -> PixelToSky:
    """Return a rotated gnomonic projection about pixel (1000, 1000).

    East is to the left, as on the sky, or to the right.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [1001.0, 1001.0]
    c, s = np.cos(np.deg2rad(rotation)), np.sin(np.deg2rad(rotation))
    east = 1.0 if flipped else -1.0
    wcs.wcs.cd = SCALE * np.array([[east * c, -east * s], [s, c]])
    return lambda x, y: tuple(wcs.all_pix2world(x, y, 0))


def candidates(**changes: float | list[float]) -> astropy.table.Table:
    """Return candidates of 60 pixels along +x about pixel (1000, 1000)."""
    count = max(len(np.atleast_1d(value)) for value in changes.values()) if changes else 1
    columns: dict[str, Any] = {
        "x": 1000.0,
        "y": 1000.0,
        "xErr": 0.5,
        "yErr": 0.3,
        "xyCovariance": 0.0,
        "trailLengthPix": 60.0,
        "trailLengthPixErr": 2.0,
        "trailAnglePix": 0.0,
        "trailAnglePixErr": 0.7,
        "flux": 5000.0,
        "fluxErr": 250.0,
        "snr": 20.0,
        "trailChi2": 800.0,
        "trailNdata": 790,
        "area": 400,
        "peakProbability": 0.99,
        "meanProbability": 0.8,
        "score": 0.93,
        **dict.fromkeys(
            ("trail_flag_edge", "trail_flag_point", "badFlag", "streakFlag", "trail_flag", *PIXEL_FLAGS),
            False,
        ),
        **changes,
    }
    table = astropy.table.Table({name: np.resize(value, count) for name, value in columns.items()})
    ends = Trails.from_table(table, length="trailLengthPix", angle="trailAnglePix").ends
    for name, end in zip(("x0", "y0", "x1", "y1"), ends, strict=True):
        table[name] = np.asarray(end)
    return table


def catalog(table: astropy.table.Table, pixel_to_sky: PixelToSky, **options: Any) -> astropy.table.Table:
    what: dict[str, Any] = {
        "first_id": 1000,
        "visit": 20260,
        "detector": 7,
        "band": "r",
        "midpoint_mjd_tai": 61000.25,
        "exposure_time": 30.0,
        **options,
    }
    return candidate_catalog(table, pixel_to_sky=pixel_to_sky, **what)


def test_columns_types_and_units() -> None:
    filled, empty = catalog(candidates(), tangent()), empty_catalog()
    assert len(empty) == 0
    for table in (filled, empty):
        assert table.colnames == list(CANDIDATE_COLUMNS)
        for name, (dtype, unit, description) in CANDIDATE_COLUMNS.items():
            assert table[name].unit == unit
            assert table[name].description == description
            assert np.issubdtype(table[name].dtype, dtype)
    assert catalog(candidates()[:0], tangent()).colnames == list(CANDIDATE_COLUMNS)


def test_image_columns() -> None:
    table = catalog(candidates(x=[1000.0, 500.0, 30.0]), tangent())
    assert table["trailCandidateId"].tolist() == [1000, 1001, 1002]
    assert set(table["visit"]) == {20260}
    assert set(table["detector"]) == {7}
    assert set(table["band"]) == {"r"}
    assert set(table["midpointMjdTai"]) == {61000.25}
    assert set(table["exposureTime"]) == {30.0}
    assert not np.any(table["assumedTimeFlag"] | table["assumedExposureTimeFlag"])


def test_assumed_values_are_marked() -> None:
    table = catalog(candidates(x=[1000.0, 500.0]), tangent(), assumed=["assumedTimeFlag"])
    assert table["assumedTimeFlag"].tolist() == [True, True]
    assert table["assumedExposureTimeFlag"].tolist() == [False, False]


def test_ten_degrees_a_day() -> None:
    """62.5 pixels of 0.2 arcsec in 30 s are 10 deg/day."""
    row = catalog(candidates(trailLengthPix=62.5), tangent())[0]
    assert row["trailLength"] == pytest.approx(12.5, rel=1e-6)
    assert row["trailRate"] == pytest.approx(10.0, rel=1e-6)
    assert row["trailLengthErr"] == pytest.approx(0.4, rel=1e-6)
    assert row["trailLengthPix"] == 62.5


@pytest.mark.parametrize(
    ("angle", "position_angle"),
    # East is to the left: +x points West, which is equivalent to East.
    [(0.0, 90.0), (90.0, 0.0), (45.0, 135.0), (135.0, 45.0), (10.0, 100.0), (170.0, 80.0)],
)
def test_angles_east_of_north(angle: float, position_angle: float) -> None:
    row = catalog(candidates(trailAnglePix=angle), tangent())[0]
    assert angle_difference(row["trailAngle"], position_angle) < 1e-3
    assert row["trailAnglePix"] == angle
    assert row["trailAngleErr"] == 0.7


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("rotation", [0.0, 30.0, 200.0])
@pytest.mark.parametrize(("ra", "dec"), [(150.0, 0.0), (0.0, -45.0), (359.9999, 70.0)])
def test_against_astropy(ra: float, dec: float, rotation: float, flipped: bool) -> None:
    rng = np.random.default_rng(1)
    table = candidates(
        x=rng.uniform(0, 4000, 10).tolist(),
        y=rng.uniform(0, 4000, 10).tolist(),
        trailLengthPix=rng.uniform(6, 150, 10).tolist(),
        trailAnglePix=rng.uniform(0, 180, 10).tolist(),
    )
    project = tangent(ra, dec, rotation=rotation, flipped=flipped)
    result = catalog(table, project)
    first, second, middle = (
        SkyCoord(*project(np.asarray(table[f"x{end}"]), np.asarray(table[f"y{end}"])), unit="deg")
        for end in ("0", "1", "")
    )
    np.testing.assert_allclose(result["ra0"], first.ra.deg)
    np.testing.assert_allclose(result["dec1"], second.dec.deg)
    np.testing.assert_allclose(result["ra"], middle.ra.deg)
    np.testing.assert_allclose(result["trailLength"], first.separation(second).arcsec, rtol=1e-7)
    # The position angle at the midpoint, from a point next to it; from end to
    # end it turns by some 30 arcsec tan(dec): 0.02 degrees.
    expected = np.mod(middle.position_angle(second).deg, 180.0)
    assert np.max(angle_difference(result["trailAngle"], expected)) < 0.02
    assert np.all((result["trailAngle"] >= 0.0) & (result["trailAngle"] < 180.0))


def test_a_trail_without_length_has_an_angle() -> None:
    row = catalog(candidates(trailLengthPix=0.0, trailAnglePix=30.0), tangent())[0]
    assert row["trailLength"] == 0.0
    assert row["trailAngle"] == pytest.approx(150.0 - 30.0, abs=1e-3)


def test_errors_on_the_sky() -> None:
    row = catalog(candidates(), tangent(dec=60.0))[0]
    assert row["decErr"] == pytest.approx(0.3 * SCALE, rel=1e-6)
    # On the sky: an angle of right ascension would be twice as large here.
    assert row["raErr"] == pytest.approx(0.5 * SCALE, rel=1e-6)
    assert row["ra_dec_Cov"] == pytest.approx(0.0, abs=1e-6 * SCALE**2)
    # With x along North the errors are exchanged.
    row = catalog(candidates(), tangent(rotation=90.0))[0]
    assert row["decErr"] == pytest.approx(0.5 * SCALE, rel=1e-6)
    assert row["raErr"] == pytest.approx(0.3 * SCALE, rel=1e-6)


def test_errors_on_the_sky_follow_the_trail() -> None:
    """A trail at 45 degrees to the pixels points East on a rotated detector.

    Its errors are 0.5 pixel along it and 0.1 pixel across.
    """
    mean, difference = 0.5 * (0.5**2 + 0.1**2), 0.5 * (0.5**2 - 0.1**2)
    table = candidates(xErr=mean**0.5, yErr=mean**0.5, xyCovariance=difference, trailAnglePix=45.0)
    rows = [catalog(table, tangent(rotation=rotation))[0] for rotation in (45.0, -45.0)]
    for row in rows:
        assert sorted([row["raErr"], row["decErr"]]) == pytest.approx([0.1 * SCALE, 0.5 * SCALE], rel=1e-6)
        assert row["ra_dec_Cov"] == pytest.approx(0.0, abs=1e-6 * SCALE**2)
    # Without a rotation, the trail points North and West: the covariance has the opposite sign.
    row = catalog(table, tangent())[0]
    assert row["ra_dec_Cov"] == pytest.approx(-difference * SCALE**2, rel=1e-6)
    assert rows[0]["raErr"] == pytest.approx(rows[1]["decErr"], rel=1e-6)


def test_errors_over_the_origin_of_right_ascension() -> None:
    """Right ascension wraps at the next pixel to the East."""
    here = catalog(candidates(), tangent(ra=0.1))[0]
    for ra in (359.99999, 0.0, 0.00001):
        row = catalog(candidates(), tangent(ra=ra))[0]
        for name in ("raErr", "trailLength", "trailLengthErr", "trailAngle"):
            assert row[name] == pytest.approx(here[name], rel=1e-6)


def test_brightness_in_njy() -> None:
    """The image is in units of 10 nJy."""
    flux = mag_to_flux(22.5)
    row = catalog(candidates(flux=flux / 10.0, fluxErr=flux / 200.0), tangent(), flux_per_njy=0.1)[0]
    assert row["trailFlux"] == pytest.approx(flux)
    assert row["trailFluxErr"] == pytest.approx(flux / 20.0)
    assert row["trailMag"] == pytest.approx(22.5)
    assert row["snr"] == 20.0


def test_coordinates_of_a_part_of_a_detector() -> None:
    table = candidates()
    for name in ("x", "x0", "x1"):
        table[name] -= 400.0
    for name in ("y", "y0", "y1"):
        table[name] -= 100.0
    shifted, whole = catalog(table, tangent(), origin=(400, 100)), catalog(candidates(), tangent())
    for name in ("x", "y", "x0", "y0", "x1", "y1", "ra", "dec", "ra1", "dec0", "trailLength", "trailAngle"):
        assert shifted[name][0] == pytest.approx(whole[name][0])


def test_unknown_values_are_nan() -> None:
    nan = float("nan")
    table = candidates(flux=nan, fluxErr=nan, xErr=nan, yErr=nan, trailLengthPixErr=nan, trail_flag=True)
    row = catalog(table, tangent(), exposure_time=nan)[0]
    for name in ("trailFlux", "trailMag", "raErr", "decErr", "trailLengthErr", "trailRate"):
        assert np.isnan(row[name])
    assert row["trailLength"] == pytest.approx(12.0)
    assert row["trail_flag"]
    # A flux that is not positive has no magnitude.
    assert np.isnan(catalog(candidates(flux=-3.0), tangent())[0]["trailMag"])


@settings(max_examples=30)
@given(
    ra=st.floats(0.0, 360.0),
    dec=st.floats(-89.5, 89.5),
    rotation=st.floats(0.0, 360.0),
    length=st.floats(0.0, 400.0),
    angle=st.floats(0.0, 180.0, exclude_max=True),
)
def test_anywhere_on_the_sky(ra: float, dec: float, rotation: float, length: float, angle: float) -> None:
    table = candidates(trailLengthPix=length, trailAnglePix=angle)
    row = catalog(table, tangent(ra, dec, rotation=rotation))[0]
    # 400 pixels of a gnomonic projection are 1e-8 from flat.
    assert row["trailLength"] == pytest.approx(0.2 * length, abs=1e-5)
    assert 0.0 <= row["trailAngle"] < 180.0
    # Half a degree from a pole, a step of a pixel turns North by 1e-4 / 0.5
    # radians.
    assert angle_difference(row["trailAngle"], 90.0 + angle + rotation) < 0.01


def test_units_can_be_used() -> None:
    table = catalog(candidates(), tangent())
    assert (table["trailLength"].quantity / (30.0 * u.s)).to(u.deg / u.day)[0].value == pytest.approx(
        table["trailRate"][0]
    )


def sky_of_lists(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[list[float], list[float]]:
    return (x * SCALE).tolist(), (y * SCALE).tolist()


def test_projections_may_return_lists() -> None:
    assert catalog(candidates(), sky_of_lists)["trailLength"][0] == pytest.approx(12.0)
