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

"""Dimension records of a visit."""

from __future__ import annotations

__all__ = ("RepositoryError", "VisitRecord", "image_region")

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy.time import Time, TimeDelta

from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

if TYPE_CHECKING:
    from astro_metadata_translator import ObservationInfo

    from lsst.images import Box, DetectorFrame, SkyProjection


class RepositoryError(RuntimeError):
    """Raised if a repository cannot be opened or refuses data."""


@dataclasses.dataclass(frozen=True)
class VisitRecord:
    """A visit of one exposure, as a Butler repository describes it.

    Parameters
    ----------
    instrument
        Name of the instrument.
    visit
        Number of the visit and of its exposure.
    name
        Name of the visit, unique in the instrument.
    day_obs, seq_num
        The night, YYYYMMDD, and the number of the visit in it.
    physical_filter, band
        The filter.
    begin, end
        Start and end of the exposure.
    regions
        Sky region of each detector, by detector number.
    exposure_time, dark_time
        Seconds.
    group
        Name of the group of exposures.
    target_name, observation_reason, science_program
        Purpose of the visit.
    tracking_ra, tracking_dec, sky_angle
        ICRS position and position angle of the boresight, degrees.
    azimuth, zenith_angle
        Horizontal coordinates of the boresight, degrees.
    has_simulated
        Whether the pixels are simulated.
    """

    instrument: str
    visit: int
    name: str
    day_obs: int
    seq_num: int
    physical_filter: str
    band: str
    begin: Time
    end: Time
    regions: Mapping[int, ConvexPolygon]
    exposure_time: float
    dark_time: float
    group: str
    target_name: str
    observation_reason: str
    science_program: str
    tracking_ra: float | None
    tracking_dec: float | None
    sky_angle: float | None
    azimuth: float | None
    zenith_angle: float | None
    has_simulated: bool

    @classmethod
    def from_obs_info(
        cls, obs_info: ObservationInfo, *, band: str, regions: Mapping[int, ConvexPolygon]
    ) -> VisitRecord:
        """Make a record from the observation information of any image of the visit.

        Parameters
        ----------
        obs_info
            The observation.
        band
            Band of the filter.
        regions
            Sky region of each detector.

        Raises
        ------
        RepositoryError
            Raised if instrument, visit, filter or times are missing.
        """
        instrument, number, physical_filter = obs_info.instrument, obs_info.visit_id, obs_info.physical_filter
        begin, end = obs_info.datetime_begin, obs_info.datetime_end
        if instrument is None or number is None or physical_filter is None or begin is None or end is None:
            required = ("instrument", "visit_id", "physical_filter", "datetime_begin", "datetime_end")
            missing = ", ".join(name for name in required if getattr(obs_info, name) is None)
            raise RepositoryError(f"The observation information has no {missing}.")
        visit = int(number)
        exposure_time = _value(obs_info.exposure_time, u.s)
        if exposure_time is None:
            exposure_time = float((end - begin).sec)
        dark_time = _value(obs_info.dark_time, u.s)
        # The default night is the date of TAI minus 12 hours.
        day_obs = obs_info.observing_day or int((begin.tai - TimeDelta(0.5, format="jd")).strftime("%Y%m%d"))
        radec, altaz = obs_info.tracking_radec, obs_info.altaz_begin
        return cls(
            instrument=instrument,
            visit=visit,
            name=str(obs_info.observation_id or visit)[:64],
            day_obs=int(day_obs),
            seq_num=int(obs_info.observation_counter or 0),
            physical_filter=physical_filter,
            band=band,
            begin=begin,
            end=end,
            regions=dict(regions),
            exposure_time=exposure_time,
            dark_time=exposure_time if dark_time is None else dark_time,
            # Limits of the dimension records.
            group=str(obs_info.exposure_group or visit)[:64],
            target_name=(obs_info.object or "unknown")[:64],
            observation_reason=(obs_info.observation_reason or "science")[:68],
            science_program=(obs_info.science_program or "unknown")[:64],
            tracking_ra=None if radec is None else float(radec.icrs.ra.deg),
            tracking_dec=None if radec is None else float(radec.icrs.dec.deg),
            sky_angle=_value(obs_info.boresight_rotation_angle, u.deg),
            azimuth=None if altaz is None else float(altaz.az.deg),
            zenith_angle=None if altaz is None else 90.0 - float(altaz.alt.deg),
            has_simulated=bool(obs_info.has_simulated_content),
        )


def image_region(sky_projection: SkyProjection[DetectorFrame], bbox: Box) -> ConvexPolygon:
    """Return the sky region of an image.

    Parameters
    ----------
    sky_projection
        Mapping of pixels to the sky.
    bbox
        Box of the image.

    Raises
    ------
    RepositoryError
        Raised if the corners do not map to four different points of the sky.
    """
    x0, x1 = bbox.x.start - 0.5, bbox.x.stop - 0.5
    y0, y1 = bbox.y.start - 0.5, bbox.y.stop - 0.5
    sky = sky_projection.pixel_to_sky(x=np.array([x0, x1, x1, x0]), y=np.array([y0, y0, y1, y1]))
    ra, dec = np.asarray(sky.ra.deg), np.asarray(sky.dec.deg)
    if not (np.all(np.isfinite(ra)) and np.all(np.isfinite(dec))):
        raise RepositoryError("The WCS does not map the corners of the image to the sky.")
    points = [UnitVector3d(LonLat.fromDegrees(float(a), float(d))) for a, d in zip(ra, dec, strict=True)]
    try:
        region = ConvexPolygon.convexHull(points)
    except ValueError as error:
        raise RepositoryError(f"The WCS does not map the image to an area of the sky: {error}") from error
    if len(region.getVertices()) != 4:
        raise RepositoryError("The WCS does not map the image to a quadrangle of the sky.")
    return region


def _value(quantity: u.Quantity | None, unit: u.Unit) -> float | None:
    return None if quantity is None else float(quantity.to_value(unit))
