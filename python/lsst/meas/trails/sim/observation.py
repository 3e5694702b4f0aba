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

"""Time and pointing of simulated visits."""

from __future__ import annotations

__all__ = (
    "EXPOSURE_TIME",
    "MAX_VISITS",
    "SITE",
    "VisitPlan",
    "check_cadence",
    "make_obs_info",
    "make_sky_projection",
    "plan_visit",
    "repeat_plan",
    "visit_info",
)

import dataclasses
import datetime
from typing import Any

import astropy.units as u
import astropy.wcs
import erfa
import numpy as np
from astro_metadata_translator import ObservationInfo
from astropy.coordinates import AltAz, Angle, EarthLocation, SkyCoord
from astropy.time import Time, TimeDelta

from lsst.images import Box, DetectorFrame, SkyProjection

from .detector import PIXEL_SCALE, focal_plane_offset
from .instrument import TrailSimCam, detector_place, physical_filter_of

EXPOSURE_TIME = 30.0
"""Default exposure time, seconds."""

SITE = EarthLocation.from_geodetic(lon=-70.749417 * u.deg, lat=-30.244639 * u.deg, height=2663.0 * u.m)
"""Location of the telescope: Cerro Pachon."""

MAX_VISITS = 800
"""Largest number of visits in a night."""

_FIRST_NIGHT = datetime.date(2017, 1, 1)
_N_NIGHTS = 3650
_CADENCE = 39.0
"""Seconds from one visit to the next."""

_MAX_HOURS = 8.0
"""Longest time from the first to the last visit of a field, hours."""

_NIGHT_START = datetime.time(1, 0)
"""UTC, on the day after the date that names the night."""


@dataclasses.dataclass(frozen=True)
class VisitPlan:
    """Time, filter and pointing of a visit.

    Parameters
    ----------
    visit
        Number of the visit: the night as YYYYMMDD and five digits.
    day_obs, seq_num
        The night, YYYYMMDD, and the number of the visit in it, from 1.
    band
        Band of the filter.
    begin
        Start of the exposure, TAI.
    exposure_time
        Seconds.
    ra, dec
        Boresight, ICRS degrees.
    rotation
        Position angle of the +y axis of the detectors, degrees East of North.
    azimuth, altitude
        Boresight at the start, degrees.
    """

    visit: int
    day_obs: int
    seq_num: int
    band: str
    begin: Time
    exposure_time: float
    ra: float
    dec: float
    rotation: float
    azimuth: float
    altitude: float

    @property
    def end(self) -> Time:
        """End of the exposure, TAI."""
        return self.begin + TimeDelta(self.exposure_time, format="sec", scale="tai")

    @property
    def physical_filter(self) -> str:
        """Name of the filter."""
        return physical_filter_of(self.band)


def plan_visit(seed: int, index: int, band: str, exposure_time: float = EXPOSURE_TIME) -> VisitPlan:
    """Plan a visit.

    Parameters
    ----------
    seed
        Seed of the simulation. It selects the night, so that simulations with neighboring seeds fit into one
        repository.
    index
        Number of the visit in the simulation, from 0.
    band
        Band of the filter.
    exposure_time
        Seconds.

    Returns
    -------
    plan
        A visit within 55 degrees of the zenith of `SITE`.

    Raises
    ------
    ValueError
        Raised if the index exceeds `MAX_VISITS` or the band is unknown.
    """
    if not 0 <= index < MAX_VISITS:
        raise ValueError(f"Visit {index} does not fit into a night of {MAX_VISITS} visits.")
    physical_filter_of(band)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    night = _FIRST_NIGHT + datetime.timedelta(days=seed % _N_NIGHTS)
    day_obs = int(night.strftime("%Y%m%d"))
    start = datetime.datetime.combine(night + datetime.timedelta(days=1), _NIGHT_START)
    begin = (Time(start, scale="utc") + TimeDelta(index * _CADENCE, format="sec")).tai

    zenith_distance = np.deg2rad(np.sqrt(rng.uniform(0.0, 55.0**2)))
    azimuth = rng.uniform(0.0, 2.0 * np.pi)
    sidereal_time = _sidereal_time(begin)
    latitude = SITE.lat.rad
    altitude = 0.5 * np.pi - zenith_distance
    # Spherical triangle of pole, zenith and star. Precession since 2000, a third of a degree, is neglected.
    dec = np.arcsin(
        np.sin(altitude) * np.sin(latitude) + np.cos(altitude) * np.cos(latitude) * np.cos(azimuth)
    )
    hour_angle = np.arctan2(
        -np.sin(azimuth) * np.cos(altitude),
        np.sin(altitude) * np.cos(latitude) - np.cos(altitude) * np.sin(latitude) * np.cos(azimuth),
    )
    return VisitPlan(
        visit=day_obs * 100_000 + index + 1,
        day_obs=day_obs,
        seq_num=index + 1,
        band=band,
        begin=begin,
        exposure_time=exposure_time,
        ra=float(np.rad2deg(sidereal_time - hour_angle) % 360.0),
        dec=float(np.rad2deg(dec)),
        rotation=float(rng.uniform(0.0, 360.0)),
        azimuth=float(np.rad2deg(azimuth)),
        altitude=float(np.rad2deg(altitude)),
    )


def check_cadence(fields: int, repeat: int, cadence: float) -> None:
    """Check the visits of fields that are repeated.

    Parameters
    ----------
    fields
        Number of fields.
    repeat
        Number of visits of each field.
    cadence
        Time from one visit of a field to the next, minutes.

    Raises
    ------
    ValueError
        Raised if the visits do not fit into a night, or into the time between the visits of a field.
    """
    if not 1 <= repeat * fields <= MAX_VISITS:
        raise ValueError(
            f"{repeat} visits of {fields} fields exceed a night of {MAX_VISITS} visits; choose fewer."
        )
    if repeat == 1:
        return
    shortest, longest = fields * _CADENCE / 60.0, _MAX_HOURS * 60.0 / (repeat - 1)
    if not shortest <= cadence <= longest:
        raise ValueError(
            f"The cadence must be between {shortest:g} and {longest:g} minutes for {fields} fields and "
            f"{repeat} visits of each, not {cadence:g}."
        )


def repeat_plan(plan: VisitPlan, index: int, minutes: float) -> VisitPlan:
    """Plan another visit with the pointing of a visit.

    Parameters
    ----------
    plan
        The first visit.
    index
        Number of the new visit in the simulation, from 0.
    minutes
        Time since the first visit.
    """
    begin = plan.begin + TimeDelta(60.0 * minutes, format="sec")
    hour_angle, dec, latitude = (
        _sidereal_time(begin) - np.deg2rad(plan.ra),
        np.deg2rad(plan.dec),
        SITE.lat.rad,
    )
    altitude = np.arcsin(np.sin(dec) * np.sin(latitude) + np.cos(dec) * np.cos(latitude) * np.cos(hour_angle))
    azimuth = np.arctan2(
        -np.sin(hour_angle) * np.cos(dec),
        np.sin(dec) * np.cos(latitude) - np.cos(dec) * np.sin(latitude) * np.cos(hour_angle),
    )
    return dataclasses.replace(
        plan,
        visit=plan.day_obs * 100_000 + index + 1,
        seq_num=index + 1,
        begin=begin,
        azimuth=float(np.rad2deg(azimuth) % 360.0),
        altitude=float(np.rad2deg(altitude)),
    )


def _sidereal_time(time: Time) -> float:
    """Return the local sidereal time at `SITE`, radians.

    UTC replaces UT1, with an error below a second: `Time.sidereal_time` downloads tables of the Earth's
    rotation when they are out of date.
    """
    utc, tt = time.utc, time.tt
    return float(erfa.gmst06(utc.jd1, utc.jd2, tt.jd1, tt.jd2) + SITE.lon.rad)


def make_sky_projection(
    plan: VisitPlan, detector: int, shape: tuple[int, int]
) -> SkyProjection[DetectorFrame]:
    """Return the gnomonic projection of a detector about the boresight.

    All detectors have the shape (ny, nx) in pixels.
    """
    ny, nx = shape
    x_offset, y_offset = focal_plane_offset(detector, shape)
    cos, sin = np.cos(np.deg2rad(plan.rotation)), np.sin(np.deg2rad(plan.rotation))
    scale = PIXEL_SCALE / 3600.0
    wcs = astropy.wcs.WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = [plan.ra, plan.dec]
    # FITS counts pixels from 1.
    wcs.wcs.crpix = [0.5 * (nx - 1) - x_offset + 1.0, 0.5 * (ny - 1) - y_offset + 1.0]
    # East is to the left if North is up.
    wcs.wcs.cd = scale * np.array([[-cos, sin], [sin, cos]])
    bbox = Box.factory[0:ny, 0:nx]
    frame = DetectorFrame(instrument=TrailSimCam.getName(), visit=plan.visit, detector=detector, bbox=bbox)
    return SkyProjection.from_fits_wcs(wcs, frame, pixel_bounds=bbox)


def make_obs_info(plan: VisitPlan, detector: int) -> ObservationInfo:
    """Describe the observation of a detector."""
    altitude = np.deg2rad(plan.altitude)
    return ObservationInfo(
        **visit_info(plan, detector),
        telescope="Simulated Survey Telescope",
        location=SITE,
        exposure_time_requested=plan.exposure_time * u.s,
        dark_time=plan.exposure_time * u.s,
        boresight_airmass=float(1.0 / np.sin(altitude)),
        boresight_rotation_angle=Angle(plan.rotation * u.deg),
        boresight_rotation_coord="sky",
        detector_serial=f"SIM-{detector:03d}",
        object=f"field {plan.visit}",
        temperature=283.15 * u.K,
        pressure=745.0 * u.hPa,
        relative_humidity=20.0,
        tracking_radec=SkyCoord(ra=plan.ra * u.deg, dec=plan.dec * u.deg, frame="icrs"),
        altaz_begin=SkyCoord(
            AltAz(az=plan.azimuth * u.deg, alt=plan.altitude * u.deg, obstime=plan.begin, location=SITE)
        ),
        science_program="meas-trails simulate",
        observation_type="science",
        observation_reason="science",
        observing_day_offset=TimeDelta(12.0 * u.hour),
        can_see_sky=True,
    )


def visit_info(plan: VisitPlan, detector: int) -> dict[str, Any]:
    """Return the fields of the observation information that follow from a plan."""
    place = detector_place(detector)
    return {
        "instrument": TrailSimCam.getName(),
        "exposure_id": plan.visit,
        "visit_id": plan.visit,
        "physical_filter": plan.physical_filter,
        "datetime_begin": plan.begin,
        "datetime_end": plan.end,
        "exposure_time": plan.exposure_time * u.s,
        "detector_num": detector,
        "detector_name": place.name_in_raft,
        "detector_unique_name": place.full_name,
        "detector_group": place.raft,
        "detector_exposure_id": plan.visit * 1000 + detector,
        "observation_id": f"TS_O_{plan.day_obs}_{plan.seq_num:06d}",
        "exposure_group": str(plan.visit),
        "observing_day": plan.day_obs,
        "observation_counter": plan.seq_num,
        "group_counter_start": plan.seq_num,
        "group_counter_end": plan.seq_num,
        "has_simulated_content": True,
    }
