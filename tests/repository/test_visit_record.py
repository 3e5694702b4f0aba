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
from astropy.coordinates import SkyCoord
from astropy.time import Time, TimeDelta

from lsst.images import Box
from lsst.meas.trails.repository.visit_record import RepositoryError, VisitRecord, image_region
from lsst.meas.trails.sim.observation import make_obs_info, make_sky_projection, plan_visit
from lsst.sphgeom import LonLat, UnitVector3d

BOX = Box.from_shape((128, 160))
PROJECTION = make_sky_projection(plan_visit(1, 0, "r"), 0, (128, 160))
REGIONS = {0: image_region(PROJECTION, BOX)}


def test_record_of_incomplete_information() -> None:
    info = make_obs_info(plan_visit(1, 0, "r"), 0)
    with info.edit_copy() as bare:
        bare.visit_id = None
        bare.datetime_end = None
    with pytest.raises(RepositoryError, match="visit_id, datetime_end"):
        VisitRecord.from_obs_info(bare, band="r", regions=REGIONS)


def test_record_has_defaults() -> None:
    """FITS headers often have only the time."""
    info = make_obs_info(plan_visit(1, 0, "r"), 0)
    with info.edit_copy() as sparse:
        for name in (
            "exposure_time",
            "dark_time",
            "observing_day",
            "tracking_radec",
            "altaz_begin",
            "object",
        ):
            setattr(sparse, name, None)
        # 03:00 belongs to the night of the previous date.
        sparse.datetime_begin = Time("2021-03-05T03:00:00", scale="tai")
        sparse.datetime_end = sparse.datetime_begin + TimeDelta(45.0 * u.s)
    visit = VisitRecord.from_obs_info(sparse, band="r", regions=REGIONS)
    assert visit.day_obs == 20210304
    assert visit.exposure_time == pytest.approx(45.0)
    assert visit.dark_time == visit.exposure_time
    assert visit.target_name == "unknown"
    assert visit.azimuth is None


def test_region_of_an_image() -> None:
    for x, y, inside in ((0.0, 0.0, True), (159.4, 127.4, True), (160.0, 64.0, False), (-0.6, 64.0, False)):
        sky = PROJECTION.pixel_to_sky(x=x, y=y)
        point = UnitVector3d(LonLat.fromDegrees(float(sky.ra.deg), float(sky.dec.deg)))
        assert REGIONS[0].contains(point) == inside, (x, y)


@pytest.mark.parametrize(
    ("ra", "dec"), [(np.full(4, np.nan), np.zeros(4)), (np.full(4, 10.0), np.arange(4.0))]
)
def test_region_without_area(ra: np.ndarray, dec: np.ndarray) -> None:
    class Projection:
        def pixel_to_sky(self, x: np.ndarray, y: np.ndarray) -> SkyCoord:
            return SkyCoord(ra * u.deg, dec * u.deg)

    with pytest.raises(RepositoryError, match="WCS"):
        image_region(Projection(), BOX)  # type: ignore[arg-type]
