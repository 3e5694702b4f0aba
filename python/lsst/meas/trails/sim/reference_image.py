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

"""Real images that simulations take their PSF, WCS, detector and noise from."""

from __future__ import annotations

__all__ = ("ReferenceImage", "ReferenceImageError")

import dataclasses
import functools
from pathlib import Path

import astropy.units as u
import numpy as np
import numpy.typing as npt
import pydantic
import starlink.Ast
from astro_metadata_translator import ObservationInfo
from astropy.coordinates import AltAz, Angle, SkyCoord

from lsst.images import Box, DetectorFrame, SkyProjection, SkyProjectionSerializationModel, VisitImage
from lsst.images.cameras import Detector
from lsst.images.psfs import PointSpreadFunction
from lsst.images.serialization import ArchiveReadError, read_archive

from ..core.photometry import AB_ZEROPOINT_NJY
from ..repository.ast import inverse, parse_mapping, series, to_text
from .detector import focal_plane_offset
from .instrument import BANDS, TrailSimCam
from .observation import EXPOSURE_TIME, VisitPlan, plan_visit, visit_info

_DEFAULT_GAIN = 1.85
"""Electrons per nJy in 30 seconds with LSSTComCam in the r band."""


class ReferenceImageError(ValueError):
    """Raised if a file cannot serve as a reference image."""


@dataclasses.dataclass(frozen=True, eq=False)
class ReferenceImage:
    """Properties of a visit image that simulated images take over."""

    name: str
    """Name of the image in messages."""

    band: str
    """Band of the filter."""

    psf: PointSpreadFunction
    """Point-spread function."""

    sky_projection: SkyProjection[DetectorFrame]
    """Mapping to the sky."""

    obs_info: ObservationInfo
    """Observation information."""

    detector: Detector
    """Detector."""

    sky_noise: float
    """Standard deviation of a pixel of sky, nJy."""

    gain: float
    """Electrons per nJy."""

    zeropoint: float
    """AB magnitude of one count."""

    @classmethod
    def read(cls, path: str | Path) -> ReferenceImage:
        """Read a reference image from a file.

        Parameters
        ----------
        path
            A visit image in any format that `lsst.images` reads.

        Raises
        ------
        ReferenceImageError
            Raised if the file is not a visit image with the required properties.
        """
        try:
            image = read_archive(str(path))
        except Exception as error:
            raise ReferenceImageError(f"{path} is not readable with lsst.images: {error}") from error
        if not isinstance(image, VisitImage):
            raise ReferenceImageError(f"{path} holds a {type(image).__name__}, not a VisitImage.")
        return cls.from_image(image, str(path))

    @classmethod
    def from_image(cls, image: VisitImage, name: str = "the reference image") -> ReferenceImage:
        """Take the properties of an image.

        Parameters
        ----------
        image
            The image; may be a cutout of its detector.
        name
            Name of the image in messages.

        Raises
        ------
        ReferenceImageError
            Raised if the image lacks a readable PSF, flux units, a known band or a noise level.
        """
        try:
            psf = image.psf
        except ArchiveReadError as error:
            raise ReferenceImageError(f"The PSF of {name} cannot be read: {error}") from error
        try:
            njy = float(image.unit.to(u.nJy))
        except u.UnitConversionError as error:
            raise ReferenceImageError(
                f"The unit of {name} is {image.unit}; calibrate the image to nJy."
            ) from error
        if image.band not in BANDS:
            raise ReferenceImageError(f"The band of {name} is {image.band!r}, not one of {', '.join(BANDS)}.")
        sky_noise, zeropoint = _noise(image, njy)
        if not sky_noise > 0.0:
            raise ReferenceImageError(
                f"{name} has neither a skyNoise in its summary statistics nor a usable variance plane."
            )
        return cls(
            name=name,
            band=image.band,
            psf=psf,
            sky_projection=image.sky_projection,
            obs_info=image.obs_info,
            detector=image.detector,
            sky_noise=sky_noise,
            # The stack's counts are electrons; the zero point of nJy does not reveal the gain.
            gain=_DEFAULT_GAIN
            if zeropoint == AB_ZEROPOINT_NJY
            else 10.0 ** (0.4 * (zeropoint - AB_ZEROPOINT_NJY)),
            zeropoint=zeropoint,
        )

    @property
    def exposure_time(self) -> float:
        """Exposure time in seconds, 30 if unknown."""
        time = self.obs_info.exposure_time
        return EXPOSURE_TIME if time is None else float(time.to_value(u.s))

    def bbox(self, shape: tuple[int, int] | None = None) -> Box:
        """Return the box of an image in the middle of the detector.

        Parameters
        ----------
        shape
            Shape (ny, nx), pixels; the whole detector by default.

        Raises
        ------
        ReferenceImageError
            Raised if the shape exceeds the detector or the domain of the PSF.
        """
        whole = self.detector.bbox
        ny, nx = shape or whole.shape
        if ny > whole.y.size or nx > whole.x.size:
            raise ReferenceImageError(
                f"The detector of {self.name} has {whole.y.size} x {whole.x.size} pixels; "
                f"an image of {ny} x {nx} does not fit."
            )
        start = (whole.y.start + (whole.y.size - ny) // 2, whole.x.start + (whole.x.size - nx) // 2)
        box = Box.from_shape((ny, nx), start=start)
        if not self.psf.bounds.bbox.contains(box):
            raise ReferenceImageError(
                f"The PSF of {self.name} covers {self.psf.bounds.bbox} only, not {box}."
            )
        return box

    def plan(self, seed: int, index: int) -> VisitPlan:
        """Plan a visit with the pointing of the reference image.

        Parameters
        ----------
        seed
            Seed of the simulation.
        index
            Number of the visit in the simulation, from 0.

        Returns
        -------
        plan
            A visit with number and time of `~lsst.meas.trails.sim.observation.plan_visit`.

        Raises
        ------
        ValueError
            Raised if the index exceeds the visits of a night.
        """
        plan = plan_visit(seed, index, self.band, self.exposure_time)
        center, _, angle, _ = self._axes
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
        """Describe a simulated observation of a detector."""
        altaz = self.obs_info.altaz_begin
        with self.obs_info.edit_copy() as info:
            for name, value in visit_info(plan, detector).items():
                setattr(info, name, value)
            if altaz is not None and info.location is not None:
                info.altaz_begin = SkyCoord(
                    AltAz(az=altaz.az, alt=altaz.alt, obstime=plan.begin, location=info.location)
                )
            info.altaz_end = None
        return info

    def make_sky_projection(self, plan: VisitPlan, detector: int) -> SkyProjection[DetectorFrame]:
        """Return the mapping to the sky, moved to another detector.

        Detector 0 has the mapping of the reference image; the others lie around it as in the focal plane. The
        mapping is rotated about the center of the celestial sphere, which preserves its distortions.
        """
        bbox = self.detector.bbox
        mapping = parse_mapping(self.sky_projection.pixel_to_sky_transform.show())
        shape = (bbox.y.size, bbox.x.size)
        x, y = focal_plane_offset(detector, shape)
        x0, y0 = focal_plane_offset(0, shape)
        x, y = x - x0, y - y0
        if x or y:
            center, scale, angle, parity = self._axes
            # Position angles grow from North to East, which is the sense from
            # +x to +y or the opposite, depending on the parity of the detector.
            turn = np.arctan2(y, x) * parity
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
        # The text is complete: nothing is read from an archive.
        return model.deserialize(archive=None)  # type: ignore[arg-type]

    @functools.cached_property
    def _axes(self) -> tuple[SkyCoord, Angle, Angle, float]:
        """Center, size of a pixel, position angle of +x, and parity.

        The parity is 1 if +y is 90 degrees East of +x, -1 if it is West.
        """
        bbox = self.detector.bbox
        x, y = 0.5 * (bbox.x.min + bbox.x.max), 0.5 * (bbox.y.min + bbox.y.max)
        center, right, above = self.sky_projection.pixel_to_sky(
            x=np.array([x, x + 1.0, x]), y=np.array([y, y, y + 1.0])
        )
        angle = center.position_angle(right)
        turn = (center.position_angle(above) - angle).wrap_at(180.0 * u.deg)
        return center, center.separation(right), angle, 1.0 if turn > 0.0 * u.deg else -1.0


class _Pointer(pydantic.BaseModel, extra="forbid"):
    """Placeholder for an archive pointer, which the projection does not use."""

    target: int


def _noise(image: VisitImage, njy: float) -> tuple[float, float]:
    """Return the noise of the sky in nJy and the zero point of the counts."""
    stats = image.summary_stats
    if np.isfinite(stats.skyNoise) and stats.skyNoise > 0.0 and np.isfinite(stats.zeroPoint):
        return stats.skyNoise * 10.0 ** (0.4 * (AB_ZEROPOINT_NJY - stats.zeroPoint)), stats.zeroPoint
    variance = image.variance.array
    usable = variance[np.isfinite(variance) & (variance > 0.0)]
    return float(np.sqrt(np.median(usable))) * njy if usable.size else np.nan, AB_ZEROPOINT_NJY


def _rotation(start: SkyCoord, end: SkyCoord) -> npt.NDArray[np.float64]:
    """Return the rotation along the great circle between two directions, shape (3, 3).

    This is Rodrigues' formula.
    """
    a, b = (np.array(c.icrs.cartesian.xyz.value, dtype=np.float64) for c in (start, end))
    axis = np.cross(a, b)
    sin, cos = float(np.linalg.norm(axis)), float(np.dot(a, b))
    x, y, z = axis / sin
    k = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + sin * k + (1.0 - cos) * (k @ k)
