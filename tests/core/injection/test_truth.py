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

import astropy.units as u
import numpy as np
import numpy.typing as npt
import pytest

from lsst.meas.trails.core.geometry import Trails
from lsst.meas.trails.core.injection.truth import TRUTH_COLUMNS, add_distractors, streak_mask, truth_table
from lsst.meas.trails.core.photometry import flux_to_mag, mag_to_flux
from lsst.meas.trails.core.planes import ImagePlanes, plane_bits
from lsst.meas.trails.core.psf import FWHM_PER_SIGMA

type MakePlanes = Callable[..., ImagePlanes]


def trails_of(*rows: tuple[float, float, float, float, float]) -> Trails:
    return Trails(*np.array(rows).T)


def test_columns_units_and_descriptions(make_planes: MakePlanes) -> None:
    for trails in (trails_of((30.0, 30.0, 10.0, 20.0, 100.0)), Trails.empty()):
        table = truth_table(make_planes(), trails)
        assert table.colnames == list(TRUTH_COLUMNS)
        assert len(table) == len(trails)
        for name, (_, unit, description) in TRUTH_COLUMNS.items():
            assert table[name].unit == unit
            assert table[name].description == description
    assert table["flux"].unit == u.nJy


def test_geometry_in_the_coordinates_of_the_image(make_planes: MakePlanes) -> None:
    table = truth_table(make_planes(), trails_of((30.0, 20.0, 10.0, 90.0, 100.0)), origin=(1000, 500))
    row = table[0]
    assert (row["x"], row["y"]) == (1030.0, 520.0)
    assert (row["x0"], row["y0"], row["x1"], row["y1"]) == pytest.approx((1030.0, 515.0, 1030.0, 525.0))
    assert (row["trail_length"], row["beta"], row["injection_id"]) == (10.0, 90.0, 0)
    # Positions on the sky need a projection.
    assert np.isnan([row[name] for name in ("ra", "dec", "ra0", "dec0", "ra1", "dec1")]).all()


def test_sky_coordinates(make_planes: MakePlanes) -> None:
    def pixel_to_sky(
        x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        return 100.0 - x / 100.0, y / 100.0

    trails = trails_of((30.0, 20.0, 10.0, 0.0, 100.0))
    row = truth_table(make_planes(), trails, origin=(100, 0), pixel_to_sky=pixel_to_sky)[0]
    assert (row["ra"], row["dec"]) == pytest.approx((98.7, 0.2))
    assert (row["ra0"], row["dec0"], row["ra1"], row["dec1"]) == pytest.approx((98.75, 0.2, 98.65, 0.2))


def test_magnitudes(make_planes: MakePlanes) -> None:
    """The image is in units of 10 nJy."""
    table = truth_table(
        make_planes(), trails_of((30.0, 30.0, 40.0, 0.0, mag_to_flux(20.0) / 10.0)), flux_per_njy=0.1
    )
    row = table[0]
    assert row["flux"] == pytest.approx(mag_to_flux(20.0))
    assert row["integrated_mag"] == pytest.approx(20.0)
    # source_injection: the flux of the whole trail is flux(mag) x length.
    assert mag_to_flux(row["mag"]) * 40.0 == pytest.approx(row["flux"])
    # Jones et al. 2018 at ten times the seeing.
    assert row["fwhm"] == pytest.approx(4.0, rel=1e-4)
    assert row["PSF_mag"] - row["integrated_mag"] == pytest.approx(2.0418, abs=1e-4)


def test_the_two_scales_of_snr(make_planes: MakePlanes) -> None:
    sigma, flux, length = 3.0, 5000.0, 40.0
    psf_sigma = 4.0 / FWHM_PER_SIGMA
    row = truth_table(make_planes((100, 100), sigma=sigma), trails_of((50.0, 50.0, length, 30.0, flux)))[0]
    # F(m_psf) over a fifth of the 5 sigma limit of a point source.
    limit = 5.0 * sigma * np.sqrt(4.0 * np.pi) * psf_sigma
    assert row["SNR"] == pytest.approx(mag_to_flux(row["PSF_mag"]) / (limit / 5.0), rel=1e-4)
    # Matched filter on a long trail; its ends contribute a few percent at ten
    # times the seeing.
    expected = flux / np.sqrt(sigma**2 * length * 2.0 * np.sqrt(np.pi) * psf_sigma)
    assert row["snr_optimal"] == pytest.approx(expected, rel=0.06)
    # The optimal SNR is larger, by a factor that grows as the square root of
    # the length.
    assert row["snr_optimal"] / row["SNR"] == pytest.approx(
        np.sqrt(43.0 * np.sqrt(4.0 * np.pi) * psf_sigma / 40.0), rel=0.06
    )


def test_snr_scales_agree_on_a_point_source(make_planes: MakePlanes) -> None:
    row = truth_table(make_planes(), trails_of((30.0, 30.0, 0.01, 0.0, 100.0)))[0]
    assert row["SNR"] == pytest.approx(row["snr_optimal"], rel=1e-4)


def test_visible_fraction(make_planes: MakePlanes) -> None:
    planes = make_planes((60, 80))
    planes.mask[:, 60:] = plane_bits(["BAD"])
    table = truth_table(
        planes,
        trails_of(
            (30.0, 30.0, 10.0, 0.0, 100.0),
            (-0.5, 30.0, 10.0, 0.0, 100.0),
            (59.5, 30.0, 10.0, 0.0, 100.0),
            (72.0, 30.0, 10.0, 90.0, 100.0),
        ),
    )
    # The kernel extends 12 pixels: the last trail has no light on good pixels.
    np.testing.assert_allclose(table["visible_fraction"], [1.0, 0.5, 0.5, 0.0], atol=1e-3)
    # Half a trail has 1/sqrt(2) of the SNR of the whole.
    snr = table["snr_optimal"]
    np.testing.assert_allclose(snr / snr[0], [1.0, np.sqrt(0.5), np.sqrt(0.5), 0.0], atol=1e-3)
    # The point-source SNR does not depend on masked pixels.
    np.testing.assert_allclose(table["SNR"], table["SNR"][0])


def test_an_image_without_good_pixels(make_planes: MakePlanes) -> None:
    planes = make_planes()
    planes.image[:] = np.nan
    row = truth_table(planes, trails_of((30.0, 30.0, 10.0, 0.0, 100.0)))[0]
    assert row["snr_optimal"] < 0.01
    assert row["visible_fraction"] == 0.0
    assert np.isnan(row["SNR"])


def test_limiting_magnitudes(make_planes: MakePlanes) -> None:
    planes = make_planes((100, 160), sigma=3.0)
    planes.variance[:, 110:] = 4.0 * 9.0
    trails = trails_of((30.0, 50.0, 10.0, 0.0, 100.0), (140.0, 50.0, 10.0, 0.0, 100.0))
    table = truth_table(planes, trails, flux_per_njy=2.0)
    # 5 sigma of a Gaussian PSF, in nJy.
    limit = 5.0 * 3.0 * np.sqrt(4.0 * np.pi) * (4.0 / FWHM_PER_SIGMA) / 2.0
    np.testing.assert_allclose(table["m5_detector"], flux_to_mag(limit), atol=1e-3)
    np.testing.assert_allclose(table["m5_local"], flux_to_mag(limit * np.array([1.0, 2.0])), atol=1e-3)


def test_snr_of_the_whole_trail(make_planes: MakePlanes) -> None:
    """Pixels without a variance and those beyond the edge count as clean sky."""
    planes = make_planes((60, 80))
    planes.mask[:, 60:] = plane_bits(["BAD"])
    planes.variance[:, 60:] = np.nan
    table = truth_table(
        planes,
        trails_of(
            (30.0, 30.0, 10.0, 0.0, 100.0), (-0.5, 30.0, 10.0, 0.0, 100.0), (59.5, 30.0, 10.0, 0.0, 100.0)
        ),
    )
    np.testing.assert_allclose(table["SNR_estimation"], table["snr_optimal"][0], rtol=1e-3)
    assert table["snr_optimal"][1] < 0.8 * table["snr_optimal"][0]
    # Masked pixels with a variance count with it.
    planes.variance[:, 60:] = 4.0
    row = truth_table(planes, trails_of((70.0, 30.0, 10.0, 0.0, 100.0)))[0]
    assert row["SNR_estimation"] == pytest.approx(0.5 * table["SNR_estimation"][0], rel=1e-3)
    assert row["snr_optimal"] < 0.01


def test_scales_and_numbers_of_each_trail(make_planes: MakePlanes) -> None:
    trails = trails_of((30.0, 30.0, 10.0, 0.0, 100.0), (40.0, 30.0, 10.0, 0.0, 100.0))
    table = truth_table(
        make_planes(), trails, flux_per_njy=np.array([1.0, 4.0]), injection_id=np.array([7, 3])
    )
    np.testing.assert_allclose(table["flux"], [100.0, 25.0])
    assert list(table["injection_id"]) == [7, 3]
    # Both have the same light in the same noise.
    assert table["snr_optimal"][0] == pytest.approx(table["snr_optimal"][1], rel=1e-6)


def test_magnitude_per_pixel_of_short_trails(make_planes: MakePlanes) -> None:
    """flux(mag) x length is the flux, also for lengths below a pixel, but not 0."""
    table = truth_table(make_planes(), trails_of((30, 30, 0.4, 0.0, 100.0), (30, 30, 0.0, 0.0, 100.0)))
    np.testing.assert_allclose(mag_to_flux(table["mag"]), [250.0, 100.0])


def test_distractors_are_further_rows(make_planes: MakePlanes) -> None:
    planes = make_planes()
    table = truth_table(planes, trails_of((30.0, 30.0, 10.0, 0.0, 100.0)), injection_id=np.array([41]))
    lines = trails_of((20.0, 30.0, 4000.0, 30.0, 9e5), (10.0, 12.0, 0.0, 0.0, 50.0))
    both = add_distractors(table, lines, ["Satellite", "Star"], planes.psf, origin=(100, 0))
    assert len(table) == 1
    assert both.colnames == table.colnames
    assert list(both["source_type"]) == ["Trail", "Satellite", "Star"]
    assert list(both["injection_id"]) == [41, 42, 43]
    assert both["x"][1] == 120.0
    assert both["trail_length"][1] == 4000.0
    assert both["flux"][2] == 50.0
    assert np.isnan(both["snr_optimal"][1:]).all()
    for name in table.colnames:
        assert both[name].unit == table[name].unit
    unchanged = add_distractors(table, Trails.empty(), [], planes.psf)
    assert len(unchanged) == 1
    assert unchanged is not table


def test_streaks_of_satellites_alone(make_planes: MakePlanes) -> None:
    planes = make_planes((80, 100))
    table = truth_table(planes, trails_of((30.0, 20.0, 10.0, 0.0, 100.0)))
    assert not streak_mask(table, planes.shape).any()
    satellite, star = (50.0, 60.0, 100.0, 0.0, 1e4), (20.0, 30.0, 0.0, 0.0, 1e3)
    table = add_distractors(table, trails_of(satellite, star), ["Satellite", "Star"], planes.psf)
    # Within four FWHM of 4 pixels.
    expected = np.abs(np.arange(80) - 60.0) < 16.0
    np.testing.assert_array_equal(streak_mask(table, planes.shape), np.tile(expected[:, None], 100))


def test_streaks_end_inside_the_image(make_planes: MakePlanes) -> None:
    planes = make_planes((80, 100))
    empty = truth_table(planes, Trails.empty())
    table = add_distractors(empty, trails_of((40.0, 40.0, 20.0, 0.0, 1e4)), ["Satellite"], planes.psf)
    # From x = 30 to 50, and four FWHM of 4 pixels beyond the ends.
    columns = np.flatnonzero(streak_mask(table, planes.shape).any(axis=0))
    assert (columns[0], columns[-1]) == (15, 65)
