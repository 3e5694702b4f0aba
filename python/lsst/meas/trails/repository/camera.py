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

"""Instruments of calibrated images and the descriptions of their detectors."""

from __future__ import annotations

__all__ = ("CalibratedInstrument", "camera_frames", "make_detector")

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np
import starlink.Ast

from lsst.images import Box
from lsst.images.cameras import (
    Amplifier,
    CameraFrameSet,
    CameraFrameSetSerializationModel,
    Detector,
    DetectorAttributes,
    DetectorType,
    Orientation,
)
from lsst.pipe.base import Instrument

from .ast import to_text

if TYPE_CHECKING:
    from lsst.daf.butler import DataId, Registry

PIXEL_SIZE = 0.01
"""Millimeters per pixel, in the focal planes of all instruments."""

_ARCSEC = np.pi / (180.0 * 3600.0)


class CalibratedInstrument(Instrument):
    """An instrument without raw data.

    A Butler repository records the import path of the class: each subclass must be importable from
    `lsst.meas.trails.instruments`.
    """

    detector_max: ClassVar[int]
    """Exclusive limit of detector numbers."""

    visit_max: ClassVar[int]
    """Exclusive limit of visit numbers."""

    @classmethod
    def getName(cls) -> str:
        """Return the name of the instrument in data IDs."""
        return cls.__name__

    def register(self, registry: Registry, *, update: bool = False) -> None:
        """Insert the instrument into a registry.

        Parameters
        ----------
        registry
            Registry of the data repository.
        update
            Whether to change an existing record that differs.

        Raises
        ------
        lsst.daf.butler.registry.ConflictingDefinitionError
            Raised if an existing record differs and ``update`` is `False`.
        """
        registry.syncDimensionData(
            "instrument",
            {
                "name": self.getName(),
                "class_name": f"lsst.meas.trails.instruments.{type(self).__name__}",
                "detector_max": self.detector_max,
                "visit_max": self.visit_max,
                "exposure_max": self.visit_max,
                "visit_system": 0,
            },
            update=update,
        )

    def register_record(
        self, registry: Registry, element: str, record: Mapping[str, object], *, update: bool = False
    ) -> None:
        """Insert a filter or detector into a registry that has the instrument."""
        registry.syncDimensionData(element, {"instrument": self.getName(), **record}, update=update)

    def getRawFormatter(self, dataId: DataId) -> NoReturn:
        """Raise `NotImplementedError`: the instrument has no raw data."""
        raise NotImplementedError(
            f"{self.getName()} has no raw data; `meas-trails simulate` and `meas-trails ingest-fits` "
            "write calibrated visit images."
        )


def make_detector(
    instrument: type[CalibratedInstrument],
    visit: int,
    detector: int,
    *,
    name: str,
    serial: str,
    physical_type: str,
    shape: tuple[int, int],
    pixel_scale: float,
    offset: tuple[float, float] = (0.0, 0.0),
    amplifiers: Sequence[Amplifier] = (),
) -> Detector:
    """Describe an undistorted detector.

    Parameters
    ----------
    instrument
        Instrument of the detector.
    visit
        Visit number.
    detector
        Detector number.
    name
        Name, unique in the instrument.
    serial, physical_type
        Serial number and type of the device.
    shape
        Shape (ny, nx) in pixels.
    pixel_scale
        Arcseconds per pixel.
    offset
        Position (x, y) of the center relative to the boresight, pixels.
    amplifiers
        Amplifiers of the detector.
    """
    bbox = Box.from_shape(shape)
    center_x, center_y = 0.5 * (shape[1] - 1), 0.5 * (shape[0] - 1)
    x, y = offset[0] - center_x, offset[1] - center_y
    to_focal_plane = starlink.Ast.WinMap(
        [0.0, 0.0],
        [1.0, 1.0],
        [x * PIXEL_SIZE, y * PIXEL_SIZE],
        [(x + 1.0) * PIXEL_SIZE, (y + 1.0) * PIXEL_SIZE],
    )
    to_field_angle = starlink.Ast.ZoomMap(2, pixel_scale / PIXEL_SIZE * _ARCSEC)
    attributes = DetectorAttributes(
        name=name,
        id=detector,
        type=DetectorType.SCIENCE,
        serial=serial,
        bbox=bbox,
        orientation=Orientation(
            focal_plane_x=offset[0] * PIXEL_SIZE,
            focal_plane_y=offset[1] * PIXEL_SIZE,
            focal_plane_z=0.0,
            # afw counts from the corner of the first pixel.
            pixel_reference_x=center_x + 0.5,
            pixel_reference_y=center_y + 0.5,
        ),
        pixel_size=PIXEL_SIZE,
        physical_type=physical_type,
    )
    frames = camera_frames(instrument.getName(), detector, bbox, to_focal_plane, to_field_angle)
    return Detector(attributes, amplifiers, frames, visit=visit)


def camera_frames(
    instrument: str,
    detector: int,
    bbox: Box,
    to_focal_plane: starlink.Ast.Mapping,
    to_field_angle: starlink.Ast.Mapping,
) -> CameraFrameSet:
    """Return the coordinate systems of a camera with one detector.

    The mappings convert pixels to millimeters in the focal plane, and these to field angles in radians.
    """
    pixels = starlink.Ast.Frame(
        2,
        f'Ident=DETECTOR_{detector:03d},Title="Pixel Coordinates (Detector {detector})",'
        "Label(1)=x,Label(2)=y,Unit(1)=pix,Unit(2)=pix,"
        f"Bottom(1)={bbox.x.min},Bottom(2)={bbox.y.min},Top(1)={bbox.x.max},Top(2)={bbox.y.max}",
    )
    focal_plane = starlink.Ast.Frame(
        2, 'Ident=FOCAL_PLANE,Title="Focal Plane Coordinates",Label(1)=x,Label(2)=y,Unit(1)=mm,Unit(2)=mm'
    )
    field_angle = starlink.Ast.Frame(
        2, 'Ident=FIELD_ANGLE,Title="Field Angle Coordinates",Label(1)=x,Label(2)=y,Unit(1)=rad,Unit(2)=rad'
    )
    frames = starlink.Ast.FrameSet(pixels)
    frames.addframe(1, to_focal_plane, focal_plane)
    frames.addframe(2, to_field_angle, field_angle)
    model = CameraFrameSetSerializationModel(instrument=instrument, ast=to_text(frames))
    # The text is complete: nothing is read from an archive.
    return model.deserialize(archive=None)  # type: ignore[arg-type]
