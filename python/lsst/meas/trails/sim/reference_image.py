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

"""Simulated images after a real one."""

from __future__ import annotations

__all__ = ("ReferenceImage", "ReferenceImageError")

import dataclasses
import functools
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pydantic
import starlink.Ast
from astro_metadata_translator import ObservationInfo
from astropy.coordinates import AltAz, SkyCoord

from lsst.images import (
    Box,
    DetectorFrame,
    SkyProjection,
    SkyProjectionSerializationModel,
    VisitImage,
)
from lsst.images.cameras import Detector
from lsst.images.psfs import PointSpreadFunction
from lsst.images.serialization import ArchiveReadError, read_archive

from ..core.photometry import AB_ZEROPOINT_NJY
from ..repository.ast import inverse, parse_mapping, series, to_text
from .detector import focal_plane_offset, move_detector
from .instrument import BANDS, TrailSimCam, detector_place
from .observation import EXPOSURE_TIME, VisitPlan, plan_visit

_DEFAULT_GAIN = 1.85
"""Electrons per nJy of 30 seconds with LSSTComCam in the r band."""


class ReferenceImageError(ValueError):
    """A file cannot serve as an example for simulated images; the message
    says what it lacks.
    """


@dataclasses.dataclass(frozen=True, eq=False)
class ReferenceImage:
    """A visit image that lends its PSF, WCS, detector, noise and observation
    information to simulated ones.

    Parameters
    ----------
    name
        What messages call it.
    band
        Band of its filter.
    psf
        Its PSF.
    sky_projection
        Its mapping to the sky.
    obs_info
        Its observation information.
    detector
        Its detector.
    sky_noise
        Standard deviation of a pixel of sky, nJy.
    gain
        Electrons per nJy.
    zeropoint
        AB magnitude of one count.
    """

    name: str
    band: str
    psf: PointSpreadFunction
    sky_projection: SkyProjection[DetectorFrame]
    obs_info: ObservationInfo
    detector: Detector
    sky_noise: float
    gain: float
    zeropoint: float

    @classmethod
    def read(cls, path: str | Path) -> ReferenceImage:
        """Read an example from a file.

        Parameters
        ----------
        path
            A visit image in any format that `lsst.images` reads.

        Raises
        ------
        ReferenceImageError
            Raised if the file cannot be read, holds no visit image, or holds
            one without what is needed.
        """
        try:
            image = read_archive(str(path))
        except Exception as error:
            raise ReferenceImageError(f"{path} is not a file that lsst.images reads: {error}") from error
        if not isinstance(image, VisitImage):
            raise ReferenceImageError(f"{path} holds a {type(image).__name__}, not a VisitImage.")
        return cls.from_image(image, str(path))

    @classmethod
    def from_image(cls, image: VisitImage, name: str = "the example") -> ReferenceImage:
        """Take an image as the example.

        Parameters
        ----------
        image
            The image; it may be a cut of its detector.
        name
            What messages call it.

        Raises
        ------
        ReferenceImageError
            Raised if the image lacks a PSF or a noise level, or its units
            are no fluxes.
        """
        try:
            psf = image.psf
        except ArchiveReadError as error:
            raise ReferenceImageError(f"The PSF of {name} cannot be read: {error}") from error
        try:
            njy = float(image.unit.to(u.nJy))
        except u.UnitConversionError as error:
            raise ReferenceImageError(
                f"The unit of {name} is {image.unit}: only a calibrated image, in nJy, can be the example."
            ) from error
        if image.band not in BANDS:
            raise ReferenceImageError(f"The band of {name} is {image.band!r}, none of {', '.join(BANDS)}.")
        sky_noise, zeropoint = _noise(image, njy)
        if not sky_noise > 0.0:
            raise ReferenceImageError(
                f"{name} has neither a sky noise among its statistics nor a usable variance plane."
            )
        return cls(
            name=name,
            band=image.band,
            psf=psf,
            sky_projection=image.sky_projection,
            obs_info=image.obs_info,
            detector=image.detector,
            sky_noise=sky_noise,
            # The stack's counts are electrons since its images are corrected
            # for gain; a zero point of nJy says nothing about electrons.
            gain=_DEFAULT_GAIN
            if zeropoint == AB_ZEROPOINT_NJY
            else 10.0 ** (0.4 * (zeropoint - AB_ZEROPOINT_NJY)),
            zeropoint=zeropoint,
        )

    @property
    def exposure_time(self) -> float:
        """Exposure time in seconds, 30 where the example does not tell
        (`float`).
        """
        time = self.obs_info.exposure_time
        return EXPOSURE_TIME if time is None else float(time.to_value(u.s))

    def bbox(self, shape: tuple[int, int] | None = None) -> Box:
        """Return the box of an image: the middle of the detector.

        Parameters
        ----------
        shape
            Shape (ny, nx), pixels; that of the detector by default.

        Raises
        ------
        ReferenceImageError
            Raised if the detector, or the area for which there is a PSF, is
            smaller.
        """
        whole = self.detector.bbox
        if shape is None:
            box = whole
        else:
            if shape[0] > whole.y.size or shape[1] > whole.x.size:
                raise ReferenceImageError(
                    f"The detector of {self.name} has {whole.y.size} x {whole.x.size} pixels: "
                    f"an image of {shape[0]} x {shape[1]} does not fit."
                )
            start = (
                whole.y.start + (whole.y.size - shape[0]) // 2,
                whole.x.start + (whole.x.size - shape[1]) // 2,
            )
            box = Box.from_shape(shape, start=start)
        if not self.psf.bounds.bbox.contains(box):
            raise ReferenceImageError(
                f"The PSF of {self.name} is for {self.psf.bounds.bbox} only, not for {box}."
            )
        return box

    def plan(self, seed: int, index: int) -> VisitPlan:
        """Plan a visit: the number and the time are those of
        `~lsst.meas.trails.sim.observation.plan_visit`, the pointing is the
        example's.

        Parameters
        ----------
        seed
            Seed of the simulation.
        index
            Number of the visit in the simulation, from 0.

        Raises
        ------
        ValueError
            Raised if the night has no room for so many visits.
        """
        plan = plan_visit(seed, index, self.band, self.exposure_time)
        center, _, angle = self._axes()
        radec, altaz = self.obs_info.tracking_radec, self.obs_info.altaz_begin
        boresight = center if radec is None else radec.icrs
        if altaz is not None:
            plan = dataclasses.replace(plan, azimuth=float(altaz.az.deg), altitude=float(altaz.alt.deg))
        return dataclasses.replace(
            plan,
            ra=float(boresight.ra.deg),
            dec=float(boresight.dec.deg),
            rotation=float((angle.deg + 90.0) % 360.0),
        )

    def make_obs_info(self, plan: VisitPlan, detector: int) -> ObservationInfo:
        """Describe a simulated observation as the example was described.

        Parameters
        ----------
        plan
            The visit.
        detector
            Number of the detector.

        Raises
        ------
        ValueError
            Raised if there is no such detector.
        """
        place = detector_place(detector)
        altaz = self.obs_info.altaz_begin
        with self.obs_info.edit_copy() as info:
            info.instrument = TrailSimCam.getName()
            info.exposure_id = info.visit_id = plan.visit
            info.physical_filter = plan.physical_filter
            info.datetime_begin, info.datetime_end = plan.begin, plan.end
            info.exposure_time = plan.exposure_time * u.s
            if altaz is not None and info.location is not None:
                info.altaz_begin = SkyCoord(
                    AltAz(az=altaz.az, alt=altaz.alt, obstime=plan.begin, location=info.location)
                )
            info.altaz_end = None
            info.detector_num = detector
            info.detector_name = place.name_in_raft
            info.detector_unique_name = place.full_name
            info.detector_group = place.raft
            info.detector_exposure_id = plan.visit * 1000 + detector
            info.observation_id = f"TS_O_{plan.day_obs}_{plan.seq_num:06d}"
            info.exposure_group = str(plan.visit)
            info.observing_day = plan.day_obs
            info.observation_counter = plan.seq_num
            info.group_counter_start = info.group_counter_end = plan.seq_num
            info.has_simulated_content = True
        return info

    def make_detector(self, plan: VisitPlan, detector: int) -> Detector:
        """Describe a detector like the example's.

        Parameters
        ----------
        plan
            The visit.
        detector
            Number of the detector.

        Raises
        ------
        ValueError
            Raised if there is no such detector.
        """
        return move_detector(self.detector, plan.visit, detector)

    def make_sky_projection(
        self, plan: VisitPlan, detector: int, first: int = 0
    ) -> SkyProjection[DetectorFrame]:
        """Return the example's mapping to the sky, moved for other detectors.

        Parameters
        ----------
        plan
            The visit.
        detector
            Number of the detector.
        first
            Number of the detector that looks where the example looks; others
            lie around it as in the focal plane.  The whole mapping is
            rotated about the center of the celestial sphere, so that it keeps
            its distortions.

        Raises
        ------
        ValueError
            Raised if there is no such detector.
        """
        bbox = self.detector.bbox
        mapping = parse_mapping(self.sky_projection.pixel_to_sky_transform.show())
        shape = (bbox.y.size, bbox.x.size)
        x, y = focal_plane_offset(detector, shape)
        x0, y0 = focal_plane_offset(first, shape)
        x, y = x - x0, y - y0
        if x or y:
            center, scale, angle = self._axes()
            # Position angles grow from North to East; whether that is the
            # sense from +x to +y depends on the parity of the detector.
            turn = np.arctan2(y, x) * self._parity()
            target = center.directional_offset_by(angle + turn * u.rad, np.hypot(x, y) * scale)
            rotation = starlink.Ast.MatrixMap(_rotation(center, target))
            to_vectors = inverse(starlink.Ast.SphMap("UnitRadius=1"))
            mapping = series(mapping, to_vectors, rotation, inverse(to_vectors))
        frame = DetectorFrame(
            instrument=TrailSimCam.getName(), visit=plan.visit, detector=detector, bbox=bbox
        )
        model = SkyProjectionSerializationModel[_Pointer].model_validate(
            {
                "pixel_to_sky": {
                    "frames": [frame.model_dump(), "ICRS"],
                    "bounds": [bbox, None],
                    "mappings": [{"ast": to_text(mapping)}],
                }
            }
        )
        # The text holds all there is: nothing is fetched from an archive.
        return model.deserialize(archive=None)  # type: ignore[arg-type]

    @functools.cached_property
    def _corner(self) -> tuple[SkyCoord, SkyCoord, SkyCoord]:
        """Sky at the center of the detector, a pixel right and one above."""
        bbox = self.detector.bbox
        x, y = 0.5 * (bbox.x.min + bbox.x.max), 0.5 * (bbox.y.min + bbox.y.max)
        sky = self.sky_projection.pixel_to_sky(x=np.array([x, x + 1.0, x]), y=np.array([y, y, y + 1.0]))
        return sky[0], sky[1], sky[2]

    def _axes(self) -> tuple[SkyCoord, Any, Any]:
        """Center, size of a pixel, and position angle of +x."""
        center, right, _ = self._corner
        return center, center.separation(right), center.position_angle(right)

    def _parity(self) -> float:
        """1 where +y is 90 degrees East of +x, -1 where it is West."""
        center, right, above = self._corner
        turn = (center.position_angle(above) - center.position_angle(right)).wrap_at(180.0 * u.deg)
        return 1.0 if turn > 0.0 * u.deg else -1.0


class _Pointer(pydantic.BaseModel, extra="forbid"):
    """Archive pointer of a projection that has none."""

    target: int


def _noise(image: VisitImage, njy: float) -> tuple[float, float]:
    """Return the noise of the sky in nJy and the zero point of the counts."""
    stats = image.summary_stats
    if np.isfinite(stats.skyNoise) and stats.skyNoise > 0.0 and np.isfinite(stats.zeroPoint):
        return stats.skyNoise * 10.0 ** (0.4 * (AB_ZEROPOINT_NJY - stats.zeroPoint)), stats.zeroPoint
    variance = image.variance.array
    usable = variance[np.isfinite(variance) & (variance > 0.0)]
    return float(np.sqrt(np.median(usable))) * njy if usable.size else np.nan, AB_ZEROPOINT_NJY


def _rotation(start: SkyCoord, end: SkyCoord) -> np.ndarray:
    """Matrix, shape (3, 3), that turns one direction into another along the
    great circle between them (Rodrigues' formula).
    """
    a, b = (np.array(c.icrs.cartesian.xyz.value, dtype=np.float64) for c in (start, end))
    axis = np.cross(a, b)
    sin, cos = float(np.linalg.norm(axis)), float(np.dot(a, b))
    x, y, z = axis / sin
    k = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + sin * k + (1.0 - cos) * (k @ k)
