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

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import AltAz
from astropy.utils import iers

from lsst.meas.trails.sim.detector import focal_plane_offset
from lsst.meas.trails.sim.observation import (
    MAX_VISITS,
    SITE,
    make_obs_info,
    make_sky_projection,
    plan_visit,
)

SHAPE = (400, 500)


def test_plans_are_reproducible_and_distinct() -> None:
    plans = [plan_visit(7, index, "r") for index in range(20)]
    assert plan_visit(7, 3, "r") == plans[3]
    assert len({plan.visit for plan in plans}) == 20
    assert len({plan.ra for plan in plans}) == 20
    assert plan_visit(8, 3, "r").day_obs != plans[3].day_obs
    for before, after in zip(plans, plans[1:], strict=False):
        assert after.begin > before.end
    assert all(plan.altitude >= 35.0 for plan in plans)


def test_visit_number_contains_the_night() -> None:
    plan = plan_visit(0, 4, "g")
    assert plan.visit == 20170101_00005
    assert plan.physical_filter == "g_sim"
    # The night of January 1 starts after midnight UTC.
    assert plan.begin.utc.iso.startswith("2017-01-02 01:0")
    assert (plan.end - plan.begin).sec == pytest.approx(30.0, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_boresight_agrees_with_altaz(seed: int) -> None:
    plan = plan_visit(seed, seed, "r")
    info = make_obs_info(plan, 0)
    assert info.tracking_radec is not None
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "warn"):
        altaz = info.tracking_radec.transform_to(AltAz(obstime=plan.begin, location=SITE))
    # Precession since 2000, a quarter of a degree, is neglected.
    assert altaz.separation(info.altaz_begin) < 0.3 * u.deg
    assert info.boresight_airmass == pytest.approx(altaz.secz.value, abs=0.02)


def test_observation_is_fully_described() -> None:
    plan = plan_visit(3, 2, "i")
    info = make_obs_info(plan, 94)
    unknown = [name for name in info.all_properties if getattr(info, name) is None]
    assert unknown == ["focus_z", "altaz_end"]
    assert info.datetime_begin is not None
    assert info.datetime_begin.scale == "tai"
    assert info.detector_unique_name == "R22_S11"
    assert info.has_simulated_content


def test_center_of_the_camera_is_the_boresight() -> None:
    plan = plan_visit(3, 2, "i")
    projection = make_sky_projection(plan, 94, SHAPE)
    center = projection.pixel_to_sky(x=249.5, y=199.5)
    boresight = make_obs_info(plan, 94).tracking_radec
    assert center.separation(boresight) < 1e-6 * u.arcsec
    right, above = projection.pixel_to_sky(x=250.5, y=199.5), projection.pixel_to_sky(x=249.5, y=200.5)
    assert center.separation(right).arcsec == pytest.approx(0.2, rel=1e-6)
    # A step of 0.2 arcsec has a relative precision of 1e-7.
    assert center.position_angle(above).deg == pytest.approx(plan.rotation, abs=1e-4)
    # With North up and East left, x points West.
    turn = (center.position_angle(right) - center.position_angle(above)).wrap_at(180 * u.deg)
    assert turn.deg == pytest.approx(-90.0, abs=1e-4)


def test_detectors_share_one_projection() -> None:
    """A pixel off the edge of one detector is a pixel of its neighbor."""
    plan = plan_visit(3, 2, "i")
    first = make_sky_projection(plan, 0, SHAPE)
    x0, y0 = focal_plane_offset(0, SHAPE)
    for neighbor in (1, 3, 94):
        x1, y1 = focal_plane_offset(neighbor, SHAPE)
        here = first.pixel_to_sky(x=10.0 + x1 - x0, y=20.0 + y1 - y0)
        there = make_sky_projection(plan, neighbor, SHAPE).pixel_to_sky(x=10.0, y=20.0)
        assert here.separation(there) < 1e-6 * u.arcsec


def test_projection_is_a_fits_wcs() -> None:
    projection = make_sky_projection(plan_visit(3, 2, "i"), 5, SHAPE)
    wcs = projection.as_fits_wcs(projection.pixel_frame.bbox)
    assert wcs is not None
    sky = projection.pixel_to_sky(x=33.0, y=44.0)
    np.testing.assert_allclose(wcs.world_to_pixel(sky), (33.0, 44.0), atol=1e-6)


def test_too_many_visits() -> None:
    with pytest.raises(ValueError, match="800"):
        plan_visit(1, MAX_VISITS, "r")


@pytest.mark.parametrize("seed", [*range(0, 3650, 73), 20261101])
def test_tables_of_earth_rotation_are_not_used(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # astropy downloads tables that are out of date.
    def refuse(*args: object) -> None:
        raise AssertionError("a table of the Earth's rotation was read")

    monkeypatch.setattr("astropy.utils.iers.earth_orientation_table.get", refuse)
    assert 0.0 <= plan_visit(seed, 0, "r").ra < 360.0
